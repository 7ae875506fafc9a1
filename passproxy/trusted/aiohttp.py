"""
For applications on aiohttp's server.

A request without a good assertion is answered here, a WebSocket before it is
upgraded; no handler is called. A verified identity is `request[USER]`.

    app = web.Application(middlewares=[trusted_proxy()])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from passproxy.trusted.errors import TrustError
from passproxy.trusted.gate import Gate
from passproxy.trusted.headers import PLAIN_HEADERS
from passproxy.trusted.refusal import refusal_from
from passproxy.trusted.settings import Settings
from passproxy.trusted.verifier import Verifier

#: The key under which a handler finds its `Identity`, or None. Text before aiohttp 3.14.
USER: Any = getattr(web, "RequestKey", lambda name, _: name)("trusted_proxy.user", object)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


def trusted_proxy(
    settings: Settings | None = None,
    *,
    optional: bool = False,
    strip_headers: tuple[str, ...] = PLAIN_HEADERS,
    verifier: Verifier | None = None,
) -> Middleware:
    """
    A middleware; it must be the first in the list of the application.

    Without `settings` and `verifier` the environment is read. With `optional` a
    request without any assertion reaches its handler, with None as its user;
    one with a bad assertion never does.

    Raises:
        SettingsInvalid: while the application starts.
    """
    gate = Gate(settings, verifier, strip_headers, optional=optional)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            token, kept = gate.headers.split(request.raw_headers)
            user = await gate.identity_awaited(token)
        except TrustError as error:
            refusal = refusal_from(error)
            headers = {name: value for name, value in refusal.headers if name != "content-length"}
            return web.Response(status=refusal.status, body=refusal.body, headers=headers)
        cleaned = request.clone(headers=[(_text(name), _text(value)) for name, value in kept])
        cleaned[USER] = user
        return await handler(cleaned)

    return middleware


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
