"""
The access log: one line for each exchange, as its client saw it. Off unless it is asked for.

It is taken at the client's connection alone, by a connection that counts what passes, so that nothing
else is slower for it, and without it nothing is counted. A line has the path and never the query;
who it was is the login name, and the request's id is that of the error page and of the application's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from passproxy.core.forwarded import Forwarded
from passproxy.core.http1 import RequestHead
from passproxy.core.request_ids import trace_id
from passproxy.core.session import Known
from passproxy.core.session_claims import Session
from passproxy.web import log
from passproxy.web.connection import ClientConnection, Handler
from passproxy.web.watch import Watch

#: Names remembered, by session: reading one from its token takes as long as a whole request.
REMEMBERED_LIMIT = 4096


class AccessLog:
    """Writes the lines. `session_of` reads whose request it is, with all that is known of them."""

    def __init__(self, forwarded: Forwarded, session_of: Callable[[RequestHead, float], Known | None]) -> None:
        self._forwarded = forwarded
        self._session_of = session_of
        self._users: dict[str, str] = {}

    def line(self, head: RequestHead | None, client: LoggedConnection, status: int | None, seconds: float) -> None:
        """What became of an exchange; `status` is None when no answer began."""
        values = None if head is None else head.noted.get(b"x-forwarded-for")
        log.event(
            "info",
            "http.access",
            method=None if head is None else log.shown(head.method),
            path=None if head is None else log.shown(head.path),
            status=status,
            received=client.received,
            sent=client.sent,
            milliseconds=round(seconds * 1000, 1),
            user=None if head is None or client.session is None else self._user(client.session, head),
            session=None if client.session is None else client.session.handle,
            client=self._forwarded.client(client.peer, values),
            request_id=client.request_id.decode(),
            trace=None if head is None else trace_id(head),
        )

    def _user(self, session: Known, head: RequestHead) -> str | None:
        user = self._users.get(session.handle)
        if user is None:
            # At the time at which it was found to hold: by now it may have ended.
            whole = session if isinstance(session.held, Session) else self._session_of(head, session.issued_at)
            if whole is None or whole.handle != session.handle:
                return None
            if len(self._users) >= REMEMBERED_LIMIT:
                del self._users[next(iter(self._users))]
            user = self._users[session.handle] = whole.session.identity.attributes["user"]
        return user


class LoggedConnection(ClientConnection):
    """
    A `ClientConnection` that writes a line for each exchange.

    `received` and `sent` are bytes of the connection since the exchange before, heads included.
    """

    __slots__ = ("_access", "_clock", "_counted", "_started_at", "received")

    def __init__(
        self, access: AccessLog, handler: Handler, watch: Watch, closed: Callable[[ClientConnection], None]
    ) -> None:
        super().__init__(handler, watch, closed)
        self._access = access
        self._clock = watch.clock
        self._started_at = 0.0
        self.received = 0

    @property
    def sent(self) -> int:
        return self._counted.sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._counted = _Counted(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.BaseTransport, self._counted))

    def data_received(self, data: bytes) -> None:
        if not self.received:
            self._started_at = self._clock()
        self.received += len(data)
        super().data_received(data)

    def answered(self, *, keep_alive: bool) -> None:
        self._write(self._counted.status)
        super().answered(keep_alive=keep_alive)

    def release(self) -> bytes:
        self._write(101)
        self.transport = self._counted.transport
        return super().release()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head is not None:
            self._write(self._counted.status)
        super().connection_lost(exc)

    def _write(self, status: int | None) -> None:
        now = self._clock()
        try:
            self._access.line(self._head, self, status, now - self._started_at)
        except Exception as error:
            # The exchange is worth more than its line.
            log.failure("http.access_failed", error, request_id=self.request_id.decode())
        self._started_at, self.received = now, 0
        self._counted.sent, self._counted.status = 0, None


class _Counted:
    """A transport that counts what is written, and sees the status of an answer pass."""

    __slots__ = ("sent", "status", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.sent = 0
        self.status: int | None = None

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        # Interim answers are written alone, and the final one begins a write.
        if self.status is None and data[9:10] != b"1":
            self.status = int(data[9:12])
        self.transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)
