"""A logout token is one in every respect, or nothing ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.idp.oidc.errors import LogoutTokenRefused, SignatureRefused
from passproxy.idp.oidc.id_token import Expected, verified_claims
from passproxy.idp.oidc.jwks import KeySet, keys_from
from passproxy.idp.oidc.logout_token import LIFETIME_LIMIT_SECONDS, verified_logout
from tests.fakes.idp_oidc import DROP, FakeOp, SigningKey, rsa_private_key, signed
from tests.idp.oidc.scenario import NOW, signed_with_hmac

EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
def op() -> FakeOp:
    op = FakeOp(now=lambda: NOW)
    op.issuer = "https://idp.example.com"
    return op


def keys_of(op: FakeOp) -> KeySet:

    return keys_from(json.dumps({"keys": [op.signing_key.jwk()]}).encode())


def judged(op: FakeOp, token: str, now: float = NOW) -> Any:
    return verified_logout(token, keys_of(op), Expected(op.issuer, op.client_id, None), now)


def test_a_good_one_names_the_session(op):
    logout = judged(op, op.logout_token(jti="j-1"))
    assert (logout.token_id, logout.handles, logout.issued_at) == ("j-1", ("sid:sid-1",), NOW)
    assert logout.until == NOW + 120 + 60


def test_one_without_a_session_names_the_subject(op):
    assert judged(op, op.logout_token(sid=DROP)).handles == (f"sub:{op.person['sub']}",)
    assert judged(op, op.logout_token(sub=DROP)).handles == ("sid:sid-1",)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("OIDC-35 no event", {"events": DROP}),
    ("OIDC-35 another event", {"events": {"http://schemas.openid.net/event/session-revoked": {}}}),
    ("OIDC-35 an event that is no object", {"events": {EVENT: True}}),
    ("OIDC-35 events as a list", {"events": [EVENT]}),
    ("OIDC-35 with a nonce", {"nonce": "n"}),
    ("OIDC-35 with an empty nonce", {"nonce": None}),
    ("OIDC-35 for somebody else", {"aud": "another"}),
    ("OIDC-35 for us and somebody else", {"aud": ["app", "another"]}),
    ("OIDC-35 for nobody", {"aud": DROP}),
    ("OIDC-35 of another issuer", {"iss": "https://other.example.com"}),
    ("OIDC-35 of no issuer", {"iss": DROP}),
    ("OIDC-35 without jti", {"jti": DROP}),
    ("OIDC-35 with an empty jti", {"jti": ""}),
    ("OIDC-35 jti is a number", {"jti": 7}),
    ("OIDC-35 without iat", {"iat": DROP}),
    ("OIDC-35 without exp", {"exp": DROP}),
    ("OIDC-35 expired", {"iat": NOW - 300, "exp": NOW - 180}),
    ("OIDC-35 from the future", {"iat": NOW + 90, "exp": NOW + 200}),
    ("OIDC-35 valid for too long", {"exp": NOW + LIFETIME_LIMIT_SECONDS + 1}),
    ("OIDC-35 neither session nor subject", {"sid": DROP, "sub": DROP}),
    ("OIDC-35 session is a list", {"sid": ["sid-1"]}),
    ("OIDC-35 session is endless", {"sid": "x" * 256}),
    ("OIDC-35 subject is empty", {"sub": "", "sid": DROP}),
]


@pytest.mark.parametrize(("what", "overlay"), REFUSED, ids=[what for what, _ in REFUSED])
def test_a_bad_one_ends_nothing(op, what, overlay):
    with pytest.raises(LogoutTokenRefused):
        judged(op, op.logout_token(**overlay))


@pytest.mark.parametrize("typ", [DROP, "JWT", "at+jwt", "secevent+jwt", "logout", "", None, 7])
def test_oidc_35_only_the_explicit_type_is_a_logout_token(op, typ):
    assert judged(op, op.logout_token({"typ": "Logout+JWT"}))
    with pytest.raises(LogoutTokenRefused):
        judged(op, op.logout_token({"typ": typ}))


def test_oidc_35_no_other_algorithm_or_key_makes_one(op):
    token = op.logout_token()
    claims = {"iss": op.issuer}
    for forged in (
        signed({"alg": "none", "typ": "logout+jwt"}, claims, op.signing_key).rpartition(".")[0] + ".",
        signed_with_hmac({"typ": "logout+jwt", "kid": "key-1"}, claims, op.client_secret or ""),
        "a.b.c",
        "",
        token + "=",
        "é",
    ):
        with pytest.raises(LogoutTokenRefused):
            judged(op, forged)
    stranger = SigningKey(rsa_private_key(2), "key-1")
    for forged in (
        signed({"alg": "RS256", "typ": "logout+jwt", "kid": "key-1"}, claims, stranger),
        token[:-4] + "AAAA",
    ):
        with pytest.raises(SignatureRefused):
            judged(op, forged)


def test_oidc_11_an_id_token_is_no_logout_token_and_the_reverse(op):
    with pytest.raises(LogoutTokenRefused):
        judged(op, op.id_token(nonce="n"))
    with pytest.raises(Exception, match="logout"):
        verified_claims(op.logout_token(), keys_of(op), Expected(op.issuer, op.client_id, None), NOW, {})
