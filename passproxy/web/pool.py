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
from typing import cast

from passproxy.core.cookies import CookieNames
from passproxy.core.errors import UpstreamTimeout, UpstreamUnreachable
from passproxy.core.http1 import NameTable
from passproxy.web.exchange import Exchange, Limits, Owner
from passproxy.web.upstream import UpstreamConnection
from passproxy.web.watch import Watch

#: A request that must not be sent twice takes no connection that was idle for longer:
#: the application could just be closing it (RFC 9110, 9.2.2 forbids the retry).
FRESH_SECONDS = 1.0

#: Idle connections kept; more were only needed for a moment.
IDLE_LIMIT = 256


class UpstreamPool:
    """The connections to one application. `dial` makes one, with the protocol that it is given."""

    def __init__(
        self,
        dial: Callable[[Callable[[], asyncio.Protocol]], object],
        limits: Limits,
        names: NameTable,
        cookies: CookieNames,
        watch: Watch,
    ) -> None:
        self._dial = dial
        self.limits = limits
        self.names = names
        self.cookies = cookies
        self.watch = watch
        self._idle: deque[UpstreamConnection] = deque()

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
        A new connection.

        Raises:
            UpstreamUnreachable, UpstreamTimeout
        """
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                _, protocol = await self._dial(lambda: UpstreamConnection(self, owner))  # type: ignore[misc] # asyncio's create_*connection
        except TimeoutError:
            raise UpstreamTimeout(f"no connection within {self.limits.connect_seconds} s") from None
        except OSError as error:
            raise UpstreamUnreachable(f"{type(error).__name__}: {error.strerror or error}") from error
        return cast(UpstreamConnection, protocol)

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next exchange."""
        if len(self._idle) >= IDLE_LIMIT:
            connection.transport.close()
            return
        self._idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().transport.close()
