"""
Does this installation still refuse forged tokens of ours?

Asked at each start, so that a library that was replaced is found by the
administrator and not by whoever notices first that everything is accepted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from passproxy.core.errors import TokenInvalid
from passproxy.core.tokens import KEY_BYTES, Key, KeyRing, Purpose

_ORIGIN = "https://self-test.invalid"
_LIFETIME_SECONDS = 60


def failures(now: float) -> list[str]:
    """What is wrong, each as a sentence; empty when nothing is."""
    begin = int(now)
    try:
        ring = _ring("a", _ORIGIN)
        token = _sealed(ring, begin)
        ring.unseal(Purpose.SESSION, token, now)
    except Exception as error:  # whatever stops this stops every session
        return [f"a genuine session is not accepted: {type(error).__name__}"]
    forged: dict[str, Callable[[], object]] = {
        "has no algorithm": lambda: ring.unseal(Purpose.SESSION, _without_algorithm(token), now),
        "was changed": lambda: ring.unseal(Purpose.SESSION, _changed(token), now),
        "has expired": lambda: ring.unseal(Purpose.SESSION, token, now + 2 * _LIFETIME_SECONDS),
        "was made for another purpose": lambda: ring.unseal(Purpose.LOGOUT, token, now),
        "was sealed by somebody else": lambda: ring.unseal(Purpose.SESSION, _sealed(_ring("b", _ORIGIN), begin), now),
        "belongs to another domain": lambda: _ring("a", f"{_ORIGIN}.invalid").unseal(Purpose.SESSION, token, now),
    }
    return [f"a session is accepted although it {what}" for what, opening in forged.items() if _is_accepted(opening)]


def _is_accepted(opening: Callable[[], object]) -> bool:
    try:
        opening()
    except TokenInvalid:
        return False
    return True


def _ring(letter: str, origin: str) -> KeyRing:
    return KeyRing((Key("self-test", letter.encode() * KEY_BYTES, 0),), origin)


def _sealed(ring: KeyRing, begin: int) -> bytes:
    return ring.seal(Purpose.SESSION, {"sub": "nobody"}, issued_at=begin, expires_at=begin + _LIFETIME_SECONDS).encode()


def _without_algorithm(token: bytes) -> bytes:
    header, payload, _ = token.split(b".")
    members = json.loads(base64.urlsafe_b64decode(header + b"==")) | {"alg": "none"}
    return base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=") + b"." + payload + b"."


def _changed(token: bytes) -> bytes:
    header, payload, signature = token.split(b".")
    claims = base64.urlsafe_b64decode(payload + b"==").replace(b"nobody", b"admins")
    return b".".join((header, base64.urlsafe_b64encode(claims).rstrip(b"="), signature))
