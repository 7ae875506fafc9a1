"""
Judging an ID token (OpenID Connect Core 3.1.3.7, RFC 8725).

Whatever bytes come in, out come the claims of a token that the configured
issuer made for this client, for this very login, just now; or a `LoginError`.
No algorithm, key or URL is taken from the token itself. A signed userinfo answer is
judged by the same keys, issuer and audience. Pure: keys and time are arguments. Fetching newer keys, and what the claims mean, is not its business.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jwt.api_jws import PyJWS

from passproxy.idp.oidc.errors import (
    AlgorithmRefused,
    AudienceRefused,
    AuthenticationOld,
    AuthenticationWeak,
    ClaimsRefused,
    IdTokenMalformed,
    IssuerRefused,
    NonceRefused,
    SignatureRefused,
    TimeRefused,
    quoted,
)
from passproxy.idp.oidc.json_object import JsonRefused, json_object
from passproxy.idp.oidc.jwks import ALGORITHMS, KeySet

#: Five thousand group names fit; anything larger could not become a session anyway.
ID_TOKEN_LIMIT_BYTES = 256 * 1024

#: A token that answers a request is fresh; older ones were made for another occasion.
AGE_LIMIT_SECONDS = 600

#: Providers let ID tokens live for minutes to some weeks. Beyond a year it is
#: a mistake, or meant to be kept.
LIFETIME_LIMIT_SECONDS = 366 * 86400

#: In upper case, since the standard's own spelling varies.
ID_TOKEN_TYPE = "JWT"  # noqa: S105 - the name of a type

#: The year 5138. What is above has counted milliseconds, or wants to make numbers overflow.
TIME_LIMIT_SECONDS = 10**11

_JWS = PyJWS(algorithms=sorted(ALGORITHMS), options={"enforce_minimum_key_length": True})

# Header members that would change how the rest is to be read (RFC 7515 4.1.11,
# RFC 7797, RFC 7516). None is supported, so none may be there.
_UNSUPPORTED_MEMBERS = ("crit", "b64", "zip", "enc")


@dataclass(frozen=True, slots=True)
class Expected:
    """
    What the token must say. `audiences` are accepted beside `client_id`, never instead.

    No `nonce` where no login was asked for: at a renewal it is absent, or that of the login, which
    nobody remembers (Core 12.2). One of `acr_values` must be there if there are any, and with
    `max_age` an authentication that is not older, in seconds.
    """

    issuer: str
    client_id: str
    nonce: str | None
    audiences: frozenset[str] = frozenset()
    leeway_seconds: int = 60
    algorithms: frozenset[str] = ALGORITHMS
    acr_values: tuple[str, ...] = ()
    max_age: int | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What of a token's header is used."""

    algorithm: str
    kid: str | None


def verified_claims(
    id_token: str, keys: KeySet, expected: Expected, now: float, bound: Mapping[str, str | None]
) -> dict[str, Any]:
    """
    The claims, after every check.

    `bound` are the values whose hashes the token may carry: `at_hash` for the
    access token, `c_hash` for the code.

    Raises:
        SignatureRefused: also when the key is unknown; newer keys may help.
        LoginError: for any other reason.
    """
    header, claims = _verified(id_token, keys, expected, ID_TOKEN_TYPE)
    check_issuer(claims, expected)
    check_audience(claims, expected)
    _check_purpose(claims)
    _check_nonce(claims, expected)
    _check_times(claims, expected, now)
    check_subject(claims)
    _check_authentication(claims, expected, now)
    for name, value in bound.items():
        _check_hash(claims, name, value, header.algorithm)
    return claims


def verified_userinfo(token: str, keys: KeySet, expected: Expected, now: float) -> dict[str, Any]:
    """
    The claims of a signed userinfo answer (Core 5.3.2), which needs no nonce and may lack all times.

    The subject is the caller's to compare.

    Raises:
        SignatureRefused: also when the key is unknown; newer keys may help.
        LoginError: for any other reason.
    """
    claims = verified_token(token, keys, expected, ID_TOKEN_TYPE)
    check_issuer(claims, expected)
    check_audience(claims, expected)
    _check_purpose(claims)
    if "exp" in claims and time_of(claims, "exp") + expected.leeway_seconds <= now:
        raise TimeRefused(f"expired at {claims['exp']}, here it is {now:.0f}")
    check_not_ahead(claims, ("iat", "nbf"), expected, now)
    return claims


