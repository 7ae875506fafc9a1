"""
Identifiers that say when they were made, and that nobody else can make.

Where a fresh authentication is asked for, the answer must be compared with the
start of its login, and nothing about a login is stored here. So the ID of the
request carries the time, under a MAC with a key of this one login; the signed
answer brings it back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

_DATED = re.compile(r"_([0-9a-f]{1,12})-[A-Za-z0-9_-]{43}", re.ASCII)


def dated(key: str, seconds: int) -> str:
    """An xs:ID of at most 57 characters."""
    date = f"{seconds:x}"
    mac = hmac.digest(key.encode(), b"dated request " + date.encode(), hashlib.sha256)
    return f"_{date}-{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def date_of(key: str, identifier: str) -> int | None:
    """When an identifier was made, or None if it was not made with this key."""
    match = _DATED.fullmatch(identifier)
    if not match:
        return None
    seconds = int(match[1], 16)
    return seconds if hmac.compare_digest(dated(key, seconds), identifier) else None
