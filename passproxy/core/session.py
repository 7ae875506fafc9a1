"""
The session: a sealed, expiring identity.

`Sessions` seals them, opens them again and remembers what it opened, so that
the signature of a token is paid for once and not on every request. A remembered
session holds its identity header lines ready. Whatever is wrong with a token
ends in `TokenInvalid`, which everybody treats as no session.

A session keeps its id, its beginning and its end however often it is renewed:
no activity makes it outlive its lifetime. Renewing and revoking are others'
business (idp/renewal.py, idp/revocation.py); here is when a renewal is due, and
that what was revoked opens no more.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from passproxy.core.cookies import SESSION_PARTS_LIMIT, VALUE_LIMIT_BYTES
from passproxy.core.errors import IdentityTooLarge, IdentityUnsafe, TokenInvalid
from passproxy.core.handles import (
    EVERY_SESSION,
    HANDLE_BYTES,
    HANDLE_CHARACTERS,
    SUPERSEDED,
    handle_of,
    own_handle,
    packed,
    subject_handle,
    unpacked,
)
from passproxy.core.identity import Authentication, Identity
from passproxy.core.policy import DOMAIN_BIT
from passproxy.core.session_claims import Session, claims_of, largest_part, session_from
from passproxy.core.tokens import KeyRing, Purpose

#: Sessions remembered, which saves a signature check; one takes some 400 bytes beside its header lines.
#: As many are only in use at once where memory for them is no question.
REMEMBERED_LIMIT = 100_000

#: What was not asked for during one such period is forgotten at the end of the next: a renewal makes
#: a new token every few minutes, and the one before is of no use to anybody.
REMEMBERED_SECONDS = 10 * 60

#: Of a token's SHA-256, by which its session is remembered. Only tokens of ours get there, so what is
#: hard is to find a second one for a digest; and 15 bytes are the most that CPython keeps in 48.
_DIGEST_BYTES = 15

#: Sessions that are found by the token itself, which is quicker: those of the last few pages. It is compared
#: byte for byte, so nothing else finds them.
LATEST_LIMIT = 128

#: Two characters of each part say how many there are.
TOKEN_BUDGET_BYTES = SESSION_PARTS_LIMIT * (VALUE_LIMIT_BYTES - 2)

#: Why a token is none any more.
REVOKED = "revoked"

#: Why one is none that says what is no longer so. The browser has a newer one by now, or is about to get it, and must not lose it.
SAID_SINCE = "the provider has said something else since"

#: Until a renewal that is never due; a number, so that the time of the last one can be told from it.
_NEVER_SECONDS = 10**11

#: Of the time at which a session began, in front of its handles.
_BEGINNING_BYTES = 5


class Known(NamedTuple):
    """
    What each request of a session needs: until when it lasts, its identity headers as bytes, when it is to be renewed.

    Most requests need no more, and a hundred thousand of these are remembered: the rest is read
    again from the token, which its cookie brings anyway (`holding`). `revocable_by` packs when it began and
    its handles, which only a revocation asks for; `granted` says of each rule whether the session meets it, as
    bits (policy.py).
    """

    held: Session | bytes
    expires_at: int
    lines: bytes
    due_at: float
    granted: int
    revocable_by: bytes
    read: Callable[[bytes, int], Session]

    @property
    def issued_at(self) -> int:
        return int.from_bytes(self.revocable_by[:_BEGINNING_BYTES])

    @property
    def is_permitted(self) -> bool:
        """Whether somebody may use the application at all."""
        return bool(self.granted & DOMAIN_BIT)

    @property
    def session(self) -> Session:
        return self.held if isinstance(self.held, Session) else self.read(self.held, self.issued_at)

    @property
    def handle(self) -> str:
        """The session's own handle, which is its name in the log."""
        return unpacked(self.revocable_by[_BEGINNING_BYTES : _BEGINNING_BYTES + HANDLE_BYTES])

    @property
    def handles(self) -> list[str]:
        """All under which it can be revoked."""
        every = unpacked(self.revocable_by[_BEGINNING_BYTES:])
        return [every[at : at + HANDLE_CHARACTERS] for at in range(0, len(every), HANDLE_CHARACTERS)]

    def holding(self, token: bytes) -> Known:
        """With the token at hand, so that `session` can be asked for."""
        return self._replace(held=token)


