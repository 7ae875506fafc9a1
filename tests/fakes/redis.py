"""As much of a Redis as a stream needs, on loopback: PING, AUTH, XADD with MINID, and XREAD that waits."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any, Self


class FakeRedis:
    """`stop` and `start` keep the entries and the port. Streams: key -> list of (id, fields)."""

    def __init__(
        self, password: str | None = None, tls: ssl.SSLContext | None = None, path: Path | None = None
    ) -> None:
        self.password = password
        self._tls = tls
        self._path = path
        self.commands: list[bytes] = []
        self.streams: dict[bytes, list[tuple[tuple[int, int], list[bytes]]]] = {}
        self.port = 0
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._holder: socket.socket | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._number = 0

    @property
    def url(self) -> str:
        if self._path is not None:
            return f"unix://{self._path}"
        return f"{'redis' if self._tls is None else 'rediss'}://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._holder is not None:
            self._holder.close()

    async def start(self) -> None:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
            return
        if self._holder is None:
            # The port stays ours while nobody listens: otherwise any connection may be given it.
            self._holder = _bound(0)
            self.port = self._holder.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=_bound(self.port), ssl=self._tls)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if (task := asyncio.current_task()) is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        is_known = self.password is None
        try:
            while line := await reader.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                name = words[0].upper()
                self.commands.append(name)
                if name == b"AUTH":
                    is_known = words[-1].decode() == self.password
                    writer.write(b"+OK\r\n" if is_known else b"-WRONGPASS no\r\n")
                elif not is_known:
                    writer.write(b"-NOAUTH Authentication required.\r\n")
                else:
                    writer.write(await self._answer(name, words[1:]))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, name: bytes, words: list[bytes]) -> bytes:
        if name in (b"PING", b"SELECT"):
            return b"+OK\r\n"
        if name == b"XADD":
            return await self._added(words)
        if name == b"XREAD":
            return await self._read(words)
        return b"-ERR unknown command\r\n"

    async def _added(self, words: list[bytes]) -> bytes:
        entries = self.streams.setdefault(words[0], [])
        star = words.index(b"*")
        if b"MINID" in words[:star]:
            begin = _id(words[star - 1])
            entries[:] = [entry for entry in entries if entry[0] >= begin]
        self._number += 1
        # Later than whatever a test takes for the time.
        name = (10**14 + self._number, 0)
        entries.append((name, words[star + 1 :]))
        async with self._changed:
            self._changed.notify_all()
        return _encoded(b"%d-%d" % name)

    async def _read(self, words: list[bytes]) -> bytes:
        options = dict(zip(words[: words.index(b"STREAMS")][::2], words[1 : words.index(b"STREAMS")][::2], strict=True))
        key, last = words[words.index(b"STREAMS") + 1 :]
        count = int(options.get(b"COUNT", b"1000"))

        def found() -> list[Any]:
            return [entry for entry in self.streams.get(key, []) if entry[0] > _id(last)][:count]

        if b"BLOCK" in options and not found():
            try:
                async with asyncio.timeout(int(options[b"BLOCK"]) / 1000), self._changed:
                    await self._changed.wait_for(lambda: bool(found()))
            except TimeoutError:
                return b"*-1\r\n"
        entries = found()
        return _encoded([[key, [[b"%d-%d" % name, fields] for name, fields in entries]]]) if entries else b"*-1\r\n"


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _id(text: bytes) -> tuple[int, int]:
    first, _, second = text.partition(b"-")
    return int(first), int(second or b"0")


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(_encoded, value))
