"""
What the adapter wants to have back of a login: the refresh token, and the ID token for the logout.

One compact value of its own format; somebody else encrypts it and binds it to the session. The ID
token is taken apart, since JSON deflates and its base64 does not, and comes back byte for byte.
What cannot be read is as if nothing had been remembered. Nothing here is verified.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass

from passproxy.core.kept import KEPT_LIMIT_BYTES

_VERSION = b"\x01"
_LENGTH_BYTES = 3

#: An ID token with some hundred groups compresses twentyfold at the very most.
INFLATED_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class Remembered:
    refresh_token: str | None = None
    id_token: str | None = None


def packed(remembered: Remembered) -> bytes:
    """
    As one value, without what makes it too large.

    The ID token goes first: without it the provider asks whether to log out. Empty when there is nothing.
    """
    for one in (remembered, Remembered(remembered.refresh_token)):
        if one == Remembered():
            return b""
        parts = [(one.refresh_token or "").encode(), *_taken_apart(one.id_token)]
        plain = b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)
        value = _VERSION + zlib.compress(plain, 9)
        if len(plain) <= INFLATED_LIMIT_BYTES and len(value) <= KEPT_LIMIT_BYTES:
            return value
    return b""


def remembered_from(value: bytes) -> Remembered:
    """What `packed` was given; nothing where this is not its result."""
    try:
        refresh_token, *pieces = _parts(value)
        token = ".".join(base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in pieces)
        return Remembered(refresh_token.decode() or None, token if any(pieces) else None)
    except (ValueError, zlib.error):
        return Remembered()


def _taken_apart(id_token: str | None) -> list[bytes]:
    try:
        pieces = [base64.urlsafe_b64decode(piece + "=" * (-len(piece) % 4)) for piece in (id_token or "..").split(".")]
    except (ValueError, binascii.Error):
        return [b"", b"", b""]
    return pieces if len(pieces) == 3 else [b"", b"", b""]


def _parts(value: bytes) -> list[bytes]:
    if value[:1] != _VERSION:
        raise ValueError("another version")
    inflate = zlib.decompressobj()
    plain = inflate.decompress(value[1:], INFLATED_LIMIT_BYTES)
    if not inflate.eof:
        raise ValueError("larger than anything that is packed, or cut off")
    parts, position = [], 0
    while position < len(plain):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(plain[position:start], "big")
        parts.append(plain[start:position])
    if len(parts) != 4 or position != len(plain):
        raise ValueError("not four parts")
    return parts
