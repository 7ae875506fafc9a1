"""
An issuer of bearer tokens: its keys, kept fresh, and its tokens judged by them.

The keys are read at the start and then once an hour. A token whose key is not among them is worth one look
at them in a minute, for whoever waits, and never for long: `TokenIssuer` in core/trust.py says what is
asked of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

import aiohttp

from passproxy.core.errors import LoginError
from passproxy.core.trust import Trust, Vouched
from passproxy.core.urls import Origin
from passproxy.idp.fetch import fetched
from passproxy.idp.oidc.access_token import vouched
from passproxy.idp.oidc.discovery import discovery_url, jwks_uri_from
from passproxy.idp.oidc.errors import DiscoveryRefused, KeysRefused, quoted
from passproxy.idp.oidc.jwks import KeySet, keys_from
from passproxy.idp.oidc.pauses import pause_seconds
from passproxy.idp.standing import Freshness, Standing

#: Between two looks at the keys because of a token: with invented key ids anybody may ask for one.
COOL_DOWN_SECONDS = 60.0

#: So long a request waits for keys. A good issuer answers in a tenth of it; a client waits longer.
WAIT_SECONDS = 3.0

#: So many wait at a time; one more is answered at once.
WAITING_LIMIT = 100

_CHANCE = random.SystemRandom()

_log = logging.getLogger(__name__)


class JwtIssuer:
    """One issuer (`TokenIssuer`). `chance` yields numbers from 0 to 1, for the jitter."""

    def __init__(
        self,
        trust: Trust,
        origin: Origin,
        http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
        clock: Callable[[], float],
        chance: Callable[[], float] = _CHANCE.random,
    ) -> None:
        self.trust = trust
        self._origin = origin
        self._http = http
        self._clock = clock
        self._chance = chance
        self._keys: KeySet | None = None
        self._wanted, self._done = asyncio.Event(), asyncio.Event()
        self._is_reading = False
        self._waiting = 0
        self._doubted_at: float | None = None
        self._freshness = Freshness()

    @property
    def keys(self) -> KeySet | None:
        return self._keys

    def vouched(self, token: str, now: float) -> Vouched:
        return vouched(token, self.keys, self.trust, now)

    def may_have_newer_keys(self) -> bool:
        return self._waiting < WAITING_LIMIT and (
            self._is_reading or self._wanted.is_set() or not self._is_cooling_down()
        )

    async def newer_keys(self) -> None:
        if not self.may_have_newer_keys():
            return  # it took so long to get here that somebody else has looked
        if not self._is_reading and not self._wanted.is_set():
            self._doubted_at = self._clock()
            self._wanted.set()
        self._waiting += 1
        with contextlib.suppress(TimeoutError):
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._done.wait()
            finally:
                self._waiting -= 1

    async def refresh(self) -> KeySet:
        """
        Read the keys now.

        Raises:
            LoginError: they cannot be read, or used; those that were known still are.
        """
        keys = await self._read()
        if keys != self._keys:
            _log.info("bearer.keys_changed issuer=%s keys=%s", self.trust.name, quoted(" ".join(keys.names())))
            # Otherwise they stay the same object: what was verified with them still is.
            self._keys = keys
        return keys

    def standing(self) -> Standing:
        """What is held of the keys; asks nobody."""
        keys = self._keys
        return self._freshness.standing(is_known=keys is not None, signing_keys=0 if keys is None else len(keys.keys))

    async def run(self) -> None:
        """Keep the keys fresh, until cancelled: once an hour, when a token wants it, and after failures sooner."""
        failures = 0
        while True:
            failures = await self._looked(failures)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds(failures, self._chance())):
                    await self._wanted.wait()

    async def _looked(self, failures: int) -> int:
        """Read the keys, whether that succeeds or not, and let those go on who wait; how many times it failed in a row."""
        self._is_reading = True
        self._wanted.clear()
        try:
            await self.refresh()
        except LoginError as error:
            failures += 1
            self._freshness.failed(error)
            name = self.trust.name
            _log.warning(
                "bearer.refresh_failed issuer=%s code=%s attempt=%d %s", name, error.code, failures, error.detail
            )
        else:
            failures = 0
            self._freshness.confirmed(self._clock())
        finally:
            self._is_reading = False
            if self._waiting:
                self._doubted_at = self._clock()
            done, self._done = self._done, asyncio.Event()
            done.set()
        return failures

    def _is_cooling_down(self) -> bool:
        if self._doubted_at is None:
            return False
        # A clock that was set back must not mean waiting until it catches up.
        return 0 <= self._clock() - self._doubted_at < COOL_DOWN_SECONDS

    async def _read(self) -> KeySet:
        url = self.trust.jwks_uri
        if url is None:
            description = await fetched(self._http, discovery_url(self.trust.issuer), DiscoveryRefused)
            url = jwks_uri_from(description, self.trust.issuer, self._origin)
        return keys_from(await fetched(self._http, url, KeysRefused))
