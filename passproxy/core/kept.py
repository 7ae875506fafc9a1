"""
What an adapter wants to have back later, in the browser's keeping: a refresh token, the names of a session there.

Encrypted, unlike the session, since a refresh token is worth more than what its bearer may see;
bound to one session, so that nobody renews theirs with what was kept of another. What it means is
the adapter's own business.
"""

from __future__ import annotations

from passproxy.core.cookies import VALUE_LIMIT_BYTES
from passproxy.core.errors import TokenInvalid
from passproxy.core.tokens import KeyRing, Purpose

#: What fits the value of one cookie once it is enclosed, with the id of its session.
KEPT_LIMIT_BYTES = 2600


def enclosed(ring: KeyRing, session_id: str, kept: bytes) -> str | None:
    """The value of its cookie; "" where there is nothing, None where it is too large for a cookie."""
    if not kept:
        return ""
    value = ring.enclose(Purpose.KEPT, session_id.encode() + b"\0" + kept)
    return value if len(value) <= VALUE_LIMIT_BYTES else None


def disclosed(ring: KeyRing, session_id: str, value: bytes | None) -> bytes:
    """What was kept of this session; empty for whatever is not that."""
    if not value:
        return b""
    try:
        name, _, kept = ring.disclose(Purpose.KEPT, value).partition(b"\0")
    except TokenInvalid:
        return b""
    return kept if name == session_id.encode() else b""