def verified_token(token: str, keys: KeySet, expected: Expected, typ: str) -> dict[str, Any]:
    """
    The claims of a token of this type whose signature holds; none of them is judged.

    Raises:
        SignatureRefused: also when the key is unknown; newer keys may help.
        LoginError: it is another type of token, or none.
    """
    return _verified(token, keys, expected, typ)[1]


def _verified(id_token: str, keys: KeySet, expected: Expected, typ: str) -> tuple[Header, dict[str, Any]]:
    header = _header(_segments(id_token)[0], expected.algorithms, (typ,))
    return header, signed_claims(id_token, header, keys)


def unverified(token: str, algorithms: frozenset[str], types: tuple[str, ...]) -> tuple[Header, dict[str, Any]]:
    """
    Header and claims of a token of one of these types, written in upper case; nobody knows yet who wrote them.

    Raises:
        LoginError: it is no token that could be one of these.
    """
    header, payload, _ = _segments(token)
    return _header(header, algorithms, types), _object(payload, "claims")


def signed_claims(token: str, header: Header, keys: KeySet) -> dict[str, Any]:
    """
    The claims of a token whose signature holds; `header` is its own, and was judged.

    Raises:
        SignatureRefused: also when the key is unknown; newer keys may help.
        IdTokenMalformed: what was signed are no claims.
    """
    candidates = keys.candidates(header.kid, header.algorithm)
    if not candidates:
        raise SignatureRefused(f"no published key has the id {quoted(header.kid)} and fits {header.algorithm}")
    for key in candidates:
        try:
            complete = _JWS.decode_complete(token, key.public, algorithms=[header.algorithm])
        except Exception:  # noqa: S112 - PyJWT also lets TypeError, ValueError and cryptography's own out
            continue
        return _object(complete["payload"], "claims")
    raise SignatureRefused(f"the signature ({header.algorithm}, key {quoted(header.kid)}) does not verify")


def _segments(id_token: str) -> tuple[bytes, bytes, bytes]:
    if len(id_token) > ID_TOKEN_LIMIT_BYTES or not id_token.isascii():
        raise IdTokenMalformed("too long, or not ASCII")
    pieces = id_token.split(".")
    if len(pieces) == 5:
        raise IdTokenMalformed("the ID token is encrypted, which is not supported")
    if len(pieces) != 3:
        raise IdTokenMalformed(f"{len(pieces)} parts instead of 3")
    header, payload, signature = (_decoded(piece) for piece in pieces)
    return header, payload, signature


def _decoded(piece: str) -> bytes:
    try:
        decoded = base64.urlsafe_b64decode(piece + "=" * (-len(piece) % 4))
    except (binascii.Error, ValueError):
        raise IdTokenMalformed("not base64url") from None
    # One spelling only: Python skips foreign letters and ignores stray bits.
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != piece:
        raise IdTokenMalformed("not the plain form of base64url")
    return decoded


def _object(document: bytes, what: str) -> dict[str, Any]:
    try:
        return json_object(document)
    except JsonRefused as error:
        raise IdTokenMalformed(f"{what}: {error}") from None


def _header(document: bytes, algorithms: frozenset[str], types: tuple[str, ...]) -> Header:
    members = _object(document, "header")
    algorithm, kid = members.get("alg"), members.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms & ALGORITHMS:
        raise AlgorithmRefused(f"signed with {quoted(algorithm)}")
    if "kid" in members and not isinstance(kid, str):
        raise IdTokenMalformed("the key id is not text")
    if found := [name for name in _UNSUPPORTED_MEMBERS if name in members]:
        raise IdTokenMalformed(f"header member {found[0]} is not supported")
    # RFC 8725 3.11: an access token (at+jwt) or logout token (logout+jwt) is signed by the same key.
    # Only an ID token may leave it out.
    typ = members.get("typ", ID_TOKEN_TYPE)
    if not isinstance(typ, str) or typ.upper() not in types:
        raise IdTokenMalformed(f"the token is of type {quoted(typ)}")
    return Header(algorithm, kid)


