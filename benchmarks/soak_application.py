"""
An application that does what each job says, also wrongly, and is restarted now and then.

While it restarts it refuses connections, and those that were idle are reset. Everything that
reaches it is checked: whose session it is, and that the body is the one that was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import time
from collections.abc import AsyncIterator

from benchmarks import subject
from benchmarks.soak_jobs import MEBIBYTE, Content, Job, Ledger, Tally
from tests.fakes.websocket import switching

_READ_BYTES = 64 * 1024
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
_USER = f"\r\nX-Passproxy-User: {subject.USER}\r\n".encode()
_FRAMINGS = {
    "length": b"Content-Length: %d\r\n\r\n",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n",
    "close": b"\r\n",
}

#: How long the application is away.
_RESTART_SECONDS = 0.3

#: Longer than PassProxy waits.
_DEAF_SECONDS = 15.0


def reset(writer: asyncio.StreamWriter) -> None:
    """End with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Application:
    """Use as a context manager."""

    def __init__(self, ledger: Ledger, port: int, seed: int) -> None:
        self._ledger = ledger
        self._port = port
        self._choice = random.Random(seed)
        self._idle: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Application:
        await self._listen()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def restart(self) -> None:
        """Refuse connections for a moment."""
        begun = time.monotonic()
        self._ledger.restarts.append((begun, float("inf")))
        self._server.close()
        for writer in self._idle:
            reset(writer)
        await asyncio.sleep(_RESTART_SECONDS)
        await self._listen()
        self._ledger.restarts[-1] = (begun, time.monotonic())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, backlog=1024)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                self._idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self._idle.discard(writer)
                if (job := self._job(head)) is None:
                    break
                await _Visit(job, self._ledger, self._choice, reader, writer).run()
                if job.framing == "close":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # PassProxy left; what that means for the client is the client's to judge
        except Exception as error:
            self._ledger.violation(None, f"the application could not go on: {error!r}")
        finally:
            self._idle.discard(writer)
            writer.close()

    def _job(self, head: bytes) -> Job | None:
        found = re.match(rb"(GET|PUT) /job/(\d+) HTTP/1\.1\r\n", head)
        job = None if found is None else self._ledger.jobs.get(int(found[2]))
        if job is None:
            self._ledger.violation(None, f"the application got what nobody sent: {head[:80]!r}")
            return None
        job.arrivals += 1
        if job.arrivals > 1 and job.method != "GET":
            self._ledger.violation(job, "was sent to the application twice")
        if _USER not in head or head.count(b"X-Passproxy-User:") != 1:
            self._ledger.violation(job, "did not come with the user's name")
        job.received, job.is_whole = Tally(), False
        return job


class _Visit:
    """One request at the application."""

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        choice: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._job = job
        self._ledger = ledger
        self._choice = choice
        self._reader = reader
        self._writer = writer

    async def run(self) -> None:
        job = self._job
        if job.fault == "deaf to the upload":
            await asyncio.sleep(_DEAF_SECONDS)  # what nobody takes from the reader stops it
            reset(self._writer)
        elif job.kind == "socket" and not job.fault:
            await self._socket()
        elif job.kind == "echo" and not job.fault:
            await self._echo()
        else:
            async for _ in self._body():
                pass
            if not self._writer.is_closing():
                await (self._fail() if job.fault else self._answer())

    # What comes up.

    async def _body(self) -> AsyncIterator[bytes]:
        job = self._job
        if job.up is None or job.kind == "socket":
            job.is_whole = True
            return
        cut_at = job.up.size // 2 if job.fault == "reset within the upload" else None
        try:
            async for data in self._chunks() if job.up_chunked else self._sized(job.up.size):
                job.received.add(data)
                if cut_at is not None and job.received.size >= cut_at:
                    reset(self._writer)
                    return
                # Not for too long: the time for the answer begins when the kernel has all of the body.
                if job.application_is_slow and job.received.size < MEBIBYTE:
                    await asyncio.sleep(0.02)
                yield data
            job.is_whole = True
        finally:
            self._check(job.up)

    def _check(self, up: Content) -> None:
        job = self._job
        if not (job.received.is_of(up) if job.is_whole else job.received.is_beginning_of(up)):
            self._ledger.violation(job, f"the application received {job.received.size} of {up.size} bytes, or others")

    async def _sized(self, left: int) -> AsyncIterator[bytes]:
        while left:
            data = await self._some(left)
            left -= len(data)
            yield data

    async def _chunks(self) -> AsyncIterator[bytes]:
        while left := int(await self._reader.readuntil(b"\r\n"), 16):
            async for data in self._sized(left):
                yield data
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)

    async def _some(self, most: int) -> bytes:
        data = await self._reader.read(min(most, _READ_BYTES))
        if not data:
            raise asyncio.IncompleteReadError(b"", most)
        return data

    # What comes down.

    async def _answer(self) -> None:
        await self._head()
        await self._send_all()

    async def _head(self) -> None:
        job = self._job
        assert job.down is not None
        framing = _FRAMINGS[job.framing]
        await self._send(_OK + (framing % job.down.size if job.framing == "length" else framing))

    async def _send_all(self, until: int | None = None) -> None:
        """The content; up to a place at which something goes wrong."""
        job, sent = self._job, 0
        assert job.down is not None
        for piece in job.down.pieces(500 if job.kind == "events" else _READ_BYTES, self._choice):
            if until is not None and sent + len(piece) > until:
                piece = piece[: until - sent]
            await self._send_piece(piece)
            sent += len(piece)
            if sent == until:
                return
            if job.kind == "events":
                await asyncio.sleep(self._choice.uniform(0.02, 0.4))
            elif job.application_is_slow:
                await asyncio.sleep(0.02)
        if job.framing == "chunked":
            await self._send(b"0\r\n\r\n")

    async def _echo(self) -> None:
        """Begins to answer before it has all of the body."""
        await self._head()
        async for data in self._body():
            await self._send_piece(data)
        await self._send(b"0\r\n\r\n")

    async def _socket(self) -> None:
        job, writer = self._job, self._writer
        assert job.up is not None
        await self._send(switching())
        while data := await self._reader.read(_READ_BYTES):
            job.received.add(data)
            await self._send(data)
        writer.close()
        job.is_whole = job.received.size == job.up.size
        self._check(job.up)

    async def _send_piece(self, data: bytes) -> None:
        if data:
            await self._send(b"%x\r\n%s\r\n" % (len(data), data) if self._job.framing == "chunked" else data)

    async def _send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    # What goes wrong.

    async def _fail(self) -> None:
        job, writer = self._job, self._writer
        if job.fault == "reset before the head":
            reset(writer)
        elif job.fault == "silent":
            await self._until_left()
        elif job.fault == "silent, then closed":
            await asyncio.sleep(self._choice.uniform(0.1, 2))
        elif job.fault == "garbage":
            await self._send(
                self._choice.choice((b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", bytes(99_000)))
            )
        elif job.fault != "closed before the head":
            await self._fail_within_the_body()
        writer.close()

    async def _fail_within_the_body(self) -> None:
        job = self._job
        assert job.down is not None
        await self._head()
        await self._send_all(job.down.size // 2)
        if job.fault == "reset within the body":
            reset(self._writer)
        elif job.fault == "broken chunk":
            await self._send(b"5z\r\nhello\r\n")
        else:
            await self._until_left()

    async def _until_left(self) -> None:
        """Wait until PassProxy has given up; it must."""
        while await self._reader.read(_READ_BYTES):
            pass
