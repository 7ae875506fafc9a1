"""The client's side: heads, pipelining, bodies, limits of size and time, and how a connection ends."""

from __future__ import annotations

import asyncio

import pytest

from passproxy.web import connection, endpoints
from passproxy.web.connection import ClientConnection
from tests.fakes.gateway import alive, eventually, get, navigation, request
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, answering, ok

HEALTH = get("/.passproxy/health")


def buffered_bytes(connections: list[ClientConnection]) -> int:
    """What these have written and not got rid of."""
    return sum(each.transport.get_write_buffer_size() for each in connections)


async def connections_of(raw: Raw) -> list[ClientConnection]:
    """PassProxy's ends of whatever is connected, once this client is."""
    assert (await raw.ask(HEALTH)).status == 200
    return alive(ClientConnection, lambda each: each.transport is not None and not each.is_lost)


async def test_a_connection_serves_one_request_after_the_other(upstream, passproxy):
    async with Raw(passproxy.address) as raw:
        for number in range(5):
            assert (await raw.ask(get(f"/{number}", cookie=passproxy.cookie()))).body == b"/%d" % number
    assert len(upstream.lines) == 1


async def test_a_request_may_arrive_byte_by_byte(upstream, passproxy):
    async with Raw(passproxy.address) as raw:
        for byte in request("POST", "/slow", cookie=passproxy.cookie(), body=b"ab"):
            await raw.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await raw.answer()).body == b"/slow"
    assert upstream.requests[0].body == b"ab"


async def test_pipelined_requests_are_answered_in_their_order_one_at_a_time(upstream, passproxy):
    under_way = most = 0

    async def script(seen: Seen, line: Line) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        await ok(seen, line)

    upstream.script = script
    cookie = passproxy.cookie()
    async with Raw(passproxy.address) as raw:
        await raw.send(
            get("/0", cookie=cookie)
            + HEALTH
            + request("POST", "/1", cookie=cookie, body=b"xyz")
            + get("/2", cookie=cookie)
        )
        assert [(await raw.answer()).body for _ in range(4)] == [b"/0", b"ok\n", b"/1", b"/2"]
    assert most == 1
    assert upstream.requests[1].body == b"xyz"


async def test_pipelined_requests_beyond_the_buffer_wait_and_are_all_answered(upstream, passproxy):
    """Reading pauses when much is waiting, also when it ends within a head, and then goes on."""
    padding = "X-Padding: " + "x" * 4000
    cookie = passproxy.cookie()
    requests = [get(f"/{number}", padding, cookie=cookie) for number in range(100)]
    async with Raw(passproxy.address) as raw:
        proceed = asyncio.Event()

        async def script(seen: Seen, line: Line) -> None:
            if seen.target == b"/0":
                await proceed.wait()
            await ok(seen, line)

        upstream.script = script
        sending = asyncio.ensure_future(raw.send(b"".join(requests)))
        await eventually(lambda: len(upstream.requests) == 1, "the first request")
        await asyncio.sleep(0.1)
        proceed.set()
        got = [(await raw.answer()).body for _ in requests]
        await sending
    assert got == [b"/%d" % number for number in range(100)]


async def test_a_client_that_reads_no_answers_is_not_answered_without_end(passproxy):
    """What waits for such a client is bounded, however many requests it pipelines."""
    requests = get("/.passproxy/logged-out", "Accept: text/html") * 8000
    async with Raw(passproxy.address, small=True) as raw:
        ends = await connections_of(raw)
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(raw.sock, requests))
        previous = -1
        while (now := buffered_bytes(ends)) != previous:
            previous = now
            await asyncio.sleep(0.4)
        sending.cancel()
        await asyncio.wait({sending})
        assert buffered_bytes(ends) < 1024 * 1024


async def test_a_client_that_never_reads_what_it_asked_for_is_dropped(ticking, upstream, passproxy, monkeypatch):
    """Also when its last answer is complete, and nothing but the reading is left to do."""
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 1.0)
    monkeypatch.setattr(connection, "CLIENT_IDLE_SECONDS", 1.0)
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n" + bytes(150_000))
    async with Raw(passproxy.address, small=True) as raw:
        ends = await connections_of(raw)
        await raw.send(get("/", cookie=passproxy.cookie()) * 60)
        await eventually(lambda: buffered_bytes(ends) > 0, "something waits to be read")
        await eventually(lambda: not buffered_bytes(ends), "what is not read is thrown away")


