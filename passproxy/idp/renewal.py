"""
Whether a session still holds, asked of the provider now and then.

However many requests of a session arrive at the moment when it is due, the
provider is asked once, and all of them get the answer: refresh tokens are often
good for one use only. A session whose answer is lost on the way to the browser
gets the same answer again.

Another instance may have asked first, and then ours is refused although nothing
is wrong: for a short while after a refusal a session goes on as it is, until the
browser comes with what the other one gave it; then it is over, and revoked for
all instances. Where the provider says other groups than before, the token from
before is good nowhere any more. When the provider cannot be reached or has no time, sessions go on. That nobody becomes
somebody else by a renewal is checked here.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from passproxy.core import kept
from passproxy.core.counts import Counts
from passproxy.core.errors import IdpUnavailable, LoginError, RenewalRefused, RevocationOff
from passproxy.core.handles import SUPERSEDED, own_handle
from passproxy.core.identity import AttributeRules, Authentication, Identity, identity_from
from passproxy.core.session import SAID_SINCE, Known, Sessions
from passproxy.core.session_claims import Session
from passproxy.core.tokens import KeyRing
from passproxy.idp.base import IdentityProvider
from passproxy.idp.revocation import Revocations

#: A request waits no longer for a slow provider; it goes on with what is known, and a later one gets the answer.
WAIT_SECONDS = 3.0

#: After the provider did not answer, no session makes anybody wait for it again for this long; after any
#: other failure, the session that it happened to.
PAUSE_SECONDS = 15.0

#: How long a session goes on after a refusal: the answer to the instance that was first is on its way to the browser.
GRACE_SECONDS = 10.0

#: Answers and refusals that are remembered; an answer takes some 6 KiB. The oldest goes first, and is asked for again.
REMEMBERED_LIMIT = 4_000

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Renewed:
    """The session goes on; `token` and `kept` (enclosed, or "") replace what the browser has."""

    session: Known
    token: str
    kept: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The session goes on as it is."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over, and why, for the log."""

    reason: str


Outcome = Renewed | Unchanged | Ended


