"""
Between a login and its target: what somebody else left in this browser goes.

What is whose core/cleanup.py knows, and the gateway keeps it from the application in any case;
here the browser is told to drop it. A request of its own, since a provider's answer may come as a
POST from another site, with which browsers send neither our cookies nor the application's.
"""

from __future__ import annotations

from passproxy.core.cleanup import MARK_SECONDS, Cleanup
from passproxy.core.cookies import CookieNames
from passproxy.core.errors import LoginRequired
from passproxy.core.handles import own_handle
from passproxy.core.routing import endpoint
from passproxy.web import log
from passproxy.web.asked import Asked
from passproxy.web.responses import Field, Pages, Response, redirect


class CleanupEndpoint:
    """`clean`, and what a logout adds to its answer."""

    def __init__(self, names: CookieNames, cleanup: Cleanup, pages: Pages) -> None:
        self._names = names
        self._cleanup = cleanup
        self._pages = pages

    def clean(self, asked: Asked, target: str) -> Response:
        """
        Go on to the local target, once this browser is clean.

        Raises:
            LoginRequired: nobody is signed in.
        """
        if asked.session is None:
            raise LoginRequired("a clean-up without a session")
        session, rules = asked.session.session, self._cleanup.rules
        if self._cleanup.is_clean(session, asked.crumbs.more.get(self._names.clean.encode())):
            return redirect(target)
        path = target.partition("#")[0].partition("?")[0].encode()
        fields = self._expired(asked, path)
        fields.append(
            ("Set-Cookie", self._names.set(self._names.clean, self._cleanup.clean(session), max_age=MARK_SECONDS))
        )
        log.event(
            "info",
            "session.cleaned",
            user=session.identity.attributes["user"],
            session=own_handle(session.id),
            client=asked.client,
            request_id=asked.request_id,
        )
        # A page of ours does what it is for, and asks the application nothing.
        url = self._cleanup.onward(target) if endpoint(path) is None else target
        if not (rules.storage_keys or rules.clear_site_data or rules.reauth_url):
            return redirect(url).with_fields(fields)
        page = self._pages.page("clean.html", script="clean.js", url=url, keys=list(rules.storage_keys))
        return page.with_fields((*fields, *self._site_data()))

    def left(self, asked: Asked) -> list[Field]:
        """What goes with a session that its own person ends."""
        if "logout" not in self._cleanup.rules.on:
            return []
        fields = self._expired(asked, b"/")
        if self._names.clean.encode() in asked.crumbs.more:
            fields.append(("Set-Cookie", self._names.expire(self._names.clean)))
        return [*fields, *self._site_data()]

    def _expired(self, asked: Asked, path: bytes) -> list[Field]:
        """The application's cookies as far as they came here, and every mark."""
        values = asked.head.noted.get(b"cookie", [])
        marks = [self._names.expire(name) for name in self._cleanup.marks(asked.crumbs)]
        expired = self._cleanup.expired(self._cleanup.came(values), path, asked.head.path)
        return [("Set-Cookie", value) for value in (*marks, *expired)]

    def _site_data(self) -> tuple[Field, ...]:
        kinds = self._cleanup.rules.clear_site_data
        return (("Clear-Site-Data", ", ".join(f'"{kind}"' for kind in kinds)),) if kinds else ()
