"""
The endpoints of the login: HTTP in, `Logins` called, HTTP out.

Which answer holds, and what a session is, others decide (idp/login.py, core/session.py);
here is which cookies are set and where the browser goes.
"""

from __future__ import annotations

import contextlib

from passproxy.core.cookies import CookieNames, Crumbs, SameSite
from passproxy.core.errors import (
    AccessDenied,
    CallbackMalformed,
    LoginError,
    LoginExpired,
    LoginReplayed,
    LoginRequired,
    LoginUnknown,
    PassProxyError,
)
from passproxy.core.pending import LOGIN_LIMIT_SECONDS
from passproxy.core.routing import endpoint
from passproxy.core.urls import Origin, with_fragment
from passproxy.idp.base import Callback
from passproxy.idp.login import Logins, Started
from passproxy.web import log
from passproxy.web.asked import Asked
from passproxy.web.responses import Field, Pages, Response, redirect
from passproxy.web.session_cookies import SessionCookies


class LoginEndpoints:
    """`login` and the callback."""

    def __init__(self, origin: Origin, names: CookieNames, logins: Logins, pages: Pages) -> None:
        self._origin = origin
        self._names = names
        self._cookies = SessionCookies(names)
        self._logins = logins
        self._pages = pages
        # A cross-site POST brings no Lax cookie; a plain redirect does.
        self._same_site: SameSite = "None" if logins.provider.callback_method == "POST" else "Lax"

    async def start(self, return_target: str, crumbs: Crumbs, now: float) -> Response:
        """Send a browser to the identity provider; 302 because older ones know no 303 for GET."""
        started = await self._logins.start(return_target, crumbs.logins, now)
        cookies = [*self._login_cookies(started), *map(self._expired, started.expired)]
        return redirect(started.redirect_to, status=302).with_fields(cookies)

    async def login(self, asked: Asked) -> Response:
        mode, destination = asked.head.value(b"sec-fetch-mode"), asked.head.value(b"sec-fetch-dest")
        if (mode, destination) not in ((None, None), (b"navigate", b"document")):
            # Pictures on a hostile page would fill the jar with logins that nobody sees.
            raise LoginRequired("a login that no window asked for")
        wanted = ""
        with contextlib.suppress(CallbackMalformed):
            wanted = asked.fields().get("return_to", "")
        return await self.start(self._landing(wanted), asked.crumbs, asked.now)

    async def finish(self, asked: Asked) -> Response:
        callback = Callback(asked.fields())
        try:
            finished = await self._logins.finish(callback, asked.crumbs.logins, asked.now)
        except (LoginUnknown, LoginExpired, LoginReplayed):
            if asked.session is None:
                raise
            # The back button, or a second tab that was quicker: whoever is in goes on.
            return redirect(
                self._origin.url(self._landing(self._logins.return_to(callback, asked.crumbs.logins, asked.now)))
            )
        session = finished.session
        log.event(
            "info", "auth.login", user=session.identity.attributes["user"], client=asked.client, session=session.id[:8]
        )
        target = self._origin.url(self._landing(finished.return_to))
        return redirect(target).with_fields(
            (
                *self._cookies.set(session, finished.token, finished.kept, asked.crumbs, asked.now),
                *map(self._expired, finished.expired),
            )
        )

    def after_error(self, asked: Asked, error: PassProxyError) -> tuple[Field, ...]:
        """A login that was refused is over: its cookie goes, unless the same answer may be tried again."""
        if asked.endpoint != self._logins.provider.callback_path or not isinstance(error, (LoginError, AccessDenied)):
            return ()
        return tuple(map(self._expired, self._logins.cookies_over(asked.crumbs.logins)))

    def _landing(self, target: str) -> str:
        """Where a login may end: a local target that is not one of our own pages."""
        safe = with_fragment(target)
        path = safe.partition("#")[0].partition("?")[0]
        return "/" if endpoint(path.encode()) is not None else safe

    def _login_cookies(self, started: Started) -> list[Field]:
        age = LOGIN_LIMIT_SECONDS
        return [
            ("Set-Cookie", self._names.set(name, value, max_age=age, same_site=self._same_site))
            for name, value in started.cookies.items()
        ]

    def _expired(self, name: str) -> Field:
        return ("Set-Cookie", self._names.expire(name, same_site=self._same_site))
