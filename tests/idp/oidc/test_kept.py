"""One reading at a time, not too often, and never less than what was good before."""

from __future__ import annotations

import asyncio

import pytest

from passproxy.core.errors import IdpUnavailable
from passproxy.idp.oidc.kept import COOL_DOWN_SECONDS, RETRY_SECONDS, Kept


class Shelf:
    """A document of which each reading is another object; it can be out of reach, or slow."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.readings = 0
        self.is_reachable = True
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def read(self) -> list[int]:
        self.readings += 1
        number = self.readings
        await self.may_answer.wait()
        if not self.is_reachable:
            raise IdpUnavailable(f"reading {number}")
        return [number]

    def clock(self) -> float:
        return self.now


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def kept(shelf: Shelf) -> Kept[list[int]]:
    return Kept(shelf.read, shelf.clock)


async def test_the_first_reading_is_kept(shelf, kept):
    assert kept.value is None
    first = await kept.get()
    assert await kept.get() is first
    assert kept.value is first
    assert shelf.readings == 1


async def test_an_earlier_reading_needs_no_new_one(shelf):
    assert await Kept(shelf.read, shelf.clock, [0]).get() == [0]
    assert shelf.readings == 0


async def test_a_hundred_visitors_wait_for_one_reading(shelf, kept):
    shelf.may_answer.clear()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(kept.get()) for _ in range(100)]
        await asyncio.sleep(0)
        shelf.may_answer.set()
    assert {id(task.result()) for task in tasks} == {id(kept.value)}
    assert shelf.readings == 1


async def test_a_hundred_visitors_share_one_failure(shelf, kept):
    shelf.is_reachable = False
    results = await asyncio.gather(*(kept.get() for _ in range(100)), return_exceptions=True)
    assert {str(error) for error in results} == {"reading 1"}
    assert all(isinstance(error, IdpUnavailable) for error in results)
    assert len({id(error) for error in results}) == 100


async def test_a_failure_is_not_repeated_at_once_but_soon(shelf, kept):
    shelf.is_reachable = False
    for _ in range(3):
        with pytest.raises(IdpUnavailable):
            await kept.get()
    assert shelf.readings == 1
    shelf.is_reachable = True
    shelf.now += RETRY_SECONDS
    assert await kept.get() == [2]


async def test_a_clock_that_was_set_back_does_not_mean_waiting(shelf, kept):
    shelf.is_reachable = False
    with pytest.raises(IdpUnavailable):
        await kept.get()
    shelf.is_reachable = True
    shelf.now -= 1_000_000
    assert await kept.get() == [2]


async def test_a_visitor_who_leaves_does_not_spoil_it_for_the_others(shelf, kept):
    shelf.may_answer.clear()
    leaving = asyncio.ensure_future(kept.get())
    staying = asyncio.ensure_future(kept.get())
    await asyncio.sleep(0)
    leaving.cancel()
    shelf.may_answer.set()
    assert await staying == [2]


async def test_a_failed_refresh_takes_nothing_away(shelf, kept):
    first = await kept.get()
    shelf.is_reachable = False
    with pytest.raises(IdpUnavailable):
        await kept.refresh()
    assert await kept.get() is first


async def test_a_refresh_replaces(shelf, kept):
    await kept.get()
    await kept.refresh()
    assert kept.value == [2]


async def test_doubt_is_worth_one_reading_in_a_while(shelf, kept):
    first = await kept.get()
    second = await kept.newer_than(first)
    assert second == [2]
    for _ in range(1000):
        assert await kept.newer_than(second) is second
    assert shelf.readings == 2
    shelf.now += COOL_DOWN_SECONDS
    assert await kept.newer_than(second) == [3]


async def test_who_doubts_an_old_reading_gets_the_new_one_without_a_reading(shelf, kept):
    first = await kept.get()
    second = await kept.newer_than(first)
    assert await kept.newer_than(first) is second
    assert shelf.readings == 2


async def test_a_hundred_doubts_at_once_are_one_reading(shelf, kept):
    first = await kept.get()
    results = await asyncio.gather(*(kept.newer_than(first) for _ in range(100)))
    assert {id(result) for result in results} == {id(kept.value)}
    assert shelf.readings == 2


async def test_doubt_while_out_of_reach_keeps_what_there_is(shelf, kept):
    first = await kept.get()
    shelf.is_reachable = False
    results = await asyncio.gather(*(kept.newer_than(first) for _ in range(100)))
    assert all(result is first for result in results)
    assert shelf.readings == 2
    assert await kept.get() is first
