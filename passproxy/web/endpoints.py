"""
The pages below the reserved prefix: which endpoint answers what is asked.

Each endpoint takes an `Asked` and returns a `Response`, or raises an error that
the gateway turns into one. The login is in login.py, the end of sessions in
logout.py; what only publishes is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from passproxy.core.assertion import JWKS_PATH, TRUST_PATH, Assertions
from passproxy.core.cleanup import Cleanup
from passproxy.core.cookies import CookieNames, Crumbs
from passproxy.core.counts import Counts
from passproxy.core.errors import ChallengeMalformed, EndpointUnknown, LoginRequired, PassProxyError
from passproxy.core.http1 import RequestHead
from passproxy.core.urls import Origin
from passproxy.idp.login import Logins
from passproxy.idp.logout import Logouts
from passproxy.web.asked import Asked
from passproxy.web.cleanup import CleanupEndpoint
from passproxy.web.login import RESTORE, LoginEndpoints
from passproxy.web.logout import LogoutEndpoints
from passproxy.web.rescue import RescueEndpoints
from passproxy.web.responses import Field, Pages, Response, as_json, document
from passproxy.web.seen import ENDPOINT as DOCTOR
from passproxy.web.seen import seen
from passproxy.web.session_cookies import SessionCookies

#: Largest body that an endpoint reads: the largest SAML response (256 KiB), which base64 and the
#: escapes of a form make 42 percent longer.
BODY_LIMIT_BYTES = 384 * 1024

#: Of keys and description: verifiers look every five minutes, and a key is published ten before it signs.
KEPT_FOR_A_WHILE: Field = ("Cache-Control", "public, max-age=300")


class Endpoints:
    """Everything below the reserved prefix."""

    def __init__(
        self,
        origin: Origin,
        names: CookieNames,
        logins: Logins,
        logouts: Logouts,
        pages: Pages,
        counts: Counts,
        roles_of: Callable[[Iterable[str]], tuple[str, ...]],
        assertions: Assertions | None = None,
        cleanup: Cleanup | None = None,
    ) -> None:
        self._roles_of = roles_of
        self._names = names
        self._provider = logins.provider
        self._ring = logins.ring
        self._assertions = assertions
        self._cleanup = None if cleanup is None else CleanupEndpoint(names, cleanup, pages)
        self._login = LoginEndpoints(origin, names, logins, pages, counts, cleanup is not None)
        self._logout = LogoutEndpoints(origin, names, logouts, pages, self._cleanup)
        self._rescue = RescueEndpoints(origin, names, logins.ring, pages)
        self.cookies = SessionCookies(names)

    async def serve(self, asked: Asked) -> Response:
        """
        The answer of an endpoint.

        Raises:
            PassProxyError: the endpoint has no answer but this error.
        """
        if asked.endpoint == self._provider.callback_path:
            asked.allow(self._provider.callback_method)
            return await self._login.finish(asked)
        if asked.endpoint == "restore":
            asked.allow("GET", "POST")
            if asked.session is None and asked.head.method == b"GET":
                return await self._login.required(RESTORE, asked)
            return self._rescue.restore(asked)
        if asked.endpoint == "logout":
            asked.allow("GET", "POST")
            return await self._logout.logout(asked)
        if asked.endpoint in self._provider.logout_paths:
            asked.allow(*self._provider.logout_paths[asked.endpoint])
            return await self._logout.notified(asked)
        asked.allow("GET", "HEAD")
        match asked.endpoint:
            case "start":
                return self._login.start_page(asked)
            case "login":
                return await self._login.login(asked)
            case "resume":
                return self._login.resume(asked)
            case "popup":
                return await self._login.popup(asked)
            case _:
                return self._published(asked)

    async def start(self, return_target: str, crumbs: Crumbs, rejected: str | None, now: float) -> Response:
        """Send a browser without a session to the identity provider."""
        return await self._login.start(return_target, crumbs, rejected, now)

    def ask_for_fragment(self, return_target: str) -> Response:
        """Send a browser to the page that knows its whole address, and goes on from there."""
        return self._login.ask_for_fragment(return_target)

    def keep_form(self, target: str, body: bytes, crumbs: Crumbs, now: float) -> Response:
        """Let a browser keep a form that met an expired session."""
        return self._rescue.keep(target, body, crumbs.more[self._names.who.encode()], now)

    def without_session(self, head: RequestHead) -> list[Field]:
        """Expires the cookies of a session that came along and is none."""
        return self.cookies.expire(self._names.crumbs(head.noted.get(b"cookie", [])))

    def after_error(self, error: PassProxyError, asked: Asked | None = None) -> tuple[Field, ...]:
        """What an error that an endpoint raised, or without one `start`, does besides being shown."""
        return self._login.after_error(error, asked)

    def retry_url(self, asked: Asked) -> str | None:
        """Where "try again" leads from an error of an endpoint, if it knows."""
        return self._login.landing(asked) if asked.endpoint == "login" else None

    def _published(self, asked: Asked) -> Response:
        if asked.endpoint == "health":
            return document("text/plain; charset=utf-8", b"ok\n")
        if asked.endpoint == "logged-out":
            return self._logout.logged_out(asked)
        if asked.endpoint == "clean" and self._cleanup is not None:
            return self._cleanup.clean(asked, self._login.landing(asked))
        if asked.endpoint == "userinfo":
            return _userinfo(asked, self._roles_of)
        if asked.endpoint == DOCTOR:
            return seen(asked, self._ring)
        if self._assertions is not None and asked.endpoint in (JWKS_PATH, TRUST_PATH):
            return _trust(self._assertions, asked)
        published = self._provider.documents().get(asked.endpoint)
        if published is None:
            raise EndpointUnknown("no such endpoint")
        return document(published.content_type, published.body)


def _trust(assertions: Assertions, asked: Asked) -> Response:
    """What whoever verifies assertions has to know; public, so that it may be kept for a while."""
    if asked.endpoint == JWKS_PATH:
        return as_json(assertions.key_set()).with_fields((KEPT_FOR_A_WHILE,))
    if not asked.query:
        return as_json(assertions.description()).with_fields((KEPT_FOR_A_WHILE,))
    name, _, challenge = asked.query.decode("latin-1").partition("=")
    if name != "challenge":
        raise ChallengeMalformed("a parameter that is not known")
    return as_json({**assertions.description(), "proof": assertions.proof(challenge, asked.now)})


def _userinfo(asked: Asked, roles_of: Callable[[Iterable[str]], tuple[str, ...]]) -> Response:
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
            "roles": list(roles_of(identity.groups)),
            "authenticated_at": identity.authenticated_at,
            "issued_at": session.issued_at,
            "expires_at": session.expires_at,
        }
    )
