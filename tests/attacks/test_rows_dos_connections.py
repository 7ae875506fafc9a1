"""
Section 2.14 of the catalogue, row by row: clients and applications that are slow, many, or too much.

Time limits are those of production, made short. Whoever keeps to them is served while the others are given up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from passproxy.core.frames import GOING_AWAY, close_frame
from passproxy.web import connection, server
from tests.fakes.gateway import PassProxy, eventually, get, request
from tests.fakes.log import Log
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream, hang, ok
from tests.fakes.websocket import accepting, handshake

MEBIBYTE = 1024 * 1024
HEALTH = get("/.passproxy/health")


@contextlib.asynccontextmanager
async def many(passproxy: PassProxy, count: int) -> AsyncIterator[list[Raw]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Raw(passproxy.address)) for _ in range(count)]


async def is_served(passproxy: PassProxy) -> None:
    """Somebody else gets what he asks for."""
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(HEALTH)).status == 200
        assert (await raw.ask(get("/other", cookie=passproxy.cookie("bob")))).body == b"/other"


async def drip(raw: Raw, piece: bytes) -> None:
    while True:
        await raw.send(piece)
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def dripping(raw: Raw, piece: bytes) -> Iterator[None]:
    task = asyncio.ensure_future(drip(raw, piece))
    try:
        yield
    finally:
        task.cancel()


async def test_dos_01_heads_that_come_slowly(
    ticking: None, upstream: Upstream, passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drops do not extend the limit, which is no longer than half a minute."""
    assert connection.HEAD_TIMEOUT_SECONDS <= 30
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_SECONDS", 0.2)
    async with many(passproxy, 200) as silent, Raw(passproxy.address) as slow, Raw(passproxy.address) as half:
        await slow.send(b"GET / HTTP/1.1\r\n")
        await half.send(get("/", cookie=passproxy.cookie())[:-2])
        with dripping(slow, b"X: y\r\n"):
            await is_served(passproxy)
            for raw in (*silent, slow, half):
                assert await raw.is_closed()
    assert [seen.target for seen in upstream.requests] == [b"/other"]


