"""
The endpoints at which sessions end.

Our own session ends first, whatever else can be ended. Who may end whose is decided here by
where the request comes from; what the identity provider says is verified by its adapter.
"""

from __future__ import annotations

from passproxy.core.cookies import CookieNames
from passproxy.core.routing import PREFIX
from passproxy.core.urls import Origin
from passproxy.web import log
from passproxy.web.asked import Asked
from passproxy.web.responses import Pages, Response, redirect


class LogoutEndpoints:
    """`logout`."""

    def __init__(self, origin: Origin, names: CookieNames, pages: Pages) -> None:
        self._origin = origin
        self._names = names
        self._pages = pages

    def logout(self, asked: Asked) -> Response:
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
        expired = ("Set-Cookie", self._names.expire(self._names.session))
        return redirect(PREFIX + "logged-out").with_fields((expired,))
