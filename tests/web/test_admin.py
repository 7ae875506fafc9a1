"""The admin listener at its socket: what it tells, to how many, and when it says that it is ready."""

from __future__ import annotations

import asyncio
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from passproxy.core.errors import ConfigError
from passproxy.web import admin as module
from passproxy.web.observed import Observed
from tests.fakes.admin import ADMIN, Admin
from tests.fakes.gateway import HOST, demo_idp, eventually, get, oidc_at, protecting, saml_at
from tests.fakes.raw import Raw
from tests.fakes.upstream import Line, Seen, ok


@pytest.fixture
async def admin(upstream, tmp_path, log):
    async with protecting(upstream.url, tmp_path, **ADMIN):
        yield Admin(log)


async def test_metrics_are_in_the_text_format(admin):
    answer = await admin.get("/metrics")
    assert answer.status == 200
    assert answer.one(b"content-type").startswith(b"text/plain; version=")
    assert b"# TYPE passproxy_requests_total counter\n" in answer.body


async def test_it_is_alive_when_it_answers(admin):
    answer = await admin.get("/live")
    assert (answer.status, answer.json()) == (200, {"live": True})


async def test_without_a_description_of_the_provider_it_is_alive_and_not_ready(admin):
    answer = await admin.get("/ready")
    assert answer.status == 503
    assert "identity provider" in " ".join(answer.json()["reasons"])
    assert (await admin.get("/live")).status == 200
    assert await admin.value("passproxy_ready") == 0


async def becomes_ready(admin: Admin) -> None:
    for _ in range(1500):
        if (await admin.get("/ready")).status == 200:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not become ready")


#: Of what a provider says of itself.
COPIES = ("oidc-discovery.json", "saml-metadata.xml")


@pytest.mark.parametrize("provider", [oidc_at, saml_at], ids=["oidc", "saml"])
async def test_it_is_ready_with_a_description_also_with_one_of_an_earlier_run(upstream, tmp_path, log, provider):
    async with demo_idp() as idp:
        settings = provider(idp)
        async with protecting(upstream.url, tmp_path, **ADMIN, **settings):
            admin = Admin(log)
            await becomes_ready(admin)
            assert (await admin.get("/ready")).json() == {"ready": True, "reasons": []}
            assert await admin.value("passproxy_idp_description_age_seconds") is not None
            # Written by a thread, which nobody needs to wait for but this test.
            await eventually(lambda: any(any(tmp_path.rglob(name)) for name in COPIES), "a copy is there")
    async with protecting(upstream.url, tmp_path, **ADMIN, **settings):
        admin = Admin(log)
        await becomes_ready(admin)
        assert await admin.value("passproxy_idp_description_age_seconds") is None, "the provider is gone"


async def test_while_it_stops_it_is_not_ready(upstream, tmp_path, log):
    proceed = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await proceed.wait()
        await ok(seen, line)

    upstream.script = script
    async with protecting(upstream.url, tmp_path, **ADMIN) as passproxy, Raw(passproxy.address) as busy:
        admin = Admin(log)
        await busy.send(get("/", cookie=passproxy.cookie()))
        await eventually(lambda: len(upstream.requests) == 1, "the request")
        passproxy.stop.set()
        await asyncio.sleep(0.05)
        answer = await admin.get("/ready")
        assert answer.status == 503
        assert "not accepting connections" in " ".join(answer.json()["reasons"])
        proceed.set()
        assert (await busy.answer()).status == 200


async def test_after_a_reload_it_tells_of_what_is_in_force_now_and_goes_on_counting(upstream, tmp_path, log):
    async with protecting(upstream.url, tmp_path, **ADMIN) as passproxy, demo_idp() as idp:
        admin = Admin(log)
        async with Raw(passproxy.address) as raw:
            await raw.ask(get("/", cookie=passproxy.cookie()))
        assert (await admin.get("/ready")).status == 503
        passproxy.reload(**oidc_at(idp))
        await becomes_ready(admin)
        assert await admin.value("passproxy_requests_total", outcome="forwarded") == 1
        with pytest.raises(ConfigError, match=r"admin\.listen"):
            passproxy.reload(admin={"listen": "127.0.0.1:1"})
        assert (await admin.get("/ready")).status == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/.passproxy/health", "/%6detrics", "/../metrics"])
async def test_it_has_nothing_else(admin, path):
    assert (await admin.get(path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_it_can_only_be_read(admin, method):
    answer = await admin.get("/metrics", method=method)
    assert (answer.status, answer.one(b"allow")) == (405, b"GET, HEAD")


async def test_a_head_is_the_same_without_the_body(admin):
    answer = await admin.get("/live", method="HEAD")
    assert (answer.status, answer.body, answer.one(b"content-length")) == (200, b"", b"14")


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /live HTTP/1.1\r\nHost: a\r\nX: " + b"a" * module.HEAD_LIMIT_BYTES, 431),
    ],
)
async def test_what_is_no_question_is_refused_within_limits(admin, wire, status):
    async with Raw(admin.address) as raw:
        assert (await raw.ask(wire)).status == status
        assert await raw.is_closed()


async def test_a_question_may_come_in_pieces_and_is_answered_once(admin):
    async with Raw(admin.address) as raw:
        for piece in (b"GET /li", b"ve HTTP/1.1\r\nHost: a\r\n", b"\r\nGET /live HTTP/1.1\r\nHost: a\r\n\r\n"):
            await raw.send(piece)
            await asyncio.sleep(0.01)
        assert (await raw.answer()).status == 200
        assert await raw.is_closed()


async def test_whoever_asks_nothing_is_cut_off(admin, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    async with Raw(admin.address) as raw:
        await raw.send(b"GET /li")
        assert await raw.is_closed()


async def test_too_many_at_once_are_turned_away_and_the_next_is_not(admin, monkeypatch):
    monkeypatch.setattr(module, "CONNECTION_LIMIT", 1)
    async with Raw(admin.address) as one:
        await one.send(b"GET /li")
        await asyncio.sleep(0.05)
        async with Raw(admin.address) as two:
            assert await two.is_closed()
    await asyncio.sleep(0.05)
    assert (await admin.get("/live")).status == 200


async def test_a_fault_of_its_own_is_a_500_without_a_word(admin, monkeypatch, log):
    def fails(_: Observed) -> list[str]:
        raise RuntimeError("the secret that it failed on")

    monkeypatch.setattr(Observed, "not_ready", fails)
    answer = await admin.get("/ready")
    assert (answer.status, answer.body) == (500, b"")
    assert log.named("admin.failed") == [{}]


async def test_it_can_be_a_socket_of_its_group(upstream, tmp_path, log):
    path = tmp_path / "a.sock"
    path.write_text("left over from before")
    async with protecting(upstream.url, tmp_path, admin={"listen": f"unix:{path}"}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /live HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_taken_address_is_a_configuration_error(upstream, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"admin\.listen"):
            async with protecting(upstream.url, tmp_path, admin={"listen": listen}):
                pass


async def test_info_03_visitors_do_not_reach_it(upstream, tmp_path, log):
    async with protecting(upstream.url, tmp_path, **ADMIN) as passproxy, Raw(passproxy.address) as raw:
        for path in ("/.passproxy/metrics", "/.passproxy/ready", "/.passproxy/live"):
            assert (await raw.ask(get(path, host=HOST))).status == 404
    assert upstream.is_untouched


def test_without_it_nothing_of_it_is_loaded(tmp_path: Path):
    """Memory is for requests."""
    code = "import sys; import passproxy.cli.serving; print([n for n in sys.modules if 'prometheus' in n or 'web.admin' in n])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "[]\n"
