"""
Where a message body ends, byte by byte (RFC 9112, 6 and 7).

A reader is fed what arrives and gives back the content, until it is complete;
what follows the end is left in `rest`. Chunk extensions and trailers are
checked, bounded and dropped. Nothing is kept: content goes out as it comes in.
"""

from __future__ import annotations

import re
from typing import Protocol

from passproxy.core.errors import RequestMalformed
from passproxy.core.http1 import CHUNKED, UNTIL_CLOSE

#: One chunk-size line with its extensions; nobody sends extensions on purpose.
CHUNK_LINE_LIMIT_BYTES = 1024

#: All extensions and all trailers of one body. They are dropped, so they are only a cost.
OVERHEAD_LIMIT_BYTES = 16 * 1024

# Fifteen hexadecimal digits are an exbibyte, and fit every parser's 64-bit number.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\Z")


class BodyReader(Protocol):
    """Reads one body. After `complete`, `rest` is what came behind it."""

    complete: bool
    rest: bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The content in this data, in order. Raises `RequestMalformed` for bad framing."""


def body_reader(body: int) -> BodyReader:
    """The reader for the framing that a head announced."""
    if body == CHUNKED:
        return ChunkedBody()
    if body == UNTIL_CLOSE:
        return OpenBody()
    return SizedBody(body)


class SizedBody:
    """A body of known length."""

    __slots__ = ("complete", "left", "rest")

    def __init__(self, length: int) -> None:
        self.left = length
        self.complete = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        size = len(data)
        if size < self.left:
            self.left -= size
            return [data]
        if size > self.left:
            self.rest = data[self.left :]
            data = data[: self.left]
        self.left = 0
        self.complete = True
        return [data] if data else []


class OpenBody:
    """A body that ends with its connection; whoever reads decides that it did."""

    __slots__ = ("complete", "rest")

    def __init__(self) -> None:
        self.complete = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        return [data]


class ChunkedBody:
    """A body in chunks (RFC 9112, 7.1)."""

    __slots__ = ("_buffer", "_left", "_overhead", "_trailers", "complete", "rest")

    def __init__(self) -> None:
        self.complete = False
        self.rest = b""
        self._buffer = b""  # an unfinished line
        self._left = 0  # bytes of the current chunk, its CRLF included
        self._overhead = 0
        self._trailers = False

    def feed(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        position = 0
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while position < len(data) and not self.complete:
            if self._left:
                position = self._content(data, position, pieces)
            else:
                end = data.find(b"\n", position, position + CHUNK_LINE_LIMIT_BYTES)
                if end < 0:
                    self._keep_line(data[position:])
                    return pieces
                self._line(data[position : end + 1])
                position = end + 1
        self.rest = data[position:] if self.complete else b""
        return pieces

    def _content(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        content = self._left - 2
        if content > 0:
            piece = data[position : position + content]
            pieces.append(piece)
            self._left -= len(piece)
            return position + len(piece)
        # The CRLF behind the content, which may arrive in two parts.
        wanted = b"\r\n"[-self._left]
        if data[position] != wanted:
            raise RequestMalformed("a chunk is longer than announced")
        self._left -= 1
        return position + 1

    def _keep_line(self, line: bytes) -> None:
        if len(line) >= CHUNK_LINE_LIMIT_BYTES:
            raise RequestMalformed("a chunk-size line or trailer is too long")
        self._buffer = line

    def _line(self, line: bytes) -> None:
        if line[-2:] != b"\r\n":
            raise RequestMalformed("a line of the chunked coding does not end with CRLF")
        text = line[:-2]
        if self._trailers:
            self._trailer(text)
            return
        match = _CHUNK_LINE.match(text)
        if match is None:
            raise RequestMalformed("a chunk size that is not a plain hexadecimal number")
        self._spend(len(text) - len(match[1]))
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailers = True

    def _trailer(self, text: bytes) -> None:
        if not text:
            self.complete = True
            return
        if not _TRAILER.match(text):
            raise RequestMalformed("a trailer that is not a field line")
        self._spend(len(text))

    def _spend(self, count: int) -> None:
        self._overhead += count
        if self._overhead > OVERHEAD_LIMIT_BYTES:
            raise RequestMalformed("too many chunk extensions or trailers")


def chunk(piece: bytes) -> tuple[bytes, bytes, bytes]:
    """One chunk on the wire. `piece` must not be empty: that would end the body."""
    return b"%x\r\n" % len(piece), piece, b"\r\n"


LAST_CHUNK = b"0\r\n\r\n"
