"""
Section 2.10 of the catalogue, on one connection each: refused, or understood as everybody understands it.

Behind every row a canary is sent on the same connection. It gets its own answer or
finds the connection closed, and the application never sees a request line that was
not sent as one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import HOST, eventually, get, navigation, request
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Line, Seen, hang, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
FULLWIDTH_FIVE = "\uff15".encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.script = ok
    site.upstream.forget()


def post(site: Edge, *lines: str | bytes, body: bytes = b"", target: str = "/", version: str = "1.1") -> bytes:
    """With a session, and with nothing added to the framing."""
    head = request("POST", target, *lines, cookie=site.cookie, version=version)
    return head + body


CODINGS = [
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding:\x0cchunked",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding: chunked\x00",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: chunked\r\n ,x",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding:",
    b"Transfer-Encoding:\r\nContent-Length: 3",
    b"Content-Length: 3\r\nTransfer-Encoding:",
    b"Content-Length: 6\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4",
    b"Content-Length: 0\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length:",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\nX: y",
    b"Transfer-Encoding: chunked\rX: y",
]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"5c\r\n" + SMUGGLED.ljust(0x5C) + b"\r\n0\r\n\r\n"])
async def test_http_01_to_04_framing_that_two_parsers_could_read_two_ways_is_refused(
    site: Edge, log: Log, coding: bytes, body: bytes
):
    await site.refuses(post(site, coding, body=body + SMUGGLED), log, 400, 501)


@pytest.mark.parametrize("coding", [b"chunked", b" Chunked", b"CHUNKED", b"  chunked "])
async def test_http_03_chunked_in_any_case_and_with_legal_white_space_is_chunked(site: Edge, coding: bytes):
    body = b"5\r\nhello\r\n0\r\n\r\n"
    async with site.raw() as raw:
        assert (await raw.ask(post(site, b"Transfer-Encoding:" + coding, body=body))).status == 200
        assert site.upstream.requests[0].body == b"hello"
        await site.canary(raw)


@pytest.mark.parametrize("more", [(), ("Connection: keep-alive",)])
async def test_http_05_chunks_over_http_1_0_are_refused(site: Edge, log: Log, more: tuple[str, ...]):
    wrong = post(site, "Transfer-Encoding: chunked", *more, body=b"0\r\n\r\n" + SMUGGLED, version="1.0")
    await site.refuses(wrong, log, 400)


@pytest.mark.parametrize(
    "length",
    [
        b"5\r\nContent-Length: 5",
        b"5\r\nContent-Length: 6",
        b"5, 5",
        b"5,6",
        b"+5",
        b"-1",
        b"-0",
        b"0x5",
        b"5_0",
        b"5 6",
        b"",
        b"18446744073709551616",
        b"9223372036854775808",
        b"1" * 400,
        b"05",
        b"00",
        FULLWIDTH_FIVE,
        b"1e1",
        b'"5"',
        b"5;",
        b"5.0",
        b"\xb2",
        b"5\x00",
        b"\x0b5",
        b"5\r\ncontent-length: 5",
        b"5\r\n 6",
    ],
)
async def test_http_06_a_length_is_one_plain_decimal_number(site: Edge, log: Log, length: bytes):
    await site.refuses(post(site, b"Content-Length: " + length, body=b"hello" + SMUGGLED), log, 400)


async def test_http_09_trailers_are_dropped_whatever_they_are_called(site: Edge):
    names = (b"Authorization", b"Content-Length", b"Host", b"Cookie", b"X-Passproxy-User", b"Transfer-Encoding")
    trailers = b"".join(b"%s: evil\r\n" % name for name in names)
    framing = ("Trailer: X-Passproxy-User, Host", "Transfer-Encoding: chunked", "TE: trailers")
    async with site.raw() as raw:
        got = await raw.ask(post(site, *framing, body=b"1\r\nx\r\n0\r\n" + trailers + b"\r\n"))
        assert got.status == 200
        assert b"evil" not in site.upstream.requests[0].head + site.upstream.requests[0].body
        assert not site.upstream.nonsense
        assert not site.upstream.requests[0].all(b"trailer")
        assert not site.upstream.requests[0].all(b"te")
        await site.canary(raw)


HEAD = b"GET / HTTP/1.1\r\nHost: app.example.com\r\n"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(HEAD.replace(b"1.1\r\n", b"1.1\n") + b"\r\n", id="LF behind the request line"),
        pytest.param(HEAD + b"X: y\n\r\n", id="LF behind a field"),
        pytest.param(HEAD + b"\n", id="LF before the body"),
        pytest.param(HEAD.replace(b"\r\n", b"\n") + b"\n", id="LF everywhere"),
        pytest.param(HEAD + b"X: y\rZ: a\r\n\r\n", id="CR within a field"),
        pytest.param(HEAD + b"X: y\r\r\n\r\n", id="CR CR LF"),
        pytest.param(HEAD.replace(b"1.1\r\n", b"1.1\r\r\n") + b"\r\n", id="CR CR LF behind the request line"),
        pytest.param(HEAD + b"X: a\x00b\r\n\r\n", id="NUL in a value"),
        pytest.param(HEAD + b"X\x00: b\r\n\r\n", id="NUL in a name"),
        pytest.param(HEAD.replace(b"/ ", b"/\x00 ") + b"\r\n", id="NUL in the target"),
        pytest.param(b" " + HEAD + b"\r\n", id="a space before the request line"),
        pytest.param(b"\t" + HEAD + b"\r\n", id="a tab before the request line"),
        pytest.param(HEAD.replace(b"Host:", b"Host :") + b"\r\n", id="a space behind Host"),
        pytest.param(HEAD.replace(b"Host:", b"Host\t:") + b"\r\n", id="a tab behind Host"),
        pytest.param(HEAD.replace(b"Host:", b" X: y\r\nHost:") + b"\r\n", id="the first field folded"),
        pytest.param(HEAD + b"X: y\r\n z\r\n\r\n", id="a folded field"),
        pytest.param(HEAD + b"X: y\r\n\tz\r\n\r\n", id="a field folded by a tab"),
        pytest.param(HEAD + b"X: y\r\n \r\n\r\n", id="a field folded into nothing"),
        pytest.param(HEAD + b"no colon\r\n\r\n", id="no colon"),
        pytest.param(HEAD + b": no name\r\n\r\n", id="no name"),
        pytest.param(HEAD + b"X(y): z\r\n\r\n", id="a name that is no token"),
        pytest.param(HEAD + b"X\xe4: z\r\n\r\n", id="a name beyond ASCII"),
        pytest.param(HEAD + b"X: a\x7fb\r\n\r\n", id="DEL in a value"),
        pytest.param(HEAD + b"X: a\x1bb\r\n\r\n", id="ESC in a value"),
    ],
)
async def test_http_10_and_11_line_ends_white_space_and_control_characters_are_exact(
    site: Edge, log: Log, wrong: bytes
):
    await site.refuses(wrong, log, 400)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET / ",
        b"GET / HTTP/0.9",
        b"GET / HTTP/2.0",
        b"GET / HTTP/3",
        b"GET / HTTP/1.2",
        b"GET / HTTP/1.10",
        b"GET / HTTP/1.",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\t",
        b"GET / http/1.1",
        b"GET / HTTP /1.1",
        b"GET / HTTP/1.1x",
        b"GET / RTSP/1.0",
        b"DESCRIBE / RTSP/1.0",
        b"SOURCE / ICE/1.0",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\x0bHTTP/1.1",
        b"GET / x HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"get / HTTP/1.1",
        b"G\xe2\x82\xacT / HTTP/1.1",
        b"GE:T / HTTP/1.1",
        b"A" * 40_000 + b" / HTTP/1.1",
        b"FOO / HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"TRACK / HTTP/1.1",
        b"DEBUG / HTTP/1.1",
        b"CONNECT / HTTP/1.1",
        b"CONNECT app.example.com:443 HTTP/1.1",
        b"GET HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_http_12_and_14_only_known_methods_over_1_0_and_1_1(site: Edge, log: Log, line: bytes):
    wrong = line + b"\r\nHost: app.example.com\r\nCookie: " + site.cookie.encode() + b"\r\n\r\n"
    answer = await site.refuses(wrong, log, 400, 405, 431, 505)
    if answer.status == 405:
        assert b"GET" in answer.one(b"allow")
        assert b"TRACE" not in answer.one(b"allow")


@pytest.mark.parametrize("method", ["PROPFIND", "REPORT", "QUERY", "PATCH", "OPTIONS", "DELETE"])
async def test_http_14_known_further_methods_need_a_session_and_pass_unchanged(site: Edge, log: Log, method: str):
    await site.refuses(request(method, "/dav", "Accept: text/html"), log, 401)
    async with site.raw() as raw:
        assert (await raw.ask(request(method, "/dav", cookie=site.cookie, body=b"x"))).status == 200
        assert site.upstream.request_lines == [method.encode() + b" /dav HTTP/1.1"]
        await site.canary(raw)


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(request("POST", "/", body=SMUGGLED), id="401"),
        pytest.param(request("POST", "/", body=SMUGGLED, host="evil.example"), id="421"),
        pytest.param(request("POST", "/.passproxy/health", body=SMUGGLED), id="405 of our own"),
        pytest.param(request("POST", "/.passproxy/nothing", body=SMUGGLED), id="404 of our own"),
        pytest.param(navigation("/", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED, id="a navigation with a body"),
        pytest.param(request("POST", "/", "Content-Length: 100000", body=SMUGGLED), id="most of the body to come"),
        pytest.param(
            request("POST", "/", "Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n" % (len(SMUGGLED), SMUGGLED)),
            id="in chunks, without an end",
        ),
    ],
)
async def test_http_15_the_body_of_a_refused_request_is_never_a_request(site: Edge, log: Log, refused: bytes):
    await site.refuses(refused, log, 401, 404, 405, 421)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_http_16_a_body_that_looks_like_a_request_stays_a_body(site: Edge, method: str, chunked: bool):
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED) if chunked else SMUGGLED
    lines = ("Transfer-Encoding: chunked",) if chunked else ()
    for target, cookie in (("/", site.cookie), ("/public/x", None)):
        async with site.raw() as raw:
            answer = await raw.ask(request(method, target, *lines, cookie=cookie, body=body))
            if cookie is None and method in ("OPTIONS", "DELETE"):
                assert answer.status == 401
                assert site.upstream.requests == []
            else:
                assert answer.status == 200
                assert [seen.body for seen in site.upstream.requests] == [SMUGGLED]
            await site.canary(raw)
        site.upstream.forget()


@pytest.mark.parametrize("target", ["/", "/.passproxy/saml/acs", "/public/x"])
async def test_http_17_nobody_is_asked_for_a_body_before_being_judged(site: Edge, log: Log, target: str):
    huge = request("POST", target, "Expect: 100-continue", "Content-Length: 10000000000")
    answer = await site.refuses(huge, log, 401, 404, 413)
    assert answer.interim == ()


@pytest.mark.parametrize(
    "expect",
    [
        ("Expect: y 100-continue",),
        ("Expect: 100-continue, 100-continue",),
        ("Expect: 100-continue", "Expect: 100-continue"),
        ("Expect: 200-ok",),
        ("Expect:",),
        ("Expect: 100-continue;x=y",),
    ],
)
async def test_http_18_an_expectation_that_is_none_is_refused(site: Edge, log: Log, expect: tuple[str, ...]):
    await site.refuses(post(site, *expect, "Content-Length: 5", body=b"hello"), log, 417, 400)


async def test_http_18_an_expectation_over_http_1_0_is_refused(site: Edge, log: Log):
    wrong = post(site, "Expect: 100-continue", "Content-Length: 5", body=b"hello", version="1.0")
    await site.refuses(wrong, log, 417, 400)


async def test_http_18_an_expectation_without_a_body_waits_for_nothing(site: Edge):
    async with site.raw() as raw:
        assert (await raw.ask(get("/", "Expect: 100-continue", cookie=site.cookie))).status == 200
        assert not site.upstream.requests[0].all(b"expect")
        await site.canary(raw)


async def test_http_20_half_a_body_never_becomes_the_beginning_of_the_next_request(site: Edge):
    async with site.raw() as raw:
        await raw.send(post(site, "Content-Length: 1000000", body=SMUGGLED * 3))
        await eventually(lambda: len(site.upstream.requests) == 1, "the request")
    for _ in range(3):
        assert (await site.asked(get("/next", cookie=site.cookie))).body == b"/next"
    assert [seen.target for seen in site.upstream.requests] == [b"/", b"/next", b"/next", b"/next"]


async def test_http_21_an_answer_to_a_request_that_was_abandoned_reaches_nobody(site: Edge):
    """A client leaves while the application is still answering; its answer must not meet the next client."""

    async def late(seen: Seen, line: Line) -> None:
        if seen.target == b"/secret":
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nsecret-")
            await hang(seen, line)
        else:
            await ok(seen, line)

    site.upstream.script = late
    async with site.raw() as raw:
        await raw.send(get("/secret", cookie=site.cookie))
        await raw.head()
    for _ in range(3):
        assert (await site.asked(get("/next", cookie=site.cookie))).body == b"/next"


async def test_http_26_content_codings_are_nobodys_business_here(site: Edge):
    body = bytes(range(256)) * 40
    lines = ("Content-Encoding: gzip", "Content-Type: application/json", "Accept-Encoding: br")
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10240\r\n\r\n" + body

    async def script(seen: Seen, line: Line) -> None:
        await line.body()
        await line.send(answer)

    site.upstream.script = script
    got = await site.asked(request("POST", "/", *lines, cookie=site.cookie, body=body))
    assert (got.body, got.all(b"content-encoding")) == (body, [b"gzip"])
    (seen,) = site.upstream.requests
    assert (seen.body, seen.all(b"content-encoding"), seen.all(b"accept-encoding")) == (body, [b"gzip"], [b"br"])


async def test_http_36_a_request_of_1_0_needs_a_host_like_any_other(site: Edge, log: Log):
    await site.refuses(get("/", host=None, version="1.0", cookie=site.cookie), log, 400)
    await site.refuses(get("/", host=None, cookie=site.cookie), log, 400)


@pytest.mark.parametrize(
    "alias",
    [
        b"Content_Length: 0",
        b"content_length: 0",
        b"Content.Length: 0",
        b"Content-Length_: 0",
        b"Transfer_Encoding: chunked",
        b"Transfer.Encoding: chunked",
        b"Host_: evil.example",
        b"_Host: evil.example",
        b"X.Forwarded.For: 1.1.1.1",
        b"X_Forwarded_For: 1.1.1.1",
        b"Cookie_: __Host-passproxy=x",
        b"Authorization_: Basic x",
        b"Connection_: close",
        b"Content_Type: x/y",
    ],
)
async def test_http_41_an_alias_of_a_field_that_frames_or_decides_does_not_pass(site: Edge, alias: bytes):
    name = alias.partition(b":")[0]
    for target, cookie in (("/", site.cookie), ("/hook", None)):
        async with site.raw() as raw:
            assert (await raw.ask(request("POST", target, alias, cookie=cookie, body=b"hello"))).status == 200
            (seen,) = site.upstream.requests
            assert seen.body == b"hello"
            assert name not in [found for found, _ in seen.fields]
            await site.canary(raw)
        site.upstream.forget()


async def test_own_forms_are_read_strictly(site: Edge, log: Log):
    """HTTP-39: the callback of the other protocol is not there; ours takes its own method alone."""
    bomb = "&".join(f"f{n}=x" for n in range(10_000))
    await site.refuses(get(f"/.passproxy/oidc/callback?{bomb[:8000]}", "Accept: text/html"), log, 400)
    await site.refuses(get("/.passproxy/oidc/callback?state=a&state=b"), log, 400)
    await site.refuses(get("/.passproxy/oidc/callback?st%61te=a"), log, 400)
    await site.refuses(get("/.passproxy/oidc/callback?state=%ff"), log, 400)
    await site.refuses(request("POST", "/.passproxy/saml/acs", body=b"SAMLResponse=x"), log, 404, 405)


async def test_many_attacks_in_a_row_on_many_connections_leave_the_next_client_alone(site: Edge):
    """All at once, against one pool."""
    for wrong in (post(site, coding, body=b"0\r\n\r\n" + SMUGGLED) for coding in CODINGS):
        async with Raw(site.passproxy.address) as raw:
            await raw.send(wrong)
            assert (await raw.answer()).status in (400, 501)
    assert (await site.asked(get("/next", cookie=site.cookie))).body == b"/next"
    assert site.upstream.request_lines == [b"GET /next HTTP/1.1"]
    assert HOST.encode() == site.upstream.requests[0].one(b"host")