@dataclass(frozen=True, slots=True)
class SessionRules:
    """
    What a session is subject to, besides its lifetime.

    `refresh_seconds` None means that none is ever renewed. Sessions that began before `not_before`
    are over. `grants` says what somebody may do, as bits of one number (policy.py), `lines_limit_bytes`
    how much the header lines may say: most servers take 8 KiB of a whole head.
    """

    refresh_seconds: int | None = None
    not_before: int = 0
    grants: Callable[[Identity], int] = lambda identity: DOMAIN_BIT
    lines_limit_bytes: int = 8 * 1024


class Sessions:
    """
    All sessions of one origin. `render` makes the identity header lines.

    `revoked` has handles, and for each the time up to which sessions that have it are over; it may
    change at any time.
    """

    def __init__(
        self,
        ring: KeyRing,
        lifetime_seconds: int,
        render: Callable[[Session], bytes],
        rules: SessionRules = SessionRules(),
        revoked: Mapping[str, int] | None = None,
    ) -> None:
        self._ring = ring
        self._lifetime_seconds = lifetime_seconds
        self._rules = rules
        self._render = render
        self._refresh_seconds = _NEVER_SECONDS if rules.refresh_seconds is None else rules.refresh_seconds
        self._revoked: Mapping[str, int] = {} if revoked is None else revoked
        self._recent: dict[bytes, Known] = {}
        self._older: dict[bytes, Known] = {}
        self._latest: dict[bytes, Known] = {}
        self._period_ends_at = 0.0
        self._reader = self._read  # one for all that are remembered

    def begin(self, identity: Identity, authentication: Authentication, now: float) -> Session:
        """A new session, ending after the configured lifetime or when the provider says, whichever is first."""
        issued_at = int(now)
        expires_at = issued_at + self._lifetime_seconds
        if authentication.expires_at is not None:
            expires_at = min(expires_at, authentication.expires_at)
        session_id = secrets.token_urlsafe(16)
        renewable = authentication.is_renewable and self._rules.refresh_seconds is not None
        own = (own_handle(session_id), subject_handle(identity.subject))
        handles = (*own, *map(handle_of, authentication.handles))
        return Session(session_id, identity, issued_at, expires_at, issued_at if renewable else 0, handles)

    def renewed(self, session: Session, identity: Identity, authentication: Authentication, now: float) -> Session:
        """The same session with what the provider says now; it ends no later than before."""
        expires_at = session.expires_at
        if authentication.expires_at is not None:
            expires_at = min(expires_at, authentication.expires_at)
        checked_at = int(now) if authentication.is_renewable else 0
        return replace(session, identity=identity, expires_at=expires_at, checked_at=checked_at)

    def seal(self, session: Session) -> str:
        """
        The token of a session, compressed when it would not fit one cookie otherwise.

        Raises:
            IdentityTooLarge: it would not fit the cookies, or a header; the detail names the largest part.
            IdentityUnsafe: the application cannot be told.
        """
        identity = session.identity
        said = len(self._render(session))
        if said > self._rules.lines_limit_bytes:
            raise IdentityTooLarge(f"header lines of {said} bytes; {largest_part(identity)}")
        token = self._sealed(session, is_compressed=False)
        if len(token) > VALUE_LIMIT_BYTES:
            token = self._sealed(session, is_compressed=True)
        if len(token) > TOKEN_BUDGET_BYTES:
            raise IdentityTooLarge(f"token of {len(token)} bytes; {largest_part(identity)}")
        return token

    def _sealed(self, session: Session, *, is_compressed: bool) -> str:
        claims = claims_of(session, is_compressed=is_compressed)
        return self._ring.seal(Purpose.SESSION, claims, issued_at=session.issued_at, expires_at=session.expires_at)

    def open(self, token: bytes, now: float) -> Known:
        """
        The session of a token. One that says what is no longer so is due to be renewed.

        Raises:
            TokenInvalid: it is not a valid session of this origin now.
        """
        known = self._latest.get(token)
        if known is None:
            known = self._looked_up(token, now)
            if len(self._latest) >= LATEST_LIMIT:
                self._latest.clear()
            self._latest[token] = known
        if known.expires_at <= now:
            self._forget(token)
            raise TokenInvalid("expired")
        if self._revoked and (why := self._ended(known)) is not None:
            if why is REVOKED:
                raise TokenInvalid(why)
            return known._replace(due_at=0.0)
        return known

    def session(self, token: bytes, now: float) -> Session:
        """All of the session of a token; raises as `open` does."""
        return self.open(token, now).holding(token).session

    def _looked_up(self, token: bytes, now: float) -> Known:
        key = _digest(token)
        known = self._recent.get(key)
        if known is None:
            known = self._older.pop(key, None) or self._opened(token, now)
            self._remember(key, known, now)
        return known

    def _forget(self, token: bytes) -> None:
        self._latest.pop(token, None)
        self._recent.pop(_digest(token), None)

    def _opened(self, token: bytes, now: float) -> Known:
        session = self._read(token, now)
        if session.issued_at < self._rules.not_before:
            raise TokenInvalid("from before session.not_before")
        try:
            known = self.known(session).holding(b"")
        except IdentityUnsafe as error:
            raise TokenInvalid(f"cannot be told to the application: {error.detail}") from None
        if len(known.lines) > self._rules.lines_limit_bytes:
            raise TokenInvalid("from before headers.size_limit")
        return known

    def _remember(self, key: bytes, known: Known, now: float) -> None:
        if now >= self._period_ends_at or len(self._recent) >= REMEMBERED_LIMIT:
            self._recent, self._older = {}, self._recent
            self._period_ends_at = now + REMEMBERED_SECONDS
        self._recent[key] = known

    def _read(self, token: bytes, now: float) -> Session:
        session = session_from(self._ring.unseal(Purpose.SESSION, token, now))
        # The configured lifetime may have been shortened since: the shorter one holds.
        return replace(session, expires_at=min(session.expires_at, session.issued_at + self._lifetime_seconds))

    def known(self, session: Session) -> Known:
        """A session that is valid, ready to be served."""
        due_at = session.checked_at + self._refresh_seconds if session.checked_at else math.inf
        return Known(
            session,
            session.expires_at,
            self._render(session),
            due_at,
            self._rules.grants(session.identity),
            session.issued_at.to_bytes(_BEGINNING_BYTES) + packed(session.handles),
            self._reader,
        )

    def still_holds(self, known: Known) -> bool:
        """Whether a session that was opened once has not been revoked since, by its end or by a new configuration."""
        return known.issued_at >= self._rules.not_before and (not self._revoked or self._ended(known) is None)

    def is_superseded(self, session: Session) -> bool:
        """Whether the provider has said something else about the session since its token was made."""
        return 0 < session.checked_at < self._revoked.get(SUPERSEDED + own_handle(session.id), -1)

    def _ended(self, known: Known) -> str | None:
        """Why a token is not good any more: `REVOKED`, or `SAID_SINCE`; None where it is."""
        revoked, issued_at, handles = self._revoked, known.issued_at, known.handles
        if any(revoked.get(handle, -1) >= issued_at for handle in (*handles, EVERY_SESSION)):
            return REVOKED
        # What cannot be renewed has never been.
        if known.due_at < math.inf and known.due_at < self._refresh_seconds + revoked.get(SUPERSEDED + handles[0], -1):
            return SAID_SINCE
        return None


def _digest(token: bytes) -> bytes:
    """What a session is remembered by: tokens would be the largest part of it."""
    return hashlib.sha256(token).digest()[:_DIGEST_BYTES]
