"""
The provider's public keys (RFC 7517), and which of them may have signed a token.

A key is used for the algorithms that fit its type and curve, and for no other;
a token's header can only choose among them. Keys that are secret, private,
weak, for encryption or not understood are left out. Nothing here fetches, and
no URL inside a key is ever followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK

from passproxy.idp.oidc.errors import KeysRefused
from passproxy.idp.oidc.json_object import JsonRefused, json_object

#: Large providers publish five to ten keys.
KEY_LIMIT = 100

#: Shorter ones can be factored (NIST SP 800-131A); longer ones only cost time.
RSA_BITS = range(2048, 8193)

#: The only exponent in use. Small ones are fragile, large ones make each check slow.
RSA_EXPONENT = 65537

#: (kty, crv) -> what such a key may be used for. There is no `none` and no HMAC here,
#: and what is not here does not exist (RFC 8725 3.1).
ALGORITHMS_OF: Mapping[tuple[str, str | None], frozenset[str]] = MappingProxyType(
    {
        ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("EC", "P-256"): frozenset({"ES256"}),
        ("EC", "P-384"): frozenset({"ES384"}),
        ("EC", "P-521"): frozenset({"ES512"}),
        ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    }
)
ALGORITHMS = frozenset().union(*ALGORITHMS_OF.values())

_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

# base64url of 8192 bits: cryptography would read a modulus of a megabyte as willingly.
_NUMBER_LIMIT_CHARACTERS = 1400


@dataclass(frozen=True, slots=True)
class Key:
    """One public key. `kid` is a name that the provider chose, nothing more."""

    kid: str | None
    algorithms: frozenset[str]
    public: Any


@dataclass(frozen=True, slots=True)
class KeySet:
    keys: tuple[Key, ...]

    def candidates(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """
        The keys that may have made a signature.

        Without a `kid`, all that fit the algorithm; several may share one `kid`.
        """
        return tuple(key for key in self.keys if algorithm in key.algorithms and (kid is None or key.kid == kid))

    def names(self) -> tuple[str, ...]:
        """The keys' names in order, for a log line."""
        return tuple(key.kid or "-" for key in self.keys)


def keys_from(document: bytes) -> KeySet:
    """
    The usable keys of a JWK Set.

    Raises:
        KeysRefused: it is not a JWK Set, has too many keys, or none that is usable.
    """
    try:
        entries = json_object(document).get("keys")
    except JsonRefused as error:
        raise KeysRefused(f"key set: {error}") from None
    if not isinstance(entries, list):
        raise KeysRefused("key set without a list of keys")
    if len(entries) > KEY_LIMIT:
        raise KeysRefused(f"key set with {len(entries)} keys, at most {KEY_LIMIT} are read")
    keys = tuple(key for entry in entries if isinstance(entry, dict) and (key := _key(entry)))
    if not keys:
        raise KeysRefused(f"none of the {len(entries)} published keys is usable")
    return KeySet(keys)


def _key(entry: Mapping[str, Any]) -> Key | None:
    kid, algorithms = entry.get("kid"), _algorithms(entry)
    if not algorithms or not isinstance(kid, str | None) or not _is_for_verifying(entry):
        return None
    if any(isinstance(value, str) and len(value) > _NUMBER_LIMIT_CHARACTERS for value in map(entry.get, ("n", "e"))):
        return None
    try:
        # The algorithm only chooses how to read the key; which ones it serves is ours to say.
        public = PyJWK(dict(entry), algorithm=min(algorithms)).key
    except Exception:  # cryptography and PyJWT agree on no common base, and the input is foreign
        return None
    return Key(kid, algorithms, public) if _is_strong(public) else None


def _algorithms(entry: Mapping[str, Any]) -> frozenset[str]:
    kty, curve, only = entry.get("kty"), entry.get("crv"), entry.get("alg")
    if not isinstance(kty, str) or not isinstance(curve, str | None):
        return frozenset()
    fitting = ALGORITHMS_OF.get((kty, curve), frozenset())
    return fitting if only is None else fitting & {only} if isinstance(only, str) else frozenset()


def _is_for_verifying(entry: Mapping[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return (
        entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and _PRIVATE_MEMBERS.isdisjoint(entry)
    )


def _is_strong(public: Any) -> bool:
    if isinstance(public, RSAPublicKey):
        return public.key_size in RSA_BITS and public.public_numbers().e == RSA_EXPONENT
    return True
