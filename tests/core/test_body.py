"""Where a body ends, however its bytes are cut; and what no chunk may look like."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.body import (
    CHUNK_LINE_LIMIT_BYTES,
    LAST_CHUNK,
    OVERHEAD_LIMIT_BYTES,
    BodyReader,
    ChunkedBody,
    OpenBody,
    SizedBody,
    body_reader,
    chunk,
)
from passproxy.core.errors import RequestMalformed
from passproxy.core.http1 import CHUNKED, UNTIL_CLOSE
from tests.core.given import examples


def read(reader: BodyReader, parts: list[bytes]) -> bytes:
    return b"".join(piece for part in parts for piece in reader.feed(part))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def h11_content(data: bytes) -> tuple[bytes, bytes] | None:
    """What h11 takes for the content of a chunked body, and what for the bytes behind it; None when it refuses."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    connection.next_event()
    content = b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                return None
            content += bytes(event.data)
    except h11.RemoteProtocolError:
        return None
    return content, connection.trailing_data[0]


_EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"', b"; a = b", b";\t\xff"])
_PIECE = st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from([b"%x", b"%X", b"%08x"]), _EXTENSIONS)
_TRAILERS = st.lists(st.sampled_from([b"X: y", b"Content-Length: 9", b"Host:", b"Cookie: \xe4 \t"]), max_size=3)
_PLACES = st.lists(st.integers(0, 1000), max_size=12)


def wire(pieces: list[tuple[bytes, bytes, bytes]], trailers: list[bytes]) -> bytes:
    chunks = (size % len(data) + extension + b"\r\n" + data + b"\r\n" for data, size, extension in pieces)
    return b"".join(chunks) + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


@examples(120)
@given(st.lists(_PIECE, max_size=5), _TRAILERS, st.binary(max_size=20), _PLACES)
def test_a_chunked_body_is_the_same_however_it_is_cut(pieces, trailers, behind, places):
    """Content and the bytes behind it depend on the bytes alone, and are what h11 reads too."""
    data = wire(pieces, trailers) + behind
    content = b"".join(piece[0] for piece in pieces)
    reader = ChunkedBody()
    rest = b""
    found = b""
    for part in cut(data, places):
        if reader.complete:
            rest += part
            continue
        found += b"".join(reader.feed(part))
        rest += reader.rest
    assert reader.complete
    assert (found, rest) == (content, behind)
    assert h11_content(data) == (content, behind)


def test_a_chunked_body_is_read_byte_by_byte():
    data = wire([(b"hello", b"%x", b";a=b"), (b"\r\n0\r\n", b"%X", b"")], [b"X: y"])
    reader = ChunkedBody()
    assert read(reader, [bytes([byte]) for byte in data]) == b"hello\r\n0\r\n"
    assert reader.complete
    assert reader.rest == b""


def _bad(identifier: str, data: bytes):
    return pytest.param(data, id=identifier)


