"""
After a 101: bytes both ways, with flow control, until either side or the session ends.

No message is read or re-framed, so any protocol works. Nothing gets here that
upgrade.py has not checked on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from passproxy.web.watch import Watch


class Tunnel:
    """Two transports joined. `ends_at` is on the monotonic clock: when the session ends."""

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        watch: Watch,
        idle_seconds: float,
        ends_at: float,
        closed: Callable[[Tunnel, str], None],
    ) -> None:
        self._watch = watch
        self._idle_seconds = idle_seconds
        self._ends_at = ends_at
        self._closed = closed
        self._reason = "closed by one side"
        self._ended = 0
        self._sides = (_Side(self, client, upstream), _Side(self, upstream, client))
        self.touch()
        watch.watched.add(self)
        client.set_protocol(self._sides[0])
        upstream.set_protocol(self._sides[1])
        client.resume_reading()
        upstream.resume_reading()

    def touch(self) -> None:
        """Something moved."""
        self.deadline = min(self._ends_at, self._watch.now + self._idle_seconds)

    def side_ended(self) -> None:
        """One side sends nothing more; when both have ended, there is nothing left to wait for."""
        self._ended += 1
        if self._ended == len(self._sides):
            for side in self._sides:
                side.transport.close()

    def expire(self) -> None:
        self.abort("the session ended" if self._ends_at < self._watch.now else "idle for too long")

    def abort(self, reason: str) -> None:
        """End both sides at once."""
        self._reason = reason
        for side in self._sides:
            side.transport.abort()

    def side_lost(self) -> None:
        """What the other side still has to read is written first."""
        self._watch.watched.discard(self)
        for side in self._sides:
            side.transport.close()
        closed, self._closed = self._closed, _already
        closed(self, self._reason)


def _already(_: Tunnel, __: str) -> None:
    """The second side ends when the first one has."""


class _Side(asyncio.Protocol):
    """Reads one transport and writes the other."""

    __slots__ = ("_other", "_tunnel", "transport")

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport, other: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._other = other
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._tunnel.touch()
        self._other.write(data)

    def eof_received(self) -> bool:
        """Pass the half-close on, where the transport can (TLS cannot)."""
        if not self._other.can_write_eof():
            return False
        with contextlib.suppress(OSError, RuntimeError):
            self._other.write_eof()
        self._tunnel.side_ended()
        return True

    def pause_writing(self) -> None:
        """Our transport is full: stop reading the other one."""
        if not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.side_lost()
