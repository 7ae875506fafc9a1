"""
After a 101: bytes both ways, with flow control, until either side or the session ends.

No message is read or re-framed, so any protocol works. Nothing gets here that
upgrade.py has not checked on both sides. A WebSocket that ends from here is told
why, between two frames of the application (frames.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from passproxy.core.bearer import Token
from passproxy.core.frames import GOING_AWAY, SESSION_OVER, FrameCursor, close_frame
from passproxy.core.issuers import Bearer
from passproxy.core.session import Known
from passproxy.web.watch import Watch

#: For the rest of a frame, and for the browser to have read why it ends.
LAST_WORDS_SECONDS = 2.0


class Tunnel:
    """
    Two transports joined. `ends_at` is on the monotonic clock: when the session ends.

    `cursor` is given for a WebSocket, and stands where the application's first bytes begin.
    `opened_by` is the session or the token that may end before its time.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        watch: Watch,
        idle_seconds: float,
        ends_at: float,
        closed: Callable[[Tunnel, str], None],
        cursor: FrameCursor | None = None,
        opened_by: Known | Token | Bearer | None = None,
    ) -> None:
        self._watch = watch
        self._idle_seconds = idle_seconds
        self._ends_at = ends_at
        self._closed = closed
        self._reason = "closed by one side"
        self._ended = 0
        self._cursor = cursor
        self.opened_by = opened_by
        self._farewell = b""
        self._client, self._upstream = client, upstream
        self._sides = (_ClientSide(self, client, upstream), _ApplicationSide(self, upstream, client))
        self.touch()
        watch.watched.add(self)
        client.set_protocol(self._sides[0])
        upstream.set_protocol(self._sides[1])
        client.resume_reading()
        upstream.resume_reading()

    def touch(self) -> None:
        """Something moved."""
        if not self._farewell:
            self.deadline = min(self._ends_at, self._watch.now + self._idle_seconds)

    def from_client(self, data: bytes) -> None:
        # After a farewell whatever comes is read, so that the farewell is not lost to a reset, and dropped.
        if not self._farewell:
            self._upstream.write(data)

    def from_application(self, data: bytes) -> None:
        cursor = self._cursor
        if self._farewell:
            if cursor is not None and not cursor.is_between:
                self._client.write(data[: cursor.rest(data)])
                self._say_farewell(cursor)
            return
        if cursor is not None:
            cursor.advance(data)
        self._client.write(data)

    def side_ended(self) -> None:
        """One side sends nothing more; when both have ended, there is nothing left to wait for."""
        self._ended += 1
        if self._ended == len(self._sides):
            for side in self._sides:
                side.transport.close()

    def expire(self) -> None:
        if self._farewell:
            self.abort(self._reason)
        elif self._ends_at < self._watch.now:
            self.end(SESSION_OVER, "the session ended")
        else:
            self.end(GOING_AWAY, "idle for too long")

    def end(self, code: int, reason: str) -> None:
        """End it, and tell a WebSocket why; at the next frame's beginning, or after `LAST_WORDS_SECONDS` at once."""
        if self._farewell:
            return
        if self._cursor is None or self._cursor.is_lost or self._ended:
            self.abort(reason)  # nothing can be said any more, or nobody knows where
            return
        self._reason, self._farewell = reason, close_frame(code, reason)
        self.deadline = self._watch.now + LAST_WORDS_SECONDS
        # A client that does not read keeps the application waiting; both may move now.
        for side in self._sides:
            if not side.transport.is_closing():
                side.transport.resume_reading()
        self._say_farewell(self._cursor)

    def _say_farewell(self, cursor: FrameCursor) -> None:
        if not cursor.is_between:
            return
        self._client.write(self._farewell)
        if self._client.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._client.write_eof()
        self._upstream.abort()

    def abort(self, reason: str) -> None:
        """End both sides at once."""
        self._reason = reason
        for side in self._sides:
            side.transport.abort()

    def side_lost(self) -> None:
        """What the other side still has to read is written first."""
        if self._farewell and not self._client.is_closing():
            return  # the application is gone, and the client has yet to read why
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

    def eof_received(self) -> bool:
        """Pass the half-close on, where the transport can (TLS cannot) and there is somebody to tell."""
        if self._other.is_closing() or not self._other.can_write_eof():
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


class _ClientSide(_Side):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self._tunnel.touch()
        self._tunnel.from_client(data)


class _ApplicationSide(_Side):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self._tunnel.touch()
        self._tunnel.from_application(data)
