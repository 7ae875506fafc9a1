"""
A wire tap between PassProxy and the application: every byte that PassProxy sends passes here.

What the application says about a request is what its own parser made of it;
this is what was really written. Bytes beyond `KEPT_LIMIT_BYTES` are counted only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

KEPT_LIMIT_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 256 * 1024


@dataclass(slots=True)
class Tap:
    """`sent` is what PassProxy wrote since the last `clear`, over all connections."""

    port: int = 0
    sent: bytearray = field(default_factory=bytearray)
    sent_bytes: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _relays: set[asyncio.Task[None]] = field(default_factory=set)

    def clear(self) -> None:
        self.sent.clear()
        self.sent_bytes = 0

    async def has_sent(self, count: int) -> None:
        """Wait until at least so many bytes have passed since the last `clear`."""
        while self.sent_bytes < count:
            self._more.clear()
            await self._more.wait()

    def cut(self) -> None:
        """End all connections that are open, as an application does that goes down."""
        for relay in self._relays:
            relay.cancel()

    def note(self, data: bytes) -> None:
        self._more.set()
        self.sent_bytes += len(data)
        if len(self.sent) < KEPT_LIMIT_BYTES:
            self.sent += data


@contextlib.asynccontextmanager
async def tapped(host: str, port: int) -> AsyncIterator[Tap]:
    """Listen, and relay to this address."""
    tap = Tap()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tap._relays.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            back, forth = await asyncio.open_connection(host, port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_copy(reader, forth, tap))
                    both.create_task(_copy(back, writer, None))
            except* OSError:
                pass
            finally:
                forth.close()
        writer.close()
        tap._relays.discard(task)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        left = list(tap._relays)
        tap.cut()
        await asyncio.gather(*left, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tap: Tap | None) -> None:
    while data := await reader.read(_PIECE_BYTES):
        if tap is not None:
            tap.note(data)
        writer.write(data)
        await writer.drain()
    # The other direction ends when its own side does; a closed one cannot be told so.
    with contextlib.suppress(OSError):
        writer.write_eof()
