"""
The pages around a form that met an expired session: kept, taken out again, confirmed, sent.

What is kept and for whom core/rescue.py decides. The browser keeps it in the session storage of the
window, where only pages of this origin see it, and nothing is sent before a person has agreed.
"""

from __future__ import annotations

from passproxy.core import rescue
from passproxy.core.cookies import CookieNames
from passproxy.core.errors import FormExpired, LoginRequired
from passproxy.core.tokens import KeyRing
from passproxy.core.urls import Origin
from passproxy.web.asked import Asked
from passproxy.web.login import RESTORE, login_url
from passproxy.web.responses import ANYWHERE_FROM_HERE, Field, Pages, Response

#: Applications look at Referer or Origin of a form, which must say that it comes from here.
_SAYS_WHERE_FROM: Field = ("Referrer-Policy", "same-origin")


class RescueEndpoints:
    """`restore`, and the page that a form gets instead of its session."""

    def __init__(self, origin: Origin, names: CookieNames, ring: KeyRing, pages: Pages) -> None:
        self._origin = origin
        self._names = names
        self._ring = ring
        self._pages = pages

    def keep(self, target: str, body: bytes, who: bytes, now: float) -> Response:
        """
        The page that lets the browser keep a form.

        Raises:
            LoginRequired: it cannot be kept.
        """
        form = rescue.kept(self._ring, who, target, body, now)
        if form is None:
            raise LoginRequired("no session, and a form that cannot be kept")
        return self._pages.page(
            "form_kept.html", status=401, script="form_kept.js", form=form, login_url=login_url(RESTORE)
        )

    def restore(self, asked: Asked) -> Response:
        """A page that reads the form in the window's storage, and what that page posts here."""
        if asked.head.method != b"POST":
            page = self._pages.page("form_taken.html", script="form_taken.js", form_action="'self'")
            return page.with_fields((_SAYS_WHERE_FROM,))
        if asked.session is None:
            raise LoginRequired("a kept form without a session")
        if not asked.is_from_here(self._origin, typed=False):
            raise FormExpired("another site's page sent it")
        identity = asked.session.session.identity
        form = rescue.restored(self._ring, asked.fields().get("form", "").encode(), identity, asked.now)
        names = list(dict.fromkeys(name for name, _ in form.fields))
        page = self._pages.page(
            "form_confirm.html",
            script="form_confirm.js",
            form_action=ANYWHERE_FROM_HERE,
            target=form.target,
            fields=form.fields,
            names=names,
            user=identity.attributes["user"],
        )
        return page.with_fields((_SAYS_WHERE_FROM,))
