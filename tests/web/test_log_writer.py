"""The log never holds up whoever writes to it: not by a reader that stops, not by a stranger who repeats."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from passproxy.web import log
from passproxy.web.log import JsonFormatter
from passproxy.web.log_writer import REPEATS_LIMIT, WAITING_LIMIT, WINDOW_SECONDS, Repeats, Writer, counted

#: Linux gives a pipe sixteen pages.
PIPE_BYTES = 65_536


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with suppress(OSError):
            os.close(end)


def record(name: str = "auth.login", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("passproxy", logging.INFO, "", 0, name, (), None)
    made.fields = fields
    return made


def read_until(descriptor: int, wanted: str) -> list[dict[str, object]]:
    text, end = b"", time.monotonic() + 20
    while time.monotonic() < end:
        text += os.read(descriptor, 1 << 20)
        if wanted.encode() in text and text.endswith(b"\n"):
            return [json.loads(line) for line in text.splitlines()]
    raise AssertionError(f"{wanted} was not written: {text[-500:]!r}")


def test_lines_come_in_order(pipe):
    writer = Writer(pipe[1], JsonFormatter())
    for number in range(50):
        writer.handle(record(number=number))
    lines = read_until(pipe[0], '"number": 49')
    assert [line["number"] for line in lines] == list(range(50))


def test_log_04_a_reader_that_stops_holds_nothing_up_and_what_is_lost_is_counted(pipe):
    writer = Writer(pipe[1], JsonFormatter())
    count = WAITING_LIMIT + PIPE_BYTES // 50 + 1000
    for number in range(count):
        writer.handle(record(number=number, text="x" * 100))
    # Had it waited for the reader, there would be none by now.
    lines = read_until(pipe[0], f'"number": {WAITING_LIMIT // 2}')
    writer.handle(record("the.last"))
    while lines[-1]["event"] != "the.last":
        lines += read_until(pipe[0], "\n")
    written = [line["number"] for line in lines if line["event"] == "auth.login"]
    assert written == sorted(written)
    lost = [line["count"] for line in lines if line["event"] == "log.lost"]
    assert len(written) + sum(lost) == count == len(written) + writer.lost
    assert sum(lost) > 0


def test_a_reader_that_is_gone_is_no_error(pipe):
    writer = Writer(pipe[1], JsonFormatter())
    os.close(pipe[0])
    for _ in range(10):
        writer.handle(record())
    writer.drain()


def test_log_04_a_refusal_that_repeats_is_counted_instead():
    clock, said = Clock(), []
    repeats = Repeats(said.append, clock)
    refusal = record("auth.reject", code="PP-LOGIN-UNKNOWN")
    passed = [repeats.filter(refusal) for _ in range(REPEATS_LIMIT + 50)]
    assert passed == [True] * REPEATS_LIMIT + [False] * 50
    assert repeats.filter(record("auth.reject", code="PP-SAML-SIGNATURE")), "another reason has its own count"
    assert all(repeats.filter(record("auth.login")) for _ in range(REPEATS_LIMIT + 50)), "no refusal is none"
    assert said == []
    assert repeats.dropped == 50
    clock.now += WINDOW_SECONDS
    assert repeats.filter(refusal)
    (line,) = said
    assert (line.getMessage(), line.fields) == (
        "log.repeated",
        {"event": "auth.reject", "code": "PP-LOGIN-UNKNOWN", "count": 50},
    )


async def test_all_that_is_logged_while_a_task_works_for_a_request_has_its_id(pipe):
    logger = logging.getLogger("passproxy.idp.some.adapter")
    logger.addHandler(Writer(pipe[1], JsonFormatter()))
    try:

        async def adapter(number: int) -> None:
            await asyncio.sleep(0)
            logger.warning("idp.something number=%d", number)

        async def request(number: int) -> None:
            log.concerns(b"request-%d" % number)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(adapter(number))

        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(request(number))
        logger.warning("idp.last")
        lines = read_until(pipe[0], "idp.last")
    finally:
        logger.handlers.clear()
    told = {str(line["detail"]): line.get("request_id") for line in lines if "detail" in line}
    assert told == {f"number={number}": f"request-{number}" for number in range(3)}
    assert "request_id" not in lines[-1]


async def test_what_is_said_of_itself_is_of_no_request(pipe):
    log.concerns(b"request-1")
    assert "request_id" not in JsonFormatter().format(counted("log.lost", count=1))
    writer = Writer(pipe[1], JsonFormatter())
    writer.handle(counted("log.lost", count=1))
    (line,) = read_until(pipe[0], "log.lost")
    assert "request_id" not in line
