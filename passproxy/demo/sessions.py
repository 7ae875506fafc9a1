"""
Browsers that have signed in at the demo identity provider (its own single sign-on).

In memory, bounded, gone when the demo ends. It knows nothing of the logins that
are under way: those travel in the address of the form, so any number of tabs
can wait for the same password at once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from passproxy.demo.users import User

#: PassProxy lives on the same host name in a demo, and cookies know no ports (RFC 6265 8.5).
COOKIE_NAME = "demo_idp"

#: A working day, as most identity providers have it.
LIFETIME_SECONDS = 8 * 3600

#: Far above what one person's browsers need; the oldest go first.
SESSION_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who gave the right password, and when (seconds since the epoch)."""

    user: User
    at: float


class Sessions:
    """Session id in the cookie -> who signed in."""

    def __init__(self) -> None:
        self._sign_ins: dict[str, SignIn] = {}

    def remember(self, sign_in: SignIn) -> str:
        """A fresh session id for this sign-in."""
        while len(self._sign_ins) >= SESSION_LIMIT:
            del self._sign_ins[next(iter(self._sign_ins))]
        session_id = secrets.token_urlsafe(32)
        self._sign_ins[session_id] = sign_in
        return session_id

    def find(self, session_id: str, now: float) -> SignIn | None:
        sign_in = self._sign_ins.get(session_id)
        if sign_in is None or now - sign_in.at >= LIFETIME_SECONDS:
            self.forget(session_id)
            return None
        return sign_in

    def forget(self, session_id: str) -> None:
        self._sign_ins.pop(session_id, None)
