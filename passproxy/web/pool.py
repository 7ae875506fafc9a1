"""
The connections to the one application: dialled when needed, kept for a while, never shared.

Which connection suits which request is decided here, because a request that must
not be sent twice must not meet one that is about to close. What happens on a
connection is upstream.py's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from passproxy.core.cookies import CookieNames
from passproxy.core.counts import Counts
from passproxy.core.errors import Overloaded, UpstreamTimeout, UpstreamUnreachable
from passproxy.core.http1 import NameTable
from passproxy.web.exchange import Exchange, Limits, Owner
from passproxy.web.upstream import UpstreamConnection
from passproxy.web.watch import Watch

#: A request that must not be sent twice takes no connection that was idle for longer:
#: the application could just be closing it (RFC 9110, 9.2.2 forbids the retry).
FRESH_SECONDS = 1.0

#: Idle connections kept; more were only needed for a moment.
IDLE_LIMIT = 256

#: Requests that wait for a connection where the application is to have no more of them, and for how
#: long: what has waited longer, its visitor has given up on.
WAITING_LIMIT = 1024
WAITING_SECONDS = 10.0


class UpstreamPool:
    """The connections to one application. `dial` makes one, with the protocol that it is given."""

    def __init__(
        self,
        dial: Callable[[Callable[[], asyncio.Protocol]], object],
        limits: Limits,
        names: NameTable,
        cookies: CookieNames,
        watch: Watch,
        counts: Counts,
    ) -> None:
        self._dial = dial
        self.limits = limits
        self.names = names
        self.cookies = cookies
        self.watch = watch
        self.counts = counts
        self._idle: deque[UpstreamConnection] = deque()
        self._is_closed = False
        self._open = 0  # dialled or being dialled, those of tunnels not counted
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()

    def take(self, exchange: Exchange) -> UpstreamConnection | None:
        """An idle connection that suits this exchange; the most recently used one is the surest to be alive."""
        if not self._idle or exchange.is_retried:
            return None
        newest = self._idle[-1]
        if newest.idle_since < self.watch.now - FRESH_SECONDS and not exchange.is_repeatable:
            return None
        return self._idle.pop()

    async def connect(self, owner: Owner) -> UpstreamConnection:
        """
        A new connection, or one that became free while there could be no more of them.

        Raises:
            UpstreamUnreachable, UpstreamTimeout
            Overloaded: the application has as many as it may have, and none became free in time.
        """
        if self._open >= self.limits.connections:
            kept = await self._freed()
            if kept is not None and not kept.transport.is_closing():
                return kept
            if kept is not None:
                return await self.connect(owner)  # lost on the way here; its place is free, or somebody's
        else:
            self._open += 1
        connection = UpstreamConnection(self, owner)
        try:
            return await self._dialled(connection)
        except BaseException:
            if connection.transport is None:  # else it says itself that it is gone
                self.left()
            raise

    async def _freed(self) -> UpstreamConnection | None:
        """A connection that somebody has done with, or, as None, the place of one that is gone."""
        if len(self._waiting) >= WAITING_LIMIT:
            raise Overloaded(f"{WAITING_LIMIT} requests wait for a connection already")
        waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._idle:
            # It did not suit this exchange, so it makes room for one that does.
            self._idle.popleft().transport.close()
        # Unlike a timeout around it, this never loses what was handed over in the last moment.
        await asyncio.wait((waiter,), timeout=WAITING_SECONDS)
        if not waiter.done():
            self._waiting.remove(waiter)
            raise Overloaded(f"no connection became free within {WAITING_SECONDS:g} s")
        return waiter.result()

    async def _dialled(self, connection: UpstreamConnection) -> UpstreamConnection:
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                await self._dial(lambda: connection)  # type: ignore[misc] # asyncio's create_*connection
        except TimeoutError:
            raise UpstreamTimeout(f"no connection within {self.limits.connect_seconds} s") from None
        except OSError as error:
            raise UpstreamUnreachable(f"{type(error).__name__}: {error.strerror or error}") from error
        return connection

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next exchange."""
        if self._hand_over(connection):
            return
        if self._is_closed or len(self._idle) >= IDLE_LIMIT:
            connection.transport.close()
            return
        self._idle.append(connection)

    def left(self) -> None:
        """A connection is gone, or belongs to a tunnel now: there may be another one."""
        if not self._hand_over(None):
            self._open -= 1

    def _hand_over(self, what: UpstreamConnection | None) -> bool:
        """Give it, or a place, to whoever has waited longest."""
        if not self._waiting:
            return False
        self._waiting.popleft().set_result(what)
        return True

    def discard(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Connections that are open or being dialled, those of them that are idle, requests that wait for one."""
        return self._open, len(self._idle), len(self._waiting)

    def close(self) -> None:
        """Close what is idle, and keep nothing from now on."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().transport.close()
