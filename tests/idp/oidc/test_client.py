"""How the client proves who it is, and which configurations contradict themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from passproxy.core.errors import ConfigError
from passproxy.core.settings import OidcSettings
from passproxy.core.urls import Origin
from passproxy.idp.oidc.client import Client, client_from, client_key
from passproxy.idp.oidc.discovery import ProviderMetadata, metadata_from
from tests.fakes.idp_oidc import ec_private_key, ed_private_key, rsa_private_key

ISSUER = "https://idp.example.com"
NOW = 1_700_000_000


def metadata(**members: Any) -> ProviderMetadata:
    document = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), f"{ISSUER}/x")
    return metadata_from(
        json.dumps({"issuer": ISSUER, **document, **members}).encode(), ISSUER, Origin("https", "a.example", 443)
    )


def pem(private: Any, encryption: KeySerializationEncryption | None = None) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def jwk(private: Any, **more: Any) -> bytes:
    algorithm = RSAAlgorithm if hasattr(private, "decrypt") else ECAlgorithm
    return json.dumps({**json.loads(algorithm.to_jwk(private)), **more}).encode()


def settings(**keys: Any) -> OidcSettings:
    return OidcSettings(**{"issuer": ISSUER, "client_id": "app", **keys})


def asserted(document: bytes, **members: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and verified claims of the assertion that is made with a key."""
    key = client_key(document)
    headers, form = Client("app", "https://a.example/cb", key=key).credentials(metadata(**members), NOW, "one")
    assert headers == {}
    assert set(form) == {"client_id", "client_assertion_type", "client_assertion"}
    found = jwt.decode_complete(
        form["client_assertion"],
        key.private.public_key(),
        algorithms=["RS256", "PS256", "ES256"],
        options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
    )
    return found["header"], found["payload"]


def test_an_assertion_is_short_lived_and_for_the_issuer_alone():
    _, claims = asserted(pem(rsa_private_key()))
    assert claims == {"iss": "app", "sub": "app", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": "one"}


@pytest.mark.parametrize(
    ("document", "announced", "algorithm"),
    [
        pytest.param(pem(rsa_private_key()), None, "RS256", id="RSA"),
        pytest.param(pem(rsa_private_key()), ["PS256", "ES256"], "PS256", id="RSA where PKCS 1 v1.5 is not accepted"),
        pytest.param(pem(rsa_private_key()), ["PS256", "RS256"], "RS256", id="RSA where both are"),
        pytest.param(pem(rsa_private_key()), ["HS256", "none"], "RS256", id="RSA where nonsense is announced"),
        pytest.param(jwk(rsa_private_key(), alg="PS256"), ["RS256"], "PS256", id="a JWK that says what it is for"),
        pytest.param(pem(ec_private_key()), ["RS256"], "ES256", id="EC"),
        pytest.param(jwk(ec_private_key()), None, "ES256", id="EC as JWK"),
    ],
)
def test_the_algorithm_fits_the_key_and_never_comes_from_outside(document, announced, algorithm):
    members = {} if announced is None else {"token_endpoint_auth_signing_alg_values_supported": announced}
    assert asserted(document, **members)[0]["alg"] == algorithm


#: The example keys of RFC 7517 A.2; RFC 7638 3.1 has the thumbprint of the second.
PUBLISHED_EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
}
PUBLISHED_RSA = {
    "kty": "RSA",
    "e": "AQAB",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
        "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    ),
    "d": (
        "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6N"
        "qXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm"
        "0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lG"
        "VkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q"
    ),
}