async def test_dos_02_a_body_for_ourselves_has_a_total_limit(
    ticking: None, upstream: Upstream, passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection.COLLECT_SECONDS <= 10
    monkeypatch.setattr(connection, "COLLECT_SECONDS", 0.2)
    async with Raw(passproxy.address) as raw:
        await raw.send(request("POST", "/.passproxy/logout", "Content-Length: 100000"))
        with dripping(raw, b"x"):
            await is_served(passproxy)
            with pytest.raises((Cut, ConnectionResetError)):
                await raw.answer()
    assert {seen.target for seen in upstream.requests} == {b"/other"}


async def test_dos_02_an_upload_may_take_long_but_not_stand_still(
    ticking: None, upstream: Upstream, passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLIENT_IDLE_SECONDS", 0.3)
    wire = request("PUT", "/up", "Content-Length: 40", cookie=passproxy.cookie())
    async with Raw(passproxy.address) as steady, Raw(passproxy.address) as stalled:
        await stalled.send(wire + b"half")
        await steady.send(wire)
        for _ in range(20):
            await steady.send(b"xx")
            await asyncio.sleep(0.03)
        assert (await steady.answer()).status == 200
        with pytest.raises((Cut, ConnectionResetError)):
            await stalled.answer()
    whole = [seen for seen in upstream.requests if len(seen.body) == 40]
    assert len(whole) == 1
    await eventually(lambda: sum(line.is_gone for line in upstream.lines) >= 1, "the application is freed")


async def test_dos_03_idle_connections_are_closed(
    ticking: None, passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection.KEEP_ALIVE_SECONDS <= 75
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 0.2)
    async with many(passproxy, 200) as idle:
        for raw in idle:
            await raw.send(HEALTH)
        for raw in idle:
            assert (await raw.answer()).status == 200
        for raw in idle:
            assert await raw.is_closed()
    await is_served(passproxy)


async def test_dos_03_beyond_the_limit_the_answer_is_to_come_back(
    passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTION_LIMIT", 20)
    async with many(passproxy, 20) as idle:
        for raw in idle:
            assert (await raw.ask(HEALTH)).status == 200
        for _ in range(3):
            async with Raw(passproxy.address) as late:
                answer = await late.answer()
                assert (answer.status, int(answer.one(b"retry-after")) > 0) == (503, True)
                assert await late.is_closed()
        assert (await idle[7].ask(get("/", cookie=passproxy.cookie()))).status == 200


async def test_dos_04_who_reads_slowly_holds_up_nobody_and_who_stops_is_dropped(
    ticking: None, upstream: Upstream, passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    async def flood(seen: Seen, line: Line) -> None:
        nonlocal sent
        if seen.target == b"/other":
            return await ok(seen, line)
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MEBIBYTE))
        for _ in range(256):
            await line.send(bytes(MEBIBYTE))
            sent += 1
            if line._writer.transport.is_closing():
                break
        return None

    upstream.script = flood
    monkeypatch.setattr(connection, "CLIENT_IDLE_SECONDS", 0.3)
    async with Raw(passproxy.address, small=True) as raw:
        await raw.send(get("/big", cookie=passproxy.cookie()))
        await raw.head()
        await is_served(passproxy)
        big = upstream.lines[0]
        await eventually(lambda: big._writer.transport.is_closing(), "the application is freed")
        assert 0 < sent <= 32


async def test_dos_20_stopping_under_load(upstream: Upstream, passproxy: PassProxy) -> None:
    """Tunnels end at once, an upload that goes on is finished; nobody new gets in."""

    async def script(seen: Seen, line: Line) -> None:
        await (accepting(seen, line) if seen.target == b"/socket" else ok(seen, line))

    upstream.script = script
    wire = request("PUT", "/up", "Content-Length: 6", cookie=passproxy.cookie(), body=b"abc")
    async with many(passproxy, 100) as sockets, many(passproxy, 20) as uploads:
        for raw in sockets:
            await raw.send(handshake(cookie=passproxy.cookie()))
        for raw in sockets:
            assert b" 101 " in await raw.head()
            await raw.take(5)
        for raw in uploads:
            await raw.send(wire)
        await eventually(lambda: len(upstream.requests) == 120, "all of them are under way")
        passproxy.stop.set()
        for raw in sockets:
            assert await raw.rest() == close_frame(GOING_AWAY, "shutting down")
        with pytest.raises(ConnectionRefusedError):
            async with Raw(passproxy.address):
                pass
        for raw in uploads:
            await raw.send(b"def")
        for raw in uploads:
            answer = await raw.answer()
            assert (answer.status, answer.one(b"connection")) == (200, b"close")
    assert {seen.body for seen in upstream.requests if seen.target == b"/up"} == {b"abcdef"}


async def test_dos_20_an_upload_that_stands_still_holds_up_no_stop(
    upstream: Upstream, passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)
    async with Raw(passproxy.address) as stuck:
        await stuck.send(request("PUT", "/up", "Content-Length: 6", cookie=passproxy.cookie(), body=b"abc"))
        await eventually(lambda: len(upstream.requests) == 1, "it is under way")
        passproxy.stop.set()
        assert await stuck.is_closed()
    await eventually(lambda: bool(log.named("server.drain_cut")), "the cut is logged")
    assert log.one("server.drain_cut") == {"connections": 1}
    assert [seen.body for seen in upstream.requests] == [b""]


async def test_dos_20_an_application_that_never_answers_holds_up_no_stop(
    upstream: Upstream, passproxy: PassProxy, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)
    upstream.script = hang
    async with many(passproxy, 50) as waiting:
        for raw in waiting:
            await raw.send(get("/", cookie=passproxy.cookie()))
        await eventually(lambda: len(upstream.requests) == 50, "all of them are under way")
        passproxy.stop.set()
        for raw in waiting:
            assert await raw.is_closed()
    await eventually(lambda: bool(log.named("server.drain_cut")), "the cut is logged")
    assert log.one("server.drain_cut") == {"connections": 50}
