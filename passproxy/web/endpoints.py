"""
The pages below the reserved prefix: HTTP in, `Logins` called, HTTP out.

Each endpoint takes an `Asked` and returns a `Response`, or raises an error that
the gateway turns into one. Cookies are set here and nowhere else. What is
verified about an answer of the identity provider is login.py's business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from passproxy.core.cookies import CookieNames, Crumbs, SameSite
from passproxy.core.errors import (
    CallbackMalformed,
    EndpointMethod,
    EndpointUnknown,
    LoginError,
    LoginExpired,
    LoginReplayed,
    LoginRequired,
    LoginUnknown,
    PassProxyError,
)
from passproxy.core.http1 import RequestHead
from passproxy.core.pending import LOGIN_LIMIT_SECONDS
from passproxy.core.routing import PREFIX, endpoint
from passproxy.core.session import Known
from passproxy.core.urls import Origin, fields, with_fragment
from passproxy.idp.base import Callback
from passproxy.idp.login import Finished, Logins, Started
from passproxy.web import log
from passproxy.web.responses import Field, Pages, Response, as_json, document, redirect

#: Largest body that an endpoint reads: a signed SAML response with a few hundred groups.
BODY_LIMIT_BYTES = 256 * 1024

LOGIN_URL = PREFIX + "login"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to an endpoint. `now` is seconds since the epoch."""

    endpoint: str
    head: RequestHead
    body: bytes
    crumbs: Crumbs
    session: Known | None
    client: str
    now: float

    @property
    def query(self) -> bytes:
        return self.head.target.partition(b"?")[2]


class Endpoints:
    """Everything below the reserved prefix."""

    def __init__(self, origin: Origin, names: CookieNames, logins: Logins, pages: Pages) -> None:
        self._origin = origin
        self._names = names
        self._logins = logins
        self._pages = pages
        # A cross-site POST brings no Lax cookie; a plain redirect does.
        self._login_same_site: SameSite = "None" if logins.provider.callback_method == "POST" else "Lax"

    async def serve(self, asked: Asked) -> Response:
        """
        The answer of an endpoint.

        Raises:
            PassProxyError: the endpoint has no answer but this error.
        """
        provider = self._logins.provider
        if asked.endpoint == provider.callback_path:
            self._allow(asked, provider.callback_method)
            return await self._finish(asked)
        if asked.endpoint == "login":
            self._allow(asked, "GET", "HEAD")
            return await self._login(asked)
        if asked.endpoint == "logout":
            self._allow(asked, "GET", "POST")
            return self._logout(asked)
        self._allow(asked, "GET", "HEAD")
        return self._published(asked)

    async def start(self, return_target: str, crumbs: Crumbs, now: float) -> Response:
        """Send a browser to the identity provider; 302 because older ones know no 303 for GET."""
        started = await self._logins.start(return_target, crumbs.logins, now)
        cookies = [*self._login_cookies(started), *map(self._expired_login, started.expired)]
        return redirect(started.redirect_to, status=302).with_fields(cookies)

    def without_session(self) -> Field:
        """Expires the session cookie."""
        return ("Set-Cookie", self._names.expire(self._names.session))

    def after_error(self, asked: Asked, error: PassProxyError) -> tuple[Field, ...]:
        """A login that was refused is over: its cookie goes, unless the same answer may be tried again."""
        if asked.endpoint != self._logins.provider.callback_path or not isinstance(error, LoginError):
            return ()
        return tuple(map(self._expired_login, self._logins.cookies_over(asked.crumbs.logins)))

    def _published(self, asked: Asked) -> Response:
        if asked.endpoint == "health":
            return document("text/plain; charset=utf-8", b"ok\n")
        if asked.endpoint == "logged-out":
            return self._pages.page("logged_out.html")
        if asked.endpoint == "userinfo":
            return self._userinfo(asked)
        published = self._logins.provider.documents().get(asked.endpoint)
        if published is None:
            raise EndpointUnknown("no such endpoint")
        return document(published.content_type, published.body)

    async def _login(self, asked: Asked) -> Response:
        mode, destination = asked.head.value(b"sec-fetch-mode"), asked.head.value(b"sec-fetch-dest")
        if (mode, destination) not in ((None, None), (b"navigate", b"document")):
            # Pictures on a hostile page would fill the jar with logins that nobody sees.
            raise LoginRequired("a login that no window asked for")
        wanted = ""
        with contextlib.suppress(CallbackMalformed):
            wanted = fields(asked.query).get("return_to", "")
        return await self.start(self._landing(wanted), asked.crumbs, asked.now)

    def _landing(self, target: str) -> str:
        """Where a login may end: a local target that is not one of our own pages."""
        safe = with_fragment(target)
        path = safe.partition("#")[0].partition("?")[0]
        return "/" if endpoint(path.encode()) is not None else safe

    async def _finish(self, asked: Asked) -> Response:
        callback = Callback(self._callback_fields(asked))
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
            (self._session_cookie(finished, asked.now), *map(self._expired_login, finished.expired))
        )

    def _callback_fields(self, asked: Asked) -> Mapping[str, str]:
        if asked.head.method == b"GET":
            return fields(asked.query)
        content_type = (asked.head.value(b"content-type") or b"").partition(b";")[0].strip().lower()
        if content_type != b"application/x-www-form-urlencoded":
            raise CallbackMalformed("the body is not a form")
        return fields(asked.body)

    def _logout(self, asked: Asked) -> Response:
        """At once when the person asked for it here; a link on another site gets a page to confirm."""
        site, origin = asked.head.value(b"sec-fetch-site"), asked.head.value(b"origin")
        own = site in (b"same-origin", b"none") if site is not None else origin == str(self._origin).encode()
        if not own:
            # The form must carry its origin, for browsers without Fetch Metadata.
            return self._pages.page("logout_confirm.html", form=True).with_fields((("Referrer-Policy", "same-origin"),))
        if asked.session is not None:
            session = asked.session.session
            log.event(
                "info",
                "auth.logout",
                user=session.identity.attributes["user"],
                client=asked.client,
                session=session.id[:8],
            )
        return redirect(PREFIX + "logged-out").with_fields((self.without_session(),))

    def _userinfo(self, asked: Asked) -> Response:
        if asked.session is None:
            raise LoginRequired("userinfo without a session")
        session = asked.session.session
        identity = session.identity
        return as_json(
            {
                "issuer": identity.issuer,
                "subject": identity.subject,
                **identity.attributes,
                "groups": list(identity.groups),
                "authenticated_at": identity.authenticated_at,
                "issued_at": session.issued_at,
                "expires_at": session.expires_at,
            }
        )

    def _session_cookie(self, finished: Finished, now: float) -> Field:
        remaining = max(finished.session.expires_at - int(now), 1)
        return ("Set-Cookie", self._names.set(self._names.session, finished.token, max_age=remaining))

    def _login_cookies(self, started: Started) -> list[Field]:
        age, site = LOGIN_LIMIT_SECONDS, self._login_same_site
        return [
            ("Set-Cookie", self._names.set(name, value, max_age=age, same_site=site))
            for name, value in started.cookies.items()
        ]

    def _expired_login(self, name: str) -> Field:
        return ("Set-Cookie", self._names.expire(name, same_site=self._login_same_site))

    @staticmethod
    def _allow(asked: Asked, *methods: str) -> None:
        if asked.head.method.decode() not in methods:
            raise EndpointMethod(*methods)