BROKEN = [
    _bad("HTTP-07 a prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 an underscore", b"5_0\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 16 digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 17 digits that wrap around", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 a space behind", b"5 \r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 a space before", b" 5\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 a tab before an extension", b"5\t;a\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 a comma", b"5,5\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 fullwidth", b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 no digit", b"\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 an extension without a size", b";a\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 not hexadecimal", b"g\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 bare LF behind the size", b"5\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 bare LF in an extension", b"5;ext=\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 bare CR behind the size", b"5\rhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 CR CR LF", b"5\r\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 NUL in an extension", b"5;\x00\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 one byte too many", b"4\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 one byte too few", b"6\r\nhello\r\n0\r\n\r\n"),
    _bad("HTTP-07 bare LF behind the content", b"5\r\nhello\n0\r\n\r\n"),
    _bad("HTTP-07 CR and something else behind the content", b"5\r\nhello\rX0\r\n\r\n"),
    _bad("HTTP-07 no line end behind the content", b"5\r\nhello0\r\n\r\n"),
    _bad("HTTP-07 bare LF behind the last size", b"0\n\r\n"),
    _bad("HTTP-07 bare LF at the end", b"0\r\n\n"),
    _bad("HTTP-09 a trailer without a colon", b"0\r\nX\r\n\r\n"),
    _bad("HTTP-09 a folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"),
    _bad("HTTP-09 a space before the colon", b"0\r\nX : y\r\n\r\n"),
    _bad("HTTP-09 bare LF behind a trailer", b"0\r\nX: y\n\r\n"),
    _bad("HTTP-09 bare CR in a trailer", b"0\r\nX: y\rZ: z\r\n\r\n"),
    _bad("HTTP-09 NUL in a trailer", b"0\r\nX: \x00\r\n\r\n"),
    _bad("HTTP-09 a request in its place", b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
]


@pytest.mark.parametrize("data", BROKEN)
def test_broken_chunks_are_refused_however_they_are_cut(data):
    for at in range(len(data) + 1):
        reader = ChunkedBody()
        with pytest.raises(RequestMalformed):
            read(reader, [data[:at], data[at:]])
        assert not reader.complete
    with pytest.raises(RequestMalformed):
        read(ChunkedBody(), [bytes([byte]) for byte in data])


@pytest.mark.parametrize(
    "data", [b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n", b"5\r\nhell", b"", b"0\r\n\r"]
)
def test_a_body_without_its_end_is_not_complete(data):
    reader = ChunkedBody()
    read(reader, [data])
    assert not reader.complete


def test_no_single_byte_of_a_chunked_body_parts_us_from_h11():
    """Stricter is fine; different is a request smuggled behind the body."""
    data = b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"
    compared = 0
    for at in range(len(data)):
        for byte in range(256):
            for changed in (data[:at] + bytes([byte]) + data[at + 1 :], data[:at] + bytes([byte]) + data[at:]):
                reader = ChunkedBody()
                try:
                    content = read(reader, [changed])
                except RequestMalformed:
                    continue
                if reader.complete:
                    assert h11_content(changed) == (content, reader.rest), changed
                    compared += 1
    assert compared > 500


@pytest.mark.parametrize("length", [2, 100, CHUNK_LINE_LIMIT_BYTES - 4, CHUNK_LINE_LIMIT_BYTES - 3])
def test_the_length_of_a_chunk_line_is_bounded(length):
    line = b"0;" + b"a" * (length - 2)
    data = line + b"\r\n\r\n"
    for parts in ([data], [data[:-3], data[-3:]], [data[:50], data[50:]]):
        reader = ChunkedBody()
        read(reader, parts)
        assert reader.complete


@pytest.mark.parametrize("opening", [b"5;", b"0\r\nX:"])
def test_a_line_that_never_ends_is_refused_before_it_is_kept(opening):
    with pytest.raises(RequestMalformed):
        read(ChunkedBody(), [opening + b"a" * CHUNK_LINE_LIMIT_BYTES])
    reader = ChunkedBody()
    with pytest.raises(RequestMalformed):
        read(reader, [opening, *[b"a"] * (CHUNK_LINE_LIMIT_BYTES + 1)])
    with pytest.raises(RequestMalformed):
        read(ChunkedBody(), [opening + b"a" * CHUNK_LINE_LIMIT_BYTES + b"\r\n"])


def test_extensions_are_bounded_in_all():
    """HTTP-08: 1 KB of extension for each byte of content."""
    one = b"1;" + b"a" * 999 + b"\r\nx\r\n"
    reader = ChunkedBody()
    assert read(reader, [one] * (OVERHEAD_LIMIT_BYTES // 1000)) == b"x" * (OVERHEAD_LIMIT_BYTES // 1000)
    with pytest.raises(RequestMalformed):
        read(reader, [one])


def test_trailers_are_bounded_in_all():
    """HTTP-09: ten thousand trailers."""
    reader = ChunkedBody()
    with pytest.raises(RequestMalformed):
        read(reader, [b"0\r\n", *[b"X: 0123456789\r\n"] * 10_000])


def test_trailers_are_dropped_and_never_content():
    reader = ChunkedBody()
    assert read(reader, [b"0\r\nAuthorization: x\r\nContent-Length: 5\r\nX-Passproxy-User: admin\r\n\r\nrest"]) == b""
    assert (reader.complete, reader.rest) == (True, b"rest")


def test_many_small_chunks_are_no_overhead():
    data = b"1\r\nx\r\n" * 20_000 + LAST_CHUNK
    reader = ChunkedBody()
    assert len(read(reader, [data])) == 20_000
    assert reader.complete


def test_an_announced_exbibyte_takes_no_memory():
    reader = ChunkedBody()
    assert read(reader, [b"fffffffffffffff\r\n", b"abc"]) == b"abc"
    assert not reader.complete


# --- the other framings ---


@examples(60)
@given(st.binary(max_size=60), st.integers(0, 60), _PLACES)
def test_a_sized_body_ends_at_its_size_however_it_is_cut(data, length, places):
    reader = SizedBody(length)
    found = rest = b""
    for part in cut(data, places):
        if reader.complete:
            rest += part
        else:
            found += b"".join(reader.feed(part))
            rest += reader.rest
    assert (found, rest) == (data[:length], data[length:])
    assert reader.complete is (len(data) >= length)


def test_a_body_of_no_bytes_is_complete_at_once():
    reader = SizedBody(0)
    assert reader.complete
    assert reader.feed(b"next") == []
    assert reader.rest == b"next"


def test_an_open_body_is_never_complete():
    reader = OpenBody()
    assert reader.feed(b"0\r\n\r\n") == [b"0\r\n\r\n"]
    assert (reader.complete, reader.rest) == (False, b"")


@pytest.mark.parametrize(
    ("body", "kind"), [(CHUNKED, ChunkedBody), (UNTIL_CLOSE, OpenBody), (0, SizedBody), (9, SizedBody)]
)
def test_the_reader_is_chosen_by_the_framing(body, kind):
    assert type(body_reader(body)) is kind


@examples(40)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_chunks_that_are_written_are_chunks_that_are_read(pieces):
    reader = ChunkedBody()
    assert read(reader, [*(part for piece in pieces for part in chunk(piece)), LAST_CHUNK]) == b"".join(pieces)
    assert reader.complete
