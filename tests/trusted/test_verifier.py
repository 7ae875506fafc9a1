"""What is believed, and every reason why something is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given as each
from hypothesis import strategies as st

from passproxy.trusted.errors import (
    AlgorithmRefused,
    AssertionEarly,
    AssertionExpired,
    AssertionMalformed,
    AssertionRefused,
    AudienceWrong,
    ClaimWrong,
    IssuerWrong,
    KeyUnknown,
    LifetimeTooLong,
    SignatureWrong,
    TypeRefused,
)
from passproxy.trusted.keys import KeySet
from passproxy.trusted.presets import HOUR_SECONDS
from passproxy.trusted.settings import LEEWAY_SECONDS
from passproxy.trusted.verifier import ASSERTION_LIMIT_BYTES, HEADER_LIMIT_CHARACTERS, TIME_LIMIT, Verifier
from tests.trusted.given import (
    ISSUER,
    NOW,
    TYPE,
    Clock,
    Installation,
    Proxy,
    body,
    examples,
    jwk,
    new_key,
    published,
    settings,
)

OTHER = "https://other.example.com"


def encoded(value: Any) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def test_a_good_assertion_is_an_identity(site: Installation) -> None:
    identity = site.verifier.verify(site.proxy.assertion())
    assert identity.issuer == ISSUER
    assert identity.subject == "b7f3-alice"
    assert (identity.user, identity.email, identity.name) == ("alice", "alice@example.com", "Alice Example")
    assert identity.groups == ("staff", "ops")
    assert identity.roles == ("administrator",)
    assert identity.expires_at == NOW + 60
    assert identity.claims["auth_time"] == NOW - 600


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        pytest.param({"exp": NOW - LEEWAY_SECONDS}, AssertionExpired, id="expired"),
        pytest.param({"nbf": NOW + LEEWAY_SECONDS + 1}, AssertionEarly, id="not yet valid"),
        pytest.param({"iat": NOW + LEEWAY_SECONDS + 1, "nbf": None}, AssertionEarly, id="issued in the future"),
        pytest.param({"exp": NOW + HOUR_SECONDS + 1}, LifetimeTooLong, id="valid for too long"),
        pytest.param({"exp": None}, ClaimWrong, id="without an end"),
        pytest.param({"exp": "9999999999"}, ClaimWrong, id="with an end that is text"),
        pytest.param({"exp": True}, ClaimWrong, id="with an end that is true"),
        pytest.param({"exp": 1e300}, ClaimWrong, id="with an end that is no time"),
        pytest.param({"iat": None}, ClaimWrong, id="without a beginning"),
        pytest.param({"nbf": "soon"}, ClaimWrong, id="with a beginning that is text"),
        pytest.param({"sub": None}, ClaimWrong, id="about nobody"),
        pytest.param({"sub": ""}, ClaimWrong, id="about somebody without a name"),
        pytest.param({"sub": ["alice"]}, ClaimWrong, id="about a list"),
        pytest.param({"iss": OTHER}, IssuerWrong, id="of another issuer"),
        pytest.param({"iss": ISSUER + "/"}, IssuerWrong, id="of almost the issuer"),
        pytest.param({"iss": None}, IssuerWrong, id="of no issuer"),
        pytest.param({"aud": OTHER}, AudienceWrong, id="for another application"),
        pytest.param({"aud": [ISSUER, OTHER]}, AudienceWrong, id="for another application too"),
        pytest.param({"aud": []}, AudienceWrong, id="for an empty list"),
        pytest.param({"aud": {ISSUER: 1}}, AudienceWrong, id="for a mapping"),
        pytest.param({"aud": None}, AudienceWrong, id="for nobody"),
    ],
)
def test_an_assertion_is_refused(site: Installation, changed: dict[str, Any], error: type[AssertionRefused]) -> None:
    token = site.proxy.assertion(**changed) if "iss" not in changed else signed_with_issuer(site.proxy, changed["iss"])
    with pytest.raises(error):
        site.verifier.verify(token)


def signed_with_issuer(proxy: Proxy, issuer: str | None) -> bytes:
    claims = proxy.claims()
    del claims["iss"]
    return proxy.signed(claims if issuer is None else {**claims, "iss": issuer})


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"exp": NOW - LEEWAY_SECONDS + 1}, id="an end just past"),
        pytest.param({"nbf": NOW + LEEWAY_SECONDS}, id="a beginning just ahead"),
        pytest.param({"nbf": None}, id="no nbf"),
        pytest.param({"aud": [ISSUER]}, id="an audience in a list"),
        pytest.param({"exp": NOW + HOUR_SECONDS}, id="the longest lifetime"),
    ],
)
def test_within_the_tolerance_an_assertion_is_believed(site: Installation, changed: dict[str, Any]) -> None:
    assert site.verifier.verify(site.proxy.assertion(**changed)).user == "alice"


def test_an_assertion_ends_with_time(site: Installation) -> None:
    token = site.proxy.assertion()
    site.passes(60 + LEEWAY_SECONDS - 1)
    assert site.verifier.verify(token)
    site.passes(1)
    with pytest.raises(AssertionExpired):
        site.verifier.verify(token)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        pytest.param({"typ": "JWT"}, TypeRefused, id="a plain token"),
        pytest.param({"typ": None}, TypeRefused, id="no type"),
        pytest.param({"typ": "passproxy-trust+jwt"}, TypeRefused, id="the proof of an enrolment"),
        pytest.param({"typ": "pp-session+jwt"}, TypeRefused, id="a session"),
        pytest.param({"kid": "another"}, KeyUnknown, id="an unknown key"),
        pytest.param({"kid": ""}, KeyUnknown, id="an empty kid"),
        pytest.param({"crit": ["exp"]}, AssertionMalformed, id="an extension"),
        pytest.param({"kid": "k" * 3000}, AssertionMalformed, id="a header that is too long"),
    ],
)
def test_a_header_is_refused(site: Installation, headers: dict[str, Any], error: type[AssertionRefused]) -> None:
    with pytest.raises(error):
        site.verifier.verify(site.proxy.assertion(headers))


def test_a_forged_signature_is_refused(site: Installation) -> None:
    forger = Proxy(now=site.wall)
    with pytest.raises(SignatureWrong):
        site.verifier.verify(forger.assertion({"kid": site.proxy.kid}))


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_comes_with_the_assertion_is_not_used(site: Installation, member: str) -> None:
    forger = Proxy(now=site.wall)
    with published(body(forger.jwks())) as elsewhere:
        values = {"jwk": jwk(forger.key), "jku": elsewhere.url, "x5u": elsewhere.url, "x5c": ["MIIB"]}
        token = forger.assertion({member: values[member], "kid": site.proxy.kid})
        with pytest.raises(SignatureWrong):
            site.verifier.verify(token)
        with pytest.raises(KeyUnknown):
            site.verifier.verify(forger.assertion({member: values[member]}))
        assert elsewhere.asked == []


def unsigned(proxy: Proxy) -> bytes:
    header = encoded({"alg": "none", "typ": TYPE, "kid": proxy.kid})
    return b".".join((header, encoded(proxy.claims()), b""))


def unsigned_with_something(proxy: Proxy) -> bytes:
    return unsigned(proxy) + b"AAAA"


def with_the_public_key_as_secret(proxy: Proxy) -> bytes:
    public = proxy.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = encoded({"alg": "HS256", "typ": TYPE, "kid": proxy.kid}) + b"." + encoded(proxy.claims())
    return text + b"." + encoded(hmac.digest(public, text, hashlib.sha256))


def with_rsa(proxy: Proxy) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(proxy.claims(), key, "RS256", headers={"typ": TYPE, "kid": proxy.kid}).encode()


def with_capitals(proxy: Proxy) -> bytes:
    return encoded({"alg": "es256", "typ": TYPE}) + b"." + encoded(proxy.claims()) + b"." + encoded(b"0" * 64)


@pytest.mark.parametrize(
    ("forge", "error"),
    [
        (unsigned, AssertionMalformed),
        (unsigned_with_something, AlgorithmRefused),
        (with_the_public_key_as_secret, AlgorithmRefused),
        (with_rsa, AlgorithmRefused),
        (with_capitals, AlgorithmRefused),
    ],
)
def test_the_token_does_not_choose_its_algorithm(
    site: Installation, forge: Callable[[Proxy], bytes], error: type[AssertionRefused]
) -> None:
    with pytest.raises(error):
        site.verifier.verify(forge(site.proxy))


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"a.b", id="two segments"),
        pytest.param(b"a.b.c.d", id="four segments"),
        pytest.param(b"e30.e30.e30=", id="padding"),
        pytest.param(b"e30.e30.e31", id="bits that say nothing"),
        pytest.param(b"e30.e30.e", id="half a byte"),
        pytest.param(b" e30.e30.e30", id="a space"),
        pytest.param(b"e30.e30.e30\n", id="a line end"),
        pytest.param(b"WzFd.e30.e30", id="a list as header"),
        pytest.param(encoded({"alg": "ES256", "typ": TYPE, "kid": 7}) + b".e30.e30", id="a kid that is a number"),
        pytest.param(encoded(b'{"alg":"ES256","alg":"ES256"}') + b".e30.e30", id="a member twice"),
        pytest.param(encoded(b'{"alg":NaN}') + b".e30.e30", id="not JSON"),
        pytest.param(encoded(b"\xff\xfe{\x00}\x00") + b".e30.e30", id="another encoding"),
        pytest.param(encoded(b"[" * 1500) + b".e30.e30", id="deep nesting"),
        pytest.param(b"e30.e30." + b"A" * ASSERTION_LIMIT_BYTES, id="too large"),
        pytest.param(b"{}", id="JSON"),
        pytest.param(b"\x00\xff", id="bytes"),
    ],
)
def test_what_is_no_token_is_refused(site: Installation, token: bytes) -> None:
    with pytest.raises(AssertionMalformed):
        site.verifier.verify(token)
    assert site.server.asked == []


def test_claims_that_two_readers_would_read_differently_are_refused(site: Installation) -> None:
    claims = json.dumps(site.proxy.claims())[:-1] + ', "sub": "admin"}'
    token = jwt.PyJWS().encode(claims.encode(), site.proxy.key, "ES256", headers={"typ": TYPE, "kid": site.proxy.kid})
    with pytest.raises(AssertionMalformed):
        site.verifier.verify(token.encode())


def test_without_a_kid_there_may_be_only_one_key(site: Installation) -> None:
    token = site.proxy.assertion({"kid": None})
    assert site.verifier.verify(token).user == "alice"
    site.publish(site.proxy.key, new_key())
    with pytest.raises(KeyUnknown):
        Verifier(site.verifier.settings, KeySet(site.server.url), clock=site.wall).verify(token)


def test_the_largest_assertion_is_read(site: Installation) -> None:
    groups = [f"group-{number:04}" for number in range(600)]
    token = site.proxy.assertion(groups=groups)
    assert ASSERTION_LIMIT_BYTES * 0.6 < len(token) < ASSERTION_LIMIT_BYTES
    assert site.verifier.verify(token).groups == tuple(groups)


def test_an_assertion_may_be_as_large_as_the_limit_and_no_larger(site: Installation) -> None:
    """Large ones have no good algorithm, so that it shows how far they came."""
    for size, error in ((ASSERTION_LIMIT_BYTES, AlgorithmRefused), (ASSERTION_LIMIT_BYTES + 1, AssertionMalformed)):
        token = b"e30." + b"A" * (size - 8) + b".e30"
        assert len(token) == size
        with pytest.raises(error):
            site.verifier.verify(token)


def test_a_header_may_be_as_long_as_the_limit_and_no_longer(site: Installation) -> None:
    for size, error in ((HEADER_LIMIT_CHARACTERS, AlgorithmRefused), (HEADER_LIMIT_CHARACTERS + 4, AssertionMalformed)):
        header = encoded(b"{}" + b" " * (size // 4 * 3 - 2))
        assert len(header) == size
        with pytest.raises(error):
            site.verifier.verify(header + b".e30.e30")


@pytest.mark.parametrize(("claim", "value"), [("iat", -1), ("exp", TIME_LIMIT), ("exp", -1), ("nbf", -1)])
def test_a_time_beyond_all_calendars_is_refused(site: Installation, claim: str, value: int) -> None:
    with pytest.raises(ClaimWrong):
        site.verifier.verify(site.proxy.assertion(**{claim: value}))


def test_the_first_second_of_the_epoch_is_a_time(site: Installation) -> None:
    with pytest.raises(AssertionExpired):
        site.verifier.verify(site.proxy.assertion(iat=0, nbf=0, exp=0))
    with pytest.raises(LifetimeTooLong):
        site.verifier.verify(site.proxy.assertion(exp=TIME_LIMIT - 1))


PROXY = Proxy()
TOKEN = PROXY.assertion()
VERIFIER = Verifier(
    settings("https://app.example.com/unused"), KeySet("", fetch=lambda _: PROXY.jwks()), clock=Clock(NOW)
)


@examples(400)
@each(st.integers(0, len(TOKEN) - 1), st.integers(0, 255))
def test_a_token_with_one_other_byte_is_refused(place: int, byte: int) -> None:
    """Whatever is changed in a good assertion, nothing is believed of it."""
    changed = bytearray(TOKEN)
    changed[place] = byte
    if bytes(changed) != TOKEN:
        with pytest.raises(AssertionRefused):
            VERIFIER.verify(bytes(changed))


@examples(400)
@each(st.integers(0, len(TOKEN)), st.integers(0, len(TOKEN)), st.binary(max_size=8))
def test_a_token_with_a_part_replaced_is_refused(start: int, end: int, piece: bytes) -> None:
    changed = TOKEN[: min(start, end)] + piece + TOKEN[max(start, end) :]
    if changed != TOKEN:
        with pytest.raises(AssertionRefused):
            VERIFIER.verify(changed)


@examples(400)
@each(st.binary(max_size=200))
def test_any_bytes_are_refused_or_nothing_else(token: bytes) -> None:
    with pytest.raises(AssertionRefused):
        VERIFIER.verify(token)


def test_the_unchanged_token_is_what_the_properties_start_from() -> None:
    assert VERIFIER.verify(TOKEN).user == "alice"
