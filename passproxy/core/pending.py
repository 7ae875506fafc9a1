"""
Pending logins: what PassProxy must remember between start and callback.

A pending login travels in the browser, enclosed, because the process keeps no
state; any replica can finish it. Each has its own id and its own cookie, so a
hundred tabs do not disturb each other. It proves that the browser presenting
an answer is the one that was sent to ask. This module sets no cookie and
checks no answer: endpoints.py does the first, each provider the second.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES, CookieNames
from passproxy.core.errors import LoginExpired, LoginUnknown, TokenInvalid
from passproxy.core.tokens import KeyRing, Purpose

#: From the redirect to the answer: time for a password, a second factor and a phone call.
LOGIN_LIMIT_SECONDS = 15 * 60

_SECRET_BYTES = 16
_LOGIN_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """
    One login under way. `started_at` is seconds since the epoch.

    `secret` never leaves PassProxy but enclosed; what must match between start
    and answer is derived from it.
    """

    secret: bytes
    started_at: int
    return_to: str

    @property
    def login_id(self) -> str:
        """On the wire the state or RelayState: 22 URL-safe characters that do not tell the secret."""
        digest = hashlib.sha256(b"login id" + self.secret).digest()[:16]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def new_pending(return_to: str, now: float) -> PendingLogin:
    return PendingLogin(secrets.token_bytes(_SECRET_BYTES), int(now), return_to)


@dataclass(frozen=True, slots=True)
class PendingLogins:
    """The pending logins of one browser, in its cookies."""

    ring: KeyRing
    names: CookieNames

    def cookie_name(self, login_id: str) -> str:
        return self.names.login_prefix + login_id[:8]

    def enclose(self, pending: PendingLogin) -> str:
        """The cookie value of a pending login."""
        content = pending.secret + pending.started_at.to_bytes(5, "big") + pending.return_to.encode()
        return self.ring.enclose(Purpose.PENDING, content)

    def find(self, login_id: str, cookies: Mapping[bytes, bytes], now: float) -> PendingLogin:
        """
        The pending login with this id among a browser's login cookies.

        Raises:
            LoginUnknown: this browser was not given that id.
            LoginExpired: it was, too long ago.
        """
        if not _LOGIN_ID.match(login_id):
            raise LoginUnknown("the login id is not one of ours")
        value = cookies.get(self.cookie_name(login_id).encode())
        if value is None:
            raise LoginUnknown("no login cookie for this login id")
        try:
            pending = self._disclosed(value)
        except TokenInvalid as error:
            raise LoginUnknown(f"login cookie: {error.detail}") from None
        if not secrets.compare_digest(pending.login_id, login_id):
            raise LoginUnknown("the login cookie belongs to another login id")
        if not -60 <= now - pending.started_at <= LOGIN_LIMIT_SECONDS:
            raise LoginExpired("outside its time")
        return pending

    def surplus(self, cookies: Mapping[bytes, bytes], added_bytes: int, now: float) -> list[str]:
        """Names of login cookies to expire, oldest first, so that those left fit beside `added_bytes` more."""
        total = added_bytes + sum(len(name) + len(value) + 3 for name, value in cookies.items())
        surplus = []
        for started_at, name in sorted((self._started_at(value), name) for name, value in cookies.items()):
            if total <= LOGIN_COOKIES_LIMIT_BYTES and started_at >= now - LOGIN_LIMIT_SECONDS:
                break
            surplus.append(name.decode("latin-1"))
            total -= len(name) + len(cookies[name]) + 3
        return surplus

    def _started_at(self, value: bytes) -> int:
        try:
            return self._disclosed(value).started_at
        except TokenInvalid:
            return 0

    def _disclosed(self, value: bytes) -> PendingLogin:
        content = self.ring.disclose(Purpose.PENDING, value)
        started_at = int.from_bytes(content[_SECRET_BYTES : _SECRET_BYTES + 5], "big")
        return PendingLogin(content[:_SECRET_BYTES], started_at, content[_SECRET_BYTES + 5 :].decode())
