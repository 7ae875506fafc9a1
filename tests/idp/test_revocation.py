"""What is revoked is over at once, everywhere that shares the list, and is never forgotten too early."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from passproxy.core.errors import ConfigError, RevocationOff
from passproxy.core.handles import EVERY_SESSION
from passproxy.idp import revocation as module
from passproxy.idp.revocation import NoRevocations, Revocations, SharedRevocations
from tests.core.given import NOW
from tests.fakes.gateway import eventually


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_what_is_revoked_is_over_up_to_now(clock):
    revocations = Revocations(3600, clock)
    await revocations.revoke(["a", "b"])
    clock.now += 10
    await revocations.revoke(["b"])
    assert revocations.revoked == {"a": NOW, "b": NOW + 10}


async def test_an_entry_goes_when_no_session_can_be_as_old(clock):
    revocations = Revocations(3600, clock)
    await revocations.revoke(["a"])
    clock.now += 3600
    await revocations.revoke(["b"])
    assert "a" in revocations.revoked
    clock.now += 1
    await revocations.revoke(["c"])
    assert "a" not in revocations.revoked


async def test_where_there_is_no_room_whoever_began_before_ends_too(clock):
    """Forgetting an entry would let its session in again."""
    revocations = Revocations(3600, clock, limit=3)
    for number in range(10):
        await revocations.revoke([f"s-{number}"])
        clock.now += 1
    assert len(revocations.revoked) <= 3
    every = revocations.revoked[EVERY_SESSION]
    for number in range(10):
        assert max(revocations.revoked.get(f"s-{number}", 0), every) >= NOW + number


async def test_without_a_list_nothing_is_revoked(clock):
    revocations = NoRevocations(3600, clock)
    with pytest.raises(RevocationOff):
        await revocations.revoke(["a"])
    assert revocations.revoked == {}


@contextlib.asynccontextmanager
async def following(*shared: SharedRevocations) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one.run()) for one in shared]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)


async def test_every_instance_that_shares_the_file_learns_of_it(clock, tmp_path: Path, quickly):
    one, other = (SharedRevocations(tmp_path / "revoked", 3600, clock) for _ in range(2))
    async with following(one, other):
        await one.revoke(["a"])
        assert one.revoked == {"a": NOW}
        await eventually(lambda: other.revoked == {"a": NOW}, "the other instance knows")
        await other.revoke(["b"])
        await eventually(lambda: one.revoked == {"a": NOW, "b": NOW}, "both know")
    assert SharedRevocations(tmp_path / "revoked", 3600, clock).revoked == one.revoked
    assert (tmp_path / "revoked").stat().st_mode & 0o077 == 0


async def test_lines_of_others_are_ignored_and_half_a_line_is_waited_for(clock, tmp_path: Path, quickly, caplog):
    path = tmp_path / "revoked"
    path.write_bytes(b'nonsense\n{"handle": 1, "at": 2}\n{"handle": "x"}\n[]\n' + b"x" * 300 + b'\n{"handle": "a", ')
    shared = SharedRevocations(path, 3600, clock)
    assert shared.revoked == {}
    assert caplog.text.count("revocation.line_ignored") == 5
    async with following(shared):
        with path.open("ab") as file:
            file.write(b'"at": %d}\n' % NOW)
        await eventually(lambda: shared.revoked == {"a": NOW}, "the line is whole")


async def test_a_large_file_is_written_anew_without_what_has_passed(clock, tmp_path: Path, quickly, monkeypatch):
    monkeypatch.setattr(module, "COMPACT_BYTES", 1000)
    one, other = (SharedRevocations(tmp_path / "revoked", 3600, clock) for _ in range(2))
    async with following(other):
        for number in range(40):
            await one.revoke([f"old-{number}"])
        clock.now += 3700
        await one.revoke(["fresh"])
        lines = [json.loads(line) for line in (tmp_path / "revoked").read_text().splitlines()]
        assert [line["handle"] for line in lines] == ["fresh"]
        await eventually(lambda: "fresh" in other.revoked, "the other one follows to the new file")
        await one.revoke(["later"])
        await eventually(lambda: "later" in other.revoked, "and goes on there")


async def test_a_file_that_cannot_be_read_any_more_takes_nothing_back(clock, tmp_path: Path, quickly, caplog):
    shared = SharedRevocations(tmp_path / "revoked", 3600, clock)
    await shared.revoke(["a"])
    async with following(shared):
        (tmp_path / "revoked").unlink()
        await eventually(lambda: "revocation.unreadable" in caplog.text, "it is said")
        await asyncio.sleep(0.1)
        assert caplog.text.count("revocation.unreadable") == 1
        assert shared.revoked == {"a": NOW}
        await shared.revoke(["b"])
        assert (tmp_path / "revoked").exists()


def test_a_place_where_no_file_can_be_is_found_at_the_start(clock, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"revocation\.store"):
        SharedRevocations(tmp_path / "missing" / "revoked", 3600, clock)


async def test_everybody_stays_signed_out_where_there_is_no_room(clock):
    revocations = Revocations(3600, clock, limit=2)
    await revocations.revoke([EVERY_SESSION])
    for name in ("a", "b", "c"):
        clock.now += 1
        await revocations.revoke([name])
    assert revocations.revoked[EVERY_SESSION] >= NOW
    for number, name in enumerate(("a", "b", "c"), start=1):
        assert max(revocations.revoked.get(name, 0), revocations.revoked[EVERY_SESSION]) >= NOW + number


async def test_a_file_in_which_all_has_passed_is_an_empty_list(clock, tmp_path: Path):
    (tmp_path / "revoked").write_text("".join(f'{{"handle": "{name}", "at": {NOW - 7200}}}\n' for name in "ab"))
    assert SharedRevocations(tmp_path / "revoked", 3600, clock).revoked == {}


async def test_who_waited_for_a_file_that_was_written_anew_writes_to_the_new_one(clock, tmp_path: Path, monkeypatch):
    path = tmp_path / "revoked"
    shared = SharedRevocations(path, 3600, clock)
    locked, lock = list[int](), fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if not locked:
            (tmp_path / "new").touch(mode=0o600)
            (tmp_path / "new").replace(path)
        locked.append(descriptor)
        lock(descriptor, operation)

    monkeypatch.setattr(module.fcntl, "flock", late)
    await shared.revoke(["a"])
    assert len(locked) == 2
    assert json.loads(path.read_text()) == {"handle": "a", "at": NOW}
