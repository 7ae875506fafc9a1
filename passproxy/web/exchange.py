"""
One request on its way to the application: what travels between gateway, pool and connection.

Values and interfaces alone; nothing is sent here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from passproxy.core.bearer import Token
from passproxy.core.errors import UpstreamError
from passproxy.core.http1 import RequestHead
from passproxy.core.issuers import Bearer
from passproxy.core.session import Known
from passproxy.core.upgrade import Upgrade
from passproxy.web.connection import ClientConnection

#: Methods that may be sent again when a kept connection closes before any answer.
_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Exchange:
    """
    One request on its way to the application, and who waits for the answer.

    `opened_by` says by what it was let in. `cookies` are Set-Cookie fields of ours that go along with the
    answer, `marks` those that depend on the ones of the application (core/cleanup.py).
    """

    __slots__ = (
        "client",
        "cookies",
        "head",
        "is_retried",
        "marks",
        "opened_by",
        "session_ends_at",
        "upgrade",
        "wire",
    )

    def __init__(
        self, client: ClientConnection, head: RequestHead, wire: bytes, upgrade: Upgrade | None, session_ends_at: float
    ) -> None:
        self.client = client
        self.head = head
        self.wire = wire
        self.upgrade = upgrade
        self.session_ends_at = session_ends_at
        self.is_retried = False
        self.opened_by: Known | Token | Bearer | None = None
        self.cookies: tuple[tuple[str, str], ...] = ()
        self.marks: Callable[[Iterable[bytes]], list[str]] | None = None

    @property
    def is_repeatable(self) -> bool:
        return self.head.body == 0 and self.head.method in _REPEATABLE and self.upgrade is None


class Owner(Protocol):
    """What an upstream connection reports to: the gateway."""

    def upstream_failed(self, exchange: Exchange, error: UpstreamError) -> None:
        """No answer was begun, and none will be."""

    def upstream_truncated(self, exchange: Exchange, reason: str) -> None:
        """An answer was begun and cannot be completed; the client's connection is cut already."""

    def upstream_closed_early(self, exchange: Exchange) -> None:
        """A kept connection closed before any answer; the exchange may be sent again."""

    def upstream_switches(self, exchange: Exchange, head: bytes, rest: bytes, upstream: asyncio.Transport) -> None:
        """The application accepted the upgrade; its transport is handed over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`connections` is how many the application may have at once, tunnels aside."""

    connections: int
    connect_seconds: float
    response_seconds: float
    idle_seconds: float
