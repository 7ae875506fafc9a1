"""
Section 2.11 of the catalogue, row by row: what a tunnel needs to begin, for how long it lasts, and how it ends.

Frames themselves are in test_rows_ws_frames.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from passproxy.app import building
from passproxy.core.frames import GOING_AWAY, SESSION_OVER, close_frame
from passproxy.web.exchange import Limits
from tests.attacks.edge import Edge
from tests.fakes.gateway import PassProxy, eventually, get, protecting
from tests.fakes.log import Log
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream, answering
from tests.fakes.websocket import GREETING, accepting, handshake, switching

MEBIBYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def accepts(upstream: Upstream) -> None:
    upstream.script = accepting


@contextlib.asynccontextmanager
async def tunnel(passproxy: PassProxy, *, cookie: str | None = None, small: bool = False) -> AsyncIterator[Raw]:
    """One that the application accepted; its greeting was read."""
    async with Raw(passproxy.address, small=small) as raw:
        await raw.send(handshake(cookie=cookie or passproxy.cookie()))
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        assert await raw.take(5) == GREETING
        yield raw


async def ended(upstream: Upstream, log: Log) -> None:
    """Both sides are gone, and one line says so."""
    await eventually(lambda: all(line.is_gone for line in upstream.lines), "the application's connection is closed")
    await eventually(lambda: bool(log.named("upgrade.closed")), "the tunnel is gone")
    log.one("upgrade.closed")


async def test_ws_09_no_longer_than_its_session(
    ticking: None, upstream: Upstream, passproxy: PassProxy, log: Log
) -> None:
    """Also while it is used; the session of the other one goes on."""
    async with tunnel(passproxy, cookie=passproxy.cookie(seconds=2)) as busy, tunnel(passproxy) as other:
        with contextlib.suppress(ConnectionError, Cut):
            while True:
                await busy.send(b"x")
                await busy.take(1)
        await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
        assert log.one("upgrade.closed") == {"reason": "the session ended"}
        await other.send(b"still here")
        assert await other.take(10) == b"still here"


@pytest.mark.parametrize("chosen", [b"b", b"a", None], ids=lambda chosen: f"WS-15 the application chooses {chosen!a}")
async def test_a_choice_among_the_offered_is_told_as_it_was_made(
    upstream: Upstream, passproxy: PassProxy, chosen: bytes | None
) -> None:
    more = [] if chosen is None else [b"Sec-WebSocket-Protocol: " + chosen]
    extension = b"Sec-WebSocket-Extensions: permessage-deflate"
    upstream.script = answering(switching(*more, extension))
    lines = ("Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: permessage-deflate, x-unknown; y=1")
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(*lines, cookie=passproxy.cookie()))
        head = await raw.head()
    told = [line for line in head.split(b"\r\n") if line.startswith((b"Sec-WebSocket-P", b"Sec-WebSocket-E"))]
    assert told == [*more, extension]
    (seen,) = upstream.requests
    assert seen.all(b"sec-websocket-protocol") == [b"a, b"]
    assert seen.all(b"sec-websocket-extensions") == [b"permessage-deflate, x-unknown; y=1"]


async def test_ws_16_a_socket_on_which_nothing_moves_ends(
    ticking: None, upstream: Upstream, tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_limits", lambda settings: Limits(64, 5.0, 5.0, 0.3))
    async with protecting(upstream.url, tmp_path) as passproxy, tunnel(passproxy) as raw:
        assert await raw.rest() == close_frame(GOING_AWAY, "idle for too long")
        await ended(upstream, log)
    assert log.named("upgrade.closed") == [{"reason": "idle for too long"}]


async def test_ws_16_who_does_not_read_stops_who_sends(upstream: Upstream, passproxy: PassProxy) -> None:
    sent = 0

    async def flood(seen: Seen, line: Line) -> None:
        nonlocal sent
        await line.send(switching() + GREETING)
        for _ in range(128):
            await line.send(bytes(MEBIBYTE))
            sent += 1

    upstream.script = flood
    async with tunnel(passproxy, small=True):
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent <= 32


@pytest.mark.parametrize("resets", [False, True], ids=["WS-16 leaves", "WS-16 vanishes"])
async def test_a_client_that_is_gone_takes_the_application_with_it(
    upstream: Upstream, passproxy: PassProxy, log: Log, resets: bool
) -> None:
    async with tunnel(passproxy) as raw:
        if resets:
            raw.reset()
    await ended(upstream, log)


def closing(code: int, *, is_masked: bool) -> bytes:
    """A closing frame with a reason; the mask is one that changes nothing."""
    content = struct.pack("!H", code) + b"so long"
    return bytes([0x88, len(content) | (0x80 if is_masked else 0)]) + (bytes(4) if is_masked else b"") + content


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4000], ids=lambda code: f"WS-18 close {code}")
@pytest.mark.parametrize("by_client", [True, False])
async def test_code_and_reason_of_a_close_arrive(
    upstream: Upstream, passproxy: PassProxy, log: Log, code: int, by_client: bool
) -> None:
    said, answered = closing(code, is_masked=True), closing(code, is_masked=False)
    heard: list[bytes] = []

    async def script(seen: Seen, line: Line) -> None:
        await line.send(switching() + GREETING + (b"" if by_client else answered))
        heard.append(await line.some())
        if by_client:
            await line.send(answered)
        line.close()

    upstream.script = script
    async with tunnel(passproxy) as raw:
        if by_client:
            await raw.send(said)
        assert await raw.take(len(answered)) == answered
        if not by_client:
            await raw.send(said)
        assert await raw.is_closed()
    await eventually(lambda: bool(log.named("upgrade.closed")), "the tunnel is gone")
    log.one("upgrade.closed")
    assert heard == [said]


@pytest.mark.parametrize("resets", [False, True], ids=["WS-18 a plain end", "WS-18 a reset"])
async def test_an_application_that_leaves_without_a_word_ends_the_client(
    upstream: Upstream, passproxy: PassProxy, log: Log, resets: bool
) -> None:
    """No closing frame is made up: the client is to see that there was none."""

    async def script(seen: Seen, line: Line) -> None:
        await line.send(switching() + GREETING)
        assert await line.some() == b"go"
        line.reset() if resets else line.close()

    upstream.script = script
    async with tunnel(passproxy) as raw:
        await raw.send(b"go")
        assert await raw.is_closed()
    await eventually(lambda: bool(log.named("upgrade.closed")), "the tunnel is gone")
    log.one("upgrade.closed")


TOKENS = {
    "WS-19 bearer in the subprotocol": ("/socket", "Sec-WebSocket-Protocol: bearer.{}"),
    "WS-19 a second subprotocol": ("/socket", "Sec-WebSocket-Protocol: chat, {}"),
    "WS-19 in the query": ("/socket?token={}", "X: y"),
    "WS-19 in the query under the cookie's name": ("/socket?__Host-passproxy={}", "X: y"),
    "WS-19 as access token": ("/socket?access_token={}", "Authorization: Bearer {}"),
    "WS-19 on a public path": ("/public/x?token={}", "Sec-WebSocket-Protocol: {}"),
}


@pytest.mark.parametrize(("target", "line"), TOKENS.values(), ids=TOKENS)
async def test_only_a_cookie_is_a_session(
    upstream: Upstream, passproxy: PassProxy, log: Log, target: str, line: str
) -> None:
    token = passproxy.token()
    wire = handshake(line.format(token), target=target.format(token))
    await Edge(upstream, passproxy).refuses(wire, log, 401)
    assert not log.tells(token)


async def test_ws_20_a_stream_of_events_is_neither_kept_nor_cut(
    ticking: None, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole answer takes longer than an answer may take to begin; each event is read before the next is sent."""
    monkeypatch.setattr(building, "_limits", lambda settings: Limits(64, 5.0, 0.2, 5.0))
    proceed = asyncio.Event()

    async def stream(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(4):
            await line.send(b"9\r\ndata: %d\n\n\r\n" % number)
            await proceed.wait()
            proceed.clear()
            await asyncio.sleep(0.1)
        await line.send(b"0\r\n\r\n")

    upstream.script = stream
    async with protecting(upstream.url, tmp_path) as passproxy, Raw(passproxy.address) as raw:
        await raw.send(get("/events", cookie=passproxy.cookie()))
        await raw.head()
        for number in range(4):
            assert await raw.take(14) == b"9\r\ndata: %d\n\n\r\n" % number
            proceed.set()
        assert await raw.take(5) == b"0\r\n\r\n"


OVER = close_frame(SESSION_OVER, "the session ended")


async def test_ws_09_no_longer_than_its_revocation(ticking: None, passproxy: PassProxy, log: Log) -> None:
    """A logout ends the sockets of that session with a code that its page can read; another session's goes on."""
    cookie = passproxy.cookie()
    async with tunnel(passproxy, cookie=cookie) as raw, tunnel(passproxy) as other, Raw(passproxy.address) as asking:
        wire = get("/.passproxy/logout", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", cookie=cookie)
        assert (await asking.ask(wire)).status in (200, 302, 303)
        assert await raw.rest() == OVER
        await other.send(b"still here")
        assert await other.take(10) == b"still here"


async def test_ws_09_no_longer_than_another_instance_says(ticking: None, upstream: Upstream, tmp_path: Path) -> None:
    listed = tmp_path / "revoked"
    revocation = {"store": f"file:{listed}"}
    async with protecting(upstream.url, tmp_path, revocation=revocation) as passproxy, tunnel(passproxy) as raw:
        await asyncio.to_thread(listed.write_bytes, b'{"handle": "*", "at": 9999999999}\n')
        assert await raw.rest() == OVER


async def test_ws_09_no_longer_than_the_configuration_says(ticking: None, passproxy: PassProxy) -> None:
    async with tunnel(passproxy) as raw:
        passproxy.reload(session={"not_before": "2999-01-01T00:00:00Z"})
        assert await raw.rest() == OVER
