"""
For WSGI applications: Flask, Django, Pyramid and others (PEP 3333).

A request without a good assertion is answered here; the application is not
called. A verified identity is `environ["trusted_proxy.identity"]`.

    app.wsgi_app = TrustedProxyMiddleware(app.wsgi_app)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from passproxy.trusted.errors import AssertionMissing, TrustError
from passproxy.trusted.headers import PLAIN_HEADERS, Headers
from passproxy.trusted.identity import Identity
from passproxy.trusted.refusal import refusal_from
from passproxy.trusted.settings import Settings, settings_from
from passproxy.trusted.verifier import Verifier

#: The key under which an application finds its `Identity`, or None.
IDENTITY = "trusted_proxy.identity"


class TrustedProxyMiddleware:
    """
    Around an application.

    Without `settings` and `verifier` the environment is read. With `optional` a
    request without any assertion reaches the application, with None as its
    identity; one with a bad assertion never does.

    Raises:
        SettingsInvalid: while the application starts.
    """

    def __init__(
        self,
        app: WSGIApplication,
        settings: Settings | None = None,
        *,
        optional: bool = False,
        strip_headers: tuple[str, ...] = PLAIN_HEADERS,
        verifier: Verifier | None = None,
    ) -> None:
        self._app = app
        self._verifier = verifier or Verifier(settings or settings_from(os.environ))
        self._headers = Headers(self._verifier.settings, strip_headers)
        self._optional = optional

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            environ[IDENTITY] = self._identity(self._headers.taken_from(environ))
        except TrustError as error:
            refusal = refusal_from(error)
            start_response(f"{refusal.status} {refusal.reason}", list(refusal.headers))
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [refusal.body]
        return self._app(environ, start_response)

    def _identity(self, token: bytes | None) -> Identity | None:
        if token is not None:
            return self._verifier.verify(token)
        if self._optional:
            return None
        raise AssertionMissing("no assertion")
