"""
What a provider's host may answer, and when it does not answer at all: attack catalogue 2.15.

Each document that is read from it (description, keys, tokens, userinfo, metadata) meets each
answer, in a login through the socket: none becomes a session, and nobody else is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from passproxy.idp import fetch
from tests.attacks.acs import AcsSite
from tests.attacks.edge import Edge
from tests.fakes import idp_saml as idp
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, PassProxy, eventually, get, navigation, protecting, request
from tests.fakes.idp_oidc import FakeOp
from tests.fakes.log import Log
from tests.fakes.upstream import Upstream

Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def trap() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Where a redirect leads, and what arrived there."""
    arrived: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await reader.read(1024))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", arrived


def redirect(location: str, status: int = 302) -> Answers:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location})

    return answer


async def round_in_circles(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": str(request.url)})


def body(content: bytes, content_type: str = "application/json", **headers: str) -> Answers:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, headers={"Content-Type": content_type, **headers})

    return answer


def stream(piece: bytes, pause: float = 0.0, **headers: str) -> Answers:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            while True:
                await response.write(piece)
                await asyncio.sleep(pause)
        return response

    return answer


LOGIN_PAGE = b"<!doctype html><title>Sign in</title><form><input type=password></form>"

ANSWERS: list[tuple[str, Callable[[str], Answers]]] = [
    ("SSRF-02 another host", lambda trap: redirect(trap + "/latest/meta-data/")),
    ("SSRF-02 keeping the method", lambda trap: redirect(trap + "/", 308)),
    ("SSRF-02 a file", lambda _: redirect("file:///etc/passwd")),
    ("SSRF-02 the same host", lambda _: redirect("/elsewhere", 301)),
    ("SSRF-02 in circles", lambda _: round_in_circles),
    ("SSRF-04 two gigabytes announced", lambda _: stream(b"", 0.01, **{"Content-Length": "2000000000"})),
    ("SSRF-04 without an end", lambda _: stream(b"[" * 65536)),
    ("SSRF-04 a drop at a time", lambda _: stream(b" ", 0.02)),
    ("SSRF-04 compressed", lambda _: body(gzip.compress(bytes(10_000_000)), **{"Content-Encoding": "gzip"})),
    ("SSRF-04 nothing", lambda _: body(b"")),
    ("SSRF-04 a page", lambda _: body(LOGIN_PAGE, "text/html")),
    ("SSRF-04 no object", lambda _: body(b"[" * 100_000)),
]  # fmt: skip
IDS = [row[0] for row in ANSWERS]

#: Three starts of the process that reads XML each, so only those that differ.
FEW = [row for row in ANSWERS if row[0] not in ("SSRF-02 keeping the method", "SSRF-02 a file", "SSRF-02 in circles")]