@pytest.mark.parametrize("line", ["Connection: close", "Connection: x, Close"])
async def test_close_is_honoured_and_announced(upstream, passproxy, line):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", line, cookie=passproxy.cookie()))
        assert got.all(b"connection") == [b"close"]
        assert await raw.is_closed()


async def test_a_slow_reader_gets_the_whole_last_answer(ticking, upstream, passproxy, monkeypatch):
    """After `Connection: close` the rest still waits to be read: lingering must not cut it."""
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.1)
    size = 4_000_000

    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    upstream.script = script
    async with Raw(passproxy.address, small=True) as raw:
        await raw.send(get("/", "Connection: close", cookie=passproxy.cookie()))
        head = await raw.head()
        assert b" 200 " in head
        left = size
        while left:
            # Slower than the limit above for what is buffered, and never standing still.
            left -= len(await raw.take(min(left, 60_000)))
            await asyncio.sleep(0.03)


@pytest.mark.parametrize(
    "answer", [b"\r\n\r\nopen end", b"\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nopen end\r\n0\r\n\r\n"]
)
async def test_an_old_client_gets_no_chunks_and_the_end_of_the_connection_as_the_end(upstream, passproxy, answer):
    upstream.script = answering(b"HTTP/1.1 200 OK" + answer, closes=True)
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", "Connection: keep-alive", cookie=passproxy.cookie(), version="1.0"))
        assert got.body == b"open end"
        assert not got.all(b"transfer-encoding")
        assert await raw.is_closed()
    assert upstream.requests[0].request_line == b"GET / HTTP/1.1"


async def test_continue_is_said_only_once_the_request_was_judged(upstream, passproxy):
    expect = ("Expect: 100-continue", "Content-Length: 5")
    async with Raw(passproxy.address) as raw:
        await raw.send(request("POST", "/", *expect, cookie=passproxy.cookie()))
        assert await raw.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await raw.send(b"hello")
        assert (await raw.answer()).status == 200
        assert not upstream.requests[0].all(b"expect")
        # Without a session: the final answer at once, and nobody waits for the body.
        got = await raw.ask(request("POST", "/", *expect))
        assert (got.status, got.interim) == (401, ())
        assert await raw.is_closed()
    assert len(upstream.requests) == 1


async def test_an_empty_line_before_a_request_is_overlooked(passproxy):
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(b"\r\n" + HEALTH)).status == 200
        assert (await raw.ask(b"\r\n" + HEALTH)).status == 200


# Sizes.


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("X: " + "a" * 33_000, id="one long line"),
        pytest.param("\r\n".join(f"X-{n}: {'a' * 400}" for n in range(90)), id="many lines"),
        pytest.param("\r\n".join("X: a" for _ in range(201)), id="more than two hundred fields"),
    ],
)
async def test_a_head_above_the_limit_is_a_431(upstream, passproxy, log, line):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", line, cookie=passproxy.cookie()))
        assert got.status == 431
        assert got.all(b"connection") == [b"close"]
        assert await raw.is_closed()
    assert upstream.is_untouched
    assert log.one("http.reject")["code"] == "PP-REQUEST-HEAD-SIZE"


