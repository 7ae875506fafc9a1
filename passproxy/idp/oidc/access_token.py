"""
Judging an access token that a program brings (RFC 9068, RFC 8725, RFC 7519).

Whatever bytes come in, out comes what a token says that the trusted issuer made for this application, and that
holds now; or a refusal. Everything that costs nothing is checked before the signature, and before a key that is
missing is reported: nobody makes us ask an issuer for keys with a token that could not hold anyway.
Pure: keys and time are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passproxy.core.errors import BearerKeysMissing, BearerOutOfScope, BearerRefused, LoginError
from passproxy.core.identity import Authentication
from passproxy.core.trust import Trust, Vouched
from passproxy.idp.oidc.claims import OF_THE_TOKEN, attributes_from, values_of
from passproxy.idp.oidc.errors import (
    AudienceRefused,
    ClaimsRefused,
    IdTokenMalformed,
    IssuerRefused,
    SignatureRefused,
    TimeRefused,
    quoted,
)
from passproxy.idp.oidc.id_token import Header, check_subject, signed_claims, time_of, unverified
from passproxy.idp.oidc.jwks import KeySet

#: Real key ids are thumbprints or dates.
KID_LIMIT_CHARACTERS = 255

# In these an ID token answers one login (OpenID Connect Core 2 and 3.3.2.11), which no access token does.
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")

# RFC 6749 3.3, RFC 8693 4.2: one text, with a space between the values.
_SPACED = frozenset({"scope", "scp"})


def vouched(token: str, keys: KeySet | None, trust: Trust, now: float) -> Vouched:
    """
    What a token says.

    Raises:
        BearerKeysMissing: no key is known that could have made its signature; newer keys may help.
        BearerRefused: it does not hold.
        BearerOutOfScope: it does, and does not say what is required.
    """
    try:
        header, claims = _plausible(token, trust, now)
        if keys is None or not keys.candidates(header.kid, header.algorithm):
            raise BearerKeysMissing(f"{trust.name}: no key {quoted(header.kid)} for {header.algorithm} is known")
        claims = _signed(token, header, keys, trust)
        authentication = _authentication(claims, trust)
    except LoginError as error:
        raise BearerRefused(f"{trust.name}: {error.code} {error.detail}") from None
    if missing := next((name for name in trust.required if not _has(claims, name, trust.required[name])), None):
        raise BearerOutOfScope(f"issuer {trust.name}: the claim {missing} has none of the required values")
    return Vouched(authentication, time_of(claims, "iat"), time_of(claims, "exp"), keys)


def _plausible(token: str, trust: Trust, now: float) -> tuple[Header, dict[str, Any]]:
    """All that can be said without a key; nothing of it is believed yet."""
    header, claims = unverified(token, trust.algorithms, _types(trust))
    if header.kid is not None and not 0 < len(header.kid) <= KID_LIMIT_CHARACTERS:
        raise IdTokenMalformed("the key id is empty or longer than any")
    if claims.get("iss") != trust.issuer:
        raise IssuerRefused(f"the token is from {quoted(claims.get('iss'))}")
    _check_audience(claims, trust)
    _check_times(claims, trust, now)
    _check_purpose(claims, trust)
    check_subject(claims)
    return header, claims


def _signed(token: str, header: Header, keys: KeySet, trust: Trust) -> dict[str, Any]:
    try:
        return signed_claims(token, header, keys)
    except SignatureRefused as error:
        if header.kid is None:
            # Which key it should have been, nobody can say: perhaps one that is newer than these.
            raise BearerKeysMissing(f"{trust.name}: {error.detail}") from None
        raise


def _types(trust: Trust) -> tuple[str, ...]:
    # RFC 7515 4.1.9: "application/" may be left out.
    return tuple(written for typ in trust.types for written in (typ.upper(), f"APPLICATION/{typ.upper()}"))


def _check_audience(claims: Mapping[str, Any], trust: Trust) -> None:
    aud = claims.get("aud")
    named = [aud] if isinstance(aud, str) else aud
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise AudienceRefused("aud is missing, or neither text nor a list of texts")
    if not set(named) & set(trust.audiences):
        raise AudienceRefused(f"the token is for {quoted(' '.join(named))}")


def _check_times(claims: Mapping[str, Any], trust: Trust, now: float) -> None:
    issued, expires = time_of(claims, "iat"), time_of(claims, "exp")
    if expires <= now:
        raise TimeRefused(f"expired at {expires}, here it is {now:.0f}")
    if expires - issued > trust.lifetime_limit_seconds:
        raise TimeRefused(f"valid for {expires - issued} seconds, at most {trust.lifetime_limit_seconds} are accepted")
    for name in ("iat", "nbf", "auth_time"):
        if name in claims and time_of(claims, name) - trust.leeway_seconds > now:
            raise TimeRefused(f"{name} is {claims[name]}, here it is only {now:.0f}")


def _check_purpose(claims: Mapping[str, Any], trust: Trust) -> None:
    if "events" in claims:
        raise IdTokenMalformed("a logout token or security event")
    if "cnf" in claims:
        # RFC 7800: worth something only together with a key, of which a bearer shows nothing.
        raise IdTokenMalformed("the token is bound to a key")
    is_id_token = claims.get("typ") == "ID" or any(name in claims for name in _OF_ID_TOKENS)
    if is_id_token and not trust.takes_id_tokens:
        raise IdTokenMalformed("an ID token, which answers a login")


def _authentication(claims: Mapping[str, Any], trust: Trust) -> Authentication:
    attributes = attributes_from(claims, {}, allow_unverified_email=False)
    for ours, names in trust.claims.items():
        for name in names:
            found = claim_at(claims, name)
            if ours == "groups" and not _is_list(found):
                raise ClaimsRefused(f"claim {quoted(name)} is neither text nor a list of texts")
            # What is a claim of the person has been judged already; an e-mail may be unverified.
            is_new = name not in claims or name in OF_THE_TOKEN
            if is_new and (values := values_of(found)):
                attributes[name] = values
    return Authentication(
        trust.issuer,
        claims["sub"],
        attributes,
        authenticated_at=claims.get("auth_time") or claims["iat"],
    )


def _is_list(value: Any) -> bool:
    return (
        value is None or isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
    )


def claim_at(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by the names on the way to it with dots between them: `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _has(claims: Mapping[str, Any], name: str, wanted: tuple[str, ...]) -> bool:
    value = claim_at(claims, name)
    values = value.split(" ") if name in _SPACED and isinstance(value, str) else values_of(value)
    return not set(wanted).isdisjoint(values)
