"""Keys by which PassProxy proves who it is, with the two forms in which providers take the public half."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import RSAAlgorithm


@dataclass(frozen=True, slots=True)
class Jwk:
    """A private key as JWK in a file, and its public half as one."""

    file: Path
    public: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Certified:
    """A private key as JWK in a file, and a certificate of it as base64 in one line."""

    file: Path
    certificate: str


def jwk(scratch: Path) -> Jwk:
    private = _private()
    named = {"kid": "chosen-by-the-administrator", "use": "sig", "alg": "RS256"}
    public = {**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), **named}
    # PyJWT writes what each half is for, which "use" says already.
    public.pop("key_ops", None)
    return Jwk(_written(scratch / "client.jwk", private, named), public)


def certified(scratch: Path) -> Certified:
    private = _private()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "passproxy")])
    start = datetime.now(UTC) - timedelta(hours=1)
    certificate = x509.CertificateBuilder(
        name, name, private.public_key(), x509.random_serial_number(), start, start + timedelta(days=2)
    ).sign(private, hashes.SHA256())
    # A certificate has no room for a key's name. Keycloak makes one up, and looks the key up by it.
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    kid = base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()
    encoded = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    return Certified(_written(scratch / "certified.jwk", private, {"kid": kid}), encoded)


def _private() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _written(path: Path, private: rsa.RSAPrivateKey, named: Mapping[str, str]) -> Path:
    content = {**RSAAlgorithm.to_jwk(private, as_dict=True), **named}
    content.pop("key_ops", None)
    path.touch(mode=0o600)
    path.write_text(json.dumps(content), "utf-8")
    return path
