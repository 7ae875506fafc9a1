"""
Handles: what a session is called in lists of revoked ones, and in the log.

A digest of a name, so that neither a list nor a log has what a provider calls people or their sessions. A session
has several: its own, its subject's, and those of the names that the provider gave it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

#: All sessions, where handles of sessions are listed.
EVERY_SESSION = "*"

#: Before the own handle of a session, there: tokens that were confirmed before the time say what is no longer so.
SUPERSEDED = "+"

#: 96 bits name a session among all that ever were, and a session has three or four.
HANDLE_CHARACTERS = 16
HANDLE_BYTES = HANDLE_CHARACTERS * 6 // 8
HANDLE = re.compile(rf"[A-Za-z0-9_-]{{{HANDLE_CHARACTERS}}}\Z")


def handle_of(name: str) -> str:
    """What a session is called in lists of revoked ones, by a name that the provider gives it."""
    return unpacked(hashlib.sha256(name.encode()).digest())[:HANDLE_CHARACTERS]


def is_handle(text: str) -> bool:
    """Whether something has the form of a handle, or means all sessions."""
    return text == EVERY_SESSION or HANDLE.match(text.removeprefix(SUPERSEDED)) is not None


def own_handle(session_id: str) -> str:
    """The handle of one session, by its own id; the log names sessions by it."""
    return handle_of(f"session:{session_id}")


def subject_handle(subject: str) -> str:
    """The handle of all sessions of one person, by the provider's stable identifier."""
    return handle_of(f"subject:{subject}")


def handles_named(session: str) -> tuple[str, ...]:
    """What somebody may mean by the name of a session: its handle as the log has it, or the provider's `sid`."""
    handles = (own_handle(session), handle_of(f"sid:{session}"))
    return (session, *handles) if HANDLE.match(session) else handles


def packed(handles: Iterable[str]) -> bytes:
    """Handles one after the other, in as few bytes as they need."""
    return base64.urlsafe_b64decode("".join(handles))


def unpacked(handles: bytes) -> str:
    """The same as text; each has `HANDLE_CHARACTERS` of it."""
    return base64.urlsafe_b64encode(handles).decode()