class Renewals:
    """
    All renewals in this process.

    `spawn` runs a coroutine that belongs to no request: whoever asked first may leave before the answer.
    `before` are those of the configuration that this one replaces.
    """

    def __init__(
        self,
        provider: IdentityProvider,
        sessions: Sessions,
        ring: KeyRing,
        rules: AttributeRules,
        counts: Counts,
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        before: Renewals | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        self._provider = provider
        self._sessions = sessions
        self._ring = ring
        self._rules = rules
        self._counts = counts
        self._spawn = spawn
        self._revocations = revocations
        self._flights: dict[bytes, asyncio.Future[Outcome]] = {}
        # By what was kept (another value after nearly each renewal), and by session.
        self._answered_digests: dict[bytes, None] = {}
        self._answers: dict[str, Renewed] = {}
        self._refused_at: dict[bytes, float] = {}
        self._failed_at: dict[str, float] = {}
        self._unavailable_at = float("-inf")
        if before is not None:
            # A refresh token is good once: who was answered, or waits, must not ask again.
            self._flights, self._answered_digests, self._answers = (
                before._flights,
                before._answered_digests,
                before._answers,
            )
            self._refused_at, self._failed_at = before._refused_at, before._failed_at

    async def outcome(self, session: Session, cookie: bytes | None, now: float) -> Outcome:
        """What becomes of a session that is due, with the cookie that came along for it."""
        outcome = await self._outcome(session, cookie, now)
        if isinstance(outcome, Unchanged) and self._sessions.is_superseded(session):
            return Ended(SAID_SINCE)  # another instance was answered while this one asked
        if isinstance(outcome, Renewed):
            # Whoever asked may have served another configuration, under which the same person may do something else.
            return replace(outcome, session=self._sessions.known(outcome.session.session))
        return outcome

    async def _outcome(self, session: Session, cookie: bytes | None, now: float) -> Outcome:
        value = kept.disclosed(self._ring, session.id, cookie)
        if not value:
            return Ended("what renews the session did not come along")
        digest = _digest(session, value)
        if (answer := self._answered(session, digest)) is not None:
            return answer
        if self._sessions.is_superseded(session):
            # Another instance was answered. To ask again with a token that was used could end what it got.
            return Ended(SAID_SINCE)
        refused_at = self._refused_at.get(digest)
        if refused_at is not None:
            if now < refused_at + GRACE_SECONDS:
                return Unchanged()
            await self._revoke(own_handle(session.id))
            return Ended("the provider does not renew it")
        flight = self._flights.get(digest)
        if flight is None:
            if now < max(self._unavailable_at, self._failed_at.get(session.id, 0.0)) + PAUSE_SECONDS:
                return Unchanged()
            flight = self._flights[digest] = asyncio.get_running_loop().create_future()
            self._spawn(self._fly(session, value, digest, now, flight), "renew a session")
        try:
            return await asyncio.wait_for(asyncio.shield(flight), WAIT_SECONDS)
        except TimeoutError:
            return Unchanged()

    async def _fly(
        self, session: Session, value: bytes, digest: bytes, now: float, flight: asyncio.Future[Outcome]
    ) -> None:
        outcome: Outcome = Unchanged()
        try:
            outcome = await self._asked(session, value, digest, now)
        finally:
            del self._flights[digest]
            flight.set_result(outcome)

    async def _asked(self, session: Session, value: bytes, digest: bytes, now: float) -> Outcome:
        identity = session.identity
        try:
            said = await self._provider.renew(value, identity.subject, now)
            if not _is_same(session, said):
                self._counts.renewals["mismatch"] += 1
                _remember(self._refused_at, digest, now - GRACE_SECONDS)
                await self._revoke(own_handle(session.id))
                return Ended("the provider answered about somebody else")
            renewed = self._renewed(session, said, now)
            self._counts.renewals["renewed"] += 1
            _remember(self._answers, session.id, renewed)
            if said.kept != value:
                _remember(self._answered_digests, digest, None)
            if _says_otherwise(renewed.session.session.identity, session.identity):
                # Whoever still has the token from before keeps none of the groups that it names.
                await self._revoke(SUPERSEDED + own_handle(session.id), int(now))
            return renewed
        except RenewalRefused as error:
            _log.info("session.renewal_refused session=%s %s", own_handle(session.id), error.detail)
            self._counts.renewals["refused"] += 1
            _remember(self._refused_at, digest, now)
            return Unchanged()
        except LoginError as error:
            if isinstance(error, IdpUnavailable):
                self._unavailable_at = now
            self._counts.renewals[error.code] += 1
            _remember(self._failed_at, session.id, now)
            _log.warning("session.renewal_failed code=%s %s", error.code, error.detail)
            return Unchanged()

    async def _revoke(self, handle: str, at: int | None = None) -> None:
        """What the provider has said holds at the other instances too, though they have not asked it."""
        if self._revocations is None or (at is None and handle in self._revocations.revoked):
            return
        try:
            await self._revocations.revoke((handle,), at)
        except RevocationOff:
            return  # each instance asks for itself
        except OSError as error:
            _log.error("revocation.not_stored %s", error.strerror)

    def _renewed(self, session: Session, said: Authentication, now: float) -> Renewed:
        enclosed = kept.enclosed(self._ring, session.id, said.kept)
        if enclosed is None:
            _log.warning("session.kept_too_large session=%s it will not be renewed again", own_handle(session.id))
            said = replace(said, is_renewable=False)
        identity = session.identity
        if not said.keeps_identity:
            identity = replace(identity_from(said, self._rules), authenticated_at=identity.authenticated_at)
        renewed = self._sessions.renewed(session, identity, said, now)
        return Renewed(self._sessions.known(renewed), self._sessions.seal(renewed), enclosed or "")

    def _answered(self, session: Session, digest: bytes) -> Renewed | None:
        """The newest answer about this session, to whoever has not got it yet."""
        answer = self._answers.get(session.id)
        if answer is None:
            return None
        is_newer = answer.session.session.checked_at > session.checked_at
        return answer if is_newer or digest in self._answered_digests else None


def _digest(session: Session, value: bytes) -> bytes:
    return hashlib.sha256(session.id.encode() + b"\0" + value).digest()


def _is_same(session: Session, said: Authentication) -> bool:
    identity = session.identity
    return (said.issuer, said.subject) == (identity.issuer, identity.subject)


def _says_otherwise(identity: Identity, before: Identity) -> bool:
    return set(identity.groups) != set(before.groups) or dict(identity.attributes) != dict(before.attributes)


def _remember(table: dict[Any, T], key: Any, value: T) -> None:
    table.pop(key, None)
    if len(table) >= REMEMBERED_LIMIT:
        del table[next(iter(table))]
    table[key] = value
