"""Section 2.11 of the catalogue: the rows that concern a handshake, a tunnel, or their refusal."""

from __future__ import annotations

import pytest

from tests.fakes.gateway import eventually, get, protecting
from tests.fakes.raw import Raw
from tests.fakes.upstream import Line, Seen, Upstream, answering
from tests.fakes.websocket import accepting, handshake, switching


@pytest.fixture(autouse=True)
def accepts(upstream: Upstream) -> None:
    upstream.script = accepting


async def refused(raw: Raw, status: int | tuple[int, ...]) -> bytes:
    """The answer to a refused handshake; then the connection ends, whatever was pipelined behind it."""
    answer = await raw.answer()
    assert answer.status in (status if isinstance(status, tuple) else (status,))
    assert not answer.all(b"upgrade")
    assert not [value for value in answer.all(b"set-cookie") if b"Max-Age=0" not in value]
    assert await raw.is_closed()
    return answer.head


@pytest.mark.parametrize("seconds", [None, -100])
@pytest.mark.parametrize("target", ["/socket", "/public/socket", "/health"])
async def test_ws_01_without_a_session_there_is_no_upgrade_not_even_on_a_public_path(
    upstream, passproxy, log, seconds, target
):
    """PATH-19 as well; and HTTP-37: a pipelined request behind the refusal is not served."""
    cookie = None if seconds is None else passproxy.cookie(seconds=seconds)
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(target=target, cookie=cookie) + get("/admin", cookie=passproxy.cookie()))
        answer = await raw.answer()
        assert answer.status == 401
        assert await raw.is_closed()
    assert upstream.is_untouched
    log.one("request.refused")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", id="refused"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", id="ignored"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n", id="200"
        ),
    ],
)
async def test_ws_02_no_tunnel_before_the_application_has_switched(upstream, passproxy, answer):
    upstream.script = answering(answer)
    smuggled = get("/admin", cookie=passproxy.cookie())
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie()) + smuggled)
        got = await raw.answer()
        assert got.status in (426, 200)
        assert got.all(b"connection") == [b"close"]
        assert not got.all(b"upgrade")
        await raw.send(smuggled)
        assert await raw.is_closed()
    assert [seen.target for seen in upstream.requests] == [b"/socket"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(switching(accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="), id="another key's proof"),
        pytest.param(switching(b"Sec-WebSocket-Accept: x"), id="two proofs"),
        pytest.param(switching(protocol=b"h2c"), id="another protocol"),
        pytest.param(switching(b"Upgrade: websocket"), id="two protocols"),
        pytest.param(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", id="no proof"),
        pytest.param(b"HTTP/1.1 101 X\r\n\r\n", id="nothing"),
    ],
)
async def test_ws_02_a_switch_that_does_not_answer_the_handshake_is_a_502(upstream, passproxy, log, answer):
    upstream.script = answering(answer)
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie()))
        assert (await raw.answer()).status == 502
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
    assert log.one("upstream.error")["code"] == "PP-UPSTREAM-MALFORMED"


@pytest.mark.parametrize(
    "lines",
    [
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Upgrade: h2c", "Connection: Upgrade"),
        ("Upgrade: HTTP/2.0", "Connection: Upgrade"),
        ("Upgrade: TLS/1.2", "Connection: Upgrade"),
        ("Upgrade: websocket, h2c", "Connection: Upgrade"),
        ("Upgrade: h2c", "Upgrade: websocket", "Connection: Upgrade"),
        ("Upgrade: foo",),
    ],
)
async def test_ws_03_an_offer_that_would_carry_further_requests_is_not_passed_on(upstream, passproxy, lines):
    upstream.script = answering(switching(protocol=b"h2c"))
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/", *lines, cookie=passproxy.cookie()))
        assert got.status in (400, 502)
    for seen in upstream.requests:
        assert not seen.all(b"upgrade")
        assert not seen.all(b"connection")
        assert not seen.all(b"http2-settings")


@pytest.mark.parametrize("upgrade", ["WebSocket", "WEBSOCKET"])
@pytest.mark.parametrize("connection", ["keep-alive, Upgrade", "UPGRADE"])
async def test_ws_03_the_protocols_name_has_no_case(upstream, passproxy, upgrade, connection):
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie(), upgrade=upgrade, connection=connection))
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com, https://evil.example",
        "https://app.example.com\r\nOrigin: https://evil.example",
        "https://evil.example\r\norigin: https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com@evil.example",
    ],
)
async def test_ws_04_a_page_of_another_site_opens_nothing(upstream, passproxy, log, origin):
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie(), origin=origin) + get("/admin", cookie=passproxy.cookie()))
        await refused(raw, 403)
    assert upstream.is_untouched
    assert log.one("http.reject")["code"] == "PP-ORIGIN"


