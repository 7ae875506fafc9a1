"""
Section 2.11 of the catalogue, row by row: frames that break the protocol, and those that cost too much.

Frames are judged by the two that speak the protocol. Here they are bytes: none is read, changed, kept or
answered, so nothing in them can cost more than its own length, or break anything of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.attacks.edge import Edge
from tests.fakes.gateway import eventually, get, protecting
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Line, Seen, Upstream
from tests.fakes.websocket import GREETING, accepting, handshake, switching

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEBIBYTE = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    folder: Path = tmp_path_factory.mktemp("edge")
    async with Upstream() as upstream, protecting(upstream.url, folder) as passproxy:
        yield Edge(upstream, passproxy)


@pytest.fixture(autouse=True)
def lines(site: Edge) -> list[Line]:
    """The application's ends of the tunnels of this test."""
    found: list[Line] = []

    async def script(seen: Seen, line: Line) -> None:
        found.append(line)
        await accepting(seen, line)

    site.upstream.script = script
    site.upstream.forget()
    return found


@contextlib.asynccontextmanager
async def tunnel(site: Edge, log: Log, *fields: str) -> AsyncIterator[Raw]:
    """One that the application accepted, its greeting read. Behind it one line was logged, and requests are served."""
    async with site.raw() as raw:
        await raw.send(handshake(*fields, cookie=site.cookie))
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        assert await raw.take(5) == GREETING
        yield raw
    await eventually(lambda: bool(log.named("upgrade.closed")), "the tunnel is gone")
    log.one("upgrade.closed")
    assert (await site.asked(get("/.passproxy/health"))).status == 200
    assert {seen.target for seen in site.upstream.requests} == {b"/socket"}


@contextlib.contextmanager
def little_memory(limit: int = 4 * MEBIBYTE) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def frame(first: int, payload: bytes = b"", *, mask: bytes = b"mask", length: int | None = None) -> bytes:
    """A frame, right or wrong; `length` is what it announces, and without a `mask` it has none."""
    size = len(payload) if length is None else length
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, bit | 127]) + struct.pack("!Q", size)
    key = mask * (len(payload) // 4 + 1)
    return head + mask + (bytes(a ^ b for a, b in zip(payload, key, strict=False)) if mask else payload)


def closing(code: int) -> bytes:
    return frame(0x88, struct.pack("!H", code))


BROKEN = {
    "an unmasked frame": frame(0x81, b"hi", mask=b""),
    "a masked frame": frame(0x81, b"hi"),
    "reserved bits": frame(0xF1, b"hi"),
    "a reserved opcode": frame(0x83, b"hi"),
    "a reserved control opcode": frame(0x8B, b"hi"),
    "a fragmented ping": frame(0x09, b"hi"),
    "a ping of 126 bytes": frame(0x89, b"x" * 126),
    "close 1005": closing(1005),
    "close 999": closing(999),
    "close 5000": closing(5000),
    "close of one byte": frame(0x88, b"x"),
    "text that is not UTF-8": frame(0x01, b"\xce\xba\xe1") + frame(0x80, b"\xbd\xb9\xff"),
    "a continuation of nothing": frame(0x80, b"hi"),
    "a request": get("/admin"),
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}
OVERFLOWS = {
    "2^63 - 1": frame(0x01, b"x") + frame(0x80, length=2**63 - 1),
    "2^64 - 1": frame(0x01, b"x") + frame(0x80, length=2**64 - 1),
    "2^31": frame(0x82, length=2**31),
    "3 in eight bytes": b"\x82\xff" + struct.pack("!Q", 3) + b"maskabc",
}


@pytest.mark.parametrize(
    "sent",
    [*BROKEN.values(), *OVERFLOWS.values()],
    ids=[*(f"WS-10 {name}" for name in BROKEN), *(f"WS-21 announces {name}" for name in OVERFLOWS)],
)
async def test_what_a_client_sends_wrong_arrives_wrong(site: Edge, log: Log, lines: list[Line], sent: bytes) -> None:
    async with tunnel(site, log) as raw:
        with little_memory():
            await raw.send(sent)
            assert await raw.take(len(sent)) == sent
    await eventually(lambda: lines[0].is_gone, "the application's connection is closed")
    assert lines[0].received.endswith(b"\r\n\r\n" + sent)


@pytest.mark.parametrize("told", BROKEN.values(), ids=[f"WS-11 {name}" for name in BROKEN])
@pytest.mark.parametrize("resets", [False, True])
async def test_what_an_application_sends_wrong_arrives_wrong(site: Edge, log: Log, told: bytes, resets: bool) -> None:
    """It then leaves, without a closing frame: both sides end, and nothing is reported but that."""
    proceed = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await line.send(switching() + GREETING + told)
        await proceed.wait()
        line.reset() if resets else line.close()

    site.upstream.script = script
    async with tunnel(site, log) as raw:
        assert await raw.take(len(told)) == told
        proceed.set()
        assert await raw.is_closed()


async def test_ws_12_what_is_compressed_stays_so(site: Edge, log: Log) -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeeze.compress(bytes(MEBIBYTE)) for _ in range(50)) + squeeze.flush()
    sent = frame(0xC2, bomb)
    assert 40_000 < len(sent) < 60_000
    offer = "permessage-deflate; client_max_window_bits"
    async with tunnel(site, log, f"Sec-WebSocket-Extensions: {offer}") as raw:
        with little_memory():
            await raw.send(sent)
            assert await raw.take(len(sent)) == sent
    assert site.upstream.requests[0].all(b"sec-websocket-extensions") == [offer.encode()]


async def test_ws_12_compression_is_offered_for_nobody(site: Edge, log: Log) -> None:
    async with tunnel(site, log):
        assert not site.upstream.requests[0].all(b"sec-websocket-extensions")


async def test_ws_14_a_message_may_be_as_large_as_the_two_like(site: Edge, log: Log) -> None:
    sent = frame(0x82, os.urandom(5 * MEBIBYTE), mask=b"")
    async with tunnel(site, log) as raw:
        _, got = await asyncio.gather(raw.send(sent), raw.take(len(sent)))
        assert got == sent


async def test_ws_22_single_bytes_on_many_sockets(site: Edge, log: Log, lines: list[Line]) -> None:
    sent = frame(0x82, os.urandom(20), length=4 * MEBIBYTE)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(site.raw()) for _ in range(50)]
        for raw in sockets:
            await raw.send(handshake(cookie=site.cookie))
            assert b" 101 " in await raw.head()
            assert await raw.take(5) == GREETING
        with little_memory(8 * MEBIBYTE):
            for byte in sent:
                await asyncio.gather(*(raw.send(bytes([byte])) for raw in sockets))
            for raw in sockets:
                assert await raw.take(len(sent)) == sent
    await eventually(lambda: len(log.named("upgrade.closed")) == 50, "all of them have ended")
    assert len(lines) == 50
    await eventually(lambda: all(line.is_gone for line in lines), "on the application's side as well")
