"""
Section 2.10 of the catalogue, row by row: requests that two parsers could read two ways, or that are too much.

Each goes to the real socket as bytes. Behind it a canary gets its own answer, or the connection has ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from passproxy.core.http1 import FIELD_LIMIT, HEAD_LIMIT_BYTES
from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import HOST, eventually, get, request
from tests.fakes.log import Log
from tests.fakes.upstream import Line, Seen, answering, ok
from tests.fakes.websocket import handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.script = ok
    site.upstream.forget()


def post(site: Edge, *lines: str | bytes, body: bytes = b"") -> bytes:
    """With a session, and with nothing added to the framing."""
    return request("POST", "/", *lines, cookie=site.cookie) + body


TE_CL = b"5c\r\n" + SMUGGLED.ljust(0x5C, b"x") + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("length", ["4", "0", "6", "92", "99999"], ids=lambda length: f"HTTP-02 a length of {length}")
@pytest.mark.parametrize(
    "body", [TE_CL, b"0\r\n\r\n" + SMUGGLED, SMUGGLED], ids=["in chunks", "behind chunks", "plain"]
)
@pytest.mark.parametrize("public", [False, True])
async def test_both_lengths_are_one_too_many(site: Edge, log: Log, length: str, body: bytes, public: bool) -> None:
    lines = (CHUNKED, f"Content-Length: {length}")
    wire = request("POST", "/hook", *lines) + body if public else post(site, *lines, body=body)
    await site.refuses(wire, log, 400)


@pytest.mark.parametrize(
    "coding",
    [
        "gzip, chunked",
        "gzip,chunked",
        "deflate, chunked",
        "br, chunked",
        "chunked, gzip",
        "gzip",
        "compress",
        "x, y, chunked",
    ],
    ids=lambda coding: f"HTTP-04 {coding}",
)
async def test_a_coding_that_would_be_lost_is_refused(site: Edge, log: Log, coding: str) -> None:
    await site.refuses(post(site, f"Transfer-Encoding: {coding}", body=b"0\r\n\r\n" + SMUGGLED), log, 501)


#: What follows three good bytes in a chunk of their own.
CHUNKS = {
    "0x5": b"0x5\r\nhello\r\n0\r\n\r\n",
    "5_0": b"5_0\r\n" + bytes(0x50) + b"\r\n0\r\n\r\n",
    "-5": b"-5\r\nhello\r\n0\r\n\r\n",
    "+5": b"+5\r\nhello\r\n0\r\n\r\n",
    "seventeen digits": b"11111111111111111\r\nhello",
    "sixteen digits that wrap": b"FFFFFFFFFFFFFFFE\r\nhello",
    "a space behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "a tab and an extension": b"5\t;a\r\nhello\r\n0\r\n\r\n",
    "a space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "LF within an extension": b"5;ext=\nhello\r\n0\r\n\r\n",
    "CR within an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL within an extension": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "a byte short": b"6\r\nhello\r\n0\r\n\r\n",
    "a byte long": b"4\r\nhello\r\n0\r\n\r\n",
    "no CRLF behind the data": b"5\r\nhello0\r\n\r\n",
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
    "an extension without a size": b";a=b\r\nhello\r\n0\r\n\r\n",
    "a letter that is no digit": b"g\r\nhello\r\n0\r\n\r\n",
    "fullwidth digit": "\uff15\r\n".encode() + b"hello\r\n0\r\n\r\n",
    "LF behind the last size": b"0\n\r\n",
    "LF instead of the last line end": b"0\r\n\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=[f"HTTP-07 {name}" for name in CHUNKS])
async def test_a_chunk_that_is_none_cuts_the_request_off(site: Edge, log: Log, chunks: bytes) -> None:
    """It had begun by then, so that the application has to see that it never ended."""
    whole: list[bytes] = []

    async def script(seen: Seen, line: Line) -> None:
        await line.body()
        if not line.is_gone:
            whole.append(seen.body)

    site.upstream.script = script
    async with site.raw() as raw:
        await raw.send(post(site, CHUNKED, body=b"3\r\nabc\r\n"))
        await eventually(lambda: len(site.upstream.requests) == 1, "the beginning")
        await raw.send(chunks + SMUGGLED)
        assert (await raw.answer()).status == 400
        assert await raw.is_closed()
    await eventually(lambda: site.upstream.lines[0].is_gone, "the application's connection is cut")
    assert whole == []
    assert site.upstream.request_lines == [b"POST / HTTP/1.1"]
    assert log.one("http.reject")["status"] == 400


async def test_http_07_a_missing_end_is_waited_for_and_not_made_up(site: Edge) -> None:
    async with site.raw() as raw:
        await raw.send(post(site, CHUNKED, body=b"3\r\nabc\r\n0\r\n"))
        await eventually(lambda: len(site.upstream.requests) == 1, "the beginning")
        raw.reset()
    await eventually(lambda: site.upstream.lines[0].is_gone, "the application's connection is cut")
    assert b"0\r\n\r\n" not in site.upstream.lines[0].received


async def test_http_08_an_extension_is_dropped(site: Edge) -> None:
    chunks = b"5;a=b\r\nhello\r\n" + b'1;q="a;b"\r\n!\r\n' + b"0;last\r\n\r\n"
    async with site.raw() as raw:
        assert (await raw.ask(post(site, CHUNKED, body=chunks))).status == 200
        assert site.upstream.requests[0].body == b"hello!"
        assert b";" not in site.upstream.lines[0].received.partition(b"\r\n\r\n")[2]
        await site.canary(raw)


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"1;" + b"a" * 5000, id="HTTP-08 one without an end"),
        pytest.param((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 200, id="HTTP-08 a kilobyte for each byte"),
        pytest.param((b"1;a\r\nx\r\n") * 50_000, id="HTTP-08 very many small ones"),
    ],
)
@pytest.mark.parametrize("public", [False, True])
async def test_extensions_are_bounded_in_all(site: Edge, log: Log, chunks: bytes, public: bool) -> None:
    target, cookie = ("/hook", None) if public else ("/", site.cookie)
    async with site.raw() as raw:
        answer = await raw.ask(request("POST", target, CHUNKED, cookie=cookie) + chunks)
        assert answer.status == 400
        log.one("http.reject")
        await raw.send(SMUGGLED)
        assert await raw.is_closed()
    assert len(site.upstream.requests) <= 1
    if site.upstream.lines:
        await eventually(lambda: site.upstream.lines[0].is_gone, "the application's connection is cut")
        assert site.upstream.lines[0].received_bytes < 400_000


SPACED = {
    "a space behind Host": b"Host : app.example.com",
    "a tab behind Host": b"Host\t: app.example.com",
    "a space behind another name": b"Host: app.example.com\r\nX : y",
    "a space behind Content-Length": b"Host: app.example.com\r\nContent-Length : 5",
    "the first field indented": b" X: y\r\nHost: app.example.com",
    "a tab before the first field": b"\tHost: app.example.com",
    "a folded value": b"Host: app.example.com\r\nX: y\r\n z",
    "a folded Host": b"Host:\r\n app.example.com",
    "a folded Cookie": b"Host: app.example.com\r\nCookie: a=1;\r\n b=2",
    "a line of spaces": b"Host: app.example.com\r\n   \r\nX: y",
    "a space within a name": b"Host: app.example.com\r\nX Y: z",
    "no-break space behind a name": b"Host: app.example.com\r\nX\xa0: y",
}


@pytest.mark.parametrize("lines", SPACED.values(), ids=[f"HTTP-11 {name}" for name in SPACED])
@pytest.mark.parametrize("known", [False, True])
async def test_white_space_has_its_places(site: Edge, log: Log, lines: bytes, known: bool) -> None:
    cookie = b"Cookie: " + site.cookie.encode() + b"\r\n" if known else b""
    await site.refuses(b"GET /health HTTP/1.1\r\n" + lines + b"\r\n" + cookie + b"\r\n", log, 400)


TARGETS = [
    *(b"/x#fragment", b"/#", b"/x?y#z", b'/"x"', b"/<x>", b"/x^y", b"/{x}", b"/x`y", b"/x\x7f", b"/\x01", b"/caf\xc3\xa9"),
    *(b"/x?\xff", b"/\xff", b"/x y", b"/x\ty", b"http://", b"http:///", b"\xef\xbb\xbf/"),
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"HTTP-13 {t!a}")
@pytest.mark.parametrize("known", [False, True])
async def test_bytes_that_no_target_has_are_refused(site: Edge, log: Log, target: bytes, known: bool) -> None:
    await site.refuses(get(target, cookie=site.cookie if known else None), log, 400, 421)


@pytest.mark.parametrize("size", [HEAD_LIMIT_BYTES, 4 * HEAD_LIMIT_BYTES], ids=lambda size: f"HTTP-13 {size} bytes")
@pytest.mark.parametrize("start", ["/", "/health?", "/public/"])
async def test_a_target_is_as_long_as_a_head_may_be(site: Edge, log: Log, start: str, size: int) -> None:
    await site.refuses(get(start + "a" * size, cookie=site.cookie), log, 431)


def head_of(site: Edge, size: int, *lines: str) -> bytes:
    """A head of exactly so many bytes, its empty line included."""
    bare = len(get("/", *lines, "X: ", cookie=site.cookie))
    return get("/", *lines, "X: " + "a" * (size - bare), cookie=site.cookie)


@pytest.mark.parametrize(
    ("more", "statuses"),
    [
        pytest.param(-1, (200,), id="HTTP-35 a byte less"),
        pytest.param(0, (200,), id="HTTP-35 to the byte"),
        pytest.param(1, (431,), id="HTTP-35 a byte more"),
        pytest.param(HEAD_LIMIT_BYTES, (431,), id="HTTP-35 twice as much"),
    ],
)
async def test_the_size_of_a_head_is_kept_to_the_byte(
    site: Edge, log: Log, more: int, statuses: tuple[int, ...]
) -> None:
    wire = head_of(site, HEAD_LIMIT_BYTES + more)
    if statuses == (431,):
        answer = await site.refuses(wire, log, 431)
        assert answer.all(b"connection") == [b"close"]
        return
    async with site.raw() as raw:
        assert (await raw.ask(wire)).status == 200
        await site.canary(raw)


@pytest.mark.parametrize("more", [-1, 0, 1, 200], ids=lambda more: f"HTTP-35 {more:+} fields")
async def test_the_number_of_fields_is_kept_to_the_field(site: Edge, log: Log, more: int) -> None:
    wire = get("/", *["A: b"] * (FIELD_LIMIT - 2 + more), cookie=site.cookie)
    if more > 0:
        await site.refuses(wire, log, 431)
        return
    async with site.raw() as raw:
        assert (await raw.ask(wire)).status == 200
        assert len(site.upstream.requests[0].all(b"a")) == FIELD_LIMIT - 2 + more
        await site.canary(raw)


@pytest.mark.parametrize("size", [400, 8190, 20_000], ids=lambda size: f"HTTP-35 a name of {size} bytes")
async def test_a_long_name_or_line_is_no_error_of_ours(site: Edge, size: int) -> None:
    name = "X-" + "n" * size
    async with site.raw() as raw:
        assert (await raw.ask(get("/", f"{name}: v", f"Y: {'y' * 8190}", cookie=site.cookie))).status == 200
        assert site.upstream.requests[0].all(name.encode()) == [b"v"]
        await site.canary(raw)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"version": "8"}, id="HTTP-37 another version"),
        pytest.param({"key": "x"}, id="HTTP-37 no key"),
        pytest.param({"origin": "https://evil.example"}, id="HTTP-37 another site"),
        pytest.param({"connection": None}, id="HTTP-37 half a handshake"),
    ],
)
async def test_what_stands_behind_a_refused_upgrade_is_not_served(
    site: Edge, log: Log, wrong: dict[str, str | None]
) -> None:
    for known in (True, False):
        log.forget()
        async with site.raw() as raw:
            cookie = site.cookie if known else None
            await raw.send(handshake(cookie=cookie, **wrong) + get("/admin", cookie=site.cookie))  # type: ignore[arg-type] # fields
            assert (await raw.answer()).status in (400, 401, 403, 426)
            assert await raw.is_closed()
        assert site.upstream.requests == []
        assert len(log.events) == 1


async def test_http_37_nor_behind_one_that_the_application_refused(site: Edge) -> None:
    site.upstream.script = answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    async with site.raw() as raw:
        await raw.send(handshake(cookie=site.cookie) + get("/admin", cookie=site.cookie))
        assert (await raw.answer()).status == 403
        assert await raw.is_closed()
    assert site.upstream.request_lines == [b"GET /socket HTTP/1.1"]
    assert site.upstream.requests[0].one(b"host") == HOST.encode()