async def test_ws_04_another_site_opens_nothing_over_another_protocol_either(upstream, passproxy):
    lines = ("Upgrade: foo", "Connection: Upgrade", "Origin: https://evil.example")
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/", *lines, cookie=passproxy.cookie()))
        await refused(raw, 403)
    assert upstream.is_untouched


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 5",), b"hello"),
        (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
async def test_ws_06_a_handshake_with_a_body_is_refused(upstream, passproxy, log, lines, body):
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(*lines, cookie=passproxy.cookie()) + body + get("/admin", cookie=passproxy.cookie()))
        await refused(raw, 400)
    assert upstream.is_untouched
    log.one("http.reject")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"connection": None}, 400),
        ({"connection": "keep-alive"}, 400),
        ({"key": None}, 400),
        ({"key": "c2hvcnQ="}, 400),
        ({"key": "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, 400),
        ({"version": "8"}, 426),
        ({"version": "777"}, 426),
        ({"version": None}, 426),
        ({"version": "13, 8"}, 426),
    ],
)
async def test_ws_07_a_malformed_handshake_is_refused(upstream, passproxy, log, change, status):
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie(), **change) + get("/admin", cookie=passproxy.cookie()))
        head = await refused(raw, status)
        assert (b"Sec-WebSocket-Version: 13\r\n" in head) == (status == 426)
    assert upstream.is_untouched
    log.one("http.reject")


@pytest.mark.parametrize("start", [b"POST /socket HTTP/1.1", b"GET /socket HTTP/1.0"])
async def test_ws_07_a_handshake_of_another_method_or_version_is_refused(upstream, passproxy, start):
    wrong = handshake(cookie=passproxy.cookie()).replace(b"GET /socket HTTP/1.1", start)
    async with Raw(passproxy.address) as raw:
        await raw.send(wrong + get("/admin", cookie=passproxy.cookie()))
        await refused(raw, 400)
    assert upstream.is_untouched


async def test_ws_08_identity_on_the_handshake_is_ours_alone(upstream, passproxy):
    spoofs = ("X-Passproxy-User: admin", "x_passproxy_user: admin", "Remote-User: admin", "X-Passproxy-Email: a@b")
    nominated = "keep-alive, Upgrade, X-Passproxy-User, Sec-WebSocket-Key"
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(*spoofs, cookie="a=1; " + passproxy.cookie() + "; b=2", connection=nominated))
        await raw.head()
    (seen,) = upstream.requests
    assert b"admin" not in seen.head
    assert seen.all(b"x-passproxy-user") == [b"alice"]
    assert not seen.all(b"x-passproxy-email")
    assert seen.all(b"cookie") == [b"a=1; b=2"]
    assert seen.all(b"connection") == [b"Upgrade"]
    assert seen.all(b"upgrade") == [b"websocket"]


async def test_ws_08_the_switching_answer_is_cleaned_like_any_other(upstream, passproxy):
    more = (b"Set-Cookie: __Host-passproxy=evil", b"Set-Cookie: app=1", b"X-Passproxy-User: alice", b"Server: x")
    upstream.script = answering(switching(*more, b"Sec-WebSocket-Protocol: chat"))
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake("Sec-WebSocket-Protocol: chat, b", cookie=passproxy.cookie()))
        head = await raw.head()
    assert b"evil" not in head
    assert b"alice" not in head
    assert b"Server" not in head
    assert b"Set-Cookie: app=1\r\n" in head
    assert b"Sec-WebSocket-Protocol: chat\r\n" in head
    assert upstream.requests[0].all(b"sec-websocket-protocol") == [b"chat, b"]


async def test_ws_17_many_tunnels_leave_room_for_requests(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as passproxy:
        sockets = [Raw(passproxy.address) for _ in range(150)]
        try:
            for raw in sockets:
                await raw.__aenter__()
                await raw.send(handshake(cookie=passproxy.cookie()))
            for raw in sockets:
                assert b" 101 " in await raw.head()

            async def both(seen: Seen, line: Line) -> None:
                await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

            upstream.script = both
            async with Raw(passproxy.address) as raw:
                assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 200
        finally:
            for raw in sockets:
                await raw.__aexit__()
