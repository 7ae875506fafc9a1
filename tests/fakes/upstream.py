"""
An application that keeps what it was sent, byte for byte, and answers as it is told, also wrongly.

Every connection has the bytes that came over it; every request its head and
its body, taken apart by a parser of its own. A test sets `script`, a coroutine
that gets the request and the line to whoever sent it:

    async def cut(seen: Seen, line: Line) -> None:
        await line.body()
        await line.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nhalf")
        line.reset()

    upstream.script = cut

What is not HTTP at all ends up in `upstream.nonsense`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

RECEIVED_LIMIT_BYTES = 1024 * 1024


@dataclass
class Seen:
    """One request as it arrived. `head` ends with its empty line; `body` is the content, once it was read."""

    head: bytes
    connection: int
    body: bytes = b""

    @property
    def request_line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def target(self) -> bytes:
        return self.request_line.split(b" ")[1]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]

    def all(self, name: bytes) -> list[bytes]:
        """The values of every field of this name, in order."""
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def one(self, name: bytes) -> bytes:
        (value,) = self.all(name)
        return value


class Line:
    """The application's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.received = bytearray()
        self.received_bytes = 0
        self.is_gone = False
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._seen: Seen | None = None

    async def more(self) -> bool:
        """Read some; whether there was any."""
        try:
            data = await self._reader.read(256 * 1024)
        except ConnectionError:
            data = b""
        self.is_gone = not data
        self.received_bytes += len(data)
        if len(self.received) < RECEIVED_LIMIT_BYTES:
            self.received += data
        self._buffer += data
        return bool(data)

    async def head(self) -> bytes | None:
        """The next head, or None at the end."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self.more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def body(self) -> bytes:
        """The content of the current request, read to its end; what came of it, if it has none."""
        assert self._seen is not None
        if self._seen.all(b"transfer-encoding"):
            self._seen.body = await self._chunked()
        else:
            length = int((self._seen.all(b"content-length") or [b"0"])[0])
            while len(self._buffer) < length and await self.more():
                pass
            self._seen.body, self._buffer = self._buffer[:length], self._buffer[length:]
        return self._seen.body

    async def some(self) -> bytes:
        """Whatever has arrived by now, at least one byte, or b"" at the end."""
        if not self._buffer:
            await self.more()
        data, self._buffer = self._buffer, b""
        return data

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        sock = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the other side has left."""
        while await self.more():
            self._buffer = b""

    async def _chunked(self) -> bytes:
        content = b""
        while True:
            while b"\r\n" not in self._buffer:
                if not await self.more():
                    return content
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line, 16)
            while len(self._buffer) < size + 2:
                if not await self.more():
                    return content + self._buffer
            content += self._buffer[:size]
            assert self._buffer[size : size + 2] == b"\r\n", self._buffer[:40]
            self._buffer = self._buffer[size + 2 :]
            if size == 0:
                return content


Script = Callable[[Seen, Line], Awaitable[None]]


async def ok(seen: Seen, line: Line) -> None:
    """Reads everything, answers 200 with the target, keeps the connection."""
    await line.body()
    content = b"" if seen.head.startswith(b"HEAD ") else seen.target
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(seen.target) + content)


def answering(answer: bytes, *, closes: bool = False, resets: bool = False) -> Script:
    """Reads the request whole, then sends these bytes."""

    async def script(seen: Seen, line: Line) -> None:
        await line.body()
        await line.send(answer)
        if resets:
            line.reset()
        elif closes:
            line.close()

    return script


async def hang(seen: Seen, line: Line) -> None:
    """Reads everything and never answers."""
    await line.body()
    await line.gone()


class Upstream:
    """
    Use as a context manager. `address` is `host:port`.

    Args:
        slow: like a host far away: small segments and a small receive buffer,
            so that little fits between the two sides.
    """

    def __init__(self, script: Script = ok, *, slow: bool = False) -> None:
        self.script = script
        self.requests: list[Seen] = []
        self.lines: list[Line] = []
        self.nonsense: list[bytes] = []
        self._ever: list[Line] = []
        self._slow = slow
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._slow:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        listening.bind(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self._server = await asyncio.start_server(self._connected, sock=listening, limit=2**12 if self._slow else 2**18)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Refuse connections from now on, and end those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def request_lines(self) -> list[bytes]:
        return [seen.request_line for seen in self.requests]

    @property
    def is_untouched(self) -> bool:
        """Whether nobody so much as connected."""
        return not self.lines

    @property
    def received_bytes(self) -> int:
        """Everything that ever arrived."""
        return sum(line.received_bytes for line in self._ever)

    def forget(self) -> None:
        """Start counting anew; open connections stay."""
        self.requests.clear()
        self.nonsense.clear()
        self.lines.clear()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(len(self.lines), reader, writer)
        self.lines.append(line)
        self._ever.append(line)
        try:
            while (head := await line.head()) is not None:
                if not head.split(b"\r\n")[0].endswith(b" HTTP/1.1"):
                    self.nonsense.append(head)
                    return
                seen = Seen(head, line.number)
                line._seen = seen
                self.requests.append(seen)
                await self.script(seen, line)
                if writer.transport.is_closing():
                    return
            if line._buffer:
                self.nonsense.append(line._buffer)
        finally:
            writer.close()
