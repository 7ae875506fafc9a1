"""What more than one folder of tests uses."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis.strategies import none

from passproxy.web import watch
from tests.attacks.rows import WIRE, covered_by, explained, rows, wire_kind
from tests.fakes.gateway import PassProxy, protecting
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Upstream

#: For one test. None needs more than a few seconds.
LIMIT_SECONDS = 60.0

#: How often a test sent bytes to the real socket: a property of its report.
RAW_BYTES = "raw bytes"


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], object]]:
    """The edge is tested on the loop that production uses, and what moves its bytes on Python's own as well."""
    if item.path.name in ("test_connection.py", "test_upstream.py", "test_tunnel.py"):
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    is_edge = item.path.parent.name in ("attacks", "flows", "web")
    return {"loop": uvloop.new_event_loop if is_edge else asyncio.new_event_loop}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The report says whether raw bytes were sent, also when it comes from another process."""
    before = Raw.sent
    try:
        return (yield)
    finally:
        if Raw.sent > before:
            item.user_properties.append((RAW_BYTES, Raw.sent - before))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of the attack catalogue was shown to be refused."""
    passed = covered_by(report.nodeid for report in terminalreporter.stats.get("passed", []))
    if not passed:
        return
    all_rows, reasons = rows(), explained()
    left_out = all_rows.keys() - passed
    terminalreporter.section("attacks")
    terminalreporter.line(
        f"{len(passed & all_rows.keys())} of {len(all_rows)} rows of the catalogue covered by passed tests"
    )
    terminalreporter.line(
        f"{len(left_out)} left out, {len(left_out & reasons.keys())} of them explained in docs/security.md"
    )
    raw = [report.nodeid for report in terminalreporter.stats["passed"] if RAW_BYTES in dict(report.user_properties)]
    counts = Counter(kind for kind in map(wire_kind, raw) if kind)
    told = ", ".join(f"{counts[kind]} of {name}" for kind, (name, _) in WIRE.items())
    terminalreporter.line(f"{counts.total()} raw-byte cases sent to the real socket: {told}")
    for row in sorted(left_out) if len(left_out) < 40 else ():
        terminalreporter.line(f"  {row} {all_rows[row]}: {reasons.get(row, 'no test of it passed in this run')}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors: a third of the time of a test is waiting for a clock or for another process."""
    processors = len(os.sched_getaffinity(0))
    return processors + (processors + 1) // 2


def pytest_collection_finish() -> None:
    """What stays until the end is not looked at again each time that what leaks is searched for (fakes/gateway.py)."""
    gc.collect()
    # Hypothesis looks, the first time, whether anybody keeps its random numbers; whoever is frozen is not seen.
    given(none())(lambda _: None)()
    gc.freeze()


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    """A test that hangs fails, with its traceback."""

    def give_up(*_: object) -> None:
        raise TimeoutError("the test took too long")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Where the log and the audit log go is the process's, and commands that are run here set it."""
    loggers = [logging.getLogger(name) for name in ("passproxy", "passproxy.audit")]
    before = [(logger.handlers[:], logger.level, logger.propagate, logger.disabled) for logger in loggers]
    yield
    for logger, (handlers, level, propagate, disabled) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.DEBUG)
    return Log(caplog)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def passproxy(upstream: Upstream, tmp_path: Path) -> AsyncIterator[PassProxy]:
    """In front of `upstream`, with /public and /health open to everybody."""
    paths = ["/health", "/public/**", {"path": "/hook", "methods": ["POST"]}]
    async with protecting(upstream.url, tmp_path, passthrough={"paths": paths}) as running:
        yield running


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits are looked at fifty times a second."""
    monkeypatch.setattr(watch, "TICK_SECONDS", 0.02)