async def test_a_head_within_the_limit_is_none(upstream, passproxy):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/" + "p" * 8000, "X: " + "a" * 16_000, *["Y: b"] * 190, cookie=passproxy.cookie()))
        assert got.status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_for_our_own_pages_is_limited(upstream, passproxy, log, chunked):
    size = endpoints.BODY_LIMIT_BYTES + 1
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, bytes(size)) if chunked else b""
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(request("POST", "/.passproxy/logout", framing, body=body))
        assert got.status == 413
        assert await raw.is_closed()
    assert log.one("http.reject")["code"] == "PP-REQUEST-BODY-SIZE"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5_0\r\n", id="an underscore in the size"),
        pytest.param(b"0x5\r\nhello\r\n", id="a prefix"),
        pytest.param(b"+5\r\nhello\r\n", id="a sign"),
        pytest.param(b"5 \r\nhello\r\n", id="a space"),
        pytest.param(b"5\nhello\r\n", id="a bare LF"),
        pytest.param(b"5;a=\nb\r\nhello\r\n", id="a bare LF in an extension"),
        pytest.param(b"11111111111111111\r\n", id="seventeen digits"),
        pytest.param(b"4\r\nhello\r\n", id="a byte more than announced"),
        pytest.param(b"5\r\nhello0\r\n\r\n", id="no line end behind the content"),
        pytest.param(b"5;" + b"a" * 2000, id="an endless extension"),
        pytest.param(b"5\r\nhello\r\n0\r\nno colon\r\n\r\n", id="a trailer that is none"),
        pytest.param(b"0\r\n" + b"X: y\r\n" * 10_000, id="endless trailers"),
        pytest.param(
            b"1;" + b"a" * 1000 + b"\r\nx\r\n" + (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 40, id="many extensions"
        ),
    ],
)
async def test_a_body_that_cannot_be_followed_never_becomes_a_whole_one(upstream, passproxy, log, body):
    """HTTP-07: the application must see that the request was cut, and this connection ends."""
    whole: list[bytes] = []

    async def script(seen: Seen, line: Line) -> None:
        await line.body()
        if not line.is_gone:
            whole.append(seen.body)

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        start = request("POST", "/", "Transfer-Encoding: chunked", cookie=passproxy.cookie())
        await raw.send(start + b"3\r\nabc\r\n")
        await eventually(lambda: len(upstream.requests) == 1, "the beginning")
        await raw.send(body + get("/smuggled", cookie=passproxy.cookie()))
        assert (await raw.answer()).status == 400
        assert await raw.is_closed()
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is cut")
    assert whole == []
    assert [seen.target for seen in upstream.requests] == [b"/"]
    log.one("http.reject")


# Time.


async def test_a_head_that_never_ends_is_given_up(ticking, passproxy, monkeypatch):
    """DOS-01: drops do not extend the limit."""
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_SECONDS", 0.3)
    async with Raw(passproxy.address) as silent, Raw(passproxy.address) as dripping:
        await dripping.send(b"GET / HTTP/1.1\r\n")

        async def drip() -> None:
            for _ in range(100):
                await dripping.send(b"X: y\r\n")
                await asyncio.sleep(0.05)

        dropping = asyncio.ensure_future(drip())
        try:
            assert await silent.is_closed()
            assert await dripping.is_closed()
        finally:
            dropping.cancel()


async def test_an_idle_connection_is_closed(ticking, passproxy, monkeypatch):
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 0.2)
    async with Raw(passproxy.address) as raw:
        await raw.ask(HEALTH)
        assert await raw.is_closed()


async def test_a_body_that_stalls_is_given_up_and_the_application_is_freed(ticking, upstream, passproxy, monkeypatch):
    monkeypatch.setattr(connection, "CLIENT_IDLE_SECONDS", 0.2)
    async with Raw(passproxy.address) as raw:
        await raw.send(request("POST", "/", "Content-Length: 100", cookie=passproxy.cookie(), body=b"half"))
        with pytest.raises((Cut, ConnectionResetError)):
            await raw.answer()
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")


async def test_a_body_that_comes_in_drops_is_not_given_up(ticking, upstream, passproxy, monkeypatch):
    monkeypatch.setattr(connection, "CLIENT_IDLE_SECONDS", 1.0)
    async with Raw(passproxy.address) as raw:
        await raw.send(request("POST", "/", "Content-Length: 6", cookie=passproxy.cookie()))
        for byte in b"abcdef":
            await asyncio.sleep(0.2)
            await raw.send(bytes([byte]))
        assert (await raw.answer()).status == 200
    assert upstream.requests[0].body == b"abcdef"


async def test_an_application_that_thinks_for_long_is_waited_for(ticking, upstream, passproxy, monkeypatch):
    """No limit of the client's connection runs while the application has the word."""
    for name in ("CLIENT_IDLE_SECONDS", "KEEP_ALIVE_SECONDS", "HEAD_TIMEOUT_SECONDS"):
        monkeypatch.setattr(connection, name, 0.1)

    async def slow(seen: Seen, line: Line) -> None:
        await asyncio.sleep(0.5)
        await ok(seen, line)

    upstream.script = slow
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(request("POST", "/", cookie=passproxy.cookie(), body=b"x"))).status == 200


async def test_a_navigation_without_a_session_while_the_provider_is_down_is_a_503_page(passproxy, log):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(navigation("/deep?x=1"))
        assert got.status == 503
        assert got.one(b"retry-after").isdigit()
        assert not got.all(b"set-cookie")
    assert log.one("auth.reject")["code"] == "PP-IDP-UNAVAILABLE"
