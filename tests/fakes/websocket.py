"""A WebSocket handshake, and an application that accepts one and then echoes bytes; frames are nobody's business."""

from __future__ import annotations

import base64
import hashlib

from tests.fakes.gateway import ORIGIN, get
from tests.fakes.upstream import Line, Seen

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


#: What the application says first: a frame, so that what ends the connection can follow it.
GREETING = b"\x82\x03hey"


def handshake(
    *more: str,
    target: str = "/socket",
    cookie: str | None = None,
    key: str | None = KEY,
    version: str | None = "13",
    upgrade: str | None = "websocket",
    connection: str | None = "Upgrade",
    origin: str | None = ORIGIN,
) -> bytes:
    """A right one; each argument makes it another."""
    fields = {
        "Connection": connection,
        "Upgrade": upgrade,
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": version,
        "Origin": origin,
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return get(target, *lines, *more, cookie=cookie)


def switching(*more: bytes, accept: bytes = ACCEPT, protocol: bytes = b"websocket") -> bytes:
    lines = [b"Connection: upgrade", b"Upgrade: " + protocol, b"Sec-WebSocket-Accept: " + accept, *more]
    return b"HTTP/1.1 101 Switching Protocols\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"


async def accepting(seen: Seen, line: Line) -> None:
    """Accepts, says hello in the same piece, and sends back what comes."""
    await line.send(switching() + GREETING)
    while data := await line.some():
        await line.send(data)
