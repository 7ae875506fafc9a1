"""
The session: a sealed, expiring identity.

`Sessions` seals them, opens them again and remembers what it opened, so that
the signature of a token is paid for once and not on every request. A remembered
session holds its identity header lines ready. Whatever is wrong with a token
ends in `TokenInvalid`, which everybody treats as no session.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from passproxy.core.cookies import COOKIE_LIMIT_BYTES
from passproxy.core.errors import IdentityTooLarge, TokenInvalid
from passproxy.core.identity import ALIASES, Authentication, Identity
from passproxy.core.tokens import KeyRing, Purpose

#: Sessions remembered; one takes about 2 KiB. The oldest is forgotten first, which
#: costs its user one signature check.
REMEMBERED_LIMIT = 20_000

#: Room for the cookie's name and attributes within COOKIE_LIMIT_BYTES.
TOKEN_BUDGET_BYTES = COOKIE_LIMIT_BYTES - 512

#: Of the claims' layout. A token of another version is no session.
VERSION = 1

_ATTRIBUTES = frozenset(ALIASES) - {"groups"} | {"user"}


@dataclass(frozen=True, slots=True)
class Session:
    """An identity with its times, in seconds since the epoch. `id` is random and new with each login."""

    id: str
    identity: Identity
    issued_at: int
    expires_at: int


class Known(NamedTuple):
    """A session that was opened before, and its identity headers as bytes."""

    session: Session
    expires_at: int
    lines: bytes


class Sessions:
    """All sessions of one origin. `render` makes the identity header lines."""

    def __init__(self, ring: KeyRing, lifetime_seconds: int, render: Callable[[Session], bytes]) -> None:
        self._ring = ring
        self._lifetime_seconds = lifetime_seconds
        self._render = render
        self._known: dict[bytes, Known] = {}

    def begin(self, identity: Identity, authentication: Authentication, now: float) -> Session:
        """A new session, ending after the configured lifetime or when the provider says, whichever is first."""
        issued_at = int(now)
        expires_at = issued_at + self._lifetime_seconds
        if authentication.expires_at is not None:
            expires_at = min(expires_at, authentication.expires_at)
        return Session(secrets.token_urlsafe(16), identity, issued_at, expires_at)

    def seal(self, session: Session) -> str:
        """
        The token of a session.

        Raises:
            IdentityTooLarge: it would not fit a cookie; the detail names the largest part.
        """
        identity = session.identity
        claims: dict[str, Any] = {
            "v": VERSION,
            "sid": session.id,
            "sub": identity.subject,
            "idp": identity.issuer,
            "auth_time": identity.authenticated_at,
            "attributes": dict(identity.attributes),
            "groups": list(identity.groups),
        }
        token = self._ring.seal(Purpose.SESSION, claims, issued_at=session.issued_at, expires_at=session.expires_at)
        if len(token) > TOKEN_BUDGET_BYTES:
            sizes = {name: len(value.encode()) for name, value in identity.attributes.items()}
            sizes[f"groups ({len(identity.groups)})"] = sum(len(group.encode()) + 3 for group in identity.groups)
            largest = max(sizes, key=lambda name: sizes[name])
            raise IdentityTooLarge(
                f"token of {len(token)} bytes; the largest part is {largest} with {sizes[largest]} bytes"
            )
        return token

    def open(self, token: bytes, now: float) -> Known:
        """
        The session of a token.

        Raises:
            TokenInvalid: it is not a valid session of this origin now.
        """
        known = self._known.get(token)
        if known is None:
            known = self._opened(token, now)
        if known.expires_at <= now:
            self._known.pop(token, None)
            raise TokenInvalid("expired")
        return known

    def _opened(self, token: bytes, now: float) -> Known:
        session = _session_from(self._ring.unseal(Purpose.SESSION, token, now))
        if session.expires_at - session.issued_at > self._lifetime_seconds:
            # The configured lifetime was shortened since: the shorter one holds.
            session = Session(
                session.id, session.identity, session.issued_at, session.issued_at + self._lifetime_seconds
            )
        known = Known(session, session.expires_at, self._render(session))
        if len(self._known) >= REMEMBERED_LIMIT:
            del self._known[next(iter(self._known))]
        self._known[token] = known
        return known


def _session_from(claims: dict[str, Any]) -> Session:
    """Strict: every claim has its type, none is missing, none is unknown."""
    expected = {"v", "sid", "sub", "idp", "auth_time", "attributes", "groups", "iss", "aud", "iat", "exp"}
    attributes, groups = claims.get("attributes"), claims.get("groups")
    sound = (
        claims.keys() == expected
        and type(claims["v"]) is int
        and claims["v"] == VERSION
        and all(type(claims[name]) is str and claims[name] for name in ("sid", "sub", "idp"))
        and type(claims["auth_time"]) is int
        and isinstance(attributes, dict)
        and "user" in attributes
        and all(name in _ATTRIBUTES and type(value) is str and value for name, value in attributes.items())
        and isinstance(groups, list)
        and all(type(group) is str and group for group in groups)
    )
    if not sound:
        raise TokenInvalid("claims of another layout")
    identity = Identity(
        claims["idp"], claims["sub"], claims["attributes"], tuple(claims["groups"]), claims["auth_time"]
    )
    return Session(claims["sid"], identity, claims["iat"], claims["exp"])
