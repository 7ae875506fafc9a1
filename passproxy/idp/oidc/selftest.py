"""
Does this installation still refuse forged ID tokens, and forged bearer tokens?

Signs one with a key of its own and lets id_token.py, or access_token.py, judge it and some forgeries
of it, at each start: a library that was replaced is found before anybody gets in.
"""

from __future__ import annotations

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from passproxy.core.errors import LoginError, RequestRefused
from passproxy.core.trust import Trust
from passproxy.idp.oidc.access_token import vouched
from passproxy.idp.oidc.id_token import Expected, verified_claims
from passproxy.idp.oidc.jwks import ALGORITHMS, KeySet, keys_from

_ISSUER, _CLIENT, _NONCE, _KID = "https://self-test.invalid", "self-test", "nonce", "key"
_LIFETIME_SECONDS = 300


def failures(now: float) -> list[str]:
    """What is wrong with this installation, each as a sentence; empty when nothing is."""
    begin = int(now)
    claims = {
        "iss": _ISSUER,
        "aud": _CLIENT,
        "sub": "nobody",
        "nonce": _NONCE,
        "iat": begin,
        "exp": begin + _LIFETIME_SECONDS,
    }
    try:
        private = ec.generate_private_key(ec.SECP256R1())
        keys, genuine = _published(private), _signed(claims, private)
        _judge(genuine, keys, now)
    except Exception as error:  # whatever stops this stops every login
        return [f"a genuine ID token is not accepted: {type(error).__name__}: {error}"]
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, payload, signature = genuine.split(".")
    forged: dict[str, str] = {
        "has no algorithm": _encoded({"alg": "none"}) + f".{payload}.",
        "is signed with the public key as a secret": _signed_with_secret(head, payload, public),
        "was changed": f"{head}.{_encoded(claims | {'sub': 'admin'})}.{signature}",
        "is signed by somebody else": _signed(claims, ec.generate_private_key(ec.SECP256R1())),
        "is for another client": _signed(claims | {"aud": "another"}, private),
        "comes from another issuer": _signed(claims | {"iss": f"{_ISSUER}/other"}, private),
        "answers another login": _signed(claims | {"nonce": "another"}, private),
        "has expired": _signed(claims | {"iat": begin - 590, "exp": begin - 500}, private),
    }
    return [
        f"an ID token is accepted although it {what}"
        for what, token in forged.items()
        if _is_accepted(token, keys, now)
    ]


def bearer_failures(now: float) -> list[str]:
    """The same for bearer tokens."""
    begin = int(now)
    claims = {"iss": _ISSUER, "aud": _CLIENT, "sub": "nobody", "iat": begin, "exp": begin + _LIFETIME_SECONDS}
    trust = Trust("self-test", _ISSUER, (_CLIENT,), ALGORITHMS)
    try:
        private = ec.generate_private_key(ec.SECP256R1())
        keys, genuine = _published(private), _signed(claims, private)
        vouched(genuine, keys, trust, now)
    except Exception as error:
        return [f"a genuine bearer token is not accepted: {type(error).__name__}: {error}"]
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, payload, signature = genuine.split(".")
    forged = {
        "has no algorithm": _encoded({"alg": "none"}) + f".{payload}.",
        "is signed with the public key as a secret": _signed_with_secret(head, payload, public),
        "was changed": f"{head}.{_encoded(claims | {'sub': 'admin'})}.{signature}",
        "is signed by somebody else": _signed(claims, ec.generate_private_key(ec.SECP256R1())),
        "is for another audience": _signed(claims | {"aud": "another"}, private),
        "comes from another issuer": _signed(claims | {"iss": f"{_ISSUER}/other"}, private),
        "has expired": _signed(claims | {"iat": begin - 590, "exp": begin - 500}, private),
        "is an ID token": _signed(claims | {"nonce": _NONCE}, private),
    }
    return [
        f"a bearer token is accepted although it {what}"
        for what, token in forged.items()
        if _is_vouched(token, keys, trust, now)
    ]


def _is_vouched(token: str, keys: KeySet, trust: Trust, now: float) -> bool:
    try:
        vouched(token, keys, trust, now)
    except RequestRefused:
        return False
    return True


def _judge(token: str, keys: KeySet, now: float) -> None:
    verified_claims(token, keys, Expected(_ISSUER, _CLIENT, _NONCE), now, {})


def _is_accepted(token: str, keys: KeySet, now: float) -> bool:
    try:
        _judge(token, keys, now)
    except LoginError:
        return False
    return True


def _published(private: ec.EllipticCurvePrivateKey) -> KeySet:
    members = ECAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": _KID, "alg": "ES256", "use": "sig"}
    return keys_from(json.dumps({"keys": [members]}).encode())


def _signed(claims: dict[str, Any], private: ec.EllipticCurvePrivateKey) -> str:
    return jwt.encode(claims, private, algorithm="ES256", headers={"kid": _KID})


def _signed_with_secret(head: str, payload: str, secret: bytes) -> str:
    header = json.loads(jwt.utils.base64url_decode(head)) | {"alg": "HS256"}
    content = f"{_encoded(header)}.{payload}"
    # PyJWT's own encode would refuse this key.
    digest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(content.encode(), secret)
    return f"{content}.{jwt.utils.base64url_encode(digest).decode()}"


def _encoded(members: dict[str, Any]) -> str:
    return jwt.utils.base64url_encode(json.dumps(members).encode()).decode()
