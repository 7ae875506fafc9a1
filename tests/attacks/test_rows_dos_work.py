"""
Section 2.14 of the catalogue, row by row: requests that are cheap to send and would be dear to answer.

Nothing is timed. Where the price is memory it is measured; where it is a process, that there is none; and an
expression that never finishes would end the test.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from passproxy.core.http1 import NAME_LIMIT, NameTable
from passproxy.core.session import Sessions
from passproxy.web.connection import ClientConnection
from passproxy.web.tunnel import Tunnel
from passproxy.web.upstream import UpstreamConnection
from tests.attacks.acs import ACS, FORM, AcsSite, acs_site
from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import alive, eventually, get, navigation, request
from tests.fakes.log import Log
from tests.fakes.upstream import Line, Seen, ok
from tests.fakes.websocket import accepting, handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEBIBYTE = 1024 * 1024
BACKCHANNEL = "/.passproxy/oidc/backchannel-logout"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    patterns = ["/health", "/public/**", "/*a*a*a*a*a*b", "/**/a/**/a/**/a/**/b"]
    async with edge(tmp_path_factory.mktemp("edge"), passthrough={"paths": patterns}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saml(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def remembering(site: Edge) -> list[Sessions]:
    """Whoever knows sessions: looked for once, since looking takes longer than the tests."""
    return alive(Sessions)


@pytest.fixture(autouse=True)
def as_new(site: Edge, saml: AcsSite) -> None:
    for each in (site, saml):
        each.upstream.script = ok
        each.upstream.forget()


@contextlib.contextmanager
def little_memory(limit: int = 8 * MEBIBYTE) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


GZIPPED = gzip.compress(bytes(10 * MEBIBYTE))
NESTED = gzip.compress(GZIPPED * 50)


@pytest.mark.parametrize("body", [GZIPPED, NESTED], ids=["DOS-09 ten mebibytes", "DOS-09 compressed twice"])
@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "x-gzip", "deflate", "br"])
async def test_a_compressed_body_is_nobodys_to_open(
    site: Edge, saml: AcsSite, log: Log, coding: str, body: bytes
) -> None:
    field = f"Content-Encoding: {coding}"
    with little_memory():
        async with site.raw() as raw:
            assert (await raw.ask(request("POST", "/up", field, cookie=site.cookie, body=body))).status == 200
            (seen,) = site.upstream.requests
            assert (seen.body, seen.one(b"content-encoding")) == (body, coding.encode())
        await saml.refuses(request("POST", ACS, FORM, field, body=body), log, 400, 403, 413, 415)


BOMBS = {
    "DOS-12 one large cookie": [f"Cookie: a={'x' * 40_000}"],
    "DOS-12 many cookies": [f"Cookie: c{n}={'x' * 4000}" for n in range(10)],
    "DOS-12 many in one line": ["Cookie: " + "; ".join(f"c{n}={'x' * 400}" for n in range(100))],
    "DOS-12 many small lines": ["Cookie: a=b"] * 300,
    "DOS-12 another large field": [f"X-A: {'x' * 40_000}"],
}


@pytest.mark.parametrize("lines", BOMBS.values(), ids=BOMBS)
async def test_a_bomb_of_cookies_is_a_page_that_says_what_to_do(site: Edge, log: Log, lines: list[str]) -> None:
    for cookie in (None, site.cookie):
        log.forget()
        answer = await site.refuses(navigation("/", *lines, cookie=cookie), log, 431)
        assert b"clear the cookies" in answer.body


def token(header: object, claims: object, signature: str = "A" * 43) -> str:
    parts = (each if isinstance(each, str) else json.dumps(each) for each in (header, claims))
    return ".".join([*(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts), signature])


KNOWN = '{"alg":"HS256","typ":"pp-session+jwt","kid":%s}'
BAD_COOKIES = {
    "DOS-13 one character": "x",
    "DOS-13 four kilobytes": "A" * 4000,
    "DOS-13 sixteen kilobytes": "A" * 16_000,
    "DOS-13 all dots": "." * 16_000,
    "DOS-13 three long parts": ".".join(["A" * 5000] * 3),
    "DOS-13 a bad signature": token({"alg": "HS256"}, {"sub": "x"}),
    "DOS-13 parts of parts": "4~" + "A" * 3000,
    "DOS-14 a number of 2000 digits": token(KNOWN % ("9" * 2000), {}),
    "DOS-14 infinity": token(KNOWN % "1e999", '{"exp":1e999}'),
    "DOS-14 not a number": token(KNOWN % "NaN", '{"exp":NaN}'),
    "DOS-14 a deep header": token("[" * 1200 + "]" * 1200, {}),
    "DOS-14 a deep and open header": token("[" * 2400, {}),
    "DOS-14 deep claims": token({"alg": "HS256"}, "[" * 2400),
}


@pytest.mark.parametrize("value", BAD_COOKIES.values(), ids=BAD_COOKIES)
async def test_a_bad_cookie_is_no_session_and_is_not_remembered(
    site: Edge, log: Log, remembering: list[Sessions], value: str
) -> None:
    known = sum(len(one._recent) + len(one._older) for one in remembering)
    answer = await site.refuses(get("/", cookie=f"__Host-passproxy={value}"), log, 401)
    assert any(line.startswith(b"__Host-passproxy=;") for line in answer.all(b"set-cookie"))
    # The canary of `refuses` has a session, and only that is known afterwards.
    assert sum(len(one._recent) + len(one._older) for one in remembering) - known == 1


DEEP = {
    "DOS-14 a logout token, a hundred thousand deep": token('{"alg":"RS256"}', "[" * 100_000 + "]" * 100_000),
    "DOS-14 its header as deep": token("[" * 100_000 + "]" * 100_000, {}),
    "DOS-14 its header open and as deep": token('{"a":' * 50_000, {}),
    "DOS-14 a number of 100000 digits": token('{"alg":"RS256","kid":%s}' % ("9" * 100_000), {"iat": 1}),
    "DOS-14 claims that are beyond numbers": token({"alg": "RS256", "kid": "x"}, '{"iat":1e999,"exp":-1e999}'),
}


@pytest.mark.parametrize("value", DEEP.values(), ids=DEEP)
async def test_a_deep_or_huge_document_is_malformed(site: Edge, log: Log, value: str) -> None:
    await site.refuses(request("POST", BACKCHANNEL, FORM, body=f"logout_token={value}".encode()), log, 400)


PATTERNS = {
    "DOS-15 a path for stars": "/" + "a" * 20_000,
    "DOS-15 a path for folders": "/a" * 10_000,
    "DOS-15 dots": "/public/" + "." * 20_000,
    "DOS-15 escapes": "/public/" + "%41" * 6_000,
    "DOS-15 open escapes": "/public/" + "%" * 20_000,
    "DOS-15 slashes": "/" * 20_000,
}
FIELDS = {
    "DOS-15 a browser's name": "User-Agent: " + "Mozilla/5.0 (" * 2000,
    "DOS-15 languages": "Accept-Language: " + "de-" * 8000,
    "DOS-15 what is accepted": "Accept: " + "text/html;q=0." * 1800,
    "DOS-15 cookies of nothing": "Cookie: " + "a=;" * 8000 + " =",
    "DOS-15 spaces in cookies": "Cookie: a" + " " * 25_000 + "=b",
    "DOS-15 a chain of addresses": "X-Forwarded-For: " + "1.1.1.1," * 3000,
    "DOS-15 an open address": "X-Forwarded-For: " + "[" * 25_000,
    "DOS-15 options": "Connection: " + "x," * 12_000,
}


@pytest.mark.parametrize("target", PATTERNS.values(), ids=PATTERNS)
async def test_no_path_keeps_a_pattern_busy(site: Edge, log: Log, target: str) -> None:
    answer = await site.asked(get(target))
    assert answer.status in (200, 400, 401)
    assert bool(site.upstream.requests) == (answer.status == 200)
    assert (await site.asked(get(target, cookie=site.cookie))).status == 200


@pytest.mark.parametrize("line", FIELDS.values(), ids=FIELDS)
async def test_no_field_keeps_an_expression_busy(site: Edge, log: Log, line: str) -> None:
    await site.refuses(get("/", line), log, 401, 302)
    assert (await site.asked(get("/", line, cookie=site.cookie))).status == 200


async def test_dos_19_names_are_not_collected(site: Edge, log: Log) -> None:
    """Twice as many as are remembered, each once; and a hundred thousand in a query."""
    count = 2 * NAME_LIMIT // 150 + 1
    async with site.raw() as raw:
        for turn in range(count):
            lines = [f"X-{turn}-{number}: y" for number in range(150)]
            assert (await raw.ask(get("/", *lines, cookie=site.cookie))).status == 200
    sizes = [len(table.known) for table in alive(NameTable)]
    assert max(sizes) == NAME_LIMIT
    site.upstream.forget()
    query = "&".join(f"{number:x}" for number in range(5000))
    assert (await site.asked(get(f"/public/x?{query}"))).status == 200
    assert site.upstream.requests[0].target == f"/public/x?{query}".encode()
    site.upstream.forget()
    await site.refuses(get("/?" + "&".join(f"{number:x}" for number in range(100_000))), log, 431)


async def test_dos_23_nothing_is_left_of_what_has_ended(site: Edge) -> None:
    """Requests, refusals, tunnels and clients that vanish: afterwards there is no more than before."""

    async def script(seen: Seen, line: Line) -> None:
        await (accepting(seen, line) if seen.target == b"/socket" else ok(seen, line))

    def left() -> int:
        return len(alive(ClientConnection)) + len(alive(Tunnel))

    site.upstream.script = script
    await site.asked(get("/", cookie=site.cookie))
    await eventually(lambda: len(asyncio.all_tasks()) < 20, "earlier tests are over")
    before, tasks = left(), len(asyncio.all_tasks())
    for turn in range(25):
        async with site.raw() as raw:
            await raw.ask(get("/", cookie=site.passproxy.cookie(f"user{turn}")))
            await raw.ask(get("/", cookie="__Host-passproxy=x"))
            await raw.ask(navigation("/"))
            await raw.send(request("POST", "/half", "Content-Length: 9", cookie=site.cookie, body=b"x"))
            if turn % 2:
                raw.reset()
        async with site.raw() as raw:
            await raw.send(handshake(cookie=site.cookie))
            await raw.head()
    # The application's end of a kept connection is a task of this loop as well.
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 4, "tasks are gone")
    await eventually(lambda: left() <= before, "connections and tunnels are gone")
    assert len(alive(UpstreamConnection)) <= 4
