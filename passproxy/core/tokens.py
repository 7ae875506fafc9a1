"""
Sealing and unsealing: what PassProxy gives to a browser and believes when it comes back.

One key ring, one derived key for each purpose and origin: a token made for one
purpose, or for another domain that shares the key file, opens nowhere else.
The newest key whose time has come seals, every key of the ring opens; a key that
has left the ring opens nothing. The purposes are the members of `Purpose`.

`seal` makes a signed JWT that its bearer may read (RFC 7519, RFC 8725), `enclose`
a small encrypted value. This module knows no cookie and no clock.
"""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from passproxy.core.errors import ConfigError, TokenInvalid

#: 256 bits: HS256 and AES-256-GCM want as much as their output or key size.
KEY_BYTES = 32

#: Four cookies, which is as many as a session is split into; a longer token was not ours.
TOKEN_LIMIT_BYTES = 4 * 4096

#: Keys in one ring: a newest one, its predecessors within their overlap, and some room.
RING_LIMIT = 16

#: How far ahead a clock of another replica may be.
REPLICA_SKEW_SECONDS = 60

#: Details of a `TokenInvalid` from which others conclude something.
KEY_UNKNOWN = "signed by a key that is not in the ring"
EXPIRED = "expired"
FROM_THE_FUTURE = "issued in the future"

_ALGORITHM = "HS256"
_SEGMENTS = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_ENCLOSED = re.compile(rb"[A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_-]+\Z")
_KID = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")


class Purpose(Enum):
    """What a token is for. The value is its JWT type and part of its key."""

    SESSION = "pp-session+jwt"
    PENDING = "pp-pending"
    KEPT = "pp-kept"
    LOGOUT = "pp-logout"
    LAST_GOOD = "pp-last-good"
    WHO = "pp-who"
    FORM = "pp-form"
    LOOP = "pp-loop"
    ASSERTION = "pp-assertion"
    CLEANUP = "pp-cleanup"
    DOCTOR = "pp-doctor+jwt"


@dataclass(frozen=True, slots=True)
class Key:
    """
    A master key. Times are seconds since the epoch.

    It opens from the moment it is read and seals from `seals_from` on: what is
    between is the time in which every instance reads it.
    """

    kid: str
    secret: bytes
    created: int
    seals_from: int = 0

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r}, created={self.created})"


def new_key(now: float, seals_from: float = 0) -> Key:
    return Key(secrets.token_hex(4), secrets.token_bytes(KEY_BYTES), int(now), int(seals_from))


def sealing_key(keys: tuple[Key, ...], now: float) -> Key:
    """Of keys, newest first, the one that seals now; before the time of all of them the one whose time comes first."""
    ready = (key for key in keys if key.seals_from <= now)
    return next(ready, None) or min(keys, key=lambda key: key.seals_from)


def needed_keys(keys: tuple[Key, ...], now: float, lifetime_seconds: float) -> tuple[Key, ...]:
    """
    The keys, newest first, under which something may be sealed that still holds.

    A key's last token was made when its successor began to seal, and lives for
    `lifetime_seconds` at most.
    """
    return tuple(
        key
        for number, key in enumerate(keys)
        if number == 0 or max(keys[number - 1].seals_from, keys[number - 1].created) + lifetime_seconds > now
    )


def keys_text(keys: tuple[Key, ...]) -> str:
    """The content of a key file."""
    entries = [
        {
            "kid": key.kid,
            "created": key.created,
            **({"seals_from": key.seals_from} if key.seals_from else {}),
            "secret": _encoded(key.secret),
        }
        for key in keys
    ]
    return json.dumps({"keys": entries}, indent=1) + "\n"


