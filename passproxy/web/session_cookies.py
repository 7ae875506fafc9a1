"""
The cookies of a session: set together, expired together.

A token takes one cookie or several, and beside it may be one with what renews the session
(core/kept.py). What an earlier session of the same browser left over goes at the same time.
"""

from __future__ import annotations

from passproxy.core.cookies import CookieNames, Crumbs
from passproxy.core.session_claims import Session
from passproxy.web.responses import Field


class SessionCookies:
    """Set-Cookie fields. `crumbs` are those of the request that is answered."""

    def __init__(self, names: CookieNames) -> None:
        self._names = names

    def set(self, session: Session, token: str, kept: str, crumbs: Crumbs, now: float) -> list[Field]:
        """For as long as the session lasts."""
        values = self._names.parts(token)
        if kept:
            values[self._names.kept] = kept
        age = max(session.expires_at - int(now), 1)
        fields = [("Set-Cookie", self._names.set(name, value, max_age=age)) for name, value in values.items()]
        return [*fields, *map(self._expired, self._names.over(crumbs, values))]

    def expire(self, crumbs: Crumbs) -> list[Field]:
        """What came along goes; the session's own in any case."""
        names = self._names.over(crumbs)
        return [
            self._expired(name) for name in (names if self._names.session in names else [self._names.session, *names])
        ]

    def forget(self, crumbs: Crumbs) -> list[Field]:
        """What outlives a session goes too, when the person said that it is over."""
        came = (name for name in (self._names.who, self._names.loop) if name.encode() in crumbs.more)
        return list(map(self._expired, came))

    def kept(self, crumbs: Crumbs) -> bytes | None:
        """The value of the cookie that renews or ends a session at the provider."""
        return crumbs.more.get(self._names.kept.encode())

    def _expired(self, name: str) -> Field:
        return ("Set-Cookie", self._names.expire(name))
