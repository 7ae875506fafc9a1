"""
What two parsers that are not ours read in the same bytes: h11 and llhttp.

A `Reading` is what matters to a proxy: who asks for what, with which fields,
and where the body ends. The end is found by feeding a body and looking at what
the parser takes for content, never by asking it what it thinks.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import NamedTuple

import h11
import httptools

#: Content and the end of a chunked body; plain content for every other framing.
PROBE = b"5\r\nhello\r\n0\r\n\r\n"


class Reading(NamedTuple):
    """`content` is what was taken for the body of `PROBE`, and `complete` whether it ended there."""

    start: tuple[bytes, bytes] | int
    fields: list[tuple[bytes, bytes]]
    content: bytes
    complete: bool


def framed(length: int | None) -> tuple[bytes, bool]:
    """`content` and `complete` of a body of this length; None is a chunked one, -1 one without end."""
    if length is None:
        return b"hello", True
    if length < 0:
        return PROBE, False
    return PROBE[:length], length <= len(PROBE)


def h11_request(head: bytes) -> Reading | None:
    """None when h11 refuses."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(head + b"\r\n")
    try:
        event = connection.next_event()
        if not isinstance(event, h11.Request):
            return None
        content, complete = _h11_body(connection)
    except h11.RemoteProtocolError:
        return None
    return Reading((event.method, event.target), _h11_fields(event), content, complete)


def h11_answer(head: bytes, method: bytes) -> Reading | None:
    """None when h11 refuses."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(head + b"\r\n")
    try:
        event = connection.next_event()
        if isinstance(event, h11.InformationalResponse):
            return Reading(event.status_code, _h11_fields(event), b"", True)
        if not isinstance(event, h11.Response):
            return None
        content, complete = _h11_body(connection)
    except h11.RemoteProtocolError:
        return None
    return Reading(event.status_code, _h11_fields(event), content, complete)


def _h11_fields(event: h11.Request | h11.Response | h11.InformationalResponse) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]


def _h11_body(connection: h11.Connection) -> tuple[bytes, bool]:
    content = b""
    fed = False
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            content += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return content, True
        elif not fed:
            connection.receive_data(PROBE)
            fed = True
        else:
            return content, False


#: Debian's httptools is older than llhttp and has its predecessor, http-parser, which reads some framings otherwise.
HAS_LLHTTP = tuple(map(int, version("httptools").split(".")[:2])) >= (0, 2)


def request_oracles() -> tuple[Callable[[bytes], Reading | None], ...]:
    return (h11_request, llhttp_request) if HAS_LLHTTP else (h11_request,)


def answer_readings(head: bytes, method: bytes) -> tuple[Reading | None, ...]:
    """What each of them reads in an answer to a request with this method."""
    return (h11_answer(head, method), llhttp_answer(head)) if HAS_LLHTTP else (h11_answer(head, method),)


class _Events:
    """What llhttp reports of its first message."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.content = b""
        self.has_head = False
        self.complete = False

    def on_url(self, part: bytes) -> None:
        if not self.has_head:
            self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, part: bytes) -> None:
        if not self.complete:
            self.content += part

    def on_message_complete(self) -> None:
        self.complete = True


def llhttp_request(head: bytes) -> Reading | None:
    """None when llhttp refuses."""
    events = _Events()
    parser = httptools.HttpRequestParser(events)
    if not _llhttp_fed(parser, events, head):
        return None
    return Reading((parser.get_method(), events.target), _trimmed(events.fields), events.content, events.complete)


def llhttp_answer(head: bytes) -> Reading | None:
    """None when llhttp refuses. It cannot be told the method of the request."""
    events = _Events()
    parser = httptools.HttpResponseParser(events)
    if not _llhttp_fed(parser, events, head):
        return None
    return Reading(parser.get_status_code(), _trimmed(events.fields), events.content, events.complete)


def _llhttp_fed(
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser, events: _Events, head: bytes
) -> bool:
    try:
        parser.feed_data(head + b"\r\n")
    except httptools.HttpParserUpgrade:
        return events.has_head
    except httptools.HttpParserError:
        return False
    if not events.has_head:
        return False
    if not events.complete:
        try:
            parser.feed_data(PROBE)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            # What follows the end of this message is none of its business.
            return events.complete
    return True


def _trimmed(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    # RFC 9112, 5: the white space around a value is not part of it; llhttp leaves it to its caller.
    return [(name, value.strip(b" \t")) for name, value in fields]
