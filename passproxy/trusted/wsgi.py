"""
For WSGI applications: Flask, Django, Pyramid and others (PEP 3333).

A request without a good assertion is answered here; the application is not
called. A verified identity is `environ["trusted_proxy.identity"]`.

    app.wsgi_app = TrustedProxyMiddleware(app.wsgi_app)
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from passproxy.trusted.errors import TrustError
from passproxy.trusted.gate import Gate
from passproxy.trusted.headers import PLAIN_HEADERS
from passproxy.trusted.refusal import refusal_from
from passproxy.trusted.settings import Settings
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
        self._gate = Gate(settings, verifier, strip_headers, optional=optional)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            environ[IDENTITY] = self._gate.identity(self._gate.headers.taken_from(environ))
        except TrustError as error:
            refusal = refusal_from(error)
            start_response(f"{refusal.status} {refusal.reason}", list(refusal.headers))
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [refusal.body]
        return self._app(environ, start_response)