def check_issuer(claims: Mapping[str, Any], expected: Expected) -> None:
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer != expected.issuer:
        raise IssuerRefused(f"the token is from {quoted(issuer)}, expected {quoted(expected.issuer)}")


def check_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    aud, azp = claims.get("aud"), claims.get("azp")
    named = [aud] if isinstance(aud, str) else aud
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise AudienceRefused("aud is missing, or neither text nor a list of texts")
    if expected.client_id not in named:
        raise AudienceRefused(f"the token is for {quoted(' '.join(named))}")
    others = set(named) - {expected.client_id}
    if foreign := others - expected.audiences:
        raise AudienceRefused(f"the token is also for {quoted(' '.join(sorted(foreign)))}")
    if ("azp" in claims or others) and azp != expected.client_id:
        raise AudienceRefused(f"the token was issued to {quoted(azp)} (azp)")


def _check_purpose(claims: Mapping[str, Any]) -> None:
    # Back-Channel Logout 2.4: what has `events` says that a session ended.
    if "events" in claims:
        raise IdTokenMalformed("a logout token or security event instead of an ID token")


def _check_nonce(claims: Mapping[str, Any], expected: Expected) -> None:
    nonce = claims.get("nonce")
    if expected.nonce is None:
        return
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise NonceRefused("the nonce is " + ("another one" if "nonce" in claims else "missing"))


def _check_times(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    leeway = expected.leeway_seconds
    issued, expires = time_of(claims, "iat"), time_of(claims, "exp")
    if expires + leeway <= now:
        raise TimeRefused(f"expired at {expires}, here it is {now:.0f}")
    if expires - issued > LIFETIME_LIMIT_SECONDS:
        raise TimeRefused(f"valid from {issued} until {expires}, longer than anybody issues tokens for")
    if issued - leeway > now:
        raise TimeRefused(f"issued at {issued}, here it is only {now:.0f}")
    if now - issued > AGE_LIMIT_SECONDS + leeway:
        raise TimeRefused(f"issued at {issued}, here it is {now:.0f}: too long ago")
    check_not_ahead(claims, ("nbf", "auth_time"), expected, now)


def check_not_ahead(claims: Mapping[str, Any], names: tuple[str, ...], expected: Expected, now: float) -> None:
    for name in names:
        if name in claims and time_of(claims, name) - expected.leeway_seconds > now:
            raise TimeRefused(f"{name} is {claims[name]}, here it is only {now:.0f}")


def time_of(claims: Mapping[str, Any], name: str) -> int:
    # A bool is an int to Python, and 1e300 or "1700000000" compare in surprising ways.
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < TIME_LIMIT_SECONDS:
        raise ClaimsRefused(f"{name} is " + ("not a whole number of seconds" if name in claims else "missing"))
    return value


def check_subject(claims: Mapping[str, Any]) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject.strip():
        raise ClaimsRefused("sub is missing, empty or not text")


def _check_authentication(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    """How and when somebody authenticated, where that was asked for (Core 3.1.2.1 and 2)."""
    acr = claims.get("acr")
    if expected.acr_values and acr not in expected.acr_values:
        raise AuthenticationWeak(f"acr is {quoted(acr)}")
    if expected.max_age is not None:
        age = now - time_of(claims, "auth_time")
        if age > expected.max_age + expected.leeway_seconds:
            raise AuthenticationOld(f"authenticated {age:.0f} seconds ago, at most {expected.max_age} were asked for")


def _check_hash(claims: Mapping[str, Any], name: str, value: str | None, algorithm: str) -> None:
    if name not in claims:
        return
    # Core 3.1.3.6: the left half of the digest that belongs to the algorithm (Ed25519 uses SHA-512).
    digest = hashlib.new("sha512" if algorithm == "EdDSA" else f"sha{algorithm[2:]}", (value or "").encode()).digest()
    computed = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    found = claims[name]
    if value is None or not isinstance(found, str) or not hmac.compare_digest(found.encode(), computed):
        raise ClaimsRefused(f"{name} does not belong to what came with it")
