"""What lasts: transfers of a gibibyte, event streams, idle WebSockets, many sessions, and how long a start takes."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import nginx, subject
from benchmarks.browser import HOST
from benchmarks.processes import Failed, Pinned, free_port

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
SOCKETS = 2000
EVENT_STREAMS = 1000
EVENT_SECONDS = 5
SESSIONS = 10_000
REQUESTS = 100_000

#: Connections of this client that are being opened, or ask, at once.
AT_ONCE = 32

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def measured(proxy_core: int, load_core: int, tell: Callable[[str], None]) -> Iterator[str]:
    """Tables of all of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    with tempfile.TemporaryDirectory(prefix="passproxy-bench-") as name:
        folder, application = Path(name), free_port()
        command = [sys.executable, "-m", "benchmarks.endless", str(application)]
        with Pinned(command, load_core, application, folder / "application.log"):
            plain_port, port = free_port(), free_port()
            file = subject.configuration(folder, port, application)
            cookie = subject.session_cookie(file)
            with Pinned(
                nginx.proxy(folder, plain_port, application), proxy_core, plain_port, folder / "n.log"
            ) as plain:
                started = time.monotonic()
                with Pinned(subject.command(file), proxy_core, port, folder / "p.log") as ours:
                    start_seconds = time.monotonic() - started
                    yield from _transfers({"nginx": plain, "PassProxy": ours}, cookie, tell)
                    yield "## What stays open"
                    yield ""
                    yield "| | |"
                    yield "|---|--:|"
                    yield from asyncio.run(_sockets(ours, cookie, tell))
                    yield from asyncio.run(_events(ours, cookie, tell))
                    yield f"| start until it listens | {start_seconds:.1f} s |"
                with Pinned(subject.command(file), proxy_core, port, folder / "p2.log") as ours:
                    yield from asyncio.run(_sessions(ours, file, tell))
            yield ""
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _transfers(proxies: dict[str, Pinned], cookie: str, tell: Callable[[str], None]) -> Iterator[str]:
    yield "## One gibibyte"
    yield ""
    yield "| | MiB/s | CPU ms/MiB |"
    yield "|---|--:|--:|"
    for what, transfer in (("down", _download), ("up", _upload)):
        for name, proxy in proxies.items():
            tell(f"1 GiB {what} through {name}")
            transfer(proxy.port, cookie, 16 * MEBIBYTE)
            before, begun = proxy.cpu_seconds(), time.monotonic()
            transfer(proxy.port, cookie, GIBIBYTE)
            seconds, spent = time.monotonic() - begun, proxy.cpu_seconds() - before
            yield f"| {name}, {what} | {1024 / seconds:,.0f} | {spent * 1000 / 1024:.3f} |"
    yield ""


def _download(port: int, cookie: str, size: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"GET /bytes/{size} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise Failed(f"a download got {head[:40]!r}")
        left, room = size - len(head.partition(b"\r\n\r\n")[2]), bytearray(MEBIBYTE)
        while left > 0:
            count = connection.recv_into(room)
            if not count:
                raise Failed(f"a download ended {left} bytes early")
            left -= count


def _upload(port: int, cookie: str, size: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        head = f"POST /upload HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        piece = bytes(MEBIBYTE)
        for _ in range(size // MEBIBYTE):
            connection.sendall(piece)
        if b" 200 " not in connection.recv(4096).partition(b"\r\n")[0]:
            raise Failed("an upload was not answered")


async def _opened(port: int, lines: str, status: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(lines.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if status not in head[:16]:
        raise Failed(f"a stream got {head[:40]!r}")
    return reader, writer


async def _many(
    port: int, lines: str, status: bytes, count: int
) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with turn:
            return await _opened(port, lines, status)

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def _sockets(ours: Pinned, cookie: str, tell: Callable[[str], None]) -> list[str]:
    tell(f"{SOCKETS} idle WebSockets, then messages")
    lines = (
        f"GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nOrigin: https://{HOST}\r\nCookie: {cookie}\r\n\r\n"
    )
    await _many(ours.port, lines, b" 101", 50)  # what only the first ones cost
    before = ours.resident_bytes()
    opened = await _many(ours.port, lines, b" 101", SOCKETS)
    each = (ours.resident_bytes() - before) / SOCKETS / 1024
    message, count = b"m" * 256, 0
    spent, end = ours.cpu_seconds(), time.monotonic() + 3

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while time.monotonic() < end:
            writer.write(message)
            await reader.readexactly(len(message))
            count += 1

    await asyncio.gather(*(talk(*pair) for pair in opened[:AT_ONCE]))
    spent = (ours.cpu_seconds() - spent) / count * 1e6
    for _, writer in opened:
        writer.close()
    return [
        f"| {SOCKETS:,} idle WebSockets | {each:.1f} KiB each |",
        f"| a message of 256 bytes and its echo | {spent:.1f} µs of CPU |",
    ]


async def _events(ours: Pinned, cookie: str, tell: Callable[[str], None]) -> list[str]:
    tell(f"{EVENT_STREAMS} event streams")
    lines = f"GET /events HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n"
    opened = await _many(ours.port, lines, b" 200", EVENT_STREAMS)
    spent = ours.cpu_seconds()
    await asyncio.sleep(EVENT_SECONDS)
    spent = ours.cpu_seconds() - spent
    for _, writer in opened:
        writer.close()
    share = spent / EVENT_SECONDS * 100
    return [f"| {EVENT_STREAMS:,} event streams, one event a second each | {share:.1f} % of a core |"]


async def _sessions(ours: Pinned, file: Path, tell: Callable[[str], None]) -> list[str]:
    tell(f"{REQUESTS:,} requests of {SESSIONS:,} sessions")
    before = ours.resident_bytes()
    people = (replace(subject.ALICE, subject=f"5a1f0c3e-0000-4000-8000-{number:012d}") for number in range(SESSIONS))
    cookies = list(subject.session_cookies(file, people))

    async def worker(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
        for number in range(first, REQUESTS, AT_ONCE):
            cookie = cookies[number % SESSIONS]
            writer.write(f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nCookie: {cookie}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:16]:
                raise Failed(f"a request got {head[:40]!r}")
            await reader.readexactly(2)
        writer.close()

    await asyncio.gather(*(worker(first) for first in range(AT_ONCE)))
    return [
        f"| memory after the start | {before / MEBIBYTE:.1f} MiB |",
        f"| after {REQUESTS:,} requests of {SESSIONS:,} sessions | {ours.resident_bytes() / MEBIBYTE:.1f} MiB |",
    ]
