"""
The demo's pages: templates in, responses with a strict content security policy out.

Everything is escaped unless it stands in a template. A page has one style and at
most one script, both inline and both named by the nonce of this one response;
nothing is loaded from elsewhere.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, *, status: int = 200, form_targets: tuple[str, ...] = (), **values: Any) -> web.Response:
    """
    A page as a response.

    `form_targets` are the origins that a form may end at besides our own:
    browsers apply form-action to the redirects that follow a form as well.
    """
    nonce = secrets.token_urlsafe(16)
    policy = {
        "default-src": "'none'",
        "style-src": f"'nonce-{nonce}'",
        "script-src": f"'nonce-{nonce}'",
        "img-src": "data:",
        "connect-src": "'self'",
        "form-action": " ".join(("'self'", *form_targets)),
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return web.Response(
        text=_PAGES.get_template(template).render(nonce=nonce, **values),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "Cache-Control": "no-store",
            # The origin only: addresses here carry requests and codes. Not "no-referrer",
            # which would make browsers send `Origin: null` with every form.
            "Referrer-Policy": "strict-origin",
            "X-Content-Type-Options": "nosniff",
        },
    )
