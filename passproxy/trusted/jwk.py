"""
Public keys out of a JWK set (RFC 7517), and their thumbprints (RFC 7638).

A key is taken for signatures only, with an algorithm that fits its type. What
cannot be used is left out, as RFC 7517 5 wants, so that a proxy may add kinds of
keys that are not known here; a set without a single usable key is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from passproxy.trusted.errors import FetchFailed

#: Algorithm -> key type and curve (RFC 7518, 3.1; RFC 8037).
KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "RS256": ("RSA", ""),
        "RS384": ("RSA", ""),
        "RS512": ("RSA", ""),
        "PS256": ("RSA", ""),
        "PS384": ("RSA", ""),
        "PS512": ("RSA", ""),
        "EdDSA": ("OKP", "Ed25519"),
    }
)

#: What takes part in a thumbprint, for each key type.
_THUMBPRINT_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}

#: Identity providers publish two to a dozen.
KEY_LIMIT = 100

#: RFC 7518, 3.3.
RSA_MINIMUM_BITS = 2048

#: Eight times the usual size; verification takes longer with each bit.
RSA_LIMIT_BITS = 16384

Material = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies. `algorithm` is "" when the set does not tie it to one; `kid` is "" without one."""

    kid: str
    kind: tuple[str, str]
    algorithm: str
    thumbprint: str
    material: Material = field(repr=False)

    def fits(self, algorithm: str) -> bool:
        return KINDS.get(algorithm) == self.kind and self.algorithm in ("", algorithm)


def keys_from(document: bytes) -> tuple[PublicKey, ...]:
    """
    The usable keys of a JWK set.

    Raises:
        FetchFailed: it is not one, or none of its keys can be used.
    """
    try:
        entries = json.loads(document)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FetchFailed("what was read is not a JWK set") from None
    if not isinstance(entries, list) or len(entries) > KEY_LIMIT:
        raise FetchFailed(f"a JWK set has a list of at most {KEY_LIMIT} keys")
    keys = tuple(key for entry in entries if isinstance(entry, dict) and (key := _key_from(entry)))
    if not keys:
        raise FetchFailed("the JWK set has no key that can be used")
    return keys


def thumbprint(entry: Mapping[str, Any]) -> str:
    """RFC 7638, with SHA-256, base64url without padding. The key type must be a known one."""
    members = {name: entry[name] for name in _THUMBPRINT_MEMBERS[entry["kty"]]}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _key_from(entry: dict[str, Any]) -> PublicKey | None:
    kid, algorithm, operations = entry.get("kid", ""), entry.get("alg", ""), entry.get("key_ops", ["verify"])
    # A private key in a public place is known to everybody.
    if "d" in entry or not isinstance(kid, str) or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    kind = (str(entry.get("kty")), str(entry.get("crv", "")))
    reader = next((name for name, known in KINDS.items() if known == kind), None)
    if reader is None or (algorithm != "" and KINDS.get(str(algorithm)) != kind):
        return None
    try:
        material = jwt.PyJWK(entry, reader).key
        print_of_it = thumbprint(entry)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if not isinstance(material, Material) or not _is_strong(material):
        return None
    return PublicKey(kid, kind, algorithm, print_of_it, material)


def _is_strong(material: Material) -> bool:
    return not isinstance(material, rsa.RSAPublicKey) or RSA_MINIMUM_BITS <= material.key_size <= RSA_LIMIT_BITS
