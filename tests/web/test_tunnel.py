"""After the switch: bytes both ways, and every way in which it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from passproxy.core.frames import GOING_AWAY, close_frame
from tests.fakes.gateway import PassProxy, eventually, get, protecting
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream
from tests.fakes.websocket import GREETING, accepting, handshake, switching

MEBIBYTE = 1024 * 1024


async def opened(raw: Raw, cookie: str) -> None:
    await raw.send(handshake(cookie=cookie))
    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
    assert await raw.take(5) == GREETING


@pytest.fixture(autouse=True)
def accepts(upstream: Upstream) -> None:
    upstream.script = accepting


async def test_bytes_flow_both_ways_unchanged(passproxy):
    sent = os.urandom(300_000)
    async with Raw(passproxy.address) as raw:
        await opened(raw, passproxy.cookie())
        await raw.send(sent)
        assert await raw.take(len(sent)) == sent
        await raw.send(get("/not-a-request-any-more"))
        assert (await raw.take(20)).startswith(b"GET /not-a-request")


async def test_what_was_sent_with_the_handshake_is_not_lost(passproxy):
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie()) + b"early")
        await raw.head()
        assert await raw.take(10) == GREETING + b"early"


async def test_several_tunnels_do_not_meet_and_requests_go_on_beside_them(passproxy, upstream):
    async with Raw(passproxy.address) as one, Raw(passproxy.address) as two:
        await opened(one, passproxy.cookie())
        await opened(two, passproxy.cookie("bob"))
        await one.send(b"one")
        await two.send(b"two")
        assert (await one.take(3), await two.take(3)) == (b"one", b"two")
    assert [seen.one(b"x-passproxy-user") for seen in upstream.requests] == [b"alice", b"bob"]


async def test_the_applications_end_is_passed_on_with_everything_before_it(passproxy, upstream, log):
    async def farewell(seen: Seen, line: Line) -> None:
        await line.send(switching() + b"x" * 500_000)
        line.close()

    upstream.script = farewell
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie()))
        await raw.head()
        assert await raw.rest() == b"x" * 500_000
    await eventually(lambda: bool(log.named("upgrade.closed")), "the tunnel is gone")


async def test_when_both_sides_have_ended_nothing_stays_open(passproxy, upstream, log):
    """Each end is passed on as a half-close; the second one must close both connections."""
    loop = asyncio.get_running_loop()
    async with Raw(passproxy.address) as raw:
        await opened(raw, passproxy.cookie())
        raw.sock.shutdown(1)
        # The echo ends when its input does, and closes; so the client sees the end as well.
        assert await loop.sock_recv(raw.sock, 10) == b""
        await eventually(lambda: bool(log.named("upgrade.closed")), "the tunnel is gone")


async def test_a_client_that_vanishes_ends_the_applications_side(passproxy, upstream, log):
    async with Raw(passproxy.address) as raw:
        await opened(raw, passproxy.cookie())
        raw.reset()
        await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
        await eventually(lambda: bool(log.named("upgrade.closed")), "the tunnel is gone")


async def test_a_tunnel_ends_with_its_session(ticking, passproxy, upstream, log):
    """WS-09: also while it is being used."""
    async with Raw(passproxy.address) as raw:
        await opened(raw, passproxy.cookie(seconds=2))
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError, Cut):
                while True:
                    await raw.send(b"x")
                    await raw.take(1)
                    await asyncio.sleep(0.05)
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
    assert log.named("upgrade.closed") == [{"reason": "the session ended"}]


async def test_an_idle_tunnel_ends(ticking, upstream, tmp_path, log):
    async with (
        protecting(upstream.url, tmp_path, upstream={"idle_timeout": "1s"}) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        await opened(raw, passproxy.cookie())
        assert await raw.rest() == close_frame(GOING_AWAY, "idle for too long")
    await eventually(lambda: log.named("upgrade.closed") == [{"reason": "idle for too long"}], "the log says so")


async def test_a_side_that_does_not_read_stops_the_other(passproxy, upstream):
    sent = 0

    async def flood(seen: Seen, line: Line) -> None:
        nonlocal sent
        await line.send(switching())
        for _ in range(128):
            await line.send(bytes(MEBIBYTE))
            sent += 1

    upstream.script = flood
    async with Raw(passproxy.address, small=True) as raw:
        await raw.send(handshake(cookie=passproxy.cookie()))
        await raw.head()
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.3)
        assert sent <= 32


def frame(payload: bytes, kind: int = 0x82) -> bytes:
    """A frame of a server, of any length."""
    if len(payload) < 126:
        return bytes((kind, len(payload))) + payload
    return bytes((kind, 126)) + len(payload).to_bytes(2, "big") + payload


async def framed(raw: Raw, passproxy: PassProxy, upstream: Upstream, *pieces: bytes) -> asyncio.Event:
    """A WebSocket on which the application says these bytes; when the event is set, the last of them."""
    goes_on = asyncio.Event()

    async def talk(seen: Seen, line: Line) -> None:
        await line.send(switching() + b"".join(pieces[:-1]))
        if pieces[-1]:
            await goes_on.wait()
            await line.send(pieces[-1])
        await line.gone()

    upstream.script = talk
    await raw.send(handshake(cookie=passproxy.cookie()))
    await raw.head()
    if before := b"".join(pieces[:-1]):
        assert await raw.take(len(before)) == before
    return goes_on


async def test_stopping_tells_a_websocket_why_between_two_frames(passproxy, upstream, log):
    async with Raw(passproxy.address) as raw:
        await framed(raw, passproxy, upstream, frame(b"one") + frame(b"x" * 300), b"")
        passproxy.stop.set()
        assert await raw.rest() == close_frame(GOING_AWAY, "shutting down")
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
    await eventually(lambda: log.named("upgrade.closed") == [{"reason": "shutting down"}], "the log says so")


async def test_a_frame_that_has_begun_is_finished_first(passproxy, upstream):
    whole = frame(b"y" * 1000)
    async with Raw(passproxy.address) as raw:
        goes_on = await framed(raw, passproxy, upstream, whole[:500], whole[500:] + frame(b"never seen"))
        passproxy.stop.set()
        await asyncio.sleep(0.05)
        goes_on.set()
        assert await raw.rest() == whole[500:] + close_frame(GOING_AWAY, "shutting down")


async def test_a_frame_that_never_ends_holds_nothing_up(passproxy, upstream, log):
    async with Raw(passproxy.address) as raw:
        await framed(raw, passproxy, upstream, frame(b"y" * 100)[:50], b"")
        passproxy.stop.set()
        assert await raw.is_closed()
    assert log.named("upgrade.closed") == [{"reason": "shutting down"}]


async def test_what_a_client_says_after_the_farewell_reaches_nobody(passproxy, upstream):
    async with Raw(passproxy.address) as raw:
        await framed(raw, passproxy, upstream, frame(b"one"), b"")
        passproxy.stop.set()
        assert (await raw.rest()).startswith(b"\x88")
        await raw.send(b"\x88\x80abcd")
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
