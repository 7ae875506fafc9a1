"""Assertions as each proxy makes them, and what each proxy never makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from passproxy.trusted.errors import AlgorithmRefused, AudienceWrong, LifetimeTooLong, TypeRefused
from passproxy.trusted.headers import Headers
from passproxy.trusted.keys import KeySet
from passproxy.trusted.presets import ASYMMETRIC, PRESETS
from passproxy.trusted.settings import Settings, settings_from
from passproxy.trusted.verifier import Verifier
from tests.trusted.given import NOW, Clock, Proxy, jwk, number

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = Proxy()
AUD = "32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228"
BACKEND = "/projects/1234/global/backendServices/5678"


def keys() -> bytes:
    import json

    numbers = RSA.public_key().public_numbers()
    entry = {"kty": "RSA", "kid": "r1", "alg": "RS256", "n": number(numbers.n, 256), "e": "AQAB"}
    return json.dumps({"keys": [entry, jwk(EC.key, kid="e1")]}).encode()


def settings(preset: str, **values: str) -> Settings:
    return settings_from({"TRUSTED_PROXY_PRESET": preset, **{f"TRUSTED_PROXY_{k}": v for k, v in values.items()}})


CASES: dict[str, tuple[Settings, dict[str, Any], str]] = {
    "cloudflare-access": (
        settings("cloudflare-access", ISSUER="https://team.cloudflareaccess.com", AUDIENCE=AUD),
        {"aud": [AUD], "email": "alice@example.com", "sub": "7335d417", "type": "app", "nbf": NOW, "exp": NOW + 86400},
        "alice@example.com",
    ),
    "cloudflare-access service": (
        settings("cloudflare-access", ISSUER="https://team.cloudflareaccess.com", AUDIENCE=AUD),
        {"aud": [AUD], "common_name": "e367826f.access", "sub": "", "type": "app"},
        "e367826f.access",
    ),
    "pomerium": (
        settings("pomerium", ISSUER="app.example.com", AUDIENCE="app.example.com"),
        {"aud": ["app.example.com"], "email": "alice@example.com", "sub": "8f1c", "groups": ["ops"], "exp": NOW + 300},
        "alice@example.com",
    ),
    "google-iap": (
        settings("google-iap", AUDIENCE=BACKEND),
        {"aud": BACKEND, "email": "alice@example.com", "sub": "accounts.google.com:1", "exp": NOW + 600},
        "alice@example.com",
    ),
    "oauth2-proxy": (
        settings(
            "oauth2-proxy",
            ISSUER="https://sso.example.com/realms/main",
            AUDIENCE="grafana",
            JWKS_URL="https://sso.example.com/keys",
        ),
        {"aud": "grafana", "preferred_username": "alice", "sub": "f:1", "email": "alice@example.com", "exp": NOW + 300},
        "alice",
    ),
    "generic": (
        settings(
            "generic",
            ASSERTION_HEADER="X-Assertion",
            ISSUER="proxy",
            AUDIENCE="app",
            JWKS_URL="https://proxy.example.com/keys",
        ),
        {"aud": "app", "sub": "alice"},
        "alice",
    ),
}
RS256 = {"cloudflare-access", "oauth2-proxy"}


def signed(rules: Settings, claims: dict[str, Any], **headers: Any) -> bytes:
    claims = {"iss": rules.issuer, "iat": NOW, "exp": NOW + 60, **claims}
    if rules.preset.name in RS256:
        return jwt.encode(claims, RSA, "RS256", headers={"kid": "r1", **headers}).encode()
    return jwt.encode(claims, EC.key, "ES256", headers={"kid": "e1", **headers}).encode()


def verifier(rules: Settings) -> Verifier:
    return Verifier(rules, KeySet(rules.jwks_url, fetch=lambda _: keys()), clock=Clock(NOW))


@pytest.mark.parametrize("case", CASES)
def test_an_assertion_of_the_proxy_is_believed(case: str) -> None:
    rules, claims, user = CASES[case]
    assert verifier(rules).verify(signed(rules, claims)).user == user


@pytest.mark.parametrize("case", CASES)
def test_one_for_another_application_is_not(case: str) -> None:
    rules, claims, _ = CASES[case]
    with pytest.raises(AudienceWrong):
        verifier(rules).verify(signed(rules, {**claims, "aud": "another"}))


@pytest.mark.parametrize("kind", ["passproxy-assertion+jwt", "at+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt"])
@pytest.mark.parametrize("case", CASES)
def test_a_token_made_for_something_else_is_not(case: str, kind: str) -> None:
    rules, claims, _ = CASES[case]
    with pytest.raises(TypeRefused):
        verifier(rules).verify(signed(rules, claims, typ=kind))


@pytest.mark.parametrize("case", CASES)
def test_a_token_without_a_type_may_be_one(case: str) -> None:
    rules, claims, user = CASES[case]
    assert verifier(rules).verify(signed(rules, claims, typ="")).user == user


@pytest.mark.parametrize("case", CASES)
def test_one_that_lives_longer_than_the_proxy_would_let_it_is_not(case: str) -> None:
    rules, claims, _ = CASES[case]
    limit = rules.preset.lifetime_limit_seconds
    assert verifier(rules).verify(signed(rules, {**claims, "exp": NOW + limit}))
    with pytest.raises(LifetimeTooLong):
        verifier(rules).verify(signed(rules, {**claims, "exp": NOW + limit + 1}))


def test_an_id_token_that_others_may_hold_too_is_not_taken() -> None:
    rules, claims, _ = CASES["oauth2-proxy"]
    with pytest.raises(AudienceWrong):
        verifier(rules).verify(signed(rules, {**claims, "aud": ["grafana", "another"]}))


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_no_preset_takes_a_token_that_is_not_signed_with_a_private_key(preset: Any) -> None:
    assert preset.algorithms
    assert preset.algorithms <= ASYMMETRIC
    assert not any(name.startswith("HS") or name.lower() == "none" for name in ASYMMETRIC)


def test_each_algorithm_is_allowed_by_name() -> None:
    rules, claims, _ = CASES["pomerium"]
    token = jwt.encode(
        {"iss": rules.issuer, "iat": NOW, "exp": NOW + 60, **claims}, RSA, "RS256", headers={"kid": "r1"}
    )
    with pytest.raises(AlgorithmRefused):
        verifier(rules).verify(token.encode())


@pytest.mark.parametrize(
    ("rules", "url"),
    [
        (CASES["cloudflare-access"][0], "https://team.cloudflareaccess.com/cdn-cgi/access/certs"),
        (CASES["pomerium"][0], "https://app.example.com/.well-known/pomerium/jwks.json"),
        (
            settings("pomerium", ISSUER="https://app.example.com/", AUDIENCE="app.example.com"),
            "https://app.example.com/.well-known/pomerium/jwks.json",
        ),
        (CASES["google-iap"][0], "https://www.gstatic.com/iap/verify/public_key-jwk"),
        (settings("passproxy", ISSUER="https://a.example:8443"), "https://a.example:8443/.passproxy/jwks.json"),
    ],
)
def test_the_address_of_the_keys_follows_from_the_issuer(rules: Settings, url: str) -> None:
    assert rules.jwks_url == url


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer  abc ", b"abc"),
        (b"Bearer ", None),
        (b"Basic YTpi", None),
        (b"Bearer a b", None),
        (b"abc", None),
    ],
)
def test_an_id_token_is_the_bearer_of_the_request(value: bytes, token: bytes | None) -> None:
    take: Callable[..., Any] = Headers(CASES["oauth2-proxy"][0]).split
    found, kept = take([(b"authorization", value)])
    assert found == token
    assert kept == ([] if token else [(b"authorization", value)])
