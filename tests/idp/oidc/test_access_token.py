"""An access token says what its issuer said, to us, now; or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.errors import BearerKeysMissing, BearerOutOfScope, BearerRefused
from passproxy.core.trust import Trust
from passproxy.idp.oidc.access_token import KID_LIMIT_CHARACTERS, claim_at, vouched
from passproxy.idp.oidc.jwks import ALGORITHMS, KeySet, keys_from
from tests.core.given import examples
from tests.fakes.idp_oidc import DROP, SigningKey, ec_private_key, overlaid, rsa_private_key, signed
from tests.idp.oidc.scenario import NOW

ISSUER, AUDIENCE = "https://sso.example.com/realms/app", "https://api.example.com"
TRUST = Trust("ci", ISSUER, (AUDIENCE, "api"), ALGORITHMS)
KEY = SigningKey()
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "service-7", "iat": NOW - 5, "exp": NOW + 300}


def keys(*given: SigningKey) -> KeySet:
    return keys_from(json.dumps({"keys": [key.jwk() for key in given or (KEY,)]}).encode())


KEYS = keys()


def made(header: dict[str, Any] | None = None, key: SigningKey = KEY, **claims: Any) -> str:
    usual = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid or DROP}
    return signed(overlaid(usual, header or {}), overlaid(CLAIMS, claims), key)


def judged(token: str, trust: Trust = TRUST, known: KeySet | None = KEYS, now: float = NOW) -> Any:
    return vouched(token, known, trust, now)


def test_a_good_one_says_who_asks_and_until_when():
    found = judged(made(preferred_username="ci", email="ci@example.com", groups=["ops"]))
    assert (found.issued_at, found.expires_at, found.keys) == (NOW - 5, NOW + 300, KEYS)
    said = found.authentication
    assert (said.issuer, said.subject, said.authenticated_at) == (ISSUER, "service-7", NOW - 5)
    assert said.attributes == {"preferred_username": ("ci",), "email": ("ci@example.com",), "groups": ("ops",)}


@pytest.mark.parametrize(
    "key",
    [
        SigningKey(ec_private_key(), "e", "ES256"),
        SigningKey(rsa_private_key(), "p", "PS256"),
        SigningKey(rsa_private_key(), None, "RS256"),
    ],
)
def test_each_asymmetric_algorithm_does(key):
    assert judged(made(key=key), known=keys(key))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", DROP])
def test_types_of_access_tokens_are_taken(typ):
    assert judged(made({"typ": typ}))


@pytest.mark.parametrize("typ", ["JWT", DROP, "logout+jwt"])
def test_with_one_type_no_other_is(typ):
    with pytest.raises(BearerRefused):
        judged(made({"typ": typ}), replace(TRUST, types=("at+jwt",)))


@pytest.mark.parametrize("aud", [AUDIENCE, "api", ["other", "api"]])
def test_one_audience_is_enough(aud):
    assert judged(made(aud=aud))


REFUSED: dict[str, dict[str, Any]] = {
    "expired this second": {"exp": NOW},
    "valid for too long": {"exp": NOW - 5 + 86401},
    "from behind the leeway": {"iat": NOW + 61},
    "not before": {"nbf": NOW + 61},
    "logged in in the future": {"auth_time": NOW + 61},
    "an end that is true": {"exp": True},
    "an end with a fraction": {"exp": NOW + 1.5},
    "another audience": {"aud": "https://api.example.com/"},
    "an issuer with a slash": {"iss": f"{ISSUER}/"},
    "for a login, by nonce": {"nonce": "n"},
    "for a login, by at_hash": {"at_hash": "h"},
    "for a login, by typ": {"typ": "ID"},
    "an event": {"events": {}},
    "bound to a key": {"cnf": {"x5t#S256": "x"}},
    "an empty subject": {"sub": " "},
    "groups elsewhere": {"_claim_names": {"groups": "src1"}},
}


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_without_a_look_at_keys(claims):
    with pytest.raises(BearerRefused):
        judged(made(**claims))
    if "_claim_names" not in claims:
        with pytest.raises(BearerRefused):
            judged(made(**claims), known=None)


@pytest.mark.parametrize("claims", [{"iat": NOW + 60, "exp": NOW + 90}, {"nbf": NOW + 60}])
def test_a_clock_may_be_ahead_by_the_leeway(claims):
    assert judged(made(**claims))


def test_an_id_token_is_taken_where_that_is_said():
    assert judged(made({"typ": "JWT"}, nonce="n", typ="ID"), replace(TRUST, takes_id_tokens=True))


def test_an_unknown_key_is_not_a_wrong_token():
    for known in (None, keys(SigningKey(kid="another"))):
        with pytest.raises(BearerKeysMissing):
            judged(made(), known=known)
    with pytest.raises(BearerRefused):
        judged(made(key=SigningKey(rsa_private_key(2))))


def test_without_a_key_id_the_right_key_may_be_a_newer_one():
    with pytest.raises(BearerKeysMissing):
        judged(made(key=SigningKey(rsa_private_key(2), None)))


@pytest.mark.parametrize("kid", ["", "k" * (KID_LIMIT_CHARACTERS + 1), 7, ["k"], None])
def test_a_key_id_is_a_short_text(kid):
    with pytest.raises(BearerRefused):
        judged(made({"kid": kid}), known=None)


def test_what_is_required_has_to_be_there():
    trust = replace(TRUST, required={"azp": ("a", "b"), "scope": ("read",), "realm.roles": ("x",)})
    good = {"azp": "b", "scope": "openid read", "realm": {"roles": ["y", "x"]}}
    assert judged(made(**good), trust)
    for wrong in ({"azp": "c"}, {"azp": DROP}, {"scope": "readwrite"}, {"realm": {"roles": []}}, {"realm": 7}):
        with pytest.raises(BearerOutOfScope):
            judged(made(**{**good, **wrong}), trust)


def test_attributes_are_read_where_the_trust_says():
    trust = replace(TRUST, claims={"login": ("azp",), "groups": ("realm.roles",), "email": ("email",)})
    found = judged(made(azp="nightly", realm={"roles": ["ops"]}, email="x@example.com", email_verified=False), trust)
    said = found.authentication.attributes
    assert (said["azp"], said["realm.roles"]) == (("nightly",), ("ops",))
    assert "email" not in said
    with pytest.raises(BearerRefused):
        judged(made(realm={"roles": [{"name": "ops"}]}), trust)


def test_a_name_with_dots_is_looked_for_as_it_is_first():
    claims = {"https://example.com/groups": ["a"], "a": {"b": {"c": 1}}, "a.b": 2}
    assert claim_at(claims, "https://example.com/groups") == ["a"]
    assert claim_at(claims, "a.b") == 2
    assert claim_at(claims, "a.b.c") == 1
    assert claim_at(claims, "a.x.c") is None


@examples(300)
@given(st.text(alphabet="eyJ.-_A0=+ \x00é", max_size=120) | st.text(max_size=60))
def test_garbage_is_refused_and_nothing_else_happens(text):
    with pytest.raises(BearerRefused):
        judged(text)


@examples(200)
@given(st.integers(0, 400), st.integers(0, 255))
def test_no_changed_byte_leaves_it_valid(place, byte):
    token = made()
    place %= len(token)
    changed = token[:place] + chr(byte) + token[place + 1 :]
    if changed != token:
        with pytest.raises((BearerRefused, BearerKeysMissing)):
            judged(changed)
