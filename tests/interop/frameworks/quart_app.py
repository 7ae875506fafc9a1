"""Quart: an ASGI application whose inner one is wrapped, as Flask's is."""

from __future__ import annotations

from quart import Quart, abort, request, websocket

from passproxy.trusted.asgi import TrustedProxyMiddleware

app = Quart(__name__)
app.asgi_app = TrustedProxyMiddleware(app.asgi_app)


@app.get("/")
async def home() -> dict[str, object]:
    user = request.scope["state"]["user"]
    return {"user": user.user, "email": user.email, "groups": user.groups}


@app.get("/admin")
async def admin() -> dict[str, object]:
    user = request.scope["state"]["user"]
    if "administrator" not in user.roles:
        abort(403)
    return {"administrator": user.user}


@app.websocket("/ws")
async def ws() -> None:
    await websocket.send_json({"user": websocket.scope["state"]["user"].user})
