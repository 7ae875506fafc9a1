"""
The application's side: one connection, and on it one exchange at a time.

An `UpstreamConnection` writes a request, takes the body as a `Sink`, reads the
answer and writes it to the client as it comes, with flow control both ways;
nothing is buffered whole. It is used again only when request and answer both
ended where they said they would. What the request says was settled before
(headers.py); who may ask, decision.py knows; which connection is taken, pool.py.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from passproxy.core.body import LAST_CHUNK, BodyReader, body_reader, chunk
from passproxy.core.cookies import CookieNames
from passproxy.core.counts import Counts
from passproxy.core.errors import (
    RequestMalformed,
    UpstreamError,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from passproxy.core.http1 import ANSWER_HEAD_LIMIT_BYTES, CHUNKED, UNTIL_CLOSE, AnswerHead, NameTable, answer_head
from passproxy.web.exchange import Exchange, Limits, Owner
from passproxy.web.responses import STATUS_LINES
from passproxy.web.watch import NEVER, Watch

#: How long an idle connection is kept. Servers that close sooner are noticed at once;
#: only a request that meets the closing on its way is at risk, and pool.py sees to that.
IDLE_SECONDS = 15.0

#: Interim answers (1xx) to one request; 100 and 103 come once or twice.
INTERIM_LIMIT = 16


class Home(Protocol):
    """Where a connection belongs: the pool."""

    limits: Limits
    names: NameTable
    cookies: CookieNames
    watch: Watch
    counts: Counts

    def put(self, connection: UpstreamConnection) -> None:
        """Keep it for the next exchange."""

    def discard(self, connection: UpstreamConnection) -> None:
        """It is gone, and was idle."""

    def left(self) -> None:
        """It is gone, or is no longer one of the pool's."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to the application; Sink and Party of the exchange under way."""

    __slots__ = (
        "_answer",
        "_body",
        "_buffer",
        "_chunks_answer",
        "_exchange",
        "_interims",
        "_is_paused",
        "_keeps_client",
        "_owner",
        "_pool",
        "_sent",
        "_sent_at",
        "_was_used",
        "deadline",
        "has_begun",
        "idle_since",
        "transport",
    )

    def __init__(self, pool: Home, owner: Owner) -> None:
        self._pool = pool
        self._owner = owner
        self._exchange: Exchange | None = None
        self._buffer = b""
        self._answer: AnswerHead | None = None
        self._body: BodyReader | None = None
        self._chunks_answer = False
        self._keeps_client = True
        self._interims = 0
        self._sent = False  # the request, its body included
        self._sent_at = 0.0
        self._was_used = False
        self._is_paused = False
        self.has_begun = False
        self.idle_since = 0.0
        self.deadline = NEVER
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before anything else

    def begin(self, exchange: Exchange) -> None:
        """Send a request; its body follows through `content` and `ended`."""
        self._exchange = exchange
        self._answer = None
        self._interims = 0
        self.has_begun = False
        client = exchange.client
        client.party = self
        self.transport.write(exchange.wire)
        self._sent_at = self._pool.watch.clock()
        if exchange.head.body:
            self._sent = False
            self.deadline = NEVER
            client.stream_to(self)
        else:
            self._sent = True
            self.deadline = self._pool.watch.now + self._pool.limits.response_seconds

    # What is asked and done when the session behind an exchange is over (ending.py).

    @property
    def exchange(self) -> Exchange | None:
        """The one under way."""
        return self._exchange

    @property
    def is_endless(self) -> bool:
        """Whether an answer has begun that does not say how long it is."""
        return self._answer is not None and self._answer.body < 0

    @property
    def is_event_stream(self) -> bool:
        """Whether an answer has begun that may end at any time, and be asked for again."""
        return self.is_endless and self._answer is not None and _is_event_stream(self._answer)

    def end_stream(self) -> None:
        """End an event stream as the application would."""
        exchange = self._exchange
        if exchange is None:
            return
        self._exchange = self._body = self._answer = None
        self.transport.abort()
        if self._chunks_answer and not exchange.client.is_lost:
            exchange.client.transport.write(LAST_CHUNK)
        exchange.client.answered(keep_alive=False)

    def cut(self) -> None:
        """End an answer so that the client sees that there was more."""
        exchange = self._exchange
        if exchange is None:
            return
        self.give_up()
        exchange.client.abort()

    def give_up(self) -> None:
        """Nothing more of the answer comes from here."""
        if self._exchange is not None:
            self._exchange.client.party = None
        self._exchange = self._body = self._answer = None
        self.transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._pool.watch.watched.add(self)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.transport.abort()  # nobody asked: whatever this is belongs to no request
        elif self._body is not None:
            self._relay(exchange, data)
        else:
            self._head_received(exchange, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.watch.watched.discard(self)
        self._pool.left()
        exchange = self._exchange
        if exchange is None:
            self._pool.discard(self)
            return
        answer = self._answer
        if answer is not None and answer.body == UNTIL_CLOSE and exc is None:
            self._complete(exchange)
        elif self.has_begun:
            self._truncate(exchange, "the connection ended before the answer did")
        elif self._was_used and exchange.is_repeatable and not self._buffer:
            self._exchange = exchange.client.party = None
            self._owner.upstream_closed_early(exchange)
        else:
            self._fail(exchange, UpstreamUnreachable("the connection ended before an answer began"))

    def pause_writing(self) -> None:
        """The application reads slower than the client sends."""
        if self._exchange is not None:
            self.deadline = self._pool.watch.now + self._pool.limits.idle_seconds
            self._exchange.client.pause_reading()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self.deadline = NEVER
            if self._sent and self._answer is None:
                self.deadline = self._pool.watch.now + self._pool.limits.response_seconds
            self._exchange.client.resume_reading()

    def expire(self) -> None:
        exchange = self._exchange
        if exchange is None:
            self.transport.close()
        elif self.has_begun:
            self._truncate(exchange, "no byte of the answer within the idle time")
        else:
            self._fail(exchange, UpstreamTimeout("no answer within the response time"))

    # Sink: the body of the request.

    def content(self, pieces: list[bytes]) -> None:
        exchange = self._exchange
        if exchange is None or self.transport.is_closing():
            return
        if exchange.head.body == CHUNKED:
            pieces = [part for piece in pieces for part in chunk(piece)]
        # Joined, because asyncio's writelines forgets to say that it is full (Python 3.12, 3.13).
        self.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def ended(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.head.body == CHUNKED:
            self.transport.write(LAST_CHUNK)
        self._sent = True
        self._sent_at = self._pool.watch.clock()
        if self._answer is None:
            self.deadline = self._pool.watch.now + self._pool.limits.response_seconds

    # Party: the client's side of the answer.

    def client_lost(self) -> None:
        # Half a request or half an answer: this connection serves nobody any more.
        self._exchange = None
        self.transport.abort()

    def pause(self) -> None:
        self.deadline = NEVER  # the client's own limit runs now
        if not self._is_paused and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        self.deadline = self._pool.watch.now + self._pool.limits.idle_seconds
        if self._is_paused and not self.transport.is_closing():
            self._is_paused = False
            self.transport.resume_reading()

    # The answer.

    def _head_received(self, exchange: Exchange, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > ANSWER_HEAD_LIMIT_BYTES:
            self._buffer = data
            if len(data) > ANSWER_HEAD_LIMIT_BYTES:
                self._fail(exchange, UpstreamMalformed(f"a head above {ANSWER_HEAD_LIMIT_BYTES} bytes"))
            return
        self._buffer = b""
        try:
            answer = answer_head(data[: end + 2], self._pool.names, exchange.head.method)
            rest = data[end + 4 :]
            if answer.status < 200:
                self._interim(exchange, answer, rest)
            else:
                self._begin_answer(exchange, answer, rest)
        except UpstreamMalformed as error:
            self._fail(exchange, error)

    def _interim(self, exchange: Exchange, answer: AnswerHead, rest: bytes) -> None:
        """RFC 9110, 15.2: 103 is passed on, the others end here; 101 ends the exchange."""
        if answer.status == 101:
            self._switch(exchange, answer, rest)
            return
        self._interims += 1
        if self._interims > INTERIM_LIMIT:
            raise UpstreamMalformed(f"more than {INTERIM_LIMIT} interim answers")
        if answer.status == 103 and exchange.head.version == 1:
            exchange.client.transport.write(
                STATUS_LINES[103] + b"".join(line + b"\r\n" for line in answer.lines) + b"\r\n"
            )
        if rest:
            self._head_received(exchange, rest)

    def _switch(self, exchange: Exchange, answer: AnswerHead, rest: bytes) -> None:
        if exchange.upgrade is None or not exchange.upgrade.is_accepted_by(answer):
            raise UpstreamMalformed("a 101 that nobody asked for, or for another protocol")
        self._exchange = None
        self._pool.watch.watched.discard(self)
        self._pool.left()
        passed = self._with_cookies(exchange, self._lines(answer))
        self._pool.counts.answers[1] += 1
        lines = (STATUS_LINES[101], *(line + b"\r\n" for line in passed), exchange.upgrade.lines)
        if exchange.upgrade.accept is not None:
            lines += (b"Sec-WebSocket-Accept: " + exchange.upgrade.accept + b"\r\n",)
        self._owner.upstream_switches(exchange, b"".join(lines) + b"\r\n", rest, self.transport)

    def _lines(self, answer: AnswerHead) -> list[bytes]:
        """The lines that may pass; a cookie of ours set by the application may not (session fixation)."""
        cookies = answer.noted.get(b"set-cookie")
        if cookies is None or not any(map(self._pool.cookies.is_set_by, cookies)):
            return answer.lines
        is_set_by = self._pool.cookies.is_set_by
        return [
            line
            for line in answer.lines
            if line[:11].lower() != b"set-cookie:" or not is_set_by(line[11:].strip(b" \t"))
        ]

    @staticmethod
    def _with_cookies(exchange: Exchange, lines: list[bytes]) -> list[bytes]:
        """With cookies of ours; then nothing on the way may keep the answer (CK-14)."""
        ours = exchange.cookies
        if exchange.marks is not None:
            set_cookies = [line[11:] for line in lines if line[:11].lower() == b"set-cookie:"]
            ours += tuple(("Set-Cookie", value) for value in exchange.marks(set_cookies))
        if not ours:
            return lines
        left = [line for line in lines if not line.lower().startswith((b"cache-control:", b"expires:", b"pragma:"))]
        # First: what is expired there, the application may set anew.
        written = (f"{name}: {value}".encode("latin-1") for name, value in ours)
        return [*written, *left, b"Cache-Control: no-store"]

    def _begin_answer(self, exchange: Exchange, answer: AnswerHead, rest: bytes) -> None:
        client, counts = exchange.client, self._pool.counts
        counts.answers[answer.status // 100] += 1
        counts.latency.observe(self._pool.watch.clock() - self._sent_at)
        framing, keeps = b"", client.keeps_alive and exchange.upgrade is None
        self._chunks_answer = answer.body < 0 and exchange.head.version == 1
        if self._chunks_answer:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif answer.body < 0:
            keeps = False  # HTTP/1.0 knows no chunks: the end of the connection ends the body
        if not keeps:
            framing += b"Connection: close\r\n"
        lines = self._lines(answer)
        if exchange.cookies or exchange.marks is not None:
            lines = self._with_cookies(exchange, lines)
        parts = [STATUS_LINES[answer.status], b"\r\n".join(lines), b"\r\n" if lines else b"", framing, b"\r\n"]
        self._answer = answer
        self._keeps_client = keeps
        self.has_begun = True
        self.deadline = self._pool.watch.now + self._pool.limits.idle_seconds
        if answer.body == 0:
            client.transport.write(b"".join(parts))
            self._complete(exchange, rest)
            return
        if 0 < answer.body == len(rest):
            # The usual small answer, whole in one read: one write.
            parts.append(rest)
            client.transport.write(b"".join(parts))
            self._complete(exchange)
            return
        self._body = body_reader(answer.body)
        client.transport.write(b"".join(parts))
        if rest:
            self._relay(exchange, rest)

    def _relay(self, exchange: Exchange, data: bytes) -> None:
        body = cast(BodyReader, self._body)
        try:
            pieces = body.feed(data)
        except RequestMalformed as error:
            self._truncate(exchange, error.detail)
            return
        # pause() may be called by the write below and must have the last word.
        self.deadline = self._pool.watch.now + self._pool.limits.idle_seconds
        if self._chunks_answer:
            pieces = [part for piece in pieces for part in chunk(piece)]
            if body.complete:
                pieces.append(LAST_CHUNK)
        if len(pieces) == 1:
            exchange.client.transport.write(pieces[0])
        elif pieces:
            exchange.client.transport.write(b"".join(pieces))
        if body.complete and self._exchange is exchange:
            self._complete(exchange, body.rest)

    def _complete(self, exchange: Exchange, rest: bytes = b"") -> None:
        """The answer is whole."""
        if self._chunks_answer and self._answer is not None and self._answer.body == UNTIL_CLOSE:
            exchange.client.transport.write(LAST_CHUNK)
        answer, keeps = self._answer, self._keeps_client
        self._exchange = self._body = self._answer = None
        if answer is not None and answer.keep_alive and self._sent and not rest and not self.transport.is_closing():
            if self._is_paused:
                self.resume()  # the slow reader keeps what was written; the next one starts afresh
            self._was_used = True
            self.idle_since = self._pool.watch.now
            self.deadline = self.idle_since + IDLE_SECONDS
            self._pool.put(self)
        else:
            self.deadline = NEVER
            self.transport.abort()
        exchange.client.answered(keep_alive=keeps)

    def _fail(self, exchange: Exchange, error: UpstreamError) -> None:
        self._exchange = exchange.client.party = None
        self.transport.abort()
        self._owner.upstream_failed(exchange, error)

    def _truncate(self, exchange: Exchange, reason: str) -> None:
        self._exchange = exchange.client.party = None
        self.transport.abort()
        exchange.client.abort()
        self._owner.upstream_truncated(exchange, reason)


def _is_event_stream(answer: AnswerHead) -> bool:
    kinds = (line[13:].strip(b" \t").lower() for line in answer.lines if line[:13].lower() == b"content-type:")
    return any(kind.partition(b";")[0].rstrip() == b"text/event-stream" for kind in kinds)
