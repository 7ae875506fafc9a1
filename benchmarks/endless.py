"""An application of streams: WebSockets that echo, an event each second, a body of any size, uploads that are counted."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys

_PIECE = bytes(256 * 1024)
_EVENT = b"data: 0123456789abcdef\n\n"


async def _served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1]
            if target == b"/socket":
                await _echo(head, reader, writer)
            elif target == b"/events":
                await _events(writer)
            elif target.startswith(b"/bytes/"):
                await _bytes(int(target[7:]), writer)
            else:
                await _count(head, reader, writer)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _echo(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    (key,) = re.findall(rb"(?i)\r\nSec-WebSocket-Key: *(\S+)", head)
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _events(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT))
        await writer.drain()
        await asyncio.sleep(1)


async def _bytes(size: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    while size > 0:
        writer.write(_PIECE[:size])
        size -= len(_PIECE)
        await writer.drain()


async def _count(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    found = re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)
    left = int(found[1]) if found else 0
    while left:
        left -= len(await reader.read(min(left, 1 << 20)) or b"x" * left)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await writer.drain()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_served, "127.0.0.1", port, backlog=4096, limit=1 << 20)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
