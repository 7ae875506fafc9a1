"""The way from the public address: PassProxy itself on a plain origin, and web servers that do one thing wrong."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from passproxy.cli.doctor.front import front
from passproxy.core.tokens import keys_text, new_key
from tests.cli.doctor.given import origin_at, results, settings, text_of
from tests.fakes.commands import free_port
from tests.fakes.gateway import protecting
from tests.fakes.tls import certified


@asynccontextmanager
async def site(upstream, folder: Path, port: int, listen: str, **sections):
    """PassProxy for the origin at this port, listening elsewhere when something stands in between."""
    facts = {"domain": "127.0.0.1", "origin": f"http://127.0.0.1:{port}", **sections}
    async with protecting(upstream.url, folder, listen=listen, **facts) as running:
        yield running, settings(listen=running.address, state_dir=str(folder), **facts)


async def examined(configured, is_running=True):
    return await front(configured, origin_at(configured), time.time, is_running)


@asynccontextmanager
async def web_server(port: int, to: str, change):
    """A reverse proxy; `change(request, headers)` edits what is passed on or answers by itself."""

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = dict(request.headers) | {"X-Forwarded-For": "127.0.0.1"}
        answer = change(request, headers)
        if answer is not None:
            return answer
        async with (
            aiohttp.ClientSession(max_field_size=8192) as http,
            http.get(f"http://{to}{request.path_qs}", headers=headers) as got,
        ):
            if change(request, got) == "small":
                raise web.HTTPBadGateway
            return web.Response(status=got.status, body=await got.read())

    application = web.Application(handler_args={"max_field_size": 65536, "max_line_size": 65536})
    application.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(application, access_log=None, max_field_size=65536)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def through(upstream, tmp_path, change, **sections):
    port = free_port()
    async with (
        site(upstream, tmp_path, port, "127.0.0.1:0", **sections) as (running, configured),
        web_server(port, running.address, change),
    ):
        return await examined(configured)


def nothing(request, headers):
    return None


async def test_passproxy_alone_on_a_plain_origin_is_fine(upstream, tmp_path):
    port = free_port()
    async with site(upstream, tmp_path, port, f"127.0.0.1:{port}") as (_, configured):
        found = await examined(configured)
    assert results(found) == dict.fromkeys(("public URL", "large cookies", "large answers", "forwarding"), "ok")
    assert upstream.requests == []


async def test_a_web_server_that_does_everything_right_is_fine(upstream, tmp_path):
    found = await through(upstream, tmp_path, nothing)
    assert set(results(found).values()) == {"ok"}
    assert "PassProxy sees 127.0.0.1" in text_of(found, "forwarding")


async def test_a_host_that_is_not_passed_on_is_found(upstream, tmp_path):
    def change(request, headers):
        if isinstance(headers, dict):
            headers["Host"] = "backend"

    found = await through(upstream, tmp_path, change)
    assert results(found) == {"public URL": "failed"}
    assert "proxy_set_header Host" in text_of(found, "public URL")


@pytest.mark.parametrize("status", [400, 431, 502])
async def test_buffers_that_are_too_small_for_cookies_are_found(upstream, tmp_path, status):
    def change(request, headers):
        return web.Response(status=status) if len(request.headers.get("Cookie", "")) > 8192 else None

    found = await through(upstream, tmp_path, change)
    assert results(found)["large cookies"] == "failed"
    assert "large_client_header_buffers" in text_of(found, "large cookies")


async def test_buffers_that_are_too_small_for_an_answer_are_found(upstream, tmp_path):
    def change(request, got):
        is_large = not isinstance(got, dict) and sum(map(len, got.headers.values())) > 8192
        return "small" if is_large else None

    found = await through(upstream, tmp_path, change)
    assert results(found)["large answers"] == "failed"
    assert "proxy_buffer_size" in text_of(found, "large answers")


async def test_a_web_server_that_is_not_believed_is_found(upstream, tmp_path):
    def change(request, headers):
        if isinstance(headers, dict):
            headers["X-Forwarded-For"] = "192.0.2.1"

    found = await through(upstream, tmp_path, change, trusted_proxies=["10.0.0.0/8"])
    assert results(found)["forwarding"] == "warning"
    assert "Add 127.0.0.1 to trusted_proxies" in text_of(found, "forwarding")


async def test_another_passproxy_at_the_public_address_is_found(upstream, tmp_path):
    port = free_port()
    async with site(upstream, tmp_path, port, f"127.0.0.1:{port}") as (_, configured):
        (tmp_path / "keys.json").write_text(keys_text((new_key(time.time()),)))
        found = await examined(configured)
    assert results(found)["forwarding"] == "failed"
    assert "other keys" in text_of(found, "forwarding")


async def test_without_the_keys_what_passproxy_sees_is_unknown(upstream, tmp_path):
    port = free_port()
    async with site(upstream, tmp_path, port, f"127.0.0.1:{port}") as (_, configured):
        (tmp_path / "keys.json").unlink()
        found = await examined(configured)
    assert results(found) == {"public URL": "ok", "large cookies": "ok", "forwarding": "unknown"}
    assert list(tmp_path.glob("keys*")) == []


@pytest.mark.parametrize(("is_running", "hint"), [(True, "proxy_pass"), (False, "start it first")])
async def test_a_public_address_that_leads_elsewhere_is_found(upstream, is_running, hint):
    configured = settings(domain="127.0.0.1", origin=upstream.url)
    found = await examined(configured, is_running)
    assert results(found) == {"public URL": "failed"}
    assert hint in text_of(found, "public URL")


async def test_a_public_address_where_nobody_is_has_failed():
    configured = settings(domain="127.0.0.1", origin=f"http://127.0.0.1:{free_port()}")
    found = await examined(configured)
    assert results(found) == {"public URL": "failed"}


async def test_a_certificate_that_is_not_accepted_is_found(tmp_path):
    server = await asyncio.start_server(
        lambda reader, writer: None, "127.0.0.1", 0, ssl=certified(tmp_path, -1, since=-9).server()
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await examined(settings(domain="127.0.0.1", origin=f"https://127.0.0.1:{port}"))
    assert results(found) == {"public TLS": "failed", "public URL": "failed"}
