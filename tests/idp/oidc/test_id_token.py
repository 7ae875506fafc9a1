"""ID tokens, judged without any socket."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from passproxy.core.errors import LoginError
from passproxy.idp.oidc.errors import (
    AlgorithmRefused,
    AudienceRefused,
    ClaimsRefused,
    IdTokenMalformed,
    IssuerRefused,
    NonceRefused,
    SignatureRefused,
    TimeRefused,
)
from passproxy.idp.oidc.id_token import AGE_LIMIT_SECONDS, ID_TOKEN_LIMIT_BYTES, Expected, verified_claims
from passproxy.idp.oidc.jwks import ALGORITHMS, KeySet, keys_from
from tests.fakes.idp_oidc import (
    DROP,
    SigningKey,
    base64url,
    ec_private_key,
    ed_private_key,
    left_half,
    overlaid,
    rsa_private_key,
    signed,
)

NOW = 1_700_000_000
ISSUER = "https://idp.example"
EXPECTED = Expected(ISSUER, "app", "n" * 43, leeway_seconds=60)
KEY = SigningKey()
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "app",
    "sub": "1",
    "nonce": "n" * 43,
    "iat": NOW - 1,
    "exp": NOW + 300,
}
ACCESS_TOKEN = "an access token"

SIGNERS = [
    *(SigningKey(rsa_private_key(), "r", algorithm) for algorithm in ("RS256", "RS384", "RS512")),
    *(SigningKey(rsa_private_key(), "p", algorithm) for algorithm in ("PS256", "PS384", "PS512")),
    SigningKey(ec_private_key(), "e256", "ES256"),
    SigningKey(ec_private_key(1, ec.SECP384R1), "e384", "ES384"),
    SigningKey(ec_private_key(1, ec.SECP521R1), "e512", "ES512"),
    SigningKey(ed_private_key(), "ed", "EdDSA"),
]


def key_set(*keys: SigningKey) -> KeySet:
    return keys_from(json.dumps({"keys": [key.jwk() for key in keys]}).encode())


KEYS = key_set(KEY)


def token(header: dict[str, Any] | None = None, key: SigningKey = KEY, **claims: Any) -> str:
    members = overlaid({"alg": key.algorithm, "typ": "JWT", "kid": key.kid}, header or {})
    return signed(members, overlaid(CLAIMS, claims), key)


def verify(id_token: str, keys: KeySet = KEYS, expected: Expected = EXPECTED, now: float = NOW) -> dict[str, Any]:
    return verified_claims(id_token, keys, expected, now, {"at_hash": ACCESS_TOKEN, "c_hash": "the code"})


def test_a_good_token_yields_its_claims():
    assert verify(token()) == CLAIMS


@pytest.mark.parametrize("key", SIGNERS, ids=lambda key: key.algorithm)
def test_each_algorithm_of_the_list_verifies(key):
    at_hash = left_half(ACCESS_TOKEN, key.algorithm)
    assert verify(token(key=key, at_hash=at_hash), key_set(*{k.kid: k for k in [*SIGNERS, key]}.values()))["sub"] == "1"


def test_there_is_a_signer_for_each_algorithm_of_the_list():
    assert {key.algorithm for key in SIGNERS} == ALGORITHMS


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        pytest.param({"alg": "none"}, AlgorithmRefused, id="no signature"),
        pytest.param({"alg": "None"}, AlgorithmRefused, id="no signature, capitalised"),
        pytest.param({"alg": "HS256"}, AlgorithmRefused, id="a shared secret"),
        pytest.param({"alg": "rs256"}, AlgorithmRefused, id="another spelling"),
        pytest.param({"alg": "ES256K"}, AlgorithmRefused, id="a curve that is not on the list"),
        pytest.param({"alg": DROP}, AlgorithmRefused, id="no algorithm"),
        pytest.param({"alg": ["RS256"]}, AlgorithmRefused, id="a list of algorithms"),
        pytest.param({"alg": "ES256"}, SignatureRefused, id="an algorithm that no key has"),
        pytest.param({"alg": "RS512"}, SignatureRefused, id="another algorithm than the key is published for"),
        pytest.param({"kid": "another"}, SignatureRefused, id="an unknown key id"),
        pytest.param({"kid": "../../x"}, SignatureRefused, id="a key id that is a path"),
        pytest.param({"kid": 7}, IdTokenMalformed, id="a key id that is a number"),
        pytest.param({"kid": None}, IdTokenMalformed, id="a key id that is null"),
        pytest.param({"crit": ["x"]}, IdTokenMalformed, id="a critical extension"),
        pytest.param({"crit": []}, IdTokenMalformed, id="an empty list of critical extensions"),
        pytest.param({"crit": ["b64"], "b64": False}, IdTokenMalformed, id="an unencoded payload"),
        pytest.param({"b64": True}, IdTokenMalformed, id="b64 alone"),
        pytest.param({"zip": "DEF"}, IdTokenMalformed, id="a compressed payload"),
        pytest.param({"typ": "at+jwt"}, IdTokenMalformed, id="an access token"),
        pytest.param({"typ": "logout+jwt"}, IdTokenMalformed, id="a logout token"),
        pytest.param({"typ": None}, IdTokenMalformed, id="a type that is null"),
        pytest.param({"typ": ""}, IdTokenMalformed, id="an empty type"),
    ],
)
def test_a_header_is_refused(header, refusal):
    with pytest.raises(refusal):
        verify(token(header))


@pytest.mark.parametrize("typ", [DROP, "JWT", "jwt"])
def test_an_id_token_may_say_that_it_is_a_jwt_or_nothing(typ):
    assert verify(token({"typ": typ}))


def test_without_a_key_id_every_fitting_key_is_tried():
    others = [SigningKey(rsa_private_key(2), "a"), SigningKey(ec_private_key(), "b", "ES256"), KEY]
    assert verify(token({"kid": DROP}), key_set(*others))
    with pytest.raises(SignatureRefused):
        verify(token({"kid": DROP}), key_set(*others[:2]))


def test_two_keys_of_one_id_are_both_tried():
    twin = SigningKey(rsa_private_key(2), KEY.kid)
    assert verify(token(), key_set(twin, KEY))
    assert verify(token(), key_set(KEY, twin))


def test_the_key_in_the_header_is_not_used():
    attacker = SigningKey(rsa_private_key(2), KEY.kid)
    header = {
        "jwk": attacker.jwk(),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/x",
        "x5c": ["AA=="],
    }
    with pytest.raises(SignatureRefused):
        verify(token(header, attacker))
    assert verify(token(header))


@pytest.mark.parametrize(
    "mangled",
    [
        pytest.param(lambda t: "", id="nothing"),
        pytest.param(lambda t: "..", id="three empty parts"),
        pytest.param(lambda t: t.rpartition(".")[0], id="two parts"),
        pytest.param(lambda t: t + ".x", id="four parts"),
        pytest.param(lambda t: t + ".x.y", id="five parts: encrypted"),
        pytest.param(lambda t: t + "=", id="padding"),
        pytest.param(lambda t: t + "\n", id="a line end behind it"),
        pytest.param(lambda t: " " + t, id="a space before it"),
        pytest.param(lambda t: t.replace("_", "/").replace("-", "+") + "+", id="the other alphabet"),
        pytest.param(lambda t: t + "ä", id="not ASCII"),
        pytest.param(lambda t: t + "\udcff", id="a lone surrogate"),
        pytest.param(lambda t: "A" * (ID_TOKEN_LIMIT_BYTES + 1), id="too long"),
        pytest.param(lambda t: base64url(b"[]") + "." + t.split(".", 1)[1], id="a header that is a list"),
        pytest.param(
            lambda t: base64url(b'{"alg":"RS256","alg":"none"}') + "." + t.split(".", 1)[1], id="two algorithms"
        ),
        pytest.param(lambda t: base64url(b"[" * 90_000) + "." + t.split(".", 1)[1], id="a deep header"),
    ],
)
def test_what_is_not_a_token_is_refused(mangled):
    with pytest.raises(IdTokenMalformed):
        verify(mangled(token()))


def test_stray_bits_at_the_end_of_a_part_are_refused():
    good = token(key=SigningKey(ed_private_key(), "ed", "EdDSA"))
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(good[-1])
    other = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
    with pytest.raises(IdTokenMalformed):
        verify(good[:-1] + other, key_set(SigningKey(ed_private_key(), "ed", "EdDSA")))


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 256, id="zeros"),
        pytest.param(b"x", id="one byte"),
        pytest.param(b"\xff" * 5000, id="far too long"),
    ],
)
@pytest.mark.parametrize("key", SIGNERS, ids=lambda key: key.algorithm)
def test_a_signature_that_is_none_is_refused(key, signature):
    unsigned = token(key=key).rpartition(".")[0]
    with pytest.raises(SignatureRefused):
        verify(f"{unsigned}.{base64url(signature)}", key_set(key))


def test_an_elliptic_signature_of_zeros_is_refused():
    """CVE-2022-21449: r and s are both zero."""
    key = SigningKey(ec_private_key(), "e", "ES256")
    with pytest.raises(SignatureRefused):
        verify(f"{token(key=key).rpartition('.')[0]}.{base64url(bytes(64))}", key_set(key))


@pytest.mark.parametrize(
    "payload", [b"[]", b"null", b"x", b'{"sub":"1","sub":"2"}', b'{"sub":"ad\\udcffmin"}', b"\xff"]
)
def test_a_signed_payload_that_is_no_plain_object_is_refused(payload):
    with pytest.raises(IdTokenMalformed):
        verify(signed({"alg": "RS256", "kid": KEY.kid}, payload, KEY))


@pytest.mark.parametrize(
    "iss",
    [
        DROP, "", None, 0, "https://other.example", ISSUER + "/", ISSUER.upper(), "http://idp.example", [ISSUER],
        [ISSUER, "https://evil.example"], {"iss": ISSUER}, ISSUER + " ", "https://self-issued.me",
    ],
)  # fmt: skip
def test_another_issuer_is_refused(iss):
    with pytest.raises(IssuerRefused):
        verify(token(iss=iss, sub_jwk=KEY.jwk()))


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"aud": DROP}, id="missing"),
        pytest.param({"aud": ""}, id="empty text"),
        pytest.param({"aud": []}, id="empty list"),
        pytest.param({"aud": None}, id="null"),
        pytest.param({"aud": {"app": 1}}, id="an object"),
        pytest.param({"aud": [["app"]]}, id="a list in a list"),
        pytest.param({"aud": ["app", 7]}, id="a number beside the right one"),
        pytest.param({"aud": "other"}, id="another client"),
        pytest.param({"aud": "app2"}, id="a client whose name begins alike"),
        pytest.param({"aud": "APP"}, id="another spelling"),
        pytest.param({"aud": "other", "azp": "app"}, id="another client, authorized party right"),
        pytest.param({"aud": [], "azp": "app"}, id="nobody, authorized party right"),
        pytest.param({"aud": DROP, "azp": "app"}, id="missing, authorized party right"),
        pytest.param({"aud": ["app", "evil"]}, id="one too many"),
        pytest.param({"aud": ["app", "evil"], "azp": "app"}, id="one too many, authorized party right"),
        pytest.param({"aud": ["app", "evil"], "azp": "evil"}, id="one too many, and it is the authorized party"),
        pytest.param({"azp": "evil"}, id="another authorized party"),
        pytest.param({"azp": None}, id="an authorized party that is null"),
        pytest.param({"azp": ["app"]}, id="a list of authorized parties"),
        pytest.param({"aud": "api"}, id="an accepted further audience, but not this client"),
        pytest.param({"aud": ["app", "api"]}, id="an accepted further audience without authorized party"),
        pytest.param({"aud": ["app", "api", "evil"], "azp": "app"}, id="an accepted and another further audience"),
    ],
)
def test_another_audience_is_refused(claims):
    expected = Expected(ISSUER, "app", "n" * 43, audiences=frozenset({"api"}))
    with pytest.raises(AudienceRefused):
        verify(token(**claims), expected=expected)


@pytest.mark.parametrize(
    "claims",
    [{"aud": ["app"]}, {"azp": "app"}, {"aud": ["app", "app"]}, {"aud": ["api", "app"], "azp": "app"}],
)
def test_the_right_audience_is_accepted(claims):
    assert verify(token(**claims), expected=Expected(ISSUER, "app", "n" * 43, audiences=frozenset({"api"})))


@pytest.mark.parametrize("nonce", [DROP, "", None, "m" * 43, "n" * 42, ["n" * 43], 7, "ä" * 43, "N" * 43])
def test_another_nonce_is_refused(nonce):
    with pytest.raises(NonceRefused):
        verify(token(nonce=nonce, nonce_supported=False))


def test_a_logout_token_is_refused():
    with pytest.raises(IdTokenMalformed):
        verify(token(events={"http://schemas.openid.net/event/backchannel-logout": {}}))


@pytest.mark.parametrize("sub", [DROP, "", " ", None, 0, 7, [], ["1"], {}, True])
def test_no_subject_is_refused(sub):
    with pytest.raises(ClaimsRefused):
        verify(token(sub=sub))


@pytest.mark.parametrize("name", ["iat", "exp", "nbf", "auth_time"])
@pytest.mark.parametrize("value", ["1700000000", 1_700_000_000.0, 1e300, 10**30, -1, True, None, [NOW], NOW * 1000])
def test_a_time_that_is_no_number_of_seconds_is_refused(name, value):
    with pytest.raises(ClaimsRefused):
        verify(token(**{name: value}))


@pytest.mark.parametrize("name", ["iat", "exp"])
def test_a_time_that_every_token_has_is_required(name):
    with pytest.raises(ClaimsRefused):
        verify(token(**{name: DROP}))


@pytest.mark.parametrize(
    ("claims", "is_accepted"),
    [
        pytest.param({"exp": NOW - 59}, True, id="expired within the leeway"),
        pytest.param({"exp": NOW - 60}, False, id="expired beyond the leeway"),
        pytest.param({"iat": NOW + 60}, True, id="issued ahead within the leeway"),
        pytest.param({"iat": NOW + 61}, False, id="issued ahead beyond the leeway"),
        pytest.param({"iat": NOW - AGE_LIMIT_SECONDS - 60}, True, id="as old as it may be"),
        pytest.param({"iat": NOW - AGE_LIMIT_SECONDS - 61}, False, id="too old"),
        pytest.param({"iat": NOW - 10 * 365 * 86400}, False, id="ten years old and still valid"),
        pytest.param({"exp": NOW + 30 * 86400}, True, id="valid for a month"),
        pytest.param({"exp": 7_258_118_400}, False, id="valid until the year 2200"),
        pytest.param({"nbf": NOW + 60}, True, id="valid soon, within the leeway"),
        pytest.param({"nbf": NOW + 61}, False, id="not yet valid"),
        pytest.param({"auth_time": NOW + 61}, False, id="authenticated in the future"),
        pytest.param({"auth_time": NOW - 86400}, True, id="authenticated yesterday"),
        pytest.param({"exp": NOW - 100, "iat": NOW - 50}, False, id="expired before it was issued"),
    ],
)
def test_times(claims, is_accepted):
    if is_accepted:
        assert verify(token(**claims))
    else:
        with pytest.raises(TimeRefused):
            verify(token(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"at_hash": left_half("another access token")}, id="of another access token"),
        pytest.param({"at_hash": ""}, id="empty"),
        pytest.param({"at_hash": None}, id="null"),
        pytest.param({"at_hash": [left_half(ACCESS_TOKEN)]}, id="a list"),
        pytest.param({"at_hash": left_half(ACCESS_TOKEN, "RS512")}, id="by another digest"),
        pytest.param({"at_hash": "ä"}, id="not ASCII"),
        pytest.param({"c_hash": left_half("another code")}, id="of another code"),
    ],
)
def test_a_hash_that_does_not_fit_is_refused(claims):
    with pytest.raises(ClaimsRefused):
        verify(token(**claims))


def test_hashes_that_fit_are_accepted():
    assert verify(token(at_hash=left_half(ACCESS_TOKEN), c_hash=left_half("the code")))


def test_a_hash_of_an_access_token_that_did_not_come_is_refused():
    with pytest.raises(ClaimsRefused):
        verified_claims(token(at_hash=left_half("")), KEYS, EXPECTED, NOW, {"at_hash": None})


_PIECE = st.binary(max_size=60).map(base64url) | st.text(max_size=20)
_HEADER = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]),
    st.sampled_from(["RS256", "ES256", "none", "key-1", "JWT", ["b64"], False, 7, None, {}]),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["app", ISSUER]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def _verified_or_refused(id_token: str) -> None:
    with contextlib.suppress(LoginError):
        verify(id_token)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200)
    | st.tuples(_PIECE, _PIECE, _PIECE).map(".".join).map(lambda t: t.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_verify_or_are_refused(document):
    """Any bytes as an ID token either verify or raise a LoginError, never anything else."""
    _verified_or_refused(document.decode("utf-8", "surrogateescape"))


@settings(max_examples=100, deadline=None)
@given(_HEADER, st.binary(max_size=300))
def test_any_header_verifies_or_is_refused(header, signature):
    """The same for headers that name real algorithms and keys."""
    head, payload = base64url(json.dumps(header).encode()), base64url(json.dumps(CLAIMS).encode())
    _verified_or_refused(f"{head}.{payload}.{base64url(signature)}")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([*CLAIMS, "azp", "nbf", "auth_time", "at_hash", "c_hash", "events"]), _JSON))
def test_any_signed_claims_verify_or_are_refused(claims):
    """The same for what an honest key may sign."""
    _verified_or_refused(token(**claims))


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_one_changed_byte_spoils_a_token(position, change):
    """No byte of a token can change without its refusal."""
    good = token().encode()
    position %= len(good)
    bad = good[:position] + bytes([good[position] ^ change]) + good[position + 1 :]
    with pytest.raises(LoginError):
        verify(bad.decode("latin-1"))
