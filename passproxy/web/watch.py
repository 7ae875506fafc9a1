"""
Time limits of connections: one sweep a second instead of a timer each.

Whatever can wait too long has a `deadline` on the monotonic clock, moves it
when something happens, and is told when it has passed. A limit is therefore
kept to within `TICK_SECONDS`, and costs an assignment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

TICK_SECONDS = 1.0

#: The deadline of something that may wait for ever.
NEVER = float("inf")


class Watched(Protocol):
    deadline: float

    def expire(self) -> None:
        """Called once a tick while the deadline lies behind."""


class Watch:
    """`clock` is the monotonic clock, and `now` what it said at the last tick."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.clock = monotonic
        self.now = monotonic()
        self.watched: set[Watched] = set()
        #: What else is looked at once a tick.
        self.ticks: list[Callable[[], None]] = []

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        self.now = now = self.clock()
        for one in [one for one in self.watched if one.deadline < now]:
            one.expire()
        for tick in self.ticks:
            tick()
