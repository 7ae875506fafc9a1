"""Which published keys are used, for what."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given as each
from hypothesis import strategies as st

from passproxy.trusted.errors import FetchFailed
from passproxy.trusted.jwk import KEY_LIMIT, RSA_LIMIT_BITS, keys_from, thumbprint
from tests.trusted.given import ANYTHING, examples, jwk, new_key, number

KEY = new_key()


def document(*entries: Any) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


def rsa_entry(bits: int) -> dict[str, Any]:
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key().public_numbers()
    return {"kty": "RSA", "kid": "r", "n": number(numbers.n, bits // 8), "e": "AQAB"}


def ed25519_entry() -> dict[str, Any]:
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "kid": "o", "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}


def p384_entry() -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    return {"kty": "EC", "crv": "P-384", "kid": "e", "x": number(numbers.x, 48), "y": number(numbers.y, 48)}


def test_the_thumbprint_is_that_of_the_standard() -> None:
    """The example of RFC 7638, 3.1."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    entry = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint(entry) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    ("entry", "fitting"),
    [
        (jwk(KEY), {"ES256"}),
        (p384_entry(), {"ES384"}),
        (ed25519_entry(), {"EdDSA"}),
        (rsa_entry(2048), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ({**rsa_entry(2048), "alg": "PS256"}, {"PS256"}),
    ],
    ids=["EC", "EC 384", "OKP", "RSA", "RSA for one algorithm"],
)
def test_a_key_verifies_with_the_algorithms_of_its_kind(entry: dict[str, Any], fitting: set[str]) -> None:
    (key,) = keys_from(document(entry))
    known = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
    assert {name for name in [*known, "HS256", "none", "ES256K"] if key.fits(name)} == fitting


UNUSABLE: dict[str, Any] = {
    "a secret": {"kty": "oct", "kid": "s", "k": "c2VjcmV0"},
    "for encryption": jwk(KEY, use="enc"),
    "not for verifying": jwk(KEY, key_ops=["sign"]),
    "operations that are text": jwk(KEY, key_ops="verify"),
    "private": jwk(KEY, d=number(7)),
    "a kid that is a number": jwk(KEY, kid=7),
    "another algorithm than its kind": jwk(KEY, alg="RS256"),
    "an HMAC algorithm": jwk(KEY, alg="HS256"),
    "not on its curve": jwk(KEY, y=number(5)),
    "coordinates of another length": jwk(KEY, x="AQAB"),
    "no coordinates": {"kty": "EC", "crv": "P-256", "kid": "x"},
    "a curve that is not taken": jwk(KEY, crv="secp256k1"),
    "no kind": {"kid": "x"},
    "a short RSA key": rsa_entry(1024),
    "text": "key",
}


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_cannot_be_used_is_left_out(entry: Any) -> None:
    with pytest.raises(FetchFailed):
        keys_from(document(entry))
    (key,) = keys_from(document(entry, jwk(KEY, kid="good")))
    assert key.kid == "good"


def test_a_set_of_too_many_keys_is_refused() -> None:
    entry = jwk(KEY)
    assert len(keys_from(document(*[entry] * KEY_LIMIT))) == KEY_LIMIT
    with pytest.raises(FetchFailed):
        keys_from(document(*[entry] * (KEY_LIMIT + 1)))


def test_an_rsa_key_may_be_as_long_as_the_limit_and_no_longer() -> None:
    """Nobody has these keys: only their length counts."""
    for bits, usable in ((RSA_LIMIT_BITS, True), (RSA_LIMIT_BITS + 8, False)):
        entry = {"kty": "RSA", "kid": "r", "n": number(1 << (bits - 1) | 1, bits // 8), "e": "AQAB"}
        kids = {key.kid for key in keys_from(document(entry, jwk(KEY, kid="good")))}
        assert kids == ({"r", "good"} if usable else {"good"})


def test_a_key_does_not_print_itself() -> None:
    (key,) = keys_from(document(jwk(KEY)))
    assert "material" not in repr(key)


MEMBERS = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops", "d", "k", "oth"])
KINDS = st.sampled_from(["EC", "RSA", "OKP", "oct", "P-256", "Ed25519", "ES256", "sig", "verify"])


@examples(150)
@each(st.lists(st.dictionaries(MEMBERS, ANYTHING | KINDS, max_size=8), max_size=3))
def test_any_set_is_read_or_refused(entries: list[dict[str, Any]]) -> None:
    """Nothing but keys, or FetchFailed, comes of whatever JSON a server sends."""
    with contextlib.suppress(FetchFailed):
        assert keys_from(document(*entries))


@examples(150)
@each(st.dictionaries(st.sampled_from(["kid", "use", "alg", "key_ops", "x", "y", "crv", "kty"]), ANYTHING, max_size=3))
def test_any_change_of_a_good_key_is_read_or_refused(changed: dict[str, Any]) -> None:
    with contextlib.suppress(FetchFailed):
        (key,) = keys_from(document(jwk(KEY) | changed))
        assert key.material.public_numbers() == KEY.public_key().public_numbers()  # type: ignore[union-attr]


@examples(150)
@each(st.binary(max_size=100) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_any_document_is_refused(text: bytes) -> None:
    with pytest.raises(FetchFailed):
        keys_from(text)
