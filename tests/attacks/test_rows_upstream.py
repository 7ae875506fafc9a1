"""
The one application, and that no request chooses another: rows SSRF-15 and SSRF-16 of attack catalogue 2.15.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from passproxy.cli import main
from passproxy.core.errors import ConfigError
from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import HOST, get, protecting, request
from tests.fakes.log import Log
from tests.fakes.upstream import Upstream, answering, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Trap:
    """Another server on this machine, where nothing may ever arrive."""

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.address = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived.append(await reader.read(1024))
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trap() -> AsyncIterator[Trap]:
    trap = Trap()
    server = await asyncio.start_server(trap.talk, "127.0.0.1", 0)
    trap.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield trap


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge, trap: Trap) -> None:
    site.upstream.script = ok
    site.upstream.forget()
    trap.arrived.clear()


#: Targets and hosts in which {t} is the trap; what becomes of each with a session.
REFUSED = [
    ("http://{t}/", HOST, 421),
    ("http://{t}/", "{t}", 421),
    ("https://{t}/", HOST, 421),
    (f"http://{HOST}@{{t}}/", HOST, 400),
    (f"http://{{t}}@{HOST}/", HOST, 400),
    (f"http://{{t}}#@{HOST}/", HOST, 400),
    ("ftp://{t}/", HOST, 400),
    ("{t}/", HOST, 400),
    ("@{t}/", HOST, 400),
    (":@{t}/", HOST, 400),
    ("\\\\{t}\\", HOST, 400),
    (".{t}/", HOST, 400),
    ("*", HOST, 400),
    ("/", "{t}", 421),
    ("/", f"{HOST}@{{t}}", 421),
    ("/", f"{HOST}:80@{{t}}", 421),
    ("/", f"{HOST}.", 421),
    ("/", f"{HOST}:9", 421),
    ("/", f"{HOST}, {{t}}", 421),
    ("/", f"{HOST}/{{t}}", 421),
    ("/", f"{HOST}#{{t}}", 421),
    ("/", "", 421),
]  # fmt: skip


@pytest.mark.parametrize(("target", "host", "status"), REFUSED, ids=lambda value: f"SSRF-16 {value}")
async def test_another_authority_is_refused(
    site: Edge, trap: Trap, log: Log, target: str, host: str, status: int
) -> None:
    wire = get(target.format(t=trap.address), cookie=site.cookie, host=host.format(t=trap.address))
    await site.refuses(wire, log, status)
    assert trap.arrived == []


async def test_ssrf_16_a_tunnel_to_somewhere_is_none(site: Edge, trap: Trap, log: Log) -> None:
    for host in (HOST, trap.address):
        await site.refuses(request("CONNECT", trap.address, cookie=site.cookie, host=host), log, 405, 400)
    twice = get("/", f"Host: {trap.address}", cookie=site.cookie)
    await site.refuses(twice, log, 400)
    assert trap.arrived == []


@pytest.mark.parametrize(
    "target",
    ["//{t}/", "///{t}/", "/@{t}/", "/http://{t}/", "/\\{t}/", "/..//{t}/", "/%2f%2f{t}/", "/?http://{t}/", "/;@{t}"],
    ids=lambda target: f"SSRF-16 {target}",
)
async def test_what_only_looks_like_an_authority_is_a_path(site: Edge, trap: Trap, target: str) -> None:
    wanted = target.format(t=trap.address).encode()
    answer = await site.asked(get(wanted, cookie=site.cookie))
    if answer.status == 200:
        assert site.upstream.requests[-1].target == wanted
        assert site.upstream.requests[-1].one(b"host") == HOST.encode()
    else:
        assert answer.status == 400
        assert site.upstream.requests == []
    assert trap.arrived == []


FIELDS = [
    *("X-Forwarded-Host", "X-Forwarded-Server", "X-Host", "X-Original-Host", "X-Original-URL", "X-Rewrite-URL"),
    *("X-Forwarded-For", "X-Real-IP", "Forwarded", "Proxy", "X-Proxy-URL", "X-Backend", "X-Upstream", "Destination"),
    *("Referer", "Origin", "Alt-Used", "X-Forwarded-Uri", "X-Accel-Redirect", "X-Forwarded-Port", "X-Target"),
]  # fmt: skip


@pytest.mark.parametrize("preserves", [True, False], ids=["SSRF-16 host kept", "SSRF-16 host replaced"])
async def test_no_field_chooses_the_application(trap: Trap, tmp_path: Path, preserves: bool) -> None:
    more = {"preserve_host": preserves}
    async with Upstream() as upstream, protecting(upstream.url, tmp_path, upstream=more) as passproxy:
        site = Edge(upstream, passproxy)
        for field in FIELDS:
            for value in (trap.address, f"http://{trap.address}/", f"host={trap.address}"):
                answer = await site.asked(get("/x", f"{field}: {value}", cookie=site.cookie))
                assert (answer.status, answer.body) == (200, b"/x"), field
        host = {seen.one(b"host") for seen in upstream.requests}
    assert host == {HOST.encode() if preserves else f"127.0.0.1:{upstream.port}".encode()}
    assert len(upstream.requests) == 3 * len(FIELDS)
    assert trap.arrived == []


@pytest.mark.parametrize("field", ["Location", "X-Accel-Redirect", "X-Sendfile", "X-Reproxy-URL", "Alt-Svc", "Refresh"])
@pytest.mark.parametrize("status", [200, 302, 307, 305])
async def test_ssrf_16_nor_does_an_answer(site: Edge, trap: Trap, field: str, status: int) -> None:
    told = f"HTTP/1.1 {status} x\r\n{field}: http://{trap.address}/\r\nContent-Length: 0\r\n\r\n".encode()
    site.upstream.script = answering(told)
    answer = await site.asked(get("/x", cookie=site.cookie))
    assert answer.status == status
    assert answer.one(field.encode()) == f"http://{trap.address}/".encode()
    assert (await site.asked(get("/y", cookie=site.cookie))).status == status
    assert trap.arrived == []
    assert len(site.upstream.requests) == 2


TARGETS = [
    *("http://user:hunter2@127.0.0.1:3000", "http://user@127.0.0.1:3000", "http://:hunter2@127.0.0.1", "http://127.0.0.1:3000/app"),
    *("http://127.0.0.1:3000/?x", "http://127.0.0.1:3000?x", "http://127.0.0.1:3000#x", "http://127.0.0.1:99999", "http://127.0.0.1:x"),
    *("unix:/run/app.sock", "http+unix://run/app.sock", "http+unix:app.sock", "ftp://127.0.0.1", "file:///etc/passwd", "gopher://x"),
    *("http://", "http:///x", "127.0.0.1:3000", "//127.0.0.1:3000", "http://127.0.0.1 :3000", "http://127.0.0.1\\@evil.example", "javascript:x"),
    *("http://app。example", "http://[::1", "http://\u0430pp.example.org", "ws://127.0.0.1:3000", "http+tcp://127.0.0.1"),
]  # fmt: skip


@pytest.mark.parametrize("url", TARGETS, ids=lambda url: f"SSRF-15 {url!a}")
async def test_an_application_that_is_more_than_an_origin_starts_nothing(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        async with protecting(url, tmp_path):
            pass
    (problem,) = refusal.value.problems
    assert "upstream.url" in problem
    assert "hunter2" not in problem


async def test_ssrf_15_certificates_that_are_not_verified_are_said_at_each_start(
    tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (1, 2):
        async with protecting("https://127.0.0.1:9", tmp_path, upstream={"verify_tls": False}):
            pass
        assert len(log.named("upstream.tls_not_verified")) == count
    log.forget()
    async with protecting("https://127.0.0.1:9", tmp_path):
        pass
    assert log.named("upstream.tls_not_verified") == []
    file = tmp_path / "app.yaml"
    file.write_text(
        "domain: app.example.com\nupstream: {url: 'https://127.0.0.1:9', verify_tls: false}\n"
        "oidc: {issuer: 'https://idp.example.com', client_id: app}\n"
    )
    assert main(["check", str(file)]) == 0
    assert "verify_tls is off" in capsys.readouterr().err
