"""
The login, whatever the protocol: start, and finish.

Cheapest and surest check first: the login id, its cookie, its time and that it
was not used before come before the provider is asked to verify anything, and
no call leaves this machine until they hold. Returns values; which cookies are
set and where the browser goes is for endpoints.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from passproxy.core import kept
from passproxy.core.errors import AccessDenied, CallbackMalformed, IdpUnavailable, LoginError, LoginReplayed
from passproxy.core.handles import own_handle
from passproxy.core.identity import AttributeRules, Authentication, identity_from, unsafe_groups
from passproxy.core.pending import LOGIN_LIMIT_SECONDS, PendingLogin, PendingLogins, is_login_id
from passproxy.core.session import Sessions
from passproxy.core.session_claims import Session
from passproxy.core.urls import with_fragment
from passproxy.idp.base import Callback, IdentityProvider, Proof

#: Login ids remembered as used. At a hundred logins a second this is a quarter of an
#: hour, their lifetime; beyond it the oldest is forgotten and the provider's own
#: one-time checks remain.
USED_LIMIT = 100_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """Where to send the browser, the login cookies that it must bring back, and those it need not keep."""

    redirect_to: str
    cookies: Mapping[str, str]
    expired: list[str]


@dataclass(frozen=True, slots=True)
class Finished:
    """
    A new session, its token, and the target that was asked for in the beginning.

    `kept` is the value of the cookie beside it, "" for none.
    """

    session: Session
    token: str
    kept: str
    return_to: str
    expired: list[str]


class Logins:
    """Starts and finishes logins at one identity provider. None that was used in the time `before` is used again."""

    def __init__(
        self,
        provider: IdentityProvider,
        pending: PendingLogins,
        sessions: Sessions,
        rules: AttributeRules,
        before: Logins | None = None,
    ) -> None:
        self.provider = provider
        self.ring = pending.ring
        self._pending = pending
        self._sessions = sessions
        self._rules = rules
        self._used: dict[str, int] = {} if before is None else before._used

    async def start(self, return_to: str, cookies: Mapping[bytes, bytes], now: float) -> Started:
        """
        Begin a login for a browser that has these login cookies.

        Raises:
            IdpUnavailable: the provider has never been reached.
        """
        remembered = self._pending.remember(return_to, cookies, now)
        login = remembered.login
        redirect_to = await self.provider.start(login.login_id, Proof(login.secret), now)
        return Started(redirect_to, remembered.cookies, remembered.expired)

    async def finish(self, callback: Callback, cookies: Mapping[bytes, bytes], now: float) -> Finished:
        """
        Turn an answer into a session.

        Raises:
            LoginError: the answer is none to a login of this browser, or does not hold.
        """
        login_id = self.login_id(callback)
        if self.provider.accepts_unsolicited and not is_login_id(login_id):
            authentication = await self.provider.finish_unsolicited(callback, now)
            return self._begun(authentication, with_fragment(login_id), [], now)
        if not login_id:
            raise CallbackMalformed(f"no {self.provider.login_id_field}")
        pending = self._pending.find(login_id, cookies, now)
        self._use(pending, now)
        try:
            authentication = await self.provider.finish(callback, Proof(pending.secret), now)
        except IdpUnavailable:
            # Nothing was decided, so the same answer may be tried again.
            self._used.pop(login_id, None)
            raise
        return self._begun(authentication, pending.return_to, self.cookies_over(cookies), now)

    def login_id(self, callback: Callback) -> str:
        """Which login an answer says that it belongs to."""
        return callback.fields.get(self.provider.login_id_field, "")

    def return_to(self, login_id: str, cookies: Mapping[bytes, bytes], now: float) -> str:
        """The target of a login, "/" when that is not known (any more)."""
        try:
            return self._pending.find(login_id, cookies, now).return_to
        except LoginError:
            return "/"

    def cookies_over(self, cookies: Mapping[bytes, bytes]) -> list[str]:
        """The names of the login cookies that a browser need not keep, since all their logins were used here."""
        return self._pending.names_of(self._used, cookies)

    def _begun(self, said: Authentication, return_to: str, expired: list[str], now: float) -> Finished:
        session = self._sessions.begin(identity_from(said, self._rules), said, now)
        if dropped := unsafe_groups(said, self._rules):
            _log.warning(
                "identity.groups_dropped session=%s count=%d they hold the separator, or are not plain text",
                own_handle(session.id),
                dropped,
            )
        if not self._sessions.known(session).is_permitted:
            raise AccessDenied("in none of access.require_any_group")
        enclosed = kept.enclosed(self.ring, session.id, said.kept)
        if enclosed is None:
            _log.warning("session.kept_too_large session=%s it will not be renewed", own_handle(session.id))
            session = replace(session, checked_at=0)
        return Finished(session, self._sessions.seal(session), enclosed or "", return_to, expired)

    def _use(self, pending: PendingLogin, now: float) -> None:
        """Each login id once (in this process), before anything is asked of the provider."""
        login_id = pending.login_id
        if login_id in self._used:
            raise LoginReplayed("the login id was used before")
        while self._used and (len(self._used) >= USED_LIMIT or next(iter(self._used.values())) <= now):
            del self._used[next(iter(self._used))]
        self._used[login_id] = pending.started_at + LOGIN_LIMIT_SECONDS + 1