def keys_from(text: str) -> tuple[Key, ...]:
    """
    The keys of a key file, newest first.

    Raises:
        ConfigError: it is not one, or has no key, or a weak or repeated one.
    """
    try:
        entries = json.loads(text)["keys"]
        keys = [_key_from(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ConfigError(("the key file is not a key file of this product",)) from None
    if not all(_KID.match(key.kid) and len(key.secret) >= KEY_BYTES for key in keys):
        raise ConfigError((f"the key file has a key below {KEY_BYTES} bytes, or a kid that is not a short name",))
    if not 0 < len(keys) <= RING_LIMIT or len({key.kid for key in keys}) != len(keys):
        raise ConfigError((f"the key file must hold 1 to {RING_LIMIT} keys with different kids",))
    return tuple(sorted(keys, key=lambda key: key.created, reverse=True))


def _key_from(entry: dict[str, Any]) -> Key:
    if type(entry["kid"]) is not str:
        raise TypeError("a kid that is not a string")
    secret = base64.urlsafe_b64decode(entry["secret"] + "==")
    return Key(entry["kid"], secret, int(entry["created"]), int(entry.get("seals_from", 0)))


class KeyRing:
    """
    The keys of one origin, newest first, derived for each purpose.

    `clock` tells when the time of a key has come; without one it has come for all.
    """

    def __init__(self, keys: tuple[Key, ...], origin: str, clock: Callable[[], float] = lambda: math.inf) -> None:
        self._origin = origin
        self._keys = keys
        self._clock = clock
        self._derived = {
            (key.kid, purpose): _derive(key.secret, purpose, origin) for key in keys for purpose in Purpose
        }

    @property
    def kids(self) -> tuple[str, ...]:
        """The names of all keys, in the order of the file; none is secret."""
        return tuple(key.kid for key in self._keys)

    @property
    def _sealing(self) -> str:
        return self._keys[0].kid if len(self._keys) == 1 else sealing_key(self._keys, self._clock()).kid

    def key(self, purpose: Purpose) -> bytes:
        """The key in use for a purpose that is neither sealed nor enclosed."""
        return self._derived[self._sealing, purpose]

    def keys(self, purpose: Purpose) -> list[bytes]:
        """Every key for a purpose, newest first."""
        return [key for (_, of), key in self._derived.items() if of is purpose]

    def seal(self, purpose: Purpose, claims: Mapping[str, Any], *, issued_at: int, expires_at: int) -> str:
        """A signed JWT. `iss`, `aud`, `iat` and `exp` are added to the claims."""
        kid = self._sealing
        return jwt.encode(
            {
                **claims,
                "iss": self._origin,
                "aud": _audience(self._origin, purpose),
                "iat": issued_at,
                "exp": expires_at,
            },
            self._derived[kid, purpose],
            algorithm=_ALGORITHM,
            headers={"typ": purpose.value, "kid": kid},
        )

    def unseal(self, purpose: Purpose, token: bytes, now: float) -> dict[str, Any]:
        """
        The claims of a token that was sealed for this purpose and origin and has not expired.

        Raises:
            TokenInvalid: in every other case, whatever the bytes are.
        """
        try:
            return self._unsealed(purpose, token, now)
        except TokenInvalid:
            raise
        except Exception as error:
            # PyJWT lets TypeError, InvalidKeyError and others through for some inputs;
            # none of them may become anything but "no token".
            raise TokenInvalid(type(error).__name__) from None

    def _unsealed(self, purpose: Purpose, token: bytes, now: float) -> dict[str, Any]:
        # PyJWT decodes base64 leniently (padding, line ends): two spellings of one token.
        if len(token) > TOKEN_LIMIT_BYTES or not _SEGMENTS.match(token) or not _is_canonical(token.rpartition(b".")[2]):
            raise TokenInvalid("not a compact JWT")
        header = jwt.get_unverified_header(token)
        if header.keys() != {"alg", "typ", "kid"} or header["typ"] != purpose.value or header["alg"] != _ALGORITHM:
            raise TokenInvalid("a token of another type")
        key = self._derived.get((header["kid"], purpose))
        if key is None:
            raise TokenInvalid(KEY_UNKNOWN)
        # Times are compared below, against `now`; PyJWT would ask the system's clock.
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=_audience(self._origin, purpose),
            issuer=self._origin,
            options={
                "require": ["iss", "aud", "iat", "exp"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        issued_at, expires_at = claims["iat"], claims["exp"]
        if type(issued_at) is not int or type(expires_at) is not int or type(claims["aud"]) is not str:
            raise TokenInvalid("a claim of the wrong type")
        if issued_at > now + REPLICA_SKEW_SECONDS:
            raise TokenInvalid(FROM_THE_FUTURE)
        if expires_at <= now:
            raise TokenInvalid(EXPIRED)
        return claims

    def enclose(self, purpose: Purpose, content: bytes) -> str:
        """Encrypted and authenticated (AES-256-GCM), in URL-safe characters; 60 more than its content takes."""
        nonce, kid = secrets.token_bytes(12), self._sealing
        cipher = AESGCM(self._derived[kid, purpose]).encrypt(nonce, content, purpose.value.encode())
        return f"{kid}.{_encoded(nonce + cipher)}"

    def disclose(self, purpose: Purpose, value: bytes, limit_bytes: int = TOKEN_LIMIT_BYTES) -> bytes:
        """
        The content of what `enclose` made for this purpose and origin; a value above the limit is none of it.

        Raises:
            TokenInvalid: in every other case, whatever the bytes are.
        """
        kid, _, text = value.partition(b".")
        key = self._derived.get((kid.decode("ascii", "replace"), purpose))
        if len(value) > limit_bytes or not _ENCLOSED.match(value):
            raise TokenInvalid("not an enclosed value")
        if key is None:
            raise TokenInvalid(KEY_UNKNOWN)
        try:
            raw = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
            if _encoded(raw).encode() != text:
                raise TokenInvalid("not in canonical form")
            return AESGCM(key).decrypt(raw[:12], raw[12:], purpose.value.encode())
        except (ValueError, InvalidTag):
            raise TokenInvalid("does not open") from None


def _audience(origin: str, purpose: Purpose) -> str:
    return f"{origin} {purpose.value}"


def _derive(secret: bytes, purpose: Purpose, origin: str) -> bytes:
    # Lengths first, so that no two contexts can be written alike (CVE-2026-6873's class).
    parts = (purpose.value.encode(), origin.encode())
    info = b"passproxy" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def _is_canonical(text: bytes) -> bool:
    """Whether the unused bits of the last character are zero; of a signature nothing else checks that."""
    return _encoded(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))).encode() == text


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
