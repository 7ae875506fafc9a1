"""
aiohttp behind a proxy that signs.

    pip install aiohttp 'PyJWT[crypto]'
    export TRUSTED_PROXY_PRESET=passproxy TRUSTED_PROXY_ISSUER=https://app.example.com
    python etc/trusted/aiohttp_app.py
"""

from aiohttp import web

from passproxy.trusted.aiohttp import USER, trusted_proxy


async def home(request: web.Request) -> web.Response:
    user = request[USER]
    return web.json_response({"user": user.user, "email": user.email, "groups": user.groups})


async def admin(request: web.Request) -> web.Response:
    if "administrator" not in request[USER].roles:
        raise web.HTTPForbidden
    return web.json_response({"administrator": request[USER].user})


async def ws(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json({"user": request[USER].user})
    await socket.close()
    return socket


def application() -> web.Application:
    app = web.Application(middlewares=[trusted_proxy()])
    app.add_routes([web.get("/", home), web.get("/admin", admin), web.get("/ws", ws)])
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=3000)
