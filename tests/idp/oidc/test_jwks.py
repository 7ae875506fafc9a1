"""Which published keys may verify what."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from passproxy.core.errors import LoginError
from passproxy.idp.oidc.errors import KeysRefused
from passproxy.idp.oidc.jwks import KEY_LIMIT, KeySet, keys_from
from tests.fakes.idp_oidc import DROP, SigningKey, base64url, ec_private_key, ed_private_key, rsa_private_key

RSA = SigningKey().jwk()
EC = SigningKey(ec_private_key(), "e", "ES256").jwk()
RSA_PRIVATE = {
    name: value for name, value in json.loads(RSAAlgorithm.to_jwk(rsa_private_key())).items() if name != "key_ops"
}
GOOD = SigningKey(ed_private_key(), "good", "EdDSA").jwk()


def read(*keys: Any) -> KeySet:
    return keys_from(json.dumps({"keys": keys}).encode())


def test_each_key_serves_the_algorithms_of_its_type_and_curve():
    keys = read(
        SigningKey().jwk(alg=DROP, kid="rsa"),
        SigningKey(ec_private_key(), "e", "ES256").jwk(alg=DROP),
        SigningKey(ec_private_key(1, ec.SECP384R1), "e3", "ES384").jwk(alg=DROP),
        SigningKey(ec_private_key(1, ec.SECP521R1), "e5", "ES512").jwk(alg=DROP),
        SigningKey(ed_private_key(), "ed", "EdDSA").jwk(alg=DROP),
    )
    assert {key.kid: sorted(key.algorithms) for key in keys.keys} == {
        "rsa": ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
        "e": ["ES256"],
        "e3": ["ES384"],
        "e5": ["ES512"],
        "ed": ["EdDSA"],
    }


def test_an_algorithm_that_the_key_names_is_the_only_one():
    assert read(RSA).keys[0].algorithms == {"RS256"}


def test_candidates_fit_in_name_and_algorithm():
    keys = read(RSA, EC, {**RSA, "kid": "other"}, {**EC, "kid": "key-1"})
    assert [key.algorithms for key in keys.candidates("key-1", "RS256")] == [{"RS256"}]
    assert len(keys.candidates(None, "RS256")) == 2
    assert keys.candidates("key-1", "RS512") == ()
    assert keys.candidates("", "RS256") == ()
    assert keys.names() == ("key-1", "e", "other", "key-1")


def test_a_key_without_a_name_has_none():
    assert read(SigningKey(kid=None).jwk()).keys[0].kid is None


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({**RSA, "use": "enc"}, id="for encryption"),
        pytest.param({**RSA, "use": None}, id="for nothing"),
        pytest.param({**RSA, "key_ops": ["encrypt"]}, id="for other operations"),
        pytest.param({**RSA, "key_ops": "verify"}, id="operations that are no list"),
        pytest.param({**RSA, "alg": "RSA-OAEP"}, id="an encryption algorithm"),
        pytest.param({**RSA, "alg": "HS256"}, id="a shared secret's algorithm"),
        pytest.param({**RSA, "alg": "none"}, id="no algorithm at all"),
        pytest.param({**RSA, "alg": "ES256"}, id="the algorithm of another type"),
        pytest.param({**RSA, "alg": 7}, id="an algorithm that is a number"),
        pytest.param({**EC, "alg": "ES384"}, id="the algorithm of another curve"),
        pytest.param({**RSA, "kid": 7}, id="a name that is a number"),
        pytest.param({**RSA, "kty": "oct", "k": "c2VjcmV0"}, id="a secret beside a public key"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "kid": "key-1"}, id="a shared secret"),
        pytest.param({**EC, "d": "AAAA"}, id="a private key that does not fit"),
        pytest.param({**RSA_PRIVATE, "use": "sig"}, id="a private key"),
        pytest.param({**EC, "k": "c2VjcmV0"}, id="a public key with a secret in it"),
        pytest.param({**RSA, "kty": "DSA"}, id="an unknown type"),
        pytest.param({**RSA, "kty": ["RSA"]}, id="a list of types"),
        pytest.param({**RSA, "kty": DROP}, id="no type"),
        pytest.param({**RSA, "n": DROP}, id="no modulus"),
        pytest.param({**RSA, "n": 17}, id="a modulus that is a number"),
        pytest.param({**RSA, "n": ""}, id="an empty modulus"),
        pytest.param({**RSA, "n": "A" * 1_000_000}, id="a modulus of a megabyte"),
        pytest.param({**RSA, "n": base64url(bytes([255]) * 1030)}, id="a modulus of 8240 bits"),
        pytest.param({**RSA, "e": base64url(b"\x03")}, id="exponent 3"),
        pytest.param({**RSA, "e": base64url(b"\x01")}, id="exponent 1"),
        pytest.param({**RSA, "e": RSA["n"]}, id="an exponent as long as the modulus"),
        pytest.param({**EC, "crv": "P-384"}, id="coordinates of another curve"),
        pytest.param({**EC, "crv": "secp256k1", "alg": DROP}, id="a curve that is not on the list"),
        pytest.param({**EC, "crv": None}, id="a curve that is null"),
        pytest.param({**EC, "crv": 256}, id="a curve that is a number"),
        pytest.param({**EC, "y": EC["x"]}, id="a point that is not on the curve"),
        pytest.param({**GOOD, "x": "AA"}, id="an Edwards key that is too short"),
        pytest.param(SigningKey(rsa_private_key(1, 1024)).jwk(), id="1024 bits"),
        pytest.param(
            {"kty": "OKP", "crv": "Ed448", "x": base64url(ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw())},
            id="Ed448",
        ),
        pytest.param("text", id="a text"),
        pytest.param([RSA], id="a list"),
        pytest.param(None, id="null"),
    ],
)  # fmt: skip
def test_a_key_is_left_out_and_the_others_stay(key):
    key = {name: value for name, value in key.items() if value is not DROP} if isinstance(key, dict) else key
    assert read(key, GOOD).names() == ("good",)
    with pytest.raises(KeysRefused):
        read(key)


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b"<html>", b'{"keys":null}', b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[],"keys":[]}'],
)
def test_what_is_no_key_set_is_refused(document):
    with pytest.raises(KeysRefused):
        keys_from(document)


def test_more_keys_than_anybody_has_are_refused():
    assert read(*[GOOD] * KEY_LIMIT)
    with pytest.raises(KeysRefused):
        read(*[GOOD] * (KEY_LIMIT + 1))


_VALUE = (
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB"])
)
_MEMBERS = st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "alg", "use", "kid", "key_ops"]), _VALUE)


@settings(deadline=None)
@given(st.sampled_from([RSA, EC, GOOD, {}]), _MEMBERS)
def test_any_key_is_read_or_left_out(base, members):
    """Whatever a key looks like, only LoginErrors leave."""
    with contextlib.suppress(LoginError):
        read({**base, **members})
