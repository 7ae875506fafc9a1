"""
Section 2.10 of the catalogue, row by row: what a gateway adds, keeps, repeats, and what stands behind its parser.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from passproxy.core.errors import ConfigError
from tests.attacks.acs import ACS, FORM, AcsSite, acs_site
from tests.attacks.edge import Edge, edge
from tests.fakes.commands import free_port, running
from tests.fakes.gateway import HOST, NO_IDP, get, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Line, Seen, Upstream, answering, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saml(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.script = ok
    site.upstream.forget()


FORWARDED = {
    b"X-Forwarded-For",
    b"X-Real-IP",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"Via",
    b"X-Request-Id",
}
IDENTITY = {b"X-Passproxy-User", b"X-Passproxy-Subject", b"X-Passproxy-Groups", b"X-Passproxy-Session-Expires"}


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(("GET", b""), id="HTTP-27 nothing but a Host"),
        pytest.param(("POST", b"x=y"), id="HTTP-27 a body without a type"),
        pytest.param(("HEAD", b""), id="HTTP-27 HEAD"),
        pytest.param(("DELETE", b""), id="HTTP-27 DELETE"),
    ],
)
@pytest.mark.parametrize("target", ["/", "/health", "/hook"])
async def test_no_field_is_there_that_nobody_sent(site: Edge, wire: tuple[str, bytes], target: str) -> None:
    method, body = wire
    is_public = (target, method) in {("/health", "GET"), ("/health", "HEAD"), ("/hook", "POST")}
    async with site.raw() as raw:
        sent = request(method, target, cookie=None if is_public else site.cookie, body=body)
        assert (await raw.ask(sent)).status == 200
        (seen,) = site.upstream.requests
        names = [name for name, _ in seen.fields]
        assert len(names) == len(set(names))
        assert set(names) - {b"Content-Length"} == {b"Host"} | FORWARDED | (set() if is_public else IDENTITY)
        assert (b"Content-Length" in names) == bool(body)
        await site.canary(raw)


REPEATED = {
    "HTTP-28 repeated fields": (b"X-A: 1", b"Accept: a", b"x-a: 2", b"Accept: b", b"X-A: 1"),
    "HTTP-28 bytes beyond ASCII": (b"X-A: \xff\xfe", b"X-B:\t spaced  ", b"X-C:"),
    "HTTP-28 cookies in two lines": (b"Cookie: a=1; b=2", b"X-A: 1", b"Cookie: c=\xff"),
    "HTTP-29 conditions": (b'If-None-Match: W/"1", "\xe4"', b"If-Modified-Since: yesterday", b'If-Match: "x"'),
    "HTTP-29 ranges": (b"Range: bytes=0-1,5-,-3", b'If-Range: "x"', b"Range: bytes=9-1"),
    "HTTP-29 a thousand ranges": (b"Range: bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(1000)),),
}


@pytest.mark.parametrize("lines", REPEATED.values(), ids=REPEATED)
async def test_fields_keep_their_bytes_their_number_and_their_order(site: Edge, lines: tuple[bytes, ...]) -> None:
    async with site.raw() as raw:
        assert (await raw.ask(get("/public/x", *lines))).status == 200
        (seen,) = site.upstream.requests
        cookies = [line for line in lines if line.startswith(b"Cookie")]
        others = [line for line in lines if line not in cookies]
        assert seen.head.startswith(
            b"\r\n".join([b"GET /public/x HTTP/1.1", b"Host: app.example.com", *others, *cookies])
        )
        await site.canary(raw)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8123", "http://127.0.0.1:8123/"], ids=lambda url: f"HTTP-32 {url}")
async def test_the_application_is_not_the_listener(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        async with protecting(url, tmp_path, listen="127.0.0.1:8123"):
            pass
    assert any("upstream.url" in problem for problem in refusal.value.problems)
    with pytest.raises(ConfigError):
        async with protecting(f"https://{HOST}", tmp_path):
            pass


async def test_http_32_nothing_starts_that_asks_itself(tmp_path: Path) -> None:
    port = free_port()
    configuration = {"domain": HOST, "listen": f"127.0.0.1:{port}", "upstream": {"url": f"http://127.0.0.1:{port}"}}
    (tmp_path / "app.yaml").write_text(json.dumps({**configuration, **NO_IDP, "state_dir": str(tmp_path)}))
    with running("serve", str(tmp_path / "app.yaml"), cwd=tmp_path) as process:
        assert await asyncio.to_thread(process.wait, 30) != 0
        told = process.stderr.read() if process.stderr else ""
    assert "upstream.url" in told
    assert "Traceback" not in told


async def test_http_32_a_request_goes_round_once(tmp_path: Path, log: Log) -> None:
    """An application that is this very listener under another name."""
    port = free_port()
    round_about = protecting(
        f"http://localhost:{port}", tmp_path, listen=f"127.0.0.1:{port}", passthrough={"paths": ["/public"]}
    )
    async with round_about as passproxy, Raw(passproxy.address) as raw:
        for wire in (get("/", cookie=passproxy.cookie()), get("/public"), get("/public", cookie=passproxy.cookie())):
            answer = await raw.ask(wire)
            assert (answer.status, answer.json()["code"]) == (508, "PP-LOOP-REQUEST")
        assert (await raw.ask(get("/.passproxy/health"))).status == 200
    assert [fields["status"] for fields in log.named("request.refused")] == [508, 508, 508]


async def test_http_32_another_proxys_name_is_passed_on_beside_ours(site: Edge) -> None:
    async with site.raw() as raw:
        await raw.ask(get("/", "Via: 1.1 squid, 1.0 fred (passproxy)", "Via: 2 nginx", cookie=site.cookie))
    (seen,) = site.upstream.requests
    *others, ours = seen.all(b"via")
    assert others == [b"1.1 squid, 1.0 fred (passproxy)", b"2 nginx"]
    assert ours.startswith(b"1.1 passproxy-")


async def test_http_32_our_name_can_be_kept_to_ourselves(tmp_path: Path) -> None:
    async with (
        Upstream() as upstream,
        protecting(upstream.url, tmp_path, upstream={"send_via": False}) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 200
    assert upstream.requests[0].all(b"via") == []


@pytest.mark.parametrize(
    "value", ["0", "1", "abc", "-1", "99999999999999999999", ""], ids=lambda value: f"HTTP-33 {value!r}"
)
async def test_a_trace_is_refused_however_far_it_may_go(site: Edge, log: Log, value: str) -> None:
    line = f"Max-Forwards: {value}"
    for cookie in (None, site.cookie):
        await site.refuses(request("TRACE", "/", line, cookie=cookie), log, 405)
    await site.refuses(request("OPTIONS", "/", line), log, 401 if value == "1" else 400)


@pytest.mark.parametrize(
    ("value", "told"), [("1", b"0"), ("010", b"9"), ("999999999", b"999999998")], ids=lambda value: f"HTTP-33 {value!r}"
)
async def test_options_go_one_proxy_less_far(site: Edge, value: str, told: bytes) -> None:
    async with site.raw() as raw:
        assert (await raw.ask(request("OPTIONS", "/", f"Max-Forwards: {value}", cookie=site.cookie))).status == 200
        assert (await raw.ask(get("/", f"Max-Forwards: {value}", cookie=site.cookie))).status == 200
        options, other = site.upstream.requests
        await site.canary(raw)
    assert options.all(b"max-forwards") == [told]
    assert other.all(b"max-forwards") == [value.encode()]  # it means nothing there, and passes as it came


@pytest.mark.parametrize(
    "lines",
    [("0",), ("00",), ("-1",), ("+1",), ("1.0",), ("abc",), ("",), ("1", "1"), ("1, 2",), ("9" * 30,)],
    ids=lambda lines: f"HTTP-33 {lines!r}",
)
async def test_options_that_may_go_no_further_end_here(site: Edge, log: Log, lines: tuple[str, ...]) -> None:
    fields = [f"Max-Forwards: {value}" for value in lines]
    answer = await site.refuses(request("OPTIONS", "/", *fields, cookie=site.cookie), log, 400)
    assert b"PP-REQUEST-HOPS" in answer.body


RISKY = {
    "HTTP-34 POST": ("POST", (), b"x"),
    "HTTP-34 POST without a body": ("POST", (), b""),
    "HTTP-34 PUT": ("PUT", (), b"x"),
    "HTTP-34 DELETE": ("DELETE", (), b""),
    "HTTP-34 PATCH": ("PATCH", (), b"x"),
    "HTTP-34 GET with a body": ("GET", (), b"x"),
    "HTTP-34 POST with a key": ("POST", ("Idempotency-Key: 1",), b"x"),
    "HTTP-34 POST in chunks": ("POST", ("Transfer-Encoding: chunked",), b"1\r\nx\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "lines", "body"), RISKY.values(), ids=RISKY)
@pytest.mark.parametrize("resets", [False, True])
async def test_what_may_have_been_done_is_not_done_again(
    site: Edge, log: Log, method: str, lines: tuple[str, ...], body: bytes, resets: bool
) -> None:
    """The application takes the request on a kept connection and closes it without a word."""

    async def cut(seen: Seen, line: Line) -> None:
        await line.body()
        line.reset() if resets else line.close()

    async with site.raw() as raw:
        await raw.ask(get("/", cookie=site.cookie))
        site.upstream.script = cut
        answer = await raw.ask(request(method, "/once", *lines, cookie=site.cookie, body=body))
        assert answer.status == 502
        log.one("upstream.error")
        assert [seen.target for seen in site.upstream.requests] == [b"/", b"/once"]
        site.upstream.script = ok
        await site.canary(raw)


async def test_http_34_a_get_is_sent_once_more_and_not_for_ever(site: Edge) -> None:
    async def close(seen: Seen, line: Line) -> None:
        if seen.target == b"/again":
            line.close()
        else:
            await ok(seen, line)

    site.upstream.script = close
    async with site.raw() as raw:
        await raw.ask(get("/", cookie=site.cookie))
        assert (await raw.ask(get("/again", cookie=site.cookie))).status == 502
    assert site.upstream.request_lines == [b"GET / HTTP/1.1", *[b"GET /again HTTP/1.1"] * 2]


async def test_http_34_not_when_an_answer_had_begun(site: Edge) -> None:
    async with site.raw() as raw:
        await raw.ask(get("/", cookie=site.cookie))
        site.upstream.script = answering(b"HTTP/1.1 2", closes=True)
        assert (await raw.ask(get("/once", cookie=site.cookie))).status == 502
    assert site.upstream.request_lines == [b"GET / HTTP/1.1", b"GET /once HTTP/1.1"]


PARSERS = ("aiohttp", "httptools", "h11", "http.server", "http.client", "wsgiref", "llhttp", "asgiref", "werkzeug")

LOOK = """
import sys
import jwt
# This loads a client of its own, for keys that it would fetch if it were asked to.
of_its_own = set(sys.modules)
import passproxy.web.connection, passproxy.web.upstream, passproxy.web.tunnel, passproxy.core.body, passproxy.core.upgrade
print([name for name in sys.modules if name not in of_its_own and name.startswith(%r)])
"""


@pytest.mark.parametrize(
    "environment",
    [{}, {"AIOHTTP_NO_EXTENSIONS": "1"}, {"PYTHONSAFEPATH": "1", "HTTPTOOLS_NO_EXTENSIONS": "1"}],
    ids=["HTTP-38 as it is", "HTTP-38 without extensions of aiohttp", "HTTP-38 without others"],
)
async def test_no_second_parser_can_take_the_place_of_the_first(environment: dict[str, str]) -> None:
    """Requests are read by code of this project alone, which has no other form; so no environment chooses one."""
    python = [sys.executable, "-c", LOOK % (PARSERS,)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    done = await asyncio.to_thread(subprocess.run, python, env=variables, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "[]\n"


BOMBS = {
    "HTTP-39 ten thousand fields": (FORM, "&".join(f"f{n}=x" for n in range(10_000)).encode()),
    "HTTP-39 the same field often": (FORM, b"&".join([b"SAMLResponse=x"] * 10_000)),
    "HTTP-39 nothing but separators": (FORM, b"&" * 100_000),
    "HTTP-39 bytes that are not UTF-8": (FORM, b"SAMLResponse=%ff%fe&RelayState=x"),
    "HTTP-39 escapes that are none": (FORM, b"SAMLResponse=%zz&RelayState=%"),
    "HTTP-39 another charset": (FORM + "; charset=utf-7", b"SAMLResponse=+ADw-x+AD4-"),
    "HTTP-39 UTF-16": (FORM + "; charset=utf-16", "SAMLResponse=x".encode("utf-16")),
    "HTTP-39 multipart": ("Content-Type: multipart/form-data; boundary=X", b"--X\r\n\r\nx\r\n--X--\r\n"),
    "HTTP-39 multipart without a boundary": ("Content-Type: multipart/form-data", b"--\r\n\r\n" * 1000),
    "HTTP-39 nested multipart": (
        "Content-Type: multipart/form-data; boundary=X",
        b"".join(b"--X\r\nContent-Type: multipart/mixed; boundary=X\r\n\r\n" for _ in range(2000)),
    ),
    "HTTP-39 a type with a thousand parts": ("Content-Type: multipart/form-data" + "; a=b" * 1000, b"x"),
    "HTTP-39 JSON": ("Content-Type: application/json", b'{"SAMLResponse": "x"}'),
    "HTTP-39 no type": ("X: y", b"SAMLResponse=x"),
}


@pytest.mark.parametrize(("kind", "body"), BOMBS.values(), ids=BOMBS)
async def test_a_form_that_is_none_is_refused(saml: AcsSite, log: Log, kind: str, body: bytes) -> None:
    for cookie in (None, (await saml.begun()).cookie):
        log.forget()
        await saml.refuses(request("POST", ACS, kind, cookie=cookie, body=body), log, 400, 403, 413, 415)


async def test_http_39_a_form_has_a_size(saml: AcsSite, log: Log) -> None:
    for size in (384 * 1024 + 1, 10**12):
        await saml.refuses(request("POST", ACS, FORM, f"Content-Length: {size}"), log, 413)
