"""
Clients that do what each job says, and compare what came of it with what had to come of it.

A worker has one connection at a time, for some requests. Requests and answers flow at once; some
clients read slowly, and some leave before they have everything, with a goodbye or without.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from benchmarks.soak_application import reset
from benchmarks.soak_jobs import Job, Jobs, Ledger, Tally
from tests.fakes.gateway import request
from tests.fakes.websocket import handshake

#: For one exchange. All limits of PassProxy that apply here are far below.
_LIMIT_SECONDS = 60.0

_PIECE_BYTES = 64 * 1024


class Left(Exception):
    """The client did what it was told, and left."""


@dataclass(slots=True)
class Outcome:
    """What a client saw; a status of 0 is an answer that ended too early, or none at all."""

    status: int = 0
    got: Tally = field(default_factory=Tally)
    keeps: bool = False


class Workers:
    """Some clients at work, each for as long as `is_over` says no."""

    def __init__(self, address: tuple[str, int], cookie: str, jobs: Jobs, ledger: Ledger) -> None:
        self._address = address
        self._cookie = cookie
        self._jobs = jobs
        self._ledger = ledger
        self._choice = jobs.choice
        self.is_over = False
        self.open = 0

    async def work(self) -> None:
        await asyncio.sleep(self._choice.uniform(0, 2))
        while not self.is_over:
            await self._connection()
            await asyncio.sleep(self._choice.uniform(0, 0.5))

    async def _connection(self) -> None:
        try:
            reader, writer = await asyncio.open_connection(*self._address)
        except OSError as error:
            if self._ledger.stopped_at > time.monotonic():
                self._ledger.violation(None, f"PassProxy takes no connection: {error}")
            return
        self.open += 1
        try:
            for left in range(self._choice.randint(0, 12), -1, -1):
                job = self._jobs.make()
                if not await self._job(_Exchange(job, reader, writer), is_last=not left):
                    return
                if self.is_over:
                    return
                await asyncio.sleep(self._choice.uniform(0, 0.8))
                if reader.at_eof() or writer.is_closing():
                    if self._ledger.stopped_at > time.monotonic():
                        self._ledger.violation(job, "its connection was closed, though it was to be kept")
                    return
        finally:
            self.open -= 1
            writer.close()

    async def _job(self, exchange: _Exchange, *, is_last: bool) -> bool:
        """Whether the connection can be used again."""
        job, ledger = exchange.job, self._ledger
        ledger.jobs[job.number] = job
        begun = time.monotonic()
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                outcome = await exchange.run(self._cookie, closes=is_last)
        except Left:
            ledger.count(job, "left")
            return False
        except TimeoutError:
            ledger.violation(job, f"had no end within {_LIMIT_SECONDS:.0f} s")
            return False
        except (asyncio.IncompleteReadError, ConnectionError):
            outcome = Outcome()
        finally:
            ledger.count(job, "requests")
            # The application may hear of the end a little later than the client.
            asyncio.get_running_loop().call_later(30, ledger.jobs.pop, job.number, None)
        self._judge(job, outcome, ledger.expected(job, begun, time.monotonic()))
        if is_last and outcome.status and job.kind != "socket":
            await self._expect_end(exchange)
        return outcome.keeps

    def _judge(self, job: Job, outcome: Outcome, expected: set[int]) -> None:
        ledger = self._ledger
        if outcome.status not in expected:
            ledger.violation(job, f"ended with {outcome.status or 'a cut'}, and not with {sorted(expected)}")
        if outcome.status == 0:
            ledger.count(job, "cut")
        elif outcome.status >= 500:
            ledger.count(job, "5xx")
        else:
            ledger.count(job, "whole")
            self._compare(job, outcome)

    def _compare(self, job: Job, outcome: Outcome) -> None:
        ledger = self._ledger
        assert job.down is not None
        if not outcome.got.is_of(job.down):
            ledger.violation(job, f"the client received {outcome.got.size} of {job.down.size} bytes, or others")
        ledger.count(job, "bytes down", outcome.got.size)
        if job.up is not None:
            # A socket's echo is the proof; its other end is told a little later.
            if not job.is_whole and job.kind != "socket":
                ledger.violation(job, "was answered before the application had all of the body")
            ledger.count(job, "bytes up", job.up.size)

    async def _expect_end(self, exchange: _Exchange) -> None:
        """After `Connection: close`: nothing more, and soon."""
        try:
            async with asyncio.timeout(10):
                more = await exchange.reader.read(1)
        except TimeoutError:
            self._ledger.violation(exchange.job, "the connection was not closed")
        except ConnectionError:
            pass
        else:
            if more:
                self._ledger.violation(exchange.job, "bytes came behind the last answer")


class _Exchange:
    """One request of one client."""

    def __init__(self, job: Job, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.job = job
        self.reader = reader
        self._writer = writer

    async def run(self, cookie: str, *, closes: bool) -> Outcome:
        if self.job.kind == "socket":
            return await self._socket(cookie)
        self._writer.write(self._head(cookie, closes))
        async with contextlib.AsyncExitStack() as stack:
            if self.job.up is not None:
                sending = asyncio.ensure_future(self._send())
                stack.push_async_callback(_ended, sending)
            if self.job.leaves == "before the head":
                await asyncio.sleep(self.job.number % 20 / 1000)
                self._leave()
            return await self._answer()

    def _head(self, cookie: str, closes: bool) -> bytes:
        job, lines = self.job, []
        if closes:
            lines.append("Connection: close")
        if job.up is not None:
            lines.append("Transfer-Encoding: chunked" if job.up_chunked else f"Content-Length: {job.up.size}")
            if job.number % 10 == 0:
                lines.append("Expect: 100-continue")  # and sends the body without waiting, as it may
        return request(job.method, job.target, *lines, cookie=cookie)

    async def _send(self) -> None:
        """The body. An answer that comes meanwhile says why it could not be sent."""
        job = self.job
        assert job.up is not None
        sent = 0
        with contextlib.suppress(ConnectionError):
            for piece in job.up.pieces(_PIECE_BYTES, random.Random(job.number)):
                if self._writer.is_closing():
                    return
                if job.leaves == "within the upload" and sent >= job.up.size // 2:
                    reset(self._writer) if job.resets else self._writer.close()
                    return
                self._writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if job.up_chunked else piece)
                await self._writer.drain()
                sent += len(piece)
                if job.client_is_slow:
                    await asyncio.sleep(0.02)
            if job.up_chunked and not self._writer.is_closing():
                self._writer.write(b"0\r\n\r\n")

    async def _answer(self) -> Outcome:
        job, outcome, head = self.job, Outcome(), b"HTTP/1.1 1"
        try:
            while head.startswith(b"HTTP/1.1 1"):
                head = (await self.reader.readuntil(b"\r\n\r\n")).lower().replace(b"http", b"HTTP", 1)
            async for data in self._body(head):
                outcome.got.add(data)
                if job.leaves == "within the download" and job.down and outcome.got.size >= job.down.size // 2:
                    self._leave()
                if job.client_is_slow:
                    await asyncio.sleep(0.02)
        except (asyncio.IncompleteReadError, ConnectionError):
            if job.leaves == "within the upload":
                raise Left from None
            raise
        outcome.status = int(head.split(b" ")[1])
        outcome.keeps = b"\r\nconnection: close\r\n" not in head
        return outcome

    async def _body(self, head: bytes) -> AsyncIterator[bytes]:
        if b"\r\ntransfer-encoding: chunked\r\n" not in head:
            async for data in self._exactly(int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r")[0])):
                yield data
            return
        while left := int(await self.reader.readuntil(b"\r\n"), 16):
            async for data in self._exactly(left):
                yield data
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    async def _exactly(self, left: int) -> AsyncIterator[bytes]:
        while left:
            data = await self.reader.read(min(left, _PIECE_BYTES))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data

    async def _socket(self, cookie: str) -> Outcome:
        """Whatever is sent comes back; then one side ends, and so does the other."""
        job, outcome = self.job, Outcome()
        assert job.up is not None
        self._writer.write(handshake(target=job.target, cookie=cookie))
        head = await self.reader.readuntil(b"\r\n\r\n")
        outcome.status = int(head.split(b" ")[1])
        if outcome.status != 101:
            return outcome
        if job.leaves == "before the head":
            self._leave()
        sending = asyncio.ensure_future(self._send_plain())
        try:
            async for data in self._exactly(job.up.size):
                outcome.got.add(data)
                if job.leaves == "within the download" and outcome.got.size >= job.up.size // 2:
                    self._leave()
        except (asyncio.IncompleteReadError, ConnectionError):
            if job.leaves:
                raise Left from None
            raise
        finally:
            await _ended(sending)
        self._writer.write_eof()
        if await self.reader.read(1):
            outcome.got.add(b"more than was sent")
        return outcome

    async def _send_plain(self) -> None:
        job = self.job
        assert job.up is not None
        sent = 0
        with contextlib.suppress(ConnectionError):
            for piece in job.up.pieces(_PIECE_BYTES, random.Random(job.number)):
                if self._writer.is_closing():
                    return
                if job.leaves == "within the upload" and sent >= job.up.size // 2:
                    reset(self._writer) if job.resets else self._writer.close()
                    return
                self._writer.write(piece)
                await self._writer.drain()
                sent += len(piece)

    def _leave(self) -> None:
        if self.job.resets:
            reset(self._writer)
        else:
            self._writer.close()
        raise Left


async def _ended(sending: asyncio.Task[None]) -> None:
    sending.cancel()
    await asyncio.wait({sending})
