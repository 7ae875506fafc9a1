"""
Every response that PassProxy itself writes: pages, problems, redirects, documents.

A `Response` is a value; connection.py puts it on the wire. None is cached, none
can be framed, none loads anything from anywhere, and nothing of the request
appears in one. Which response is right is decided by the callers.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2

from passproxy.core.bearer import FAILURES_SECONDS
from passproxy.core.errors import (
    BearerKeysMissing,
    BearerOutOfScope,
    EndpointMethod,
    IdpUnavailable,
    MethodRefused,
    Overloaded,
    PassProxyError,
    RevocationsUnknown,
    RuleRefused,
    TokenThrottled,
    TokenUnknown,
    UpgradeVersion,
)
from passproxy.core.http1 import METHODS

#: What a browser or a script waits before it asks again when something here is down.
RETRY_SECONDS = 10

#: The templates; this package is never read from an archive, and what could do that takes half a MiB.
_FOLDER = Path(__file__).with_name("pages")

Field = tuple[str, str]

_COMMON: tuple[Field, ...] = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


#: The application's own reason phrases are not copied: HTTP/2 dropped them, and one
#: more text of an application is one more that could be misread.
STATUS_LINES: Mapping[int, bytes] = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, _phrase(status)) for status in range(100, 600)
}


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer. `closes` says that the connection must not be used again."""

    status: int
    fields: tuple[Field, ...] = ()
    body: bytes = b""
    closes: bool = False

    def with_fields(self, fields: Iterable[Field]) -> Response:
        """With further fields; one that is there already is replaced, but for Set-Cookie."""
        added = tuple(fields)
        named = {name for name, _ in added if name != "Set-Cookie"}
        return replace(self, fields=(*(field for field in self.fields if field[0] not in named), *added))

    def closing(self) -> Response:
        return replace(self, closes=True)

    def wire(self, *, with_body: bool, closes: bool) -> bytes:
        """The bytes to send; without the body for HEAD."""
        # RFC 9110, 6.6.1: whoever has a clock says when an answer was made.
        lines = [STATUS_LINES[self.status], f"Date: {formatdate(usegmt=True)}\r\n".encode()]
        lines += [f"{name}: {value}\r\n".encode("latin-1") for name, value in self.fields]
        lines.append(b"Content-Length: %d\r\n" % len(self.body))
        if closes or self.closes:
            lines.append(b"Connection: close\r\n")
        lines.append(b"\r\n")
        if with_body:
            lines.append(self.body)
        return b"".join(lines)


def redirect(location: str, *, status: int = 303) -> Response:
    """To another page, with GET (RFC 9700, 4.12 asks for 303 after a POST)."""
    return Response(status, (*_COMMON, ("Location", location)))


def allowed(fields: Iterable[Field]) -> Response:
    """To a web server that asks whether a request may pass: yes, and what the application is told."""
    return Response(200, (*_COMMON, *fields))


def unauthorized(location: str) -> Response:
    """To such a web server: not without a login, which begins there."""
    return Response(401, (*_COMMON, ("Location", location)))


def document(content_type: str, body: bytes, *, status: int = 200) -> Response:
    return Response(status, (*_COMMON, ("Content-Type", content_type)), body)


def as_json(value: Any, *, status: int = 200, content_type: str = "application/json") -> Response:
    return document(content_type, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), status=status)


#: A form that is posted to ourselves or to the application may be answered with a redirect to
#: anywhere, and browsers hold that to the same policy.
ANYWHERE_FROM_HERE = "'self' https: http:"


@dataclass(frozen=True, slots=True)
class Look:
    """What appears on every page: the domain, and where to find help."""

    domain: str
    support_url: str | None
    footer: str


