"""
A client that sends bytes and reads bytes, with no opinion about either.

Answers are taken apart only to find their end (RFC 9112, 6.3), so that a second
answer, or one that should not be there, cannot hide in the first.

    async with Raw(address) as raw:
        answer = await raw.ask(b"GET / HTTP/1.1\\r\\nHost: app.example.com\\r\\n\\r\\n")
        assert answer.status == 200 and await raw.is_open()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, Self

#: For anything a test waits for. Never reached when all is well.
PATIENCE_SECONDS = 5.0


class Cut(Exception):
    """The connection ended before the answer did; `had` is what there was of it."""

    def __init__(self, had: bytes) -> None:
        super().__init__(repr(had[:200]))
        self.had = had


@dataclass(frozen=True)
class Answer:
    """One answer. `interim` are the heads of 1xx answers before it."""

    head: bytes
    body: bytes
    interim: tuple[bytes, ...] = ()

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]

    def all(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def one(self, name: bytes) -> bytes:
        (value,) = self.all(name)
        return value

    def json(self) -> Any:
        return json.loads(self.body)


class Raw:
    """
    One connection; use as a context manager.

    Args:
        small: with a tiny receive buffer, for a reader that is slower than the writer.
    """

    #: Pieces sent over all connections of this process.
    sent = 0

    def __init__(self, address: str, *, small: bool = False) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._small = small
        self._buffer = b""

    async def __aenter__(self) -> Self:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._small:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(self.sock, (self._host, self._port))
        except OSError:
            self.sock.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.sock.close()

    async def send(self, data: bytes) -> None:
        """All of it; a connection that was closed meanwhile is no error here."""
        Raw.sent += 1
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def reset(self) -> None:
        """Leave without a goodbye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def more(self, size: int = 256 * 1024) -> bool:
        """Read some; whether there was any. Raises `ConnectionResetError`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            data = await asyncio.get_running_loop().sock_recv(self.sock, size)
        self._buffer += data
        return bool(data)

    async def ask(self, request: bytes) -> Answer:
        await self.send(request)
        return await self.answer(request.partition(b" ")[0])

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next final answer. Raises `Cut` when it is not complete, also when it ends with RST."""
        interim: list[bytes] = []
        while True:
            head = await self.head()
            if not head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) or head.startswith(b"HTTP/1.1 101"):
                break
            interim.append(head)
        body = await self._body(Answer(head, b""), method)
        return Answer(head, body, tuple(interim))

    async def head(self) -> bytes:
        """The next head, interim or final."""
        await self._until(b"\r\n\r\n")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._buffer) < count:
            if not await self._more_or_cut():
                raise Cut(self._buffer)
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    async def rest(self) -> bytes:
        """Everything until the connection is closed; raises `ConnectionResetError` if it is reset."""
        while await self.more():
            pass
        data, self._buffer = self._buffer, b""
        return data

    async def is_closed(self) -> bool:
        """Waits for the end; bytes before it would be an answer to nothing."""
        try:
            assert await self.rest() == b""
        except ConnectionResetError:
            assert self._buffer == b""
        return True

    async def _body(self, answer: Answer, method: bytes) -> bytes:
        if method == b"HEAD" or answer.status in (101, 204, 304):
            return b""
        if answer.all(b"transfer-encoding"):
            return await self._chunked()
        if lengths := answer.all(b"content-length"):
            return await self.take(int(lengths[0]))
        return await self.rest()

    async def _chunked(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            await self._until(b"\r\n")
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            pieces.append(await self.take(int(size, 16)))
            assert await self.take(2) == b"\r\n"
            if not pieces[-1]:
                return b"".join(pieces)

    async def _until(self, mark: bytes) -> None:
        while mark not in self._buffer:
            if not await self._more_or_cut():
                raise Cut(self._buffer)

    async def _more_or_cut(self) -> bool:
        try:
            return await self.more()
        except ConnectionResetError:
            raise Cut(self._buffer) from None
