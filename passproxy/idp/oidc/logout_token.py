"""
Judging a logout token (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6).

Whatever bytes come in, out comes which sessions the configured issuer says are over, just now, to
this client; or a `LogoutTokenRefused`. An ID token or any other token of the same issuer is none.
Pure: keys and time are arguments. That a token is used once is the caller's to see to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from passproxy.core.errors import IdpUnavailable, LoginError
from passproxy.idp.oidc.errors import LogoutTokenRefused, SignatureRefused
from passproxy.idp.oidc.id_token import (
    Expected,
    check_audience,
    check_issuer,
    check_not_ahead,
    time_of,
    verified_token,
)
from passproxy.idp.oidc.jwks import KeySet

#: Back-Channel Logout 2.4 recommends two minutes at most, and providers grant exactly that.
LIFETIME_LIMIT_SECONDS = 120

#: RFC 8725 3.11: explicitly typed, so that no other token is taken for one.
TYPE = "LOGOUT+JWT"

_EVENT = "http://schemas.openid.net/event/backchannel-logout"

#: Longest jti, sid or sub; real ones have up to a hundred characters (Core 2: sub has 255 at most).
_NAME_LIMIT_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Logout:
    """What a logout token says. `until` is when it would be refused for its age."""

    token_id: str
    issued_at: int
    until: int
    handles: tuple[str, ...]


def verified_logout(token: str, keys: KeySet, expected: Expected, now: float) -> Logout:
    """
    The sessions that are over.

    Raises:
        SignatureRefused: perhaps the key is newer than these; newer keys may help.
        LogoutTokenRefused: for any other reason.
    """
    try:
        claims = verified_token(token, keys, expected, TYPE)
        check_issuer(claims, expected)
        check_audience(claims, expected)
        return _logout(claims, expected, now)
    except (SignatureRefused, IdpUnavailable, LogoutTokenRefused):
        raise
    except LoginError as error:
        raise LogoutTokenRefused(f"{error.code} {error.detail}") from None


def _logout(claims: Mapping[str, Any], expected: Expected, now: float) -> Logout:
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict):
        raise LogoutTokenRefused("it says nothing of a logout")
    if "nonce" in claims:
        # 2.4: prohibited, so that an ID token is never one.
        raise LogoutTokenRefused("it has a nonce")
    issued_at, expires_at = time_of(claims, "iat"), time_of(claims, "exp")
    until = expires_at + expected.leeway_seconds
    if until <= now:
        raise LogoutTokenRefused(f"expired at {expires_at}, here it is {now:.0f}")
    if expires_at - issued_at > LIFETIME_LIMIT_SECONDS:
        raise LogoutTokenRefused(f"valid for {expires_at - issued_at} seconds")
    check_not_ahead(claims, ("iat", "nbf"), expected, now)
    named = {name: _name(claims, name) for name in ("jti", "sid", "sub")}
    if named["jti"] is None or (named["sid"] is None and named["sub"] is None):
        raise LogoutTokenRefused("it has no jti, or neither sid nor sub")
    # With both, the session of that subject is meant (2.4): others of theirs go on.
    handle = f"sid:{named['sid']}" if named["sid"] is not None else f"sub:{named['sub']}"
    return Logout(named["jti"], issued_at, until, (handle,))


def _name(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if name not in claims:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _NAME_LIMIT_CHARACTERS:
        raise LogoutTokenRefused(f"{name} is no name")
    return value