class Pages:
    """Renders the templates of this package. All of them are checked when the first is made."""

    def __init__(self, look: Look) -> None:
        self._templates, self._scripts = _sources()
        self._look = {"domain": look.domain, "support_url": look.support_url, "footer": look.footer}
        # The one style element is allowed by its hash; nothing else is allowed at all.
        probe = self._templates["logged_out.html"].render(**self._look, is_complete=True)
        style = probe.partition("<style>")[2].partition("</style>")[0]
        self._policy = f"default-src 'none'; style-src '{_source_hash(style)}'; frame-ancestors 'none'; base-uri 'none'"

    def page(
        self,
        template: str,
        *,
        status: int = 200,
        form_action: str = "'none'",
        script: str | None = None,
        **values: object,
    ) -> Response:
        """A page. `form_action` is where it may post to, as the policy names it; `script` the one script that it has."""
        text = self._templates[template].render(**self._look, status=status, **values)
        script_source = "" if script is None else f"; script-src '{_source_hash(self._scripts[script])}'"
        policy = f"{self._policy}{script_source}; form-action {form_action}"
        response = document("text/html; charset=utf-8", text.encode(), status=status)
        return response.with_fields((("Content-Security-Policy", policy), ("X-Frame-Options", "DENY")))

    def post(self, url: str, fields: Mapping[str, str], origin: str) -> Response:
        """A page that posts a form to another origin by itself, or by its button where no script runs."""
        return self.page("post.html", form_action=origin, script="post.js", url=url, fields=fields)

    def error(
        self, error: PassProxyError, request_id: str, *, html: bool, retry_url: str | None, **more: object
    ) -> Response:
        """
        The public face of an error, as a page or as a problem (RFC 9457).

        `more` are further members of the problem, such as `login_url`.
        """
        face: dict[str, Any] = {
            "title": error.title,
            "code": error.code,
            "hint": error.hint.replace("`", ""),
            "request_id": request_id,
        }
        rule = error.rule if isinstance(error, RuleRefused) else None
        if html:
            response = self.page(
                "error.html", status=error.status, sentence=error.sentence, retry_url=retry_url, rule=rule, **face
            )
        else:
            more = more if rule is None else {**more, "rule": rule}
            problem = {"type": "about:blank", "status": error.status, "detail": error.sentence, **face, **more}
            response = as_json(problem, status=error.status, content_type="application/problem+json")
        return response.with_fields(_fields_of(error))


@functools.cache
def _sources() -> tuple[Mapping[str, jinja2.Template], Mapping[str, str]]:
    """
    The templates and the scripts of this package, by their names.

    Compiling them takes 25 ms, in which a process that reloads would serve nobody.
    """
    sources = {item.name: item.read_text("utf-8") for item in _FOLDER.iterdir() if item.is_file()}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    templates = {name: environment.get_template(name) for name in sources if name.endswith(".html")}
    return templates, {name: source.removesuffix("\n") for name, source in sources.items() if name.endswith(".js")}


def _source_hash(source: str) -> str:
    """How a Content-Security-Policy names one style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _fields_of(error: PassProxyError) -> tuple[Field, ...]:
    if isinstance(error, UpgradeVersion):
        return (("Sec-WebSocket-Version", "13"),)
    if isinstance(error, TokenThrottled):
        return (("Retry-After", str(int(FAILURES_SECONDS))),)
    if isinstance(error, TokenUnknown):
        return (("WWW-Authenticate", 'Bearer error="invalid_token"'),)  # RFC 6750, 3
    if isinstance(error, BearerOutOfScope):
        return (("WWW-Authenticate", 'Bearer error="insufficient_scope"'),)
    if isinstance(error, (IdpUnavailable, Overloaded, BearerKeysMissing, RevocationsUnknown)):
        return (("Retry-After", str(RETRY_SECONDS)),)
    if isinstance(error, EndpointMethod):
        return (("Allow", ", ".join(error.allowed)),)
    if isinstance(error, MethodRefused):
        return (("Allow", ", ".join(sorted(method.decode() for method in METHODS))),)
    return ()
