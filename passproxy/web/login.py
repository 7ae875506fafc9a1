"""
The endpoints of the login: HTTP in, `Logins` called, HTTP out.

Which answer holds, and what a session is, others decide (idp/login.py, core/session.py);
here is which cookies are set and where the browser goes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from passproxy.core import loop, rescue
from passproxy.core.cookies import CookieNames, Crumbs, SameSite
from passproxy.core.counts import Counts
from passproxy.core.errors import (
    AccessDenied,
    CallbackMalformed,
    LoginError,
    LoginExpired,
    LoginLoop,
    LoginReplayed,
    LoginRequired,
    LoginUnknown,
    PassProxyError,
)
from passproxy.core.handles import own_handle
from passproxy.core.pending import LOGIN_LIMIT_SECONDS, is_login_id
from passproxy.core.routing import PREFIX, endpoint
from passproxy.core.session import SAID_SINCE
from passproxy.core.session_claims import Session
from passproxy.core.urls import Origin, with_fragment
from passproxy.idp.base import Callback
from passproxy.idp.login import Logins, Started
from passproxy.web import audit, log
from passproxy.web.asked import Asked
from passproxy.web.responses import Field, Pages, Response, redirect
from passproxy.web.session_cookies import SessionCookies

LOGIN = PREFIX + "login"
POPUP = PREFIX + "popup"
RESTORE = PREFIX + "restore"
_CLEAN = PREFIX + "clean"
START = PREFIX + "start"
_RESUME = PREFIX + "resume"

#: Pages of ours that a login may end on, for what they do after it.
_OWN_LANDINGS = (POPUP, RESTORE)

#: The answers that somebody who is signed in already need not hear about.
_RESUMABLE = {error.code: error for error in (LoginUnknown, LoginExpired, LoginReplayed)}


class LoginEndpoints:
    """`start`, `login`, the callback, `resume` and `popup`."""

    def __init__(
        self,
        origin: Origin,
        names: CookieNames,
        logins: Logins,
        pages: Pages,
        counts: Counts,
        cleans: bool = False,
    ) -> None:
        self._origin = origin
        self._names = names
        self._cookies = SessionCookies(names)
        self._logins = logins
        self._pages = pages
        self._counts = counts
        self._cleans = cleans
        # A cross-site POST brings no Lax cookie; a plain redirect does.
        self._same_site: SameSite = "None" if logins.provider.callback_method == "POST" else "Lax"

    async def start(self, return_target: str, crumbs: Crumbs, rejected: str | None, now: float) -> Response:
        """
        Send a browser without a session to the identity provider; 302 because older ones know no 303 for GET.

        Raises:
            LoginLoop: it has been there more than once within a minute, and came back for nothing.
            IdpUnavailable: the provider has never been reached.
        """
        counter = loop.started(self._logins.ring, crumbs.more.get(self._names.loop.encode()), rejected, now)
        counting = [] if counter is None else [self._counting(counter)]
        expired = [] if rejected in (None, SAID_SINCE) else self._cookies.expire(crumbs)
        return (await self._sent(return_target, crumbs, now)).with_fields((*counting, *expired))

    def ask_for_fragment(self, return_target: str) -> Response:
        """To a page that sees the whole address: what is behind "#" is not sent to servers, but follows a redirect."""
        return redirect(f"{START}?return_to={quote(return_target, safe='')}", status=302)

    def start_page(self, asked: Asked) -> Response:
        """The page that goes on to `login`, with the fragment that its own address has."""
        target = self.landing(asked)
        return self._pages.page("start.html", script="start.js", login_url=login_url(target))

    async def login(self, asked: Asked) -> Response:
        if self._wanted(asked).get("iss") not in {None, *self._logins.provider.login_initiators}:
            raise CallbackMalformed("a login started by an issuer that is not configured")
        target = self.landing(asked)
        if asked.session is None or not asked.is_from_a_window:
            return await self.required(target, asked)
        return await self._sent(target, asked.crumbs, asked.now)

    def landing(self, asked: Asked) -> str:
        """Where the login that is asked for ends; somebody else who starts one says it in `target_link_uri`."""
        wanted = self._wanted(asked)
        own = wanted.get("target_link_uri", "").removeprefix(str(self._origin))
        return self._landing(wanted.get("return_to", own))

    async def finish(self, asked: Asked) -> Response:
        callback = Callback(asked.fields())
        try:
            finished = await self._logins.finish(callback, asked.crumbs.logins, asked.now)
        except (LoginUnknown, LoginExpired, LoginReplayed):
            if asked.session is None:
                raise
            # The back button, or a second tab that was quicker: whoever is in goes on.
            self._counts.logins["resumed"] += 1
            return self._resumed(self._logins.login_id(callback), asked)
        session = finished.session
        self._counts.logins["success"] += 1
        log.event(
            "info",
            "auth.login",
            user=session.identity.attributes["user"],
            client=asked.client,
            session=own_handle(session.id),
            request_id=asked.request_id,
        )
        audit.event("audit.login", **audit.who(session), client=asked.client, request_id=asked.request_id)
        target = self._landing(finished.return_to)
        if self._cleans:
            # An answer that is posted from the provider's site brings no cookie of ours; what follows it does.
            target = f"{_CLEAN}?return_to={quote(target, safe='')}"
        return redirect(self._origin.url(target)).with_fields(
            (
                *self._cookies.set(session, finished.token, finished.kept, asked.crumbs, asked.now),
                *self._outliving(session, asked),
                *map(self._expired, finished.expired),
            )
        )

    def resume(self, asked: Asked) -> Response:
        """
        Where an answer that came late goes on, if its browser is signed in.

        The callback cannot know when it is a POST from the provider's site: such a request brings no session.
        """
        wanted = self._wanted(asked)
        if asked.session is None:
            raise _RESUMABLE.get(wanted.get("code", ""), LoginUnknown)("and nobody is signed in here")
        return self._resumed(wanted.get("login", ""), asked)

    async def popup(self, asked: Asked) -> Response:
        """A small window for a page that was told to sign in: it signs in, says so, and closes."""
        if asked.session is not None:
            return self._pages.page("popup.html", script="popup.js")
        return await self.required(POPUP, asked)

    async def required(self, target: str, asked: Asked) -> Response:
        """A login first, for a page of ours that needs one."""
        if not asked.is_from_a_window:
            # Pictures on a hostile page would fill the jar with logins that nobody sees.
            raise LoginRequired("a login that no window asked for")
        return await self.start(target, asked.crumbs, asked.rejected, asked.now)

    def after_error(self, error: PassProxyError, asked: Asked | None) -> tuple[Field, ...]:
        """What an error does besides being shown; without `asked` it is one of `start`."""
        if isinstance(error, LoginLoop):
            # Whoever has read the page may try again from the beginning.
            return (self._expired(self._names.loop),)
        if (
            asked is None
            or asked.endpoint != self._logins.provider.callback_path
            or not isinstance(error, (LoginError, AccessDenied))
        ):
            return ()
        self._counts.logins[error.code] += 1
        # A login that was refused is over: its cookie goes, unless the same answer may be tried again.
        expired = tuple(map(self._expired, self._logins.cookies_over(asked.crumbs.logins)))
        if error.code not in _RESUMABLE or asked.head.method != b"POST":
            return expired
        login_id = self._logins.login_id(Callback(self._wanted(asked)))
        query = {"code": error.code} | ({"login": login_id} if is_login_id(login_id) else {})
        return (*expired, ("Refresh", f"0; url={_RESUME}?{urlencode(query)}"))

    async def _sent(self, return_target: str, crumbs: Crumbs, now: float) -> Response:
        started = await self._logins.start(return_target, crumbs.logins, now)
        cookies = [*self._login_cookies(started), *map(self._expired, started.expired)]
        return redirect(started.redirect_to, status=302).with_fields(cookies)

    def _resumed(self, login_id: str, asked: Asked) -> Response:
        target = self._logins.return_to(login_id, asked.crumbs.logins, asked.now)
        return redirect(self._origin.url(self._landing(target)))

    def _wanted(self, asked: Asked) -> Mapping[str, str]:
        """What a link asks for; one that cannot be read asks for nothing."""
        with contextlib.suppress(CallbackMalformed):
            return asked.fields()
        return {}

    def _landing(self, target: str) -> str:
        """Where a login may end: a local target, and of our own pages only those that wait for one."""
        safe = with_fragment(target)
        path = safe.partition("#")[0].partition("?")[0]
        return "/" if endpoint(path.encode()) is not None and safe not in _OWN_LANDINGS else safe

    def _outliving(self, session: Session, asked: Asked) -> list[Field]:
        """Cookies beside the session's: for a form that meets its end, and against going round in circles."""
        ring = self._logins.ring
        counter = loop.finished(ring, asked.crumbs.more.get(self._names.loop.encode()), asked.now)
        who = self._names.set(self._names.who, rescue.who(ring, session.identity), max_age=rescue.WHO_SECONDS)
        return [("Set-Cookie", who), self._counting(counter)]

    def _counting(self, counter: str) -> Field:
        # The callback has to see it as well.
        name, age = self._names.loop, loop.LOOP_SECONDS
        return ("Set-Cookie", self._names.set(name, counter, max_age=age, same_site=self._same_site))

    def _login_cookies(self, started: Started) -> list[Field]:
        age = LOGIN_LIMIT_SECONDS
        return [
            ("Set-Cookie", self._names.set(name, value, max_age=age, same_site=self._same_site))
            for name, value in started.cookies.items()
        ]

    def _expired(self, name: str) -> Field:
        return ("Set-Cookie", self._names.expire(name, same_site=self._same_site))


def login_url(target: str) -> str:
    """The address of a login that returns to a local target."""
    return f"{LOGIN}?return_to={quote(target, safe='')}"
