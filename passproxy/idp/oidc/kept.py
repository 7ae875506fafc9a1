"""
Something that the provider publishes, read now and then and kept in between.

Whoever needs it gets the newest good reading at once. However many ask, one
reading is under way at a time, and a failed one is not repeated at once. A
failure never takes away what was good before. What is read, and how it is
judged, is the reader's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from passproxy.core.errors import LoginError

#: After a failed reading, nobody's visit causes another one for this long.
RETRY_SECONDS = 2.0

#: At most one reading in this time because somebody doubts the kept one: tokens
#: with invented key ids must not become a flood of requests (OIDC-14).
COOL_DOWN_SECONDS = 30.0

T = TypeVar("T")


class Kept(Generic[T]):
    """One published document. `initial` is a reading from before this process."""

    def __init__(self, read: Callable[[], Awaitable[T]], clock: Callable[[], float], initial: T | None = None) -> None:
        self._read = read
        self._clock = clock
        self._value = initial
        self._lock = asyncio.Lock()
        self._failure: LoginError | None = None
        self._failed_at = 0.0
        self._doubted_at: float | None = None

    @property
    def value(self) -> T | None:
        return self._value

    async def get(self) -> T:
        """
        The kept reading; the first caller waits for it.

        Raises:
            LoginError: there has never been a good reading, and there is none now.
        """
        if self._value is not None:
            return self._value
        async with self._lock:
            if self._value is not None:
                return self._value
            if self._failure is not None and self._passed(self._failed_at) < RETRY_SECONDS:
                # A new one: an exception that is raised twice grows its traceback each time.
                raise type(self._failure)(self._failure.detail)
            return await self._refreshed()

    async def newer_than(self, doubted: T) -> T:
        """Another reading than this one, if the cool-down permits and the provider answers; else this one."""
        async with self._lock:
            if self._value is not None and self._value is not doubted:
                return self._value
            if self._doubted_at is not None and self._passed(self._doubted_at) < COOL_DOWN_SECONDS:
                return doubted
            self._doubted_at = self._clock()
            try:
                return await self._refreshed()
            except LoginError:
                return doubted

    async def refresh(self) -> None:
        """
        Read it again.

        Raises:
            LoginError: it could not be read; the kept reading still stands.
        """
        async with self._lock:
            await self._refreshed()

    async def _refreshed(self) -> T:
        try:
            self._value = await self._read()
        except LoginError as error:
            self._failure, self._failed_at = error, self._clock()
            raise
        self._failure = None
        return self._value

    def _passed(self, since: float) -> float:
        passed = self._clock() - since
        # A clock that was set back must not mean waiting until it catches up.
        return passed if passed >= 0 else COOL_DOWN_SECONDS
