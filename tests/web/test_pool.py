"""No more connections to the application than it may have; what waits for one waits in turn, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from passproxy.web import pool
from tests.fakes.gateway import PassProxy, eventually, get, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Line, Seen, Upstream
from tests.fakes.websocket import accepting, handshake


class Counter:
    """An application that answers when it is let, and counts how much it does at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.open = asyncio.Event()

    async def __call__(self, seen: Seen, line: Line) -> None:
        if seen.all(b"upgrade"):
            await accepting(seen, line)
            return
        self.now += 1
        self.most = max(self.most, self.now)
        await self.open.wait()
        self.now -= 1
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def counter(upstream: Upstream) -> Counter:
    upstream.script = Counter()
    return upstream.script


@pytest.fixture
async def two(upstream: Upstream, tmp_path) -> AsyncIterator[PassProxy]:
    """Its application has two connections at most."""
    async with protecting(upstream.url, tmp_path, upstream={"max_connections": 2}) as running:
        yield running


async def asked(passproxy: PassProxy, wire: bytes | None = None) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(wire or get("/", cookie=passproxy.cookie()))


def waiting(passproxy: PassProxy, count: int) -> list[asyncio.Task[Answer]]:
    return [asyncio.ensure_future(asked(passproxy)) for _ in range(count)]


async def test_what_is_too_much_waits_and_is_answered_in_the_end(two, upstream, counter):
    tasks = waiting(two, 12)
    await eventually(lambda: counter.now == 2, "two are being answered")
    await asyncio.sleep(0.05)
    assert counter.now == 2
    counter.open.set()
    assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 12
    assert counter.most == 2
    assert len(upstream.lines) == 2


async def test_dos_11_a_queue_that_is_full_says_so_at_once(two, counter, monkeypatch, log: Log):
    monkeypatch.setattr(pool, "WAITING_LIMIT", 3)
    tasks = waiting(two, 5)
    await eventually(lambda: counter.now == 2, "two are being answered")
    await asyncio.sleep(0.05)
    log.forget()
    answer = await asked(two)
    assert (answer.status, int(answer.one(b"retry-after")) > 0) == (503, True)
    assert log.one("request.refused")["code"] == "PP-OVERLOADED"
    counter.open.set()
    assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 5


async def test_what_has_waited_long_enough_is_told_and_costs_nobody_a_place(two, counter, monkeypatch):
    monkeypatch.setattr(pool, "WAITING_SECONDS", 0.1)
    tasks = waiting(two, 2)
    await eventually(lambda: counter.now == 2, "two are being answered")
    late = await asyncio.gather(*waiting(two, 4))
    assert [answer.status for answer in late] == [503] * 4
    counter.open.set()
    assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 2
    assert [(await asked(two)).status for _ in range(5)] == [200] * 5


async def test_a_connection_that_ends_gives_its_place_to_the_next(two, upstream, counter):
    async def ending(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    upstream.script = ending
    assert [answer.status for answer in await asyncio.gather(*waiting(two, 20))] == [200] * 20


async def test_a_client_that_leaves_gives_its_place_to_the_next(two, counter):
    for _ in range(3):
        for task in waiting(two, 4):
            await asyncio.sleep(0.02)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    counter.open.set()
    assert [answer.status for answer in await asyncio.gather(*waiting(two, 6))] == [200] * 6


async def test_a_websocket_takes_no_place(two, counter):
    counter.open.set()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            raw = await stack.enter_async_context(Raw(two.address))
            await raw.send(handshake(cookie=two.cookie()))
            assert (await raw.answer()).status == 101
        assert [(await asked(two)).status for _ in range(5)] == [200] * 5


async def test_an_application_that_is_away_costs_no_place(two, upstream, counter):
    await upstream.stop()
    for _ in range(6):
        assert (await asked(two)).status == 502


async def test_a_request_that_must_not_be_repeated_makes_room_for_a_fresh_connection(
    two, upstream, counter, monkeypatch
):
    counter.open.set()
    await asyncio.gather(*waiting(two, 4))
    assert len(upstream.lines) == 2
    monkeypatch.setattr(pool, "FRESH_SECONDS", -1.0)  # whatever is idle may just be closing
    for _ in range(3):
        answer = await asked(two, request("POST", "/", cookie=two.cookie(), body=b"x"))
        assert answer.status == 200
    assert len(upstream.lines) > 2
