"""
Who we are to the provider, and how we prove it (RFC 6749 2.3, RFC 7523).

One way of proving it, chosen by the configuration; in `auto` by what there is
to prove it with. The provider's description chooses only among ways that send
the same secret to the same place, and among algorithms that fit our key: it can
never make us send more. Nothing here sends anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from passproxy.core.errors import ConfigError
from passproxy.idp.oidc.discovery import ProviderMetadata
from passproxy.idp.oidc.json_object import JsonRefused, json_object
from passproxy.idp.oidc.jwks import RSA_BITS

if TYPE_CHECKING:
    from passproxy.core.settings import OidcSettings

#: An assertion is used at once. A longer life only helps whoever finds one.
ASSERTION_SECONDS = 60

#: RSA of 8192 bits as PEM has 6400 characters.
KEY_FILE_LIMIT_BYTES = 64 * 1024

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_RSA_ALGORITHMS = ("RS256", "PS256")
_EC_ALGORITHMS = ("ES256",)


@dataclass(frozen=True, slots=True, repr=False)
class ClientKey:
    """Our private key, the name under which the provider has its public half, and what it may sign with."""

    private: RSAPrivateKey | EllipticCurvePrivateKey
    kid: str
    algorithms: tuple[str, ...]

    def algorithm(self, accepted: tuple[str, ...]) -> str:
        """The first of its algorithms that the provider announces; without an announcement, the first."""
        return next((algorithm for algorithm in self.algorithms if algorithm in accepted), self.algorithms[0])

    def public_jwk(self) -> dict[str, str]:
        """Its public half, to be registered at the provider (RFC 7517)."""
        alg = {"alg": self.algorithms[0]} if len(self.algorithms) == 1 else {}
        return {**_described(self.private)[1], "use": "sig", "kid": self.kid, **alg}


@dataclass(frozen=True, slots=True, repr=False)
class Client:
    """Who we are to the provider. Without secret and key: a public client, which PKCE alone protects."""

    client_id: str
    redirect_uri: str
    method: str = "auto"
    secret: str | None = None
    key: ClientKey | None = None

    def credentials(self, metadata: ProviderMetadata, now: float, jti: str) -> tuple[dict[str, str], dict[str, str]]:
        """Headers and form fields that prove who we are, once; `jti` names this one proof."""
        if self.key is not None:
            assertion = self._assertion(self.key, metadata, now, jti)
            return {}, {
                "client_id": self.client_id,
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
            }
        if self.secret is None:
            return {}, {"client_id": self.client_id}
        if self._sends_secret_in_form(metadata.token_endpoint_auth_methods):
            return {}, {"client_id": self.client_id, "client_secret": self.secret}
        # RFC 6749 2.3.1: both are form-encoded first, so that a colon in the id divides nothing.
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}, {}

    def _sends_secret_in_form(self, offered: tuple[str, ...]) -> bool:
        if self.method != "auto":
            return self.method == "client_secret_post"
        # No list of methods means Basic (Discovery 3).
        return "client_secret_post" in offered and "client_secret_basic" not in offered

    def _assertion(self, key: ClientKey, metadata: ProviderMetadata, now: float, jti: str) -> str:
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            # The issuer, alone: FAPI 2.0 and the revision of RFC 7523 ask for it and Keycloak takes it. An
            # endpoint would be taken from the description, whose author could name that of another provider
            # and present there what we made for it.
            "aud": metadata.issuer,
            "iat": int(now),
            "exp": int(now) + ASSERTION_SECONDS,
            "jti": jti,
        }
        algorithm = key.algorithm(metadata.token_endpoint_signing_algorithms)
        return jwt.encode(claims, key.private, algorithm=algorithm, headers={"kid": key.kid})


def client_from(settings: OidcSettings, redirect_uri: str) -> Client:
    """
    The configured client; reads its private key.

    Raises:
        ConfigError: the method contradicts what there is to prove ourselves with, or the key cannot be used.
    """
    secret = settings.client_secret.get_secret_value() if settings.client_secret is not None else None
    key = _key_at(settings.private_key_file) if settings.private_key_file is not None else None
    return Client(settings.client_id, redirect_uri, settings.token_endpoint_auth_method, secret, key)


def _key_at(path: str) -> ClientKey:
    try:
        with Path(path).open("rb") as file:
            document = file.read(KEY_FILE_LIMIT_BYTES)
        return client_key(document)
    except (OSError, ValueError) as error:
        # A ValueError of open() is about the path; ours say what is wrong and quote nothing.
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError((f"oidc.private_key_file: {path}: {reason}",)) from None


def client_key(document: bytes) -> ClientKey:
    """
    The private key in a PEM or JWK document.

    Raises:
        ValueError: it is neither, or a key that nobody should sign with. Quotes nothing of it.
    """
    members = _members(document) if document.lstrip().startswith(b"{") else {}
    try:
        private: Any = jwt.PyJWK(members).key if members else load_pem_private_key(document, None)
    except Exception:  # cryptography and PyJWT agree on no common base, and may quote the key
        raise ValueError("not a private key as JWK or as PEM without a passphrase") from None
    fitting, public = _described(private)
    only, kid = members.get("alg", fitting[0]), members.get("kid")
    if only not in fitting:
        raise ValueError(f"its alg is none of {', '.join(fitting)}")
    return ClientKey(
        private, kid if isinstance(kid, str) and kid else _thumbprint(public), (only,) if "alg" in members else fitting
    )


def _members(document: bytes) -> dict[str, Any]:
    try:
        return json_object(document)
    except JsonRefused as error:
        raise ValueError(f"JWK: {error}") from None


def _described(private: object) -> tuple[tuple[str, ...], dict[str, str]]:
    """What a key may sign with, and the members of its public half that make its thumbprint."""
    if isinstance(private, RSAPrivateKey):
        if private.key_size not in RSA_BITS:
            raise ValueError(f"RSA keys have {RSA_BITS.start} to {RSA_BITS.stop - 1} bits here")
        public = private.public_key().public_numbers()
        return _RSA_ALGORITHMS, {"kty": "RSA", "n": _number(public.n), "e": _number(public.e)}
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        point = private.public_key().public_numbers()
        return _EC_ALGORITHMS, {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}
    raise ValueError("must be a private key, RSA or EC on P-256")


def _number(value: int, size: int = 0) -> str:
    return _base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def _thumbprint(public: Mapping[str, str]) -> str:
    """RFC 7638: the same name wherever the public half is registered, so that nobody has to copy one."""
    return _base64url(hashlib.sha256(json.dumps(public, sort_keys=True, separators=(",", ":")).encode()).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
