"""
From the bytes of an assertion to an identity, or to the reason why not.

The order is: shape, algorithm and type by fixed lists; then the key; then the
signature; then issuer, audience and times. Nothing that the token says about
itself chooses a key (`jwk`, `jku`, `x5c`, `x5u` are not read), and no claim is
looked at before the signature holds. Where the assertion stood in the request
is headers.py's business.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import jwt

from passproxy.trusted.errors import (
    AlgorithmRefused,
    AssertionEarly,
    AssertionExpired,
    AssertionMalformed,
    AudienceWrong,
    ClaimWrong,
    IssuerWrong,
    LifetimeTooLong,
    SignatureWrong,
    TypeRefused,
)
from passproxy.trusted.identity import Identity, identity_from
from passproxy.trusted.jwk import PublicKey
from passproxy.trusted.keys import KeySet
from passproxy.trusted.settings import Settings

#: Servers refuse header lines above 8 to 64 KiB; an assertion with 200 groups has about 10 KiB.
ASSERTION_LIMIT_BYTES = 16 * 1024

#: The JOSE header names an algorithm, a type and a key.
HEADER_LIMIT_CHARACTERS = 2048

#: Far beyond any real time, and well within what a number can hold exactly.
TIME_LIMIT = 2**40

#: Which algorithm may be used is said with each call.
_JWS = jwt.PyJWS()

_SEGMENTS = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\Z")


@dataclass(frozen=True, slots=True)
class Unverified:
    """An assertion whose shape, algorithm and type may be; nothing in it is believed yet."""

    algorithm: str
    kid: str | None
    token: bytes = field(repr=False)


class Verifier:
    """The rules of one installation. `clock` gives seconds since the epoch."""

    def __init__(
        self, settings: Settings, keys: KeySet | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.keys = keys or KeySet(settings.jwks_url)
        self._clock = clock

    def verify(self, token: bytes) -> Identity:
        """
        The identity in an assertion. May wait for the keys, so that it belongs into a thread.

        Raises:
            AssertionRefused: it is not to be believed; the subclass says why.
            KeysUnavailable: it cannot be judged.
        """
        unverified = self.parsed(token)
        return self.judged(unverified, self.keys.get(unverified.kid, unverified.algorithm))

    def parsed(self, token: bytes) -> Unverified:
        """
        The first part of `verify`: what is needed to look for the key.

        Raises:
            AssertionMalformed, AlgorithmRefused, TypeRefused
        """
        preset = self.settings.preset
        return parsed(token, preset.algorithms, preset.types)

    def judged(self, unverified: Unverified, key: PublicKey) -> Identity:
        """
        The second part of `verify`, with the key.

        Raises:
            AssertionRefused
        """
        settings = self.settings
        claims = signed_claims(unverified, key)
        _check_issuer(claims, settings.issuer)
        _check_audience(claims, settings.audiences, settings.preset.takes_other_audiences)
        expires_at = check_times(claims, self._clock(), settings.leeway_seconds, settings.preset.lifetime_limit_seconds)
        return identity_from(claims, settings.preset.claims, expires_at)


def parsed(token: bytes, algorithms: frozenset[str], types: frozenset[str]) -> Unverified:
    """
    Read the JOSE header. `types` are in lower case; "" allows a token without one.

    Raises:
        AssertionMalformed, AlgorithmRefused, TypeRefused
    """
    if len(token) > ASSERTION_LIMIT_BYTES:
        raise AssertionMalformed(f"more than {ASSERTION_LIMIT_BYTES} bytes")
    segments = _SEGMENTS.match(token)
    if not segments or len(segments[1]) > HEADER_LIMIT_CHARACTERS:
        raise AssertionMalformed("not three segments of base64url")
    # The signature covers the text of the other two; its own text could be varied.
    if base64.urlsafe_b64encode(_decoded(segments[3])).rstrip(b"=") != segments[3]:
        raise AssertionMalformed("the signature is not in canonical base64url")
    header = json_object(_decoded(segments[1]))
    # An extension that must be understood, and none is (RFC 7515, 4.1.11; RFC 7797).
    if "crit" in header or "b64" in header:
        raise AssertionMalformed("the header has an extension")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise AlgorithmRefused(f"algorithm {str(algorithm)[:32]!a}; accepted: {' '.join(sorted(algorithms))}")
    if not isinstance(kind, str) or kind.lower() not in types:
        raise TypeRefused(f"type {str(kind)[:64]!a}")
    if kid is not None and not isinstance(kid, str):
        raise AssertionMalformed("the kid is not a string")
    return Unverified(algorithm, kid, token)


def signed_claims(unverified: Unverified, key: PublicKey) -> dict[str, Any]:
    """
    The claims, once the signature holds. None of them has been checked.

    Raises:
        SignatureWrong, AssertionMalformed
    """
    try:
        payload = _JWS.decode_complete(unverified.token, key=key.material, algorithms=[unverified.algorithm])["payload"]
    except jwt.InvalidTokenError:
        raise SignatureWrong(f"the key {key.thumbprint} did not sign it") from None
    return json_object(payload)


def check_times(claims: dict[str, Any], now: float, leeway: float, lifetime_limit: float) -> int:
    """
    `iat` and `exp`, which must be there, and `nbf`; returns `exp`.

    Raises:
        ClaimWrong, AssertionExpired, AssertionEarly, LifetimeTooLong
    """
    issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
    not_before = _time(claims, "nbf") if "nbf" in claims else issued_at
    if expires_at <= now - leeway:
        raise AssertionExpired(f"expired {now - expires_at:.0f} seconds ago")
    early = max(issued_at, not_before) - now
    if early > leeway:
        raise AssertionEarly(f"valid in {early:.0f} seconds; compare the clocks")
    if expires_at - issued_at > lifetime_limit:
        raise LifetimeTooLong(f"lives {expires_at - issued_at:.0f} seconds; at most {lifetime_limit:.0f} are accepted")
    return int(expires_at)


def json_object(document: bytes) -> dict[str, Any]:
    """
    A JSON object without repeated members, which two readers would read differently (RFC 8259, 4).

    Raises:
        AssertionMalformed
    """
    try:
        found = json.loads(document.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise AssertionMalformed("not a JSON object, or one with repeated members") from None
    if not isinstance(found, dict):
        raise AssertionMalformed("not a JSON object")
    return found


def _check_issuer(claims: dict[str, Any], issuer: str) -> None:
    if claims.get("iss") != issuer:
        raise IssuerWrong(f"issuer {str(claims.get('iss'))[:200]!a}, configured is {issuer!a}")


def _check_audience(claims: dict[str, Any], expected: tuple[str, ...], takes_others: bool) -> None:
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        raise AudienceWrong("there is no audience")
    fitting = any(one in expected for one in named) if takes_others else all(one in expected for one in named)
    if not fitting:
        raise AudienceWrong(f"audience {str(audience)[:200]!a}, configured is {', '.join(expected)!a}")


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < TIME_LIMIT:
        raise ClaimWrong(f"{name} is not a time")
    return value


def _decoded(segment: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except ValueError:
        raise AssertionMalformed("not base64url") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated member")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
