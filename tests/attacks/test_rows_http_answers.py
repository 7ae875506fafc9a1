"""
Section 2.10 of the catalogue, row by row: an application that answers badly, or well and must not be improved.

What cannot be understood is a 502 and its connection is never used again; what was understood arrives as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from passproxy.web.upstream import INTERIM_LIMIT
from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import eventually, get, request
from tests.fakes.log import Log
from tests.fakes.upstream import Line, Seen, answering, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

OK = b"HTTP/1.1 200 OK\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.script = ok
    site.upstream.forget()


BAD = {
    "HTTP-22 two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "HTTP-22 the same length twice": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "HTTP-22 a list of lengths": OK + b"Content-Length: 1, 1\r\n\r\na",
    "HTTP-22 a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "HTTP-22 a length with a sign": OK + b"Content-Length: +1\r\n\r\na",
    "HTTP-22 a length in hexadecimal": OK + b"Content-Length: 0x1\r\n\r\na",
    "HTTP-22 both lengths": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP-22 another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP-22 chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "HTTP-22 an empty coding": OK + b"Transfer-Encoding:\r\nContent-Length: 0\r\n\r\n",
    "HTTP-22 a space before the colon": OK + b"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n",
    "HTTP-24 101 that nobody asked for": b"HTTP/1.1 101 X\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
    "HTTP-24 101 to a WebSocket": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "HTTP-24 a thousand of 102": b"HTTP/1.1 102 Processing\r\n\r\n" * 1000 + OK + b"Content-Length: 0\r\n\r\n",
    "HTTP-24 one too many of 100": b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM_LIMIT + 1)
    + OK
    + b"Content-Length: 0\r\n\r\n",
    "HTTP-25 099": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 000": b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 600": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 999": b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 two digits": b"HTTP/1.1 20 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 four digits": b"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 a sign": b"HTTP/1.1 +200 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 no status": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 another version": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 no version": b"HTTP 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 in small letters": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 a CR in the reason": b"HTTP/1.1 200 a\rSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "HTTP-25 a NUL in the reason": b"HTTP/1.1 200 a\x00b\r\nContent-Length: 0\r\n\r\n",
    "HTTP-40 LF in a location": OK + b"Location: /x#\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "HTTP-40 CR in a location": OK + b"Location: /x#\rSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "HTTP-40 CR CR LF in a location": OK + b"Location: /x#\r\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "HTTP-40 NUL in a location": OK + b"Location: /x#\x00Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "HTTP-40 a folded location": OK + b"Location: /x#\r\n Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "HTTP-40 a line without a colon": OK + b"Location: /x\r\nSet-Cookie\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("told", BAD.values(), ids=BAD)
async def test_what_cannot_be_understood_is_a_502(site: Edge, log: Log, told: bytes) -> None:
    lines: list[Line] = []

    async def script(seen: Seen, line: Line) -> None:
        lines.append(line)
        await answering(told)(seen, line)
        await line.gone()

    site.upstream.script = script
    async with site.raw() as raw:
        answer = await raw.ask(get("/", cookie=site.cookie))
        assert (answer.status, answer.interim) == (502, ())
        assert not answer.all(b"set-cookie") + answer.all(b"location")
        assert log.one("upstream.error")["code"] == "PP-UPSTREAM-MALFORMED"
        await eventually(lambda: lines[0].is_gone, "the connection is closed, so nobody else gets it")
        assert len(lines) == 1
        site.upstream.script = ok
        await site.canary(raw)


BODILESS = {
    "HTTP-22 HEAD with a length": ("HEAD", OK + b"Content-Length: 500\r\n\r\n"),
    "HTTP-22 HEAD in chunks": ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "HTTP-22 204 with a length": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 500\r\n\r\n"),
    "HTTP-29 304 with a length": ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: W/"1"\r\nContent-Length: 500\r\n\r\n'),
    "HTTP-29 HEAD with what GET would have": ("HEAD", OK + b"Content-Length: 5\r\nAccept-Ranges: bytes\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "told"), BODILESS.values(), ids=BODILESS)
async def test_what_has_no_body_has_none_whatever_is_announced(site: Edge, method: str, told: bytes) -> None:
    site.upstream.script = answering(told)
    async with site.raw() as raw:
        answer = await raw.ask(request(method, "/", cookie=site.cookie))
        assert answer.status == int(told.split()[1])
        if b"Content-Length" in told and answer.status != 204:
            assert answer.one(b"content-length") in told
        site.upstream.script = ok
        await site.canary(raw)


TRUNCATED = {
    "HTTP-23 fewer bytes than announced": (b"Content-Length: 100\r\n\r\n" + b"x" * 50, False),
    "HTTP-23 a reset within the length": (b"Content-Length: 100\r\n\r\n" + b"x" * 50, True),
    "HTTP-23 no last chunk": (b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", False),
    "HTTP-23 a reset between chunks": (b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", True),
    "HTTP-23 half a chunk": (b"Transfer-Encoding: chunked\r\n\r\n8\r\nhalf", False),
    "HTTP-23 no end behind the last chunk": (b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", False),
    "HTTP-23 a size that is none": (b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", False),
    "HTTP-23 a reset without any length": (b"\r\nhalf", True),
}


@pytest.mark.parametrize(("told", "resets"), TRUNCATED.values(), ids=TRUNCATED)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_truncated_answer_never_looks_whole(
    site: Edge, log: Log, told: bytes, resets: bool, version: str
) -> None:
    arrived = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await line.send(OK + told)
        await arrived.wait()
        line.reset() if resets else line.close()

    site.upstream.script = script
    async with site.raw() as raw:
        await raw.send(get("/", cookie=site.cookie, version=version))
        assert b" 200 " in await raw.head()
        arrived.set()
        rest = b""
        with pytest.raises(ConnectionResetError):
            rest = await raw.rest()
        assert b"0\r\n\r\n" not in rest
    log.one("upstream.truncated")
    site.upstream.script = ok
    assert (await site.asked(get("/next", cookie=site.cookie))).body == b"/next"


@pytest.mark.parametrize("status", [100, 102, 104, 199], ids=lambda status: f"HTTP-24 {status} ends here")
@pytest.mark.parametrize("count", [1, INTERIM_LIMIT])
async def test_interim_answers_end_here(site: Edge, status: int, count: int) -> None:
    interim = f"HTTP/1.1 {status} X\r\nSet-Cookie: a=b\r\nX-I: 1\r\n\r\n".encode()
    site.upstream.script = answering(interim * count + OK + b"Content-Length: 1\r\n\r\nx")
    async with site.raw() as raw:
        answer = await raw.ask(get("/", cookie=site.cookie))
        assert (answer.status, answer.body, answer.interim) == (200, b"x", ())
        assert not answer.all(b"x-i") + answer.all(b"set-cookie")
        site.upstream.script = ok
        await site.canary(raw)


async def test_http_24_hints_are_passed_on_but_not_to_old_clients(site: Edge) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    site.upstream.script = answering(hints + OK + b"Content-Length: 1\r\n\r\nx")
    async with site.raw() as raw:
        assert (await raw.ask(get("/", cookie=site.cookie))).interim == (hints,)
        assert (await raw.ask(get("/", cookie=site.cookie, version="1.0"))).interim == ()


REASONS = {
    "HTTP-25 no reason": b"HTTP/1.1 200\r\n",
    "HTTP-25 an empty reason": b"HTTP/1.1 200 \r\n",
    "HTTP-25 markup": b"HTTP/1.1 200 <script>alert(1)</script>\r\n",
    "HTTP-25 sixty kilobytes": b"HTTP/1.1 200 " + b"a" * 60_000 + b"\r\n",
    "HTTP-25 beyond ASCII": b"HTTP/1.1 200 \xe4\xff\r\n",
}


@pytest.mark.parametrize("line", REASONS.values(), ids=REASONS)
async def test_a_reason_is_not_copied(site: Edge, line: bytes) -> None:
    site.upstream.script = answering(line + b"Content-Length: 0\r\n\r\n")
    async with site.raw() as raw:
        assert (await raw.ask(get("/", cookie=site.cookie))).head == OK + b"Content-Length: 0\r\n\r\n"
        site.upstream.script = ok
        await site.canary(raw)


#: Answers that are the application's own business to the byte: head and body.
VERBATIM = {
    "HTTP-28 three cookies": (b"Set-Cookie: a=1; Path=/\r\nX: y\r\nset-cookie: b=\xff2\r\nSet-Cookie: a=3\r\n", b""),
    "HTTP-28 two links": (b"Link: </a>; rel=preload\r\nLink: </b>\r\n", b""),
    "HTTP-28 two challenges": (b'WWW-Authenticate: Basic realm="a, b"\r\nWWW-Authenticate: Negotiate\r\n', b""),
    "HTTP-28 odd white space": (b"X-Empty:\r\nX-Odd:\t spaced  \r\nx-ODD: again\r\n", b""),
    "HTTP-29 a part of two": (
        b"Content-Range: bytes 0-1/5\r\nContent-Type: multipart/byteranges; boundary=X\r\n",
        b"--X\r\nContent-Range: bytes 0-0/5\r\n\r\na\r\n--X--\r\n",
    ),
    "HTTP-29 a weak tag": (b'ETag: W/"\xe4"\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nVary: *\r\n', b"x"),
    "HTTP-30 a location at the application itself": (b"Location: http://127.0.0.1:3000/x\r\n", b""),
    "HTTP-30 a location elsewhere": (b"Location: https://evil.example/\r\nRefresh: 0; url=//evil.example\r\n", b""),
    "HTTP-30 a relative location": (b"Location: ../x?y#z\r\nContent-Location: /y\r\n", b""),
}


@pytest.mark.parametrize(("fields", "body"), VERBATIM.values(), ids=VERBATIM)
@pytest.mark.parametrize(
    "status", ["200 OK", "206 Partial Content", "302 Found", "307 Temporary Redirect", "412 Precondition Failed"]
)
async def test_a_good_answer_is_not_touched(site: Edge, fields: bytes, body: bytes, status: str) -> None:
    told = f"HTTP/1.1 {status}\r\n".encode() + fields + b"Content-Length: %d\r\n\r\n" % len(body)
    site.upstream.script = answering(told + body)
    async with site.raw() as raw:
        answer = await raw.ask(get("/x", cookie=site.cookie))
        assert (answer.head, answer.body) == (told, body)
        assert site.upstream.request_lines == [b"GET /x HTTP/1.1"], "a redirect is not followed"
        site.upstream.script = ok
        await site.canary(raw)
