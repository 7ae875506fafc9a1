"""
The demo application: an ordinary web application that knows nothing of single sign-on.

It shows who the identity headers say you are, and offers what a proxy must not
disturb: deep links, an event stream, a WebSocket, uploads and downloads of any
size, and `/whoami`, which repeats a request head exactly as it arrived.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from aiohttp import WSMsgType, web

from passproxy.demo.loopback import LoopbackServer
from passproxy.demo.rendering import page
from passproxy.demo.visitor import Received, received, visitor_from

#: One WebSocket message; large enough to see that a proxy does not cut it up.
MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024

#: A download that runs for a while even on loopback.
DOWNLOAD_LIMIT_BYTES = 64 * 1024**3

_PIECE = bytes(range(256)) * 256

#: Example links: what it shows, and the link. Each has something that careless proxies break.
DEEP_LINKS = (
    ("A report, sorted and filtered", "/reports/2026/q3?sort=name&filter=open"),
    ("Spaces, accents, an ampersand", "/wiki/Caf%C3%A9%20%26%20Bar?lang=fr"),
    ("An escaped slash and a parameter", "/files/a%2Fb;v=2/"),
    ("An address inside the query", "/open?next=https%3A%2F%2Fexample.com%2Fa%3Fb%3D1&again=1"),
)


class DemoApplication(LoopbackServer):
    """Start it, and point `upstream.url` at its `base_url`."""

    def build(self, base_url: str) -> web.Application:
        return _Endpoints().application()


class _Endpoints:
    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self._sockets: set[web.WebSocketResponse] = set()

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.route("*", "/whoami", self._whoami),
                web.get("/ws", self._echo_messages),
                web.get("/events", self._events),
                web.post("/echo", self._echo),
                web.get(r"/bytes/{count:\d{1,12}}", self._bytes),
                web.get("/{path:.*}", self._page),
            ]
        )
        application.on_shutdown.append(self._close)
        return application

    async def _whoami(self, request: web.Request) -> web.StreamResponse:
        head = _head(request)
        body = json.dumps({"method": head.method, "target": head.target, "headers": head.headers}, indent=2)
        return web.Response(text=body, content_type="application/json", headers=_PLAIN)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        head = _head(request)
        return page(
            "application.html",
            head=head,
            visitor=visitor_from(head.identity_headers),
            deep_links=DEEP_LINKS,
        )

    async def _echo_messages(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT_BYTES)
        if not socket.can_prepare(request).ok:
            return _wrong("A WebSocket handshake is expected here.", 426, {"Upgrade": "websocket"})
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
        except ConnectionResetError:
            pass  # The other side left while it was being answered.
        finally:
            self._sockets.discard(socket)
        return socket

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `count` of them (endless without), one each `interval` seconds."""
        try:
            count = int(request.query.get("count", "0"))
            interval_seconds = float(request.query.get("interval", "1"))
        except ValueError:
            return _wrong("count and interval are numbers.")
        if count < 0 or not math.isfinite(interval_seconds) or not 0 <= interval_seconds <= 3600:
            return _wrong("count is not negative, interval is between 0 and 3600 seconds.")
        response = web.StreamResponse(headers={**_PLAIN, "X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            await self._tick(response, count or None, interval_seconds)
            await response.write_eof()
        except ConnectionResetError:
            pass  # Nobody listens any more: how most event streams end.
        return response

    async def _tick(self, response: web.StreamResponse, count: int | None, interval_seconds: float) -> None:
        number = 0
        while count is None or number < count:
            number += 1
            event = json.dumps({"number": number, "time": _now().isoformat(timespec="milliseconds")})
            await response.write(f"id: {number}\ndata: {event}\n\n".encode())
            if number != count and await self._is_closing_within(interval_seconds):
                return

    async def _is_closing_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        """The body comes back as it comes in; with `?digest`, only its length and SHA-256 do."""
        if "digest" in request.query:
            length, digest = 0, hashlib.sha256()
            async for piece in request.content.iter_any():
                length += len(piece)
                digest.update(piece)
            return web.json_response({"length": length, "sha256": digest.hexdigest()}, headers=_PLAIN)
        return await _streamed(request, request.content.iter_any(), request.content_length)

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        """A download of that many bytes; with `?chunked`, its length is not announced."""
        count = int(request.match_info["count"])
        if count > DOWNLOAD_LIMIT_BYTES:
            return _wrong(f"{DOWNLOAD_LIMIT_BYTES} bytes at most.")
        return await _streamed(request, _pieces(count), None if "chunked" in request.query else count)

    async def _close(self, application: web.Application) -> None:
        self._closing.set()
        for socket in tuple(self._sockets):
            await socket.close(code=1001, message=b"the demo ends")


#: For everything that is not a page. A body that was sent here is never a document.
_PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def _streamed(request: web.Request, pieces: AsyncIterator[bytes], length: int | None) -> web.StreamResponse:
    response = web.StreamResponse(headers=_PLAIN)
    response.content_type = "application/octet-stream"
    response.content_length = length
    await response.prepare(request)
    if request.method != "HEAD":
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    return response


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count // len(_PIECE)):
        yield _PIECE
    if rest := count % len(_PIECE):
        yield _PIECE[:rest]


def _head(request: web.Request) -> Received:
    return received(request.method, request.raw_path, request.raw_headers)


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def _wrong(sentence: str, status: int = 400, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=sentence + "\n", status=status, headers={**_PLAIN, **(headers or {})})
