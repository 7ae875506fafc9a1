"""
One client connection: bytes in, heads and bodies out; one exchange at a time.

Knows HTTP's framing and its own time limits, and nothing of what a request
means: each head goes to the gateway, which answers with `respond`, has the body
collected, or lets it stream to a `Sink`. While an answer is under way, further
requests wait in a bounded buffer (pipelining). A request that was not
understood ends the connection: where the next one begins is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import Callable
from typing import Protocol, cast

from passproxy.core.body import BodyReader, body_reader
from passproxy.core.counts import Counts
from passproxy.core.errors import BodyTooLarge, HeadTooLarge, PassProxyError, RequestMalformed
from passproxy.core.http1 import HEAD_LIMIT_BYTES, NameTable, RequestHead, is_hopeless, request_head
from passproxy.core.session import Known
from passproxy.web.responses import Response
from passproxy.web.watch import NEVER, Watch

#: For a whole head, from its first byte (or from connecting). nginx waits 60 s.
HEAD_TIMEOUT_SECONDS = 30.0

#: Between requests. Above the 60 s for which nginx keeps idle upstream connections,
#: so that it is nginx who closes and never loses a request to a race.
KEEP_ALIVE_SECONDS = 75.0

#: Between two pieces of a body that a client sends, or of an answer that it reads.
CLIENT_IDLE_SECONDS = 60.0

#: For the whole body of a request to ourselves: an answer of an identity provider.
COLLECT_SECONDS = 10.0

#: After a last answer, for the client to read it before the connection is gone:
#: closing at once would discard it where unread request bytes are left (RFC 9112, 9.6).
LINGER_SECONDS = 2.0

#: Bytes that wait for the current exchange before reading is paused.
WAITING_LIMIT_BYTES = 64 * 1024


class Sink(Protocol):
    """Where the body of a request goes."""

    def content(self, pieces: list[bytes]) -> None:
        """Some of it, never empty."""

    def ended(self) -> None:
        """All of it was there."""


class Party(Protocol):
    """Whoever is producing the answer. `has_begun` once some of it was written."""

    has_begun: bool

    def client_lost(self) -> None:
        """The client has gone: stop and free everything."""

    def pause(self) -> None:
        """The client reads slower than you write."""

    def resume(self) -> None:
        """It has caught up."""


class Handler(Protocol):
    """What a connection needs of the gateway."""

    names: NameTable
    counts: Counts

    def handle(self, head: RequestHead, client: ClientConnection) -> None: ...

    def refuse(self, error: PassProxyError, head: RequestHead | None, client: ClientConnection) -> None: ...


class ClientConnection(asyncio.Protocol):
    """
    See the module. `party` is set by whoever answers.

    `request_id` and `session` are those of the current exchange, as the gateway judged it.
    """

    __slots__ = (
        "_body",
        "_body_ends_at",
        "_buffer",
        "_closed",
        "_handler",
        "_head",
        "_is_full",
        "_is_last",
        "_is_paused",
        "_lingers",
        "_pumping",
        "_sink",
        "_unread",
        "_watch",
        "deadline",
        "party",
        "peer",
        "request_id",
        "session",
        "transport",
    )

    def __init__(self, handler: Handler, watch: Watch, closed: Callable[[ClientConnection], None]) -> None:
        self._handler = handler
        self._watch = watch
        self._closed = closed
        self._buffer = b""
        self._head: RequestHead | None = None
        self._body: BodyReader | None = None
        self._body_ends_at = NEVER  # bodies for ourselves have a total limit
        self._sink: Sink | None = None
        self._pumping = False
        self._lingers = False
        self._is_last = False
        self._is_full = False  # the client does not read what was written
        self._is_paused = False  # nor do we read
        self._unread = 0
        self.party: Party | None = None
        self.peer = ""
        self.request_id = b""
        self.session: Known | None = None
        self.deadline = NEVER
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before anything else

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = peer[0].partition("%")[0]
        self.deadline = self._watch.now + HEAD_TIMEOUT_SECONDS
        self._watch.watched.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.watched.discard(self)
        self._closed(self)
        party, self.party = self.party, None
        if party is not None:
            party.client_lost()

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        if self._sink is not None:
            self._feed(data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self._head is None and not self._is_full:
            self._pump()
        elif len(self._buffer) > WAITING_LIMIT_BYTES:
            self._stop_reading()

    def pause_writing(self) -> None:
        self._is_full = True
        self.deadline = self._watch.now + CLIENT_IDLE_SECONDS
        if self.party is not None:
            self.party.pause()

    def resume_writing(self) -> None:
        self._is_full = False
        if self.party is not None:
            self._renew_deadline()
            self.party.resume()
        elif self._lingers:
            self._linger_on()
        elif self._head is None:
            self.deadline = self._watch.now + KEEP_ALIVE_SECONDS
            self._pump()

    def expire(self) -> None:
        """Too slow: with a head, a body, reading an answer, or the next request."""
        left = self.transport.get_write_buffer_size()
        # Not being read is no fault of the client's, but nobody else would notice that it has left.
        if self._is_paused and self._head is not None and not self._is_full:
            if self._has_left():
                self.abort()
        elif self._lingers and 0 < left < self._unread:
            self._linger_on()  # slow, but reading
        elif not left and (self._head is None or self._lingers):
            self.deadline = NEVER
            self.transport.close()  # what the kernel still holds is delivered
        else:
            self.deadline = NEVER
            self.abort()

    # What the gateway and the parties call.

    @property
    def is_lost(self) -> bool:
        return self.transport.is_closing()

    def stream_to(self, sink: Sink) -> None:
        """Let the body of the current request flow into a sink."""
        self._sink = sink
        self.resume_reading()
        self._renew_deadline()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._feed(data)
        elif self._head is not None and b"expect" in self._head.noted:
            # Only now: it was judged, and somebody wants the body (RFC 9110, 10.1.1).
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def collect(
        self, limit_bytes: int, done: Callable[[bytes], None], refuse: Callable[[RequestMalformed], None]
    ) -> None:
        """Read the body of the current request whole, up to a limit."""
        if self._head is None or self._head.body == 0:
            done(b"")
        elif self._head.body > limit_bytes:
            refuse(BodyTooLarge(f"announced {self._head.body} bytes"))
        else:
            self._body_ends_at = self._watch.now + COLLECT_SECONDS
            self.stream_to(_Collector(limit_bytes, done, refuse))

    def respond(self, response: Response) -> None:
        """Answer the current request, or the bytes that are none."""
        head = self._head
        has_unread_body = self._body is not None
        closes = response.closes or has_unread_body or self._is_last or head is None or not head.keep_alive
        self._handler.counts.own_answers[response.status // 100] += 1
        if not self.is_lost:
            self.transport.write(response.wire(with_body=head is None or head.method != b"HEAD", closes=closes))
        self.answered(keep_alive=not closes)

    def answered(self, *, keep_alive: bool) -> None:
        """The answer to the current request is complete and written."""
        self.party = None
        self._head = None
        if self._body is not None or not keep_alive or self._is_last:
            self._linger()
            return
        if self._is_full:
            self.deadline = self._watch.now + CLIENT_IDLE_SECONDS
            return
        self.deadline = self._watch.now + KEEP_ALIVE_SECONDS
        if (self._buffer or self._is_paused) and not self._pumping:
            self._pump()

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may outlive the current exchange."""
        return self._head is not None and self._head.keep_alive and not self._is_last

    def last(self) -> None:
        """Draining: the next answer says that it is the last on this connection."""
        self._is_last = True

    def finish(self) -> None:
        """Draining: close as soon as no exchange is under way."""
        self._is_last = True
        if self._head is None and not self._lingers:
            self.transport.close()

    def abort(self) -> None:
        """
        Cut the connection, so that the client sees that the answer is not complete.

        By a reset: to an old client a plain end would mean that all is there (RFC 9112, 8).
        """
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def pause_reading(self) -> None:
        """Whoever takes the body has enough for now; the client is not to blame for the pause."""
        self._stop_reading()

    def _stop_reading(self) -> None:
        if not self._is_paused and not self.is_lost:
            self._is_paused = True
            self.transport.pause_reading()
        if self._head is not None:
            self._renew_deadline()

    def _renew_deadline(self) -> None:
        """During an exchange: only whoever has the word can be too slow with it."""
        if self._is_paused and not self._is_full:
            self.deadline = self._watch.now  # for `expire` to look after the client, once a tick
        elif self._sink is not None or self._is_full:
            self.deadline = min(self._watch.now + CLIENT_IDLE_SECONDS, self._body_ends_at)
        else:
            self.deadline = NEVER

    def _has_left(self) -> bool:
        """
        Whether the client has ended or reset a connection that is not being read.

        An end behind more bytes than the kernel takes has not arrived, and cannot be seen.
        """
        if self.is_lost:
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def resume_reading(self) -> None:
        if self._is_paused and not self.is_lost:
            self._is_paused = False
            if self._head is not None:
                self._renew_deadline()
            self.transport.resume_reading()

    def release(self) -> bytes:
        """Give the transport to a tunnel; what arrived behind the request belongs to it."""
        self._watch.watched.discard(self)
        self.party = None
        self._closed(self)
        rest, self._buffer = self._buffer, b""
        return rest

    # Heads.

    def _pump(self) -> None:
        """Handle heads for as long as there are any and none is being answered."""
        self._pumping = True
        try:
            while self._head is None and self._buffer and not (self._lingers or self._is_full or self.is_lost):
                if not self._take_head():
                    break
        finally:
            self._pumping = False
        if self._head is None and not self._is_full:
            self.resume_reading()

    def _take_head(self) -> bool:
        """Whether there was a head, good or bad."""
        # RFC 9112, 2.2: an empty line before a request is overlooked.
        buffer = self._buffer.removeprefix(b"\r\n")
        end = buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT_BYTES)
        if end < 0:
            self._wait_for_head(buffer)
            return False
        self._buffer = buffer[end + 4 :]
        try:
            head = request_head(buffer[: end + 2], self._handler.names)
        except RequestMalformed as error:
            self._buffer = b""
            self._handler.refuse(error, None, self)
            return True
        self._head = head
        self._body = body_reader(head.body) if head.body else None
        self._body_ends_at = NEVER
        self._sink = None
        self._renew_deadline()
        self._handler.handle(head, self)
        return True

    def _wait_for_head(self, buffer: bytes) -> None:
        error: RequestMalformed | None = None
        if len(buffer) >= HEAD_LIMIT_BYTES:
            error = HeadTooLarge(f"no end within {HEAD_LIMIT_BYTES} bytes")
        elif is_hopeless(buffer):
            error = RequestMalformed("the beginning of the head")
        if error is not None:
            self._buffer = b""
            self._handler.refuse(error, None, self)
            return
        if not self._buffer or self.deadline > self._watch.now + HEAD_TIMEOUT_SECONDS:
            self.deadline = self._watch.now + HEAD_TIMEOUT_SECONDS

    # Bodies.

    def _feed(self, data: bytes) -> None:
        body, sink = self._body, self._sink
        if body is None or sink is None:
            self._buffer += data
            if len(self._buffer) > WAITING_LIMIT_BYTES:
                self._stop_reading()
            return
        try:
            pieces = body.feed(data)
        except RequestMalformed as error:
            self._break(error)
            return
        self._renew_deadline()
        if pieces:
            sink.content(pieces)
        if body.complete and self._sink is sink:
            self._body = self._sink = None
            self._renew_deadline()
            self._buffer = body.rest
            sink.ended()

    def _break(self, error: RequestMalformed) -> None:
        """The body cannot be followed: whoever receives it must not take it for complete."""
        party, self.party = self.party, None
        if party is not None:
            party.client_lost()
            if party.has_begun:
                self.abort()
                return
        self._handler.refuse(error, self._head, self)

    def _linger(self) -> None:
        """Say that nothing more comes, and leave the client time to read."""
        if self._lingers:
            return
        self._lingers = True
        self._buffer = b""
        self._body = self._sink = None
        self._linger_on()
        if self.is_lost:
            return
        self.resume_reading()
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()
        else:
            self.transport.close()
        if self._unread:
            # Older versions of uvloop write at the end of their turn: what is left then is what the client has to read.
            asyncio.get_running_loop().call_soon(self._linger_on)

    def _linger_on(self) -> None:
        """While there is something left to read, for as long as the client goes on reading."""
        self._unread = self.transport.get_write_buffer_size()
        self.deadline = self._watch.now + (CLIENT_IDLE_SECONDS if self._unread else LINGER_SECONDS)


class _Collector:
    """A sink that keeps a whole body, within a limit."""

    def __init__(
        self, limit_bytes: int, done: Callable[[bytes], None], refuse: Callable[[RequestMalformed], None]
    ) -> None:
        self._limit_bytes = limit_bytes
        self._done = done
        self._refuse = refuse
        self._pieces: list[bytes] = []
        self._size = 0

    def content(self, pieces: list[bytes]) -> None:
        if self._size > self._limit_bytes:
            return
        self._size += sum(map(len, pieces))
        if self._size > self._limit_bytes:
            self._pieces.clear()
            self._refuse(BodyTooLarge(f"more than {self._limit_bytes} bytes"))
        else:
            self._pieces += pieces

    def ended(self) -> None:
        if self._size <= self._limit_bytes:
            self._done(b"".join(self._pieces))
