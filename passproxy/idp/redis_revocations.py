"""
The list of revoked sessions in a Redis (or Valkey), from which every instance learns at once.

One stream a domain, an entry a handle with its time. Each instance follows it and keeps all in
memory, where requests look; none ever waits for Redis. While Redis is away, what is known stays in
force, and what ends here is told when it is back. What Redis lost is told again by whoever knows it.
Whoever may write to the stream can end sessions, nothing else. Loaded only where it is configured.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError

from passproxy.core.errors import ConfigError
from passproxy.core.handles import is_handle
from passproxy.idp.revocation import REVOCATION_LIMIT, Revocations

#: How long Redis holds a question for new entries; each answer shows that it is there.
BLOCK_SECONDS = 1.0

#: For a connection and for an answer beyond what was asked to wait: in one data centre milliseconds do.
TIMEOUT_SECONDS = 3.0

#: The first and the longest pause before another attempt, each up to half longer by chance.
PAUSE_BOUNDS_SECONDS = (0.2, 5.0)

#: Entries of one answer, of some 100 bytes each.
BATCH = 1000

#: Redis keeps entries this much longer than a session lives: clocks differ.
MARGIN_SECONDS = 3600

#: A time further ahead than clocks differ would end sessions that are yet to begin.
SKEW_SECONDS = 60

T = TypeVar("T")

_log = logging.getLogger(__name__)


class RedisRevocations(Revocations):
    """`url` has no password; `domain` names the stream. Not current until the whole list was read once."""

    def __init__(
        self,
        url: str,
        password: str | None,
        domain: str,
        lifetime_seconds: int,
        clock: Callable[[], float],
        limit: int = REVOCATION_LIMIT,
        ca_file: str | None = None,
    ) -> None:
        super().__init__(lifetime_seconds, clock, limit)
        self._url, self._password = url, password
        self._tls: dict[str, Any] = {}
        if url.startswith("rediss:"):
            # The name is not looked at by itself before release 6.
            self._tls = {"ssl_check_hostname": True, "ssl_ca_certs": ca_file}
        self._key = f"passproxy:revocations:{domain}"
        self._stored: dict[str, int] = {}
        self._last = "0-0"
        self._current_at = float("-inf")
        self._wake = asyncio.Event()
        self._is_failing = False
        try:
            self._client()
            ssl.create_default_context(cafile=ca_file)
        except (RedisError, ValueError) as error:
            raise ConfigError((f"revocation.store: {type(error).__name__}",)) from None
        except OSError as error:
            reason = "no certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError((f"revocation.ca_file: {ca_file}: {reason}",)) from None

    @property
    def seconds_behind(self) -> float:
        return max(self._clock() - self._current_at, 0.0)

    async def revoke(self, handles: Iterable[str], at: int | None = None) -> None:
        """Here at once; Redis is told by `run`, so that no logout waits for it."""
        self._note(handles, int(self._clock()) if at is None else at)
        self._wake.set()

    async def tell(self, handles: Iterable[str]) -> None:
        """
        As `revoke`, from a process that does not `run`.

        Raises:
            OSError: Redis could not be told.
        """
        client, at = self._client(), int(self._clock())
        try:
            await self._send(client, dict.fromkeys(handles, at))
        except (RedisError, OSError) as error:
            raise OSError(0, _said(error)) from None
        finally:
            await _closed(client)

    async def run(self) -> None:
        pause, longest = PAUSE_BOUNDS_SECONDS
        while True:
            client = self._client()
            try:
                await self._read_all(client)
                pause = PAUSE_BOUNDS_SECONDS[0]
                await self._follow(client)
            except (RedisError, OSError, TimeoutError) as error:
                if not self._is_failing:
                    _log.error("revocation.unreachable %s: what is known stays in force", _said(error))
                self._is_failing = True
            finally:
                await _closed(client)
            await asyncio.sleep(pause * random.uniform(1, 1.5))  # noqa: S311 - only so that not all come at once
            pause = min(2 * pause, longest)

    def _client(self) -> Any:
        # No retries of its own: while it waited, nobody would know that the list is not current.
        return Redis.from_url(
            self._url,
            password=self._password,
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=BLOCK_SECONDS + TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=_once(),
            protocol=2,
            **self._tls,
        )

    async def _read_all(self, client: Any) -> None:
        """From the beginning: what others added meanwhile, also where Redis has lost entries or its clock."""
        asked_at = self._clock()
        self._stored, self._last = {}, f"{self._begin_ms()}-0"
        while await self._read(client, None) >= BATCH:
            pass
        await self._send_missing(client)
        self._was_current(asked_at)

    async def _follow(self, client: Any) -> None:
        # Two tasks, since a question for new entries holds its connection for a second.
        sending = asyncio.ensure_future(self._keep_sending(client))
        try:
            while not sending.done():
                asked_at = self._clock()
                await self._read(client, int(BLOCK_SECONDS * 1000))
                self._was_current(asked_at)
            await sending
        finally:
            sending.cancel()
            await asyncio.wait({sending}, timeout=TIMEOUT_SECONDS)

    async def _keep_sending(self, client: Any) -> None:
        while True:
            await self._wake.wait()
            await self._send_missing(client)

    async def _read(self, client: Any, block_ms: int | None) -> int:
        """How many entries there were, now in force."""
        answer = await _asked(client.xread({self._key: self._last}, count=BATCH, block=block_ms))
        entries = answer[0][1] if answer else []
        for name, fields in entries:
            self._last = name
            self._learn(fields)
        return len(entries)

    def _learn(self, fields: dict[bytes, bytes]) -> None:
        try:
            handle, at = fields[b"handle"].decode(), int(fields[b"at"])
        except (KeyError, ValueError, TypeError):
            handle, at = "", 0
        if not is_handle(handle):
            _log.warning("revocation.line_ignored an entry of the stream is none of ours")
            return
        self._stored[handle] = max(at, self._stored.get(handle, 0))
        at = min(at, int(self._clock()) + SKEW_SECONDS)
        if self._revoked.get(handle, -1) < at:
            self._note((handle,), at)

    async def _send_missing(self, client: Any) -> None:
        self._wake.clear()
        missing = {handle: at for handle, at in self._revoked.items() if self._stored.get(handle, -1) < at}
        await self._send(client, missing)
        self._stored |= missing
        if len(self._stored) > 2 * len(self._revoked) + BATCH:
            self._stored = {handle: at for handle, at in self._stored.items() if handle in self._revoked}

    async def _send(self, client: Any, missing: dict[str, int]) -> None:
        entries = list(missing.items())
        for begin in range(0, len(entries), BATCH):
            async with client.pipeline(transaction=False) as pipeline:
                for handle, at in entries[begin : begin + BATCH]:
                    entry = {"handle": handle, "at": at}
                    pipeline.xadd(self._key, entry, minid=f"{self._begin_ms()}-0", approximate=True)
                await _asked(pipeline.execute())

    def _begin_ms(self) -> int:
        return max(int(self._clock()) - self._lifetime_seconds - MARGIN_SECONDS, 0) * 1000

    def _was_current(self, asked_at: float) -> None:
        """An answer holds from when it was asked for: it may have been on its way since before Redis went."""
        self._current_at = asked_at
        if self._is_failing:
            _log.info("revocation.reachable the list is current again")
        self._is_failing = False


def _once() -> Callable[[Any], Awaitable[None]]:
    """
    What a client does with a connection that is open: greet Redis, the first time.

    The library mends a lost connection by itself and says nothing. But meanwhile Redis may have lost entries,
    which `run` would not tell again.
    """
    greeted = set[Any]()

    async def greet(connection: Any) -> None:
        if connection in greeted:
            raise LostError("the connection was lost")
        greeted.add(connection)
        await connection.on_connect()

    return greet


async def _asked(question: Awaitable[T]) -> T:
    """
    What Redis answers.

    The client library waits with `asyncio.wait_for`, which before Python 3.12 loses a cancellation
    that comes in the moment of the answer: whoever cancelled would wait for ever.
    """
    answer = await question
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return answer


async def _closed(client: Any) -> None:
    # `aclose` came with release 5.0.1.
    close = getattr(client, "aclose", client.close)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await close()
            await client.connection_pool.disconnect()
    except (RedisError, OSError, TimeoutError):
        return  # it is gone, which is what was wanted


def _said(error: BaseException) -> str:
    """The kind alone: the message may repeat what was sent."""
    return type(error).__name__
