"""The application's side: what reaches it, what comes back, and what happens when it misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import tracemalloc

import pytest

from passproxy.web import pool, server
from passproxy.web import upstream as upstream_module
from tests.fakes.gateway import eventually, get, protecting, request
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream, answering, hang, ok

MEBIBYTE = 1024 * 1024
PIECE = bytes(range(256)) * 256


# Answers, whole and exact.


@pytest.mark.parametrize(
    ("answer", "body", "framing"),
    [
        pytest.param(b"Content-Length: 5\r\n\r\nhello", b"hello", b"content-length", id="with a length"),
        pytest.param(b"Content-Length: 0\r\n\r\n", b"", b"content-length", id="empty"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n",
            b"hello",
            b"transfer-encoding",
            id="in chunks, with an extension and a trailer",
        ),
    ],
)
async def test_an_answer_arrives_as_it_was_and_both_connections_are_kept(upstream, passproxy, answer, body, framing):
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n" + answer)
    async with Raw(passproxy.address) as raw:
        for _ in range(3):
            got = await raw.ask(get("/", cookie=passproxy.cookie()))
            assert (got.status, got.body, got.one(b"x-a")) == (200, body, b"1")
            assert len(got.all(framing)) == 1
            assert not got.all(b"connection")
            assert not got.all(b"trailer")
            assert not got.all(b"x-trailer")
    assert len(upstream.lines) == 1


async def test_an_answer_without_a_length_is_chunked_for_the_client_and_ends_when_the_application_closes(
    upstream, passproxy
):
    upstream.script = answering(b"HTTP/1.1 200 OK\r\n\r\n" + PIECE * 4, closes=True)
    async with Raw(passproxy.address) as raw:
        for _ in range(2):
            got = await raw.ask(get("/", cookie=passproxy.cookie()))
            assert got.body == PIECE * 4
            assert got.all(b"transfer-encoding") == [b"chunked"]
    assert len(upstream.lines) == 2


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", id="HEAD with a length"),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="HEAD in chunks"),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", id="HEAD without either"),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
        pytest.param("GET", b'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: W/"x"\r\n\r\n', id="304"),
    ],
)
async def test_what_has_no_body_gets_none_and_the_connection_goes_on(upstream, passproxy, method, answer):
    upstream.script = answering(answer)
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(request(method, "/", cookie=passproxy.cookie()))
        assert got.body == b""
        if b"Content-Length" in answer:
            assert got.all(b"content-length") == [answer.partition(b"Length: ")[2].partition(b"\r")[0]]
        upstream.script = ok
        assert (await raw.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"
    assert len(upstream.lines) == 1


async def test_fields_keep_their_bytes_their_number_and_their_order(upstream, passproxy):
    lines = [
        b"Set-Cookie: a=1; Path=/",
        b"Link: </a>; rel=preload",
        b"set-cookie: b=\xff2",
        b"Link: </b>",
        b"X-Empty:",
        b"X-Odd:\t spaced  ",
        b"Set-Cookie: c=3",
        b'ETag: W/"\xe4"',
        b"Content-Encoding: gzip",
        b"Location: http://127.0.0.1:3000/x",
    ]
    upstream.script = answering(b"HTTP/1.1 302 Elsewhere\r\n%s\r\nContent-Length: 0\r\n\r\n" % b"\r\n".join(lines))
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", cookie=passproxy.cookie()))
    assert got.head == b"HTTP/1.1 302 Found\r\n%s\r\nContent-Length: 0\r\n\r\n" % b"\r\n".join(lines)


async def test_the_applications_request_has_nothing_that_was_not_sent_but_what_is_documented(upstream, passproxy):
    sent = [b"X-Z: \xff\xfe", b"Accept:  */*\t", b"x-z: 2", b'If-None-Match: W/"1"', b"Range: bytes=0-1,5-"]
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/a%2Fb;c//d?x=%41&&=;a=1?b", *sent, cookie=passproxy.cookie()))
    (seen,) = upstream.requests
    start = b"GET /a%2Fb;c//d?x=%41&&=;a=1?b HTTP/1.1\r\nHost: app.example.com\r\n"
    assert seen.head.startswith(start + b"\r\n".join(sent) + b"\r\n")
    added = {name for name, _ in seen.fields[len(sent) + 1 :]}
    assert added == {
        *(b"X-Passproxy-User", b"X-Passproxy-Subject", b"X-Passproxy-Groups", b"X-Passproxy-Session-Expires"),
        *(b"X-Forwarded-For", b"X-Real-IP", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port", b"Via"),
        b"X-Request-Id",
    }


async def test_version_fields_and_names_of_ours_do_not_leave_the_application(upstream, passproxy):
    hidden = b"Server: x/1\r\nX-Powered-By: PHP\r\nX-Passproxy-User: alice\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n"
    upstream.script = answering(b"HTTP/1.1 200 OK\r\n" + hidden + b"Content-Length: 0\r\n\r\n")
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", cookie=passproxy.cookie()))
    assert got.fields == [(b"Content-Length", b"0")]


async def test_a_cookie_of_ours_set_by_the_application_is_removed_and_its_neighbours_are_not(upstream, passproxy):
    ours = [
        b"__Host-passproxy=evil",
        b"__Host-passproxy-login-abcdefgh=evil; Path=/",
        b" __Host-passproxy =evil",
        b"__Host-passproxy=; Max-Age=0",
    ]
    theirs = [b"__Host-passproxyish=1", b"a=__Host-passproxy=1", b"__Host-other=2"]
    lines = b"".join(b"Set-Cookie:%s\r\n" % value for value in [theirs[0], *ours, *theirs[1:]])
    upstream.script = answering(
        b"HTTP/1.1 200 OK\r\n" + lines + b"sEt-cOOkie: __Host-passproxy=x\r\nContent-Length: 0\r\n\r\n"
    )
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", cookie=passproxy.cookie()))
    assert got.all(b"set-cookie") == theirs


async def test_events_are_passed_on_as_they_come(upstream, passproxy):
    proceed = asyncio.Event()

    async def stream(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            await line.send(b"9\r\ndata: %d\n\n\r\n" % number)
            await proceed.wait()
            proceed.clear()
        await line.send(b"0\r\n\r\n")

    upstream.script = stream
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/events", cookie=passproxy.cookie()))
        await raw.head()
        for number in range(3):
            # The next event is not sent before this one was read.
            assert await raw.take(14) == b"9\r\ndata: %d\n\n\r\n" % number
            proceed.set()
        assert await raw.take(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"199 Odd"])
async def test_interim_answers_end_here(upstream, passproxy, interim):
    upstream.script = answering(
        b"HTTP/1.1 %s\r\nX-I: 1\r\n\r\n" % interim + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    )
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", cookie=passproxy.cookie()))
        assert (got.status, got.interim) == (200, ())


async def test_early_hints_are_passed_on_but_not_to_old_clients(upstream, passproxy):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    upstream.script = answering(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", cookie=passproxy.cookie()))
        assert got.interim == (hints,)
        old = await raw.ask(get("/", cookie=passproxy.cookie(), version="1.0"))
        assert old.interim == ()


# Bodies of requests.


@pytest.mark.parametrize("chunks", [False, True])
async def test_a_body_arrives_whole_with_the_framing_it_had(upstream, passproxy, chunks):
    body = PIECE * 3
    framed = b"5;a=b\r\nhello\r\n%x\r\n%s\r\n0\r\nX-T: 1\r\n\r\n" % (len(body), body) if chunks else body
    framing = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {len(body)}"
    async with Raw(passproxy.address) as raw:
        for _ in range(2):
            got = await raw.ask(request("POST", "/up", framing, cookie=passproxy.cookie(), body=framed))
            assert got.status == 200
            seen = upstream.requests[-1]
            assert seen.body == (b"hello" + body if chunks else body)
            assert len(seen.all(b"transfer-encoding")) == chunks
            assert len(seen.all(b"content-length")) == (not chunks)
            assert b"X-T" not in seen.head
    assert not upstream.nonsense
    assert len(upstream.lines) == 1


async def test_the_body_streams_on_while_it_is_still_being_sent(upstream, passproxy):
    arrived: list[bytes] = []

    async def script(seen: Seen, line: Line) -> None:
        while sum(map(len, arrived)) < 6:
            arrived.append(await line.some())
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        await raw.send(request("POST", "/", "Content-Length: 6", cookie=passproxy.cookie(), body=b"abc"))
        await eventually(lambda: b"".join(arrived) == b"abc", "the first half")
        await raw.send(b"def")
        assert (await raw.answer()).status == 200


async def test_sixty_four_mebibytes_go_up_and_come_down_unchanged_and_never_as_a_whole(upstream, passproxy):
    size, digests = 64 * MEBIBYTE, []

    async def echo(seen: Seen, line: Line) -> None:
        digest, left = hashlib.sha256(), size
        while left:
            data = await line.some()
            digest.update(data)
            left -= len(data)
        digests.append(digest.hexdigest())
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MEBIBYTE):
            await line.send(PIECE * (MEBIBYTE // len(PIECE)))

    upstream.script = echo
    tracemalloc.start()
    try:
        async with Raw(passproxy.address) as raw:
            await raw.send(request("PUT", "/big", f"Content-Length: {size}", cookie=passproxy.cookie()))
            expected = hashlib.sha256()
            for _ in range(size // MEBIBYTE):
                expected.update(PIECE * (MEBIBYTE // len(PIECE)))
                await raw.send(PIECE * (MEBIBYTE // len(PIECE)))
            head = await raw.head()
            assert b" 200 " in head
            got, left = hashlib.sha256(), size
            while left:
                data = await raw.take(min(left, 128 * 1024))
                got.update(data)
                left -= len(data)
        assert digests == [expected.hexdigest()]
        assert got.hexdigest() == expected.hexdigest()
        assert tracemalloc.get_traced_memory()[1] < 24 * MEBIBYTE
    finally:
        tracemalloc.stop()


async def test_an_upload_waits_for_an_application_that_does_not_read(tmp_path, monkeypatch):
    """The first part of the body is here before the connection to the application is: it must count too."""
    # While both sides stand still, nobody notices that the client has left.
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)
    taken = 0

    async def idle(seen: Seen, line: Line) -> None:
        await asyncio.sleep(60)

    async with (
        Upstream(idle, slow=True) as upstream,
        protecting(upstream.url, tmp_path) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        size = 64 * MEBIBYTE
        head = request("PUT", "/big", f"Content-Length: {size}", cookie=passproxy.cookie())
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw.sock, head + bytes(200_000))
        try:
            while taken < size:
                async with asyncio.timeout(0.5):
                    await loop.sock_sendall(raw.sock, bytes(MEBIBYTE))
                taken += MEBIBYTE
        except TimeoutError:
            pass
        # What fits into the buffers of two sockets, and a little of ours.
        assert taken <= 16 * MEBIBYTE


async def test_a_download_waits_for_a_client_that_does_not_read(upstream, passproxy):
    sent = 0

    async def flood(seen: Seen, line: Line) -> None:
        nonlocal sent
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MEBIBYTE))
        for _ in range(256):
            await line.send(bytes(MEBIBYTE))
            sent += 1

    upstream.script = flood
    async with Raw(passproxy.address, small=True) as raw:
        await raw.send(get("/big", cookie=passproxy.cookie()))
        await raw.head()
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.3)
        assert 0 < sent <= 32


async def test_a_connection_whose_last_client_reads_slowly_serves_the_next_one(upstream, passproxy):
    """The answer ends while its client is still catching up: what is put back into the pool must be read again."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n" + bytes(150_000)

    async def script(seen: Seen, line: Line) -> None:
        await (ok(seen, line) if seen.target == b"/next" else line.send(answer))

    upstream.script = script
    async with Raw(passproxy.address, small=True) as slow, Raw(passproxy.address) as other:
        for count in range(1, 60):
            # One at a time, until what lies between is full and the last answers wait in PassProxy.
            await slow.send(get("/big", cookie=passproxy.cookie()))
            with contextlib.suppress(AssertionError):
                asked = functools.partial(lambda n: [s.target for s in upstream.requests].count(b"/big") == n, count)
                await eventually(asked, "the request", 0.3)
            assert (await other.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"
            if [seen.target for seen in upstream.requests].count(b"/big") < count:
                return  # the slow client is not served any further, as it should be
    pytest.fail("a client that reads nothing was served without end")


async def test_an_answer_before_the_end_of_the_body_is_passed_on_and_neither_connection_is_used_again(
    upstream, passproxy
):
    async def early(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")

    upstream.script = early
    smuggled = get("/smuggled", cookie=passproxy.cookie())
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(request("POST", "/", "Content-Length: 1000000", cookie=passproxy.cookie(), body=b"x"))
        assert (got.status, got.body) == (413, b"big")
        await raw.send(smuggled)
        assert await raw.is_closed()
    upstream.script = ok
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"
    assert [seen.target for seen in upstream.requests] == [b"/", b"/next"]
    assert len(upstream.lines) == 2


async def test_a_client_that_leaves_in_the_middle_of_its_body_takes_the_connection_with_it(upstream, passproxy):
    """HTTP-20: half a request must never become the beginning of somebody else's."""
    async with Raw(passproxy.address) as raw:
        await raw.send(request("POST", "/half", "Content-Length: 1000000", cookie=passproxy.cookie(), body=b"x" * 1000))
        await eventually(lambda: len(upstream.requests) == 1, "the request")
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"
    assert upstream.requests[-1].connection == 1


async def test_a_client_that_leaves_while_it_waits_frees_the_applications_connection(upstream, passproxy):
    upstream.script = hang
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/slow", cookie=passproxy.cookie()))
        await eventually(lambda: len(upstream.requests) == 1, "the request")
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")


# An application that misbehaves.


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 099 x\r\n\r\n", id="status 099"),
        pytest.param(b"HTTP/1.1 600 x\r\n\r\n", id="status 600"),
        pytest.param(b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", id="status 999"),
        pytest.param(b"HTTP/2 200\r\n\r\n", id="another version"),
        pytest.param(b"HTTP/1.1 200 a\rb\r\n\r\n", id="a bare CR in the reason"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A : 2\r\n\r\n", id="a space behind a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nLocation: /x\nSet-Cookie: a=b\r\n\r\n", id="a bare LF"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", id="a NUL"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n", id="a folded line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", id="no colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nab", id="a list of lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", id="a negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="both"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="another coding"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", id="an endless head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, id="an endless head without an end"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n", id="101 unasked"
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, id="a hundred interim answers"),
    ],
)
async def test_an_answer_that_is_not_http_is_a_502_and_its_connection_is_never_used_again(
    upstream, passproxy, log, answer
):
    upstream.script = answering(answer)
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", "Accept: text/html", cookie=passproxy.cookie()))
        assert got.status == 502
        assert not got.all(b"set-cookie")
        assert str(upstream.port).encode() not in got.body
        fields = log.one("upstream.error")
        assert fields["code"] == "PP-UPSTREAM-MALFORMED"
        upstream.script = ok
        assert (await raw.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"
    assert upstream.requests[-1].connection == 1


async def test_a_reason_phrase_is_not_copied(upstream, passproxy):
    upstream.script = answering(b"HTTP/1.1 200 <script>\xff" + b"a" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n")
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).head.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("tail", "resets"),
    [
        pytest.param(b"Content-Length: 100\r\n\r\nhalf", False, id="fewer bytes than announced"),
        pytest.param(b"Content-Length: 100\r\n\r\nhalf", True, id="a reset within the length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", False, id="no last chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", True, id="a reset between chunks"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", False, id="a chunk size that is none"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalfX\r\n", False, id="a chunk that is too long"),
        pytest.param(b"\r\nhalf", True, id="a reset without any length"),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_truncated_answer_is_seen_as_truncated(upstream, passproxy, log, tail, resets, version):
    """HTTP-23: an old client sees the end of the connection as the end of the body, so that has to be a reset."""
    head_sent = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\n" + tail)
        await head_sent.wait()
        line.reset() if resets else line.close()

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/", cookie=passproxy.cookie(), version=version))
        asyncio.get_running_loop().call_later(0.05, head_sent.set)
        with pytest.raises((Cut, ConnectionResetError)):
            await raw.answer()
    await eventually(lambda: bool(log.events), "the log line")
    log.one("upstream.truncated")


@pytest.mark.parametrize("kept", [False, True])
async def test_an_application_that_closes_or_resets_before_an_answer_is_a_502_for_what_cannot_be_repeated(
    upstream, passproxy, log, kept
):
    async def cut(seen: Seen, line: Line) -> None:
        await line.body()
        line.reset()

    async with Raw(passproxy.address) as raw:
        if kept:
            await raw.ask(get("/", cookie=passproxy.cookie()))
        upstream.script = cut
        got = await raw.ask(request("POST", "/once", cookie=passproxy.cookie(), body=b"x"))
        assert got.status == 502
    assert [seen.target for seen in upstream.requests].count(b"/once") == 1
    assert log.one("upstream.error")["code"] == "PP-UPSTREAM-UNREACHABLE"


async def test_a_get_that_meets_the_closing_of_a_kept_connection_is_sent_once_more(upstream, passproxy, log):
    async def close_kept(seen: Seen, line: Line) -> None:
        if seen.target == b"/again" and line.number == 0:
            line.close()
        else:
            await ok(seen, line)

    upstream.script = close_kept
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        assert (await raw.ask(get("/again", cookie=passproxy.cookie()))).body == b"/again"
    assert [(seen.target, seen.connection) for seen in upstream.requests] == [(b"/", 0), (b"/again", 0), (b"/again", 1)]
    assert log.events == []


@pytest.mark.parametrize(
    ("method", "lines", "answer"),
    [
        pytest.param("GET", ("Content-Length: 1",), b"", id="a GET with a body"),
        pytest.param("DELETE", (), b"", id="DELETE"),
        pytest.param("POST", ("Content-Length: 1",), b"", id="POST"),
        pytest.param("GET", (), b"HTTP/1.1 2", id="an answer that had begun"),
        pytest.param("GET", (), b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", id="an answer whose head was here"),
    ],
)
async def test_nothing_else_is_sent_twice(upstream, passproxy, method, lines, answer):
    async def cut(seen: Seen, line: Line) -> None:
        await line.body()
        await line.send(answer)
        line.close()

    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        upstream.script = cut
        await raw.send(request(method, "/once", *lines, cookie=passproxy.cookie(), body=b"x" if lines else b""))
        try:
            assert (await raw.answer()).status == 502
        except Cut:
            assert b"200" in answer
    assert [seen.target for seen in upstream.requests] == [b"/", b"/once"]


async def test_a_get_is_repeated_once_and_not_for_ever(upstream, passproxy):
    async def close(seen: Seen, line: Line) -> None:
        if seen.target == b"/again":
            line.close()
        else:
            await ok(seen, line)

    upstream.script = close
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        assert (await raw.ask(get("/again", cookie=passproxy.cookie()))).status == 502
    assert [seen.target for seen in upstream.requests] == [b"/", b"/again", b"/again"]


@pytest.mark.parametrize(
    "glued",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", id="a second answer"),
        pytest.param(b"x", id="a byte"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
async def test_bytes_behind_an_answer_are_nobodys_answer(upstream, passproxy, glued, later):
    """HTTP-21."""

    async def script(seen: Seen, line: Line) -> None:
        if line.number:
            return await ok(seen, line)
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + (b"" if later else glued))
        if later:
            await asyncio.sleep(0.05)
            await line.send(glued)
        return None

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).body == b"ok"
        await asyncio.sleep(0.15 if later else 0)
        assert (await raw.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"
    assert upstream.requests[-1].connection == 1


async def test_an_application_that_is_down_is_a_502_that_tells_nothing_of_it(upstream, passproxy, log):
    """INFO-05."""
    await upstream.stop()
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", "Accept: text/html", cookie=passproxy.cookie()))
        assert got.status == 502
        assert str(upstream.port).encode() not in got.body
        assert b"refused" not in got.body
        assert b"127.0.0.1" not in got.body
        assert log.one("upstream.error")["code"] == "PP-UPSTREAM-UNREACHABLE"
        # The connection to the client is as good as before.
        assert (await raw.ask(get("/.passproxy/health"))).body == b"ok\n"


# Time.


async def test_an_application_that_says_nothing_is_a_504(upstream, tmp_path, ticking, log):
    upstream.script = hang
    async with (
        protecting(upstream.url, tmp_path, upstream={"response_timeout": "1s"}) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 504
        assert (await raw.ask(request("POST", "/", cookie=passproxy.cookie(), body=b"x"))).status == 504
    assert [fields["code"] for fields in log.named("upstream.error")] == ["PP-UPSTREAM-TIMEOUT"] * 2
    assert all(line.is_gone for line in upstream.lines)


async def test_an_application_that_took_a_large_upload_slowly_and_then_says_nothing_is_a_504(tmp_path, ticking):
    """The last piece of the body is still on its way when the time for the answer begins."""

    async def script(seen: Seen, line: Line) -> None:
        await asyncio.sleep(0.3)
        await hang(seen, line)

    settings = {"upstream": {"response_timeout": "1s"}}
    async with (
        Upstream(script, slow=True) as upstream,
        protecting(upstream.url, tmp_path, **settings) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        await raw.send(request("POST", "/", cookie=passproxy.cookie(), body=bytes(200_000)))
        assert (await raw.answer()).status == 504


async def test_a_stalled_answer_is_cut_after_the_idle_time(upstream, tmp_path, ticking, log):
    async def stall(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await line.gone()

    upstream.script = stall
    settings = {"upstream": {"idle_timeout": "1s"}}
    async with protecting(upstream.url, tmp_path, **settings) as passproxy, Raw(passproxy.address) as raw:
        with pytest.raises(Cut) as cut:
            await raw.ask(get("/", cookie=passproxy.cookie()))
        assert cut.value.had == b"half"
    log.one("upstream.truncated")


async def test_an_answer_that_comes_in_drops_is_not_cut(upstream, tmp_path, ticking):
    async def drops(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.4)
            await line.send(b"x")

    upstream.script = drops
    times = {"idle_timeout": "1s", "response_timeout": "1s"}
    async with protecting(upstream.url, tmp_path, upstream=times) as passproxy, Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).body == b"xxxxx"


async def test_an_idle_connection_to_the_application_is_closed_in_time(ticking, upstream, passproxy, monkeypatch):
    monkeypatch.setattr(upstream_module, "IDLE_SECONDS", 0.1)
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        await eventually(lambda: upstream.lines[0].is_gone, "the idle connection is closed")
        assert (await raw.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"


async def test_a_post_takes_no_connection_that_was_idle_for_long(ticking, upstream, passproxy, monkeypatch):
    monkeypatch.setattr(pool, "FRESH_SECONDS", 0.05)
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        await asyncio.sleep(0.2)
        await raw.ask(request("POST", "/", cookie=passproxy.cookie(), body=b"x"))
        assert upstream.requests[-1].connection == 1
        await raw.ask(request("POST", "/", cookie=passproxy.cookie(), body=b"x"))
        assert upstream.requests[-1].connection == 1
