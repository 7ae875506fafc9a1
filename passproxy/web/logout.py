"""
The endpoints at which sessions end: ours first, then the provider's, and what the provider says of others.

Who may end whose is decided here by where the request comes from; what the identity provider says
is verified by its adapter, and done by idp/logout.py.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from passproxy.core.cookies import CookieNames
from passproxy.core.handles import own_handle
from passproxy.core.routing import PREFIX
from passproxy.core.urls import Origin
from passproxy.idp.base import Departure, LogoutNotice, Message
from passproxy.idp.logout import Logouts
from passproxy.web import audit, log
from passproxy.web.asked import Asked
from passproxy.web.cleanup import CleanupEndpoint
from passproxy.web.responses import ANYWHERE_FROM_HERE, Field, Pages, Response, document, redirect
from passproxy.web.session_cookies import SessionCookies

_LOGGED_OUT = PREFIX + "logged-out"


class LogoutEndpoints:
    """`logout`, `logged-out`, and where the provider's messages about sessions arrive."""

    def __init__(
        self, origin: Origin, names: CookieNames, logouts: Logouts, pages: Pages, cleanup: CleanupEndpoint | None = None
    ) -> None:
        self._origin = origin
        self._cookies = SessionCookies(names)
        self._logouts = logouts
        self._pages = pages
        self._cleanup = cleanup

    async def logout(self, asked: Asked) -> Response:
        """At once when the person asked for it here; a link on another site gets a page to confirm."""
        if not asked.is_from_here(self._origin, typed=True):
            # The form must carry its origin, for browsers without Fetch Metadata.
            return self._pages.page("logout_confirm.html", form_action=ANYWHERE_FROM_HERE).with_fields(
                (("Referrer-Policy", "same-origin"),)
            )
        departure = None
        if asked.session is not None:
            session = asked.session.session
            departure = await self._logouts.end(session, self._cookies.kept(asked.crumbs), asked.now)
            log.event(
                "info",
                "auth.logout",
                user=session.identity.attributes["user"],
                client=asked.client,
                session=own_handle(session.id),
                request_id=asked.request_id,
            )
            audit.event("audit.logout", **audit.who(session), client=asked.client, request_id=asked.request_id)
        cleaned = () if self._cleanup is None else self._cleanup.left(asked)
        return self._sent_on(departure).with_fields(
            (*self._cookies.expire(asked.crumbs), *self._cookies.forget(asked.crumbs), *cleaned)
        )

    def logged_out(self, asked: Asked) -> Response:
        return self._pages.page("logged_out.html", is_complete=asked.query != b"incomplete")

    async def notified(self, asked: Asked) -> Response:
        """A message of the provider: our answer to it, if there is one to take along."""
        method: Literal["GET", "POST"] = "POST" if asked.head.method == b"POST" else "GET"
        message = Message(asked.endpoint, method, asked.raw_fields(), asked.fields())
        session = None if asked.session is None else asked.session.session
        notice = await self._logouts.notified(message, session, asked.now)
        if notice.said.handles:
            place = {"client": asked.client, "endpoint": asked.endpoint, "request_id": asked.request_id}
            log.event("info", "auth.logout_notified", **place)
            audit.event("audit.revocation", names=len(notice.said.handles), **place, **audit.who(session))
        expired = self._cookies.expire(asked.crumbs) if notice.ends_this_session else ()
        return self._answer(notice.said).with_fields(expired)

    def _answer(self, said: LogoutNotice) -> Response:
        if said.departure is not None:
            return self._sent_on(said.departure)
        if not said.handles:
            return redirect(_LOGGED_OUT if said.is_complete else f"{_LOGGED_OUT}?incomplete")
        response = document("text/plain; charset=utf-8", b"")
        return response if said.framed_by is None else response.with_fields(_framed(said.framed_by))

    def _sent_on(self, departure: Departure | None) -> Response:
        if departure is None:
            return redirect(_LOGGED_OUT)
        if not departure.fields:
            return redirect(departure.url)
        parts = urlsplit(departure.url)
        return self._pages.post(departure.url, departure.fields, f"{parts.scheme}://{parts.netloc}")


def _framed(origin: str) -> tuple[Field, ...]:
    """A page of the provider loads this one in a frame, to end the session; nothing is shown in it."""
    return (("Content-Security-Policy", f"default-src 'none'; frame-ancestors {origin}"),)
