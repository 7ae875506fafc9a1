"""
For ASGI applications: FastAPI, Starlette, Django, Quart and others.

HTTP requests without a good assertion are answered here, WebSockets are refused
before they are accepted; the application is not called. A verified identity is
`scope["state"]["user"]`, which FastAPI and Starlette show as `request.state.user`.

    app.add_middleware(TrustedProxyMiddleware, settings_from(os.environ))

FastAPI and Starlette build their middleware when the first request arrives:
read the settings before, as here, and an application without them does not start.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from passproxy.trusted.errors import AssertionMissing, TrustError
from passproxy.trusted.headers import PLAIN_HEADERS, Headers
from passproxy.trusted.identity import Identity
from passproxy.trusted.refusal import WEBSOCKET_CLOSE, Refusal, refusal_from
from passproxy.trusted.settings import Settings, settings_from
from passproxy.trusted.verifier import Verifier
from passproxy.trusted.waiting import verified

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class TrustedProxyMiddleware:
    """
    Around an application.

    Without `settings` and `verifier` the environment is read. With `optional` a
    request without any assertion reaches the application, with None as its
    user; one with a bad assertion never does.

    Raises:
        SettingsInvalid: the environment is not complete.
    """

    def __init__(
        self,
        app: Application,
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"nothing is known about connections of type {scope['type']}")
        try:
            token, headers = self._headers.split(scope["headers"])
            user = await self._user(token)
        except TrustError as error:
            await _refuse(scope, receive, send, refusal_from(error))
            return
        # A copy: a server that hands the same state to every request must not mix people up.
        state = {**(scope.get("state") or {}), "user": user}
        await self._app({**scope, "headers": headers, "state": state}, receive, send)

    async def _user(self, token: bytes | None) -> Identity | None:
        if token is not None:
            return await verified(self._verifier, token)
        if self._optional:
            return None
        raise AssertionMissing("no assertion")


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    prefix = "http"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # Before it was accepted, this becomes a 403.
            await send({"type": "websocket.close", "code": WEBSOCKET_CLOSE, "reason": refusal.reason})
            return
        prefix = "websocket.http"
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers]
    await send({"type": f"{prefix}.response.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{prefix}.response.body", "body": refusal.body})
