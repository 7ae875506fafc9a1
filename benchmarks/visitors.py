"""
People at work: a small application, and visitors with a session who ask PassProxy for its page.

Each in a process of its own, so that neither waits for what the benchmark does meanwhile. Requests
start at fixed times, ten milliseconds apart on each of four connections, and count from the time
at which they should have started: a proxy that stops for a while is seen in all that were due.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.browser import fields
from benchmarks.processes import PATIENCE_SECONDS, Failed

CONNECTIONS = 4
INTERVAL_SECONDS = 0.01

_PAGE = b"<!doctype html><title>A page</title>" + b"0123456789abcdef" * 60
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)

_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Waits:
    """How long requests took, in milliseconds."""

    count: int
    p50: float
    p99: float
    longest: float


@contextlib.contextmanager
def application(port: int) -> Iterator[None]:
    """An application that answers every request with one page, while the block runs."""
    with _running(_serve, port):
        yield


@contextlib.contextmanager
def visitors(port: int, session_cookie: str) -> Iterator[Connection]:
    """Visitors, for `waits`; they ask as long as the block runs."""
    ours, theirs = _processes.Pipe()
    with _running(_visit, port, session_cookie, theirs):
        if not ours.poll(PATIENCE_SECONDS):
            raise Failed("the visitors get no answers")
        ours.recv()
        yield ours


@contextlib.contextmanager
def bustle() -> Iterator[None]:
    """Two processes that only keep cores busy, as one that posts and one that reads XML do, while the block runs."""
    with _running(_spin), _running(_spin):
        yield


def waits(visiting: Connection) -> Waits:
    """Of all requests since the last time that this was asked."""
    visiting.send(None)
    found: list[float] = sorted(visiting.recv())
    return Waits(len(found), found[len(found) // 2], found[len(found) * 99 // 100], found[-1])


@contextlib.contextmanager
def _running(target: Any, *arguments: object) -> Iterator[None]:
    process = _processes.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _spin() -> None:
    while True:
        sum(range(1000))


def _serve(port: int) -> None:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_ANSWER)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(served, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(run())


def _visit(port: int, session_cookie: str, asked: Connection) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields(session_cookie).items())
    request = f"GET /page HTTP/1.1\r\n{lines}\r\n".encode()
    found: list[float] = []

    async def visit(first: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = first
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(len(_PAGE))
            found.append((time.monotonic() - due) * 1e3)
            due += INTERVAL_SECONDS

    async def report() -> None:
        await asyncio.sleep(1)
        asked.send(None)
        while True:
            await asyncio.to_thread(asked.recv)
            asked.send(list(found))
            found.clear()

    async def run() -> None:
        now = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(report())
            for number in range(CONNECTIONS):
                tasks.create_task(visit(now + 0.1 + number * INTERVAL_SECONDS / CONNECTIONS))

    asyncio.run(run())
