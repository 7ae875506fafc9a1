"""The proxy that one writes in an afternoon: an aiohttp server and an aiohttp client, and no authentication at all."""

from __future__ import annotations

import sys

import aiohttp
from aiohttp import web

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


async def _run(application: int) -> web.Application:
    session = aiohttp.ClientSession(
        auto_decompress=False, connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = f"http://127.0.0.1:{application}{request.raw_path}"
        async with session.request(request.method, url, headers=headers, data=request.content or None) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            return response

    proxy = web.Application()
    proxy.router.add_route("*", "/{path:.*}", handle)
    return proxy


if __name__ == "__main__":
    web.run_app(_run(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