@pytest.mark.parametrize(
    ("published", "thumbprint"),
    [
        pytest.param(PUBLISHED_EC, "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s", id="EC"),
        pytest.param(PUBLISHED_RSA, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", id="RSA"),
    ],
)
def test_the_key_is_named_by_its_thumbprint(published, thumbprint):
    key = client_key(json.dumps(published).encode())
    assert key.kid == client_key(pem(key.private)).kid == thumbprint
    assert asserted(pem(key.private))[0]["kid"] == thumbprint


def test_a_jwk_keeps_the_name_that_it_has():
    assert client_key(jwk(ec_private_key(), kid="mine")).kid == "mine"


SECRET_JWK = b'{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}'
PUBLIC_PEM = rsa_private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not a key", id="text"),
        pytest.param(b"{", id="half a JWK"),
        pytest.param(b"{}", id="an empty JWK"),
        pytest.param(b'{"kty":"EC","kty":"RSA"}', id="a JWK that can be read in two ways"),
        pytest.param(SECRET_JWK, id="a shared secret"),
        pytest.param(PUBLIC_PEM, id="a public key"),
        pytest.param(RSAAlgorithm.to_jwk(rsa_private_key().public_key()).encode(), id="a public key as JWK"),
        pytest.param(pem(rsa_private_key(1, 1024)), id="a short key"),
        pytest.param(pem(ec_private_key(1, ec.SECP384R1)), id="another curve"),
        pytest.param(pem(ed_private_key()), id="another kind"),
        pytest.param(pem(rsa_private_key(), BestAvailableEncryption(b"x")), id="a key behind a passphrase"),
        pytest.param(jwk(rsa_private_key(), alg="HS256"), id="an algorithm that fits no such key"),
        pytest.param(jwk(rsa_private_key(), alg="RS1"), id="an algorithm that nobody knows"),
        pytest.param(jwk(rsa_private_key(), alg="RS512"), id="an algorithm that is not used here"),
        pytest.param(jwk(ec_private_key(), alg="RS256"), id="the algorithm of another kind"),
        pytest.param(jwk(rsa_private_key(), alg=["RS256"]), id="a list of algorithms"),
    ],
)
def test_another_key_is_refused_without_quoting_it(document):
    with pytest.raises(ValueError, match=r"key|JWK|alg") as refusal:
        client_key(document)
    assert "c2VjcmV0" not in str(refusal.value)


def test_neither_secret_nor_key_show_in_a_traceback(tmp_path):
    (tmp_path / "key").write_bytes(pem(rsa_private_key()))
    assert "s3cret" not in repr(client_from(settings(client_secret="s3cret"), "https://a.example/cb"))
    assert "RSA" not in repr(client_from(settings(private_key_file=str(tmp_path / "key")), "https://a.example/cb"))


@pytest.mark.parametrize(
    ("keys", "sends"),
    [
        ({"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic"}, {"Authorization"}),
        ({"client_secret": "s", "token_endpoint_auth_method": "client_secret_post"}, {"client_id", "client_secret"}),
        ({"token_endpoint_auth_method": "none"}, {"client_id"}),
        ({"client_secret": "s"}, {"Authorization"}),
        ({}, {"client_id"}),
    ],
)
@pytest.mark.parametrize("offered", [[], ["client_secret_basic"], ["private_key_jwt"]])
def test_the_configured_method_is_used_whatever_is_offered(keys, sends, offered):
    described = metadata(token_endpoint_auth_methods_supported=offered)
    headers, form = client_from(settings(**keys), "https://a.example/cb").credentials(described, NOW, "one")
    assert set(headers) | set(form) == sends


def test_a_configured_method_is_not_talked_out_of_basic():
    keys = {"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic"}
    described = metadata(token_endpoint_auth_methods_supported=["client_secret_post"])
    assert client_from(settings(**keys), "https://a.example/cb").credentials(described, NOW, "one")[1] == {}


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"client_secret": "s", "private_key_file": "/k"}, "private_key_file and client_secret are both given"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "client_secret_basic needs client_secret"),
        ({"token_endpoint_auth_method": "client_secret_post"}, "client_secret_post needs client_secret"),
        ({"token_endpoint_auth_method": "client_secret_post", "private_key_file": "/k"}, "needs client_secret"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "needs private_key_file"),
        ({"token_endpoint_auth_method": "private_key_jwt", "client_secret": "s"}, "needs private_key_file"),
        ({"token_endpoint_auth_method": "none", "client_secret": "s"}, "none, yet there is"),
        ({"token_endpoint_auth_method": "none", "private_key_file": "/k"}, "none, yet there is"),
    ],
)
def test_a_contradiction_is_named(keys, named):
    with pytest.raises(ValidationError, match=named):
        settings(**keys)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"private_key_file": "/nowhere/key.pem"}, "oidc.private_key_file: /nowhere/key.pem: No such file"),
        ({"private_key_file": "/"}, "oidc.private_key_file: /: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(keys, named):
    with pytest.raises(ConfigError) as refusal:
        client_from(settings(**keys), "https://a.example/cb")
    assert named in refusal.value.problems[0]


def test_a_file_that_holds_no_key_is_named(tmp_path: Path):
    (tmp_path / "key").write_bytes(b"-----BEGIN NONSENSE-----")
    with pytest.raises(ConfigError, match=r"oidc\.private_key_file: .*key: not a private key"):
        client_from(settings(private_key_file=str(tmp_path / "key")), "https://a.example/cb")