@pytest.fixture(autouse=True)
def hurried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it takes its time, a provider has a second."""
    if "a drop at a time" in request.node.name or "silent" in request.node.name:
        monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 1.0)


def of(op: FakeOp, **more: Any) -> dict[str, Any]:
    client = {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}
    return {"oidc": {**client, "use_userinfo": "always", **more}}


async def gets_nowhere(passproxy: PassProxy, upstream: Upstream, log: Log) -> None:
    log.forget()
    async with Browser(passproxy.front) as browser:
        page = await browser.open(f"{ORIGIN}/x")
        assert page.status in (403, 503), page.text
        assert passproxy.names.session not in browser.cookies.names()
    assert [name for name, _ in log.events] == ["auth.reject"]
    assert upstream.is_untouched


@pytest.mark.parametrize("answers", [row[1] for row in ANSWERS], ids=IDS)
@pytest.mark.parametrize("endpoint", ["discovery", "jwks", "token", "userinfo"])
async def test_no_such_answer_becomes_a_login(
    upstream: Upstream, tmp_path: Path, log: Log, trap, answers: Callable[[str], Answers], endpoint: str
) -> None:
    address, arrived = trap
    async with FakeOp() as op:
        op.instead[endpoint] = answers(address)
        async with protecting(upstream.url, tmp_path, **of(op)) as passproxy:
            await gets_nowhere(passproxy, upstream, log)
            assert op.asked[endpoint] >= 1
    assert arrived == []


@contextlib.asynccontextmanager
async def publisher(answers: Answers) -> AsyncIterator[tuple[str, list[str]]]:
    """The web server of a SAML provider: where its metadata is, and the paths that were asked for."""
    asked: list[str] = []

    async def counted(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await answers(request)

    application = web.Application()
    application.router.add_get("/{path:.*}", counted)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metadata", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("answers", [row[1] for row in FEW], ids=[row[0] for row in FEW])
async def test_no_such_answer_is_metadata_and_none_replaces_what_was_good(
    upstream: Upstream, tmp_path: Path, log: Log, trap, answers: Callable[[str], Answers]
) -> None:
    address, arrived = trap
    current: list[Answers] = [answers(address)]
    async with publisher(lambda request: current[0](request)) as (url, asked):
        saml = {"metadata_url": url}
        async with protecting(upstream.url, tmp_path, saml=saml) as passproxy:
            await gets_nowhere(passproxy, upstream, log)
            assert set(asked) == {"/metadata"}
        current[0] = body(idp.idp_metadata(), "application/samlmetadata+xml")
        async with protecting(upstream.url, tmp_path, saml=saml) as passproxy:
            await AcsSite(upstream, passproxy).signed_in()
        current[0] = answers(address)
        asked.clear()
        async with protecting(upstream.url, tmp_path, saml=saml) as passproxy:
            await AcsSite(upstream, passproxy).signed_in()
            await eventually(lambda: bool(asked), "it is asked again")
    assert arrived == []
    assert set(asked) == {"/metadata"}


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """Somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["oidc", "saml"])
@pytest.mark.parametrize("state", ["down", "silent", "without a name"], ids=lambda state: f"SSRF-18 {state}")
async def test_a_provider_that_is_not_there_opens_nothing(
    upstream: Upstream, tmp_path: Path, log: Log, silent: str, state: str, protocol: str
) -> None:
    url = {"down": "http://127.0.0.1:9", "silent": silent, "without a name": "https://idp.invalid"}[state]
    provider = {"issuer": url, "client_id": "app"} if protocol == "oidc" else {"metadata_url": f"{url}/metadata"}
    public = {"paths": ["/public/**"]}
    async with protecting(upstream.url, tmp_path, **{protocol: provider}, passthrough=public) as passproxy:
        site = Edge(upstream, passproxy)
        answer = await site.refuses(navigation("/x"), log, 503)
        assert int(answer.one(b"retry-after")) > 0
        assert not answer.all(b"set-cookie")
        await site.refuses(get("/x"), log, 401)
        await site.refuses(get("/x", cookie=f"{passproxy.names.session}=x.y.z"), log, 401)
        own = "saml/acs" if protocol == "saml" else "oidc/callback"
        method = "POST" if protocol == "saml" else "GET"
        form = "Content-Type: application/x-www-form-urlencoded"
        fields = f"SAMLResponse=AAAA&RelayState={'A' * 22}&state={'A' * 22}&code=x"
        target, content = (f"/.passproxy/{own}", fields) if method == "POST" else (f"/.passproxy/{own}?{fields}", "")
        await site.refuses(request(method, target, form, body=content.encode()), log, 403)
        # Who is in stays in, and what is public stays so, without a name.
        seen = await asked_as(site, get("/page", cookie=site.cookie))
        assert seen == [b"alice"]
        assert await asked_as(site, get("/public/page")) == []


async def asked_as(site: Edge, wire: bytes) -> list[bytes]:
    site.upstream.forget()
    assert (await site.asked(wire)).status == 200
    return site.upstream.requests[-1].all(b"x-passproxy-user")


async def test_ssrf_18_with_a_copy_from_before_logins_begin_while_it_is_down(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with FakeOp() as op:
        settings = of(op)
        async with protecting(upstream.url, tmp_path, **settings) as passproxy, Browser(passproxy.front) as browser:
            assert (await browser.open(f"{ORIGIN}/x")).status == 200
        await op.close()
        upstream.forget()
        async with protecting(upstream.url, tmp_path, **settings) as passproxy:
            started = await Edge(upstream, passproxy).asked(navigation("/x"))
            assert started.status == 302
            assert started.one(b"location").startswith(f"{op.issuer}/authorize?".encode())
            assert upstream.is_untouched
            # It comes back in the middle of a login.
            await op.open()
            async with Browser(passproxy.front) as browser:
                assert (await browser.open(f"{ORIGIN}/x")).status == 200
