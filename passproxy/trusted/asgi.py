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

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from passproxy.trusted.errors import TrustError
from passproxy.trusted.gate import Gate
from passproxy.trusted.headers import PLAIN_HEADERS
from passproxy.trusted.refusal import WEBSOCKET_CLOSE, Refusal, refusal_from
from passproxy.trusted.settings import Settings
from passproxy.trusted.verifier import Verifier

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
        self._gate = Gate(settings, verifier, strip_headers, optional=optional)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"nothing is known about connections of type {scope['type']}")
        try:
            token, headers = self._gate.headers.split(scope["headers"])
            user = await self._gate.identity_awaited(token)
        except TrustError as error:
            await _refuse(scope, receive, send, refusal_from(error))
            return
        # A copy: a server that hands the same state to every request must not mix people up.
        state = {**(scope.get("state") or {}), "user": user}
        await self._app({**scope, "headers": headers, "state": state}, receive, send)


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
