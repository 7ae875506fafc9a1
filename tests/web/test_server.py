"""Listening, too many connections, and stopping."""

from __future__ import annotations

import asyncio
import os
import socket
import stat

import pytest

from passproxy.web import server
from tests.fakes.gateway import NO_IDP, eventually, get, protecting, request
from tests.fakes.raw import Raw
from tests.fakes.upstream import Line, Seen, hang, ok

HEALTH = get("/.passproxy/health")


async def test_one_connection_too_many_is_a_503_and_the_others_go_on(passproxy, monkeypatch):
    monkeypatch.setattr(server, "CONNECTION_LIMIT", 2)
    async with Raw(passproxy.address) as one, Raw(passproxy.address) as two:
        await one.ask(HEALTH)
        await two.ask(HEALTH)
        async with Raw(passproxy.address) as three:
            got = await three.answer()
            assert got.status == 503
            assert got.all(b"retry-after")
            assert await three.is_closed()
        assert (await one.ask(HEALTH)).status == 200
    # Room again.
    await asyncio.sleep(0.05)
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(HEALTH)).status == 200


async def test_stopping_finishes_what_is_under_way_and_takes_nothing_new(upstream, passproxy):
    proceed = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await proceed.wait()
        await ok(seen, line)

    upstream.script = script
    async with Raw(passproxy.address) as busy, Raw(passproxy.address) as idle:
        await idle.ask(HEALTH)
        await busy.send(get("/last", cookie=passproxy.cookie()))
        await eventually(lambda: len(upstream.requests) == 1, "the request")
        passproxy.stop.set()
        assert await idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            async with Raw(passproxy.address):
                pass
        proceed.set()
        got = await busy.answer()
        assert (got.body, got.all(b"connection")) == (b"/last", [b"close"])
        assert await busy.is_closed()


async def test_a_request_on_its_way_to_a_connection_that_looks_idle_is_answered(upstream, passproxy, monkeypatch):
    monkeypatch.setattr(server, "FAREWELL_SECONDS", 10.0)
    async with Raw(passproxy.address) as fresh, Raw(passproxy.address) as kept:
        await kept.ask(HEALTH)
        # Both are known to the server: it took them in turn.
        passproxy.stop.set()
        await eventually(lambda: not can_connect(passproxy.address), "it stops listening")
        for raw in (fresh, kept):
            got = await raw.ask(get("/last", cookie=passproxy.cookie()))
            assert (got.body, got.all(b"connection")) == (b"/last", [b"close"])
            assert await raw.is_closed()


def can_connect(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def test_an_upload_that_is_under_way_is_finished(upstream, passproxy):
    async with Raw(passproxy.address) as raw:
        await raw.send(request("PUT", "/", "Content-Length: 6", cookie=passproxy.cookie(), body=b"abc"))
        await eventually(lambda: len(upstream.requests) == 1, "the request")
        passproxy.stop.set()
        await asyncio.sleep(0.05)
        await raw.send(b"def")
        assert (await raw.answer()).status == 200
    assert upstream.requests[0].body == b"abcdef"


async def test_what_does_not_end_is_cut_after_a_limit(upstream, passproxy, monkeypatch, log):
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.2)
    upstream.script = hang
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/", cookie=passproxy.cookie()))
        await eventually(lambda: len(upstream.requests) == 1, "the request")
        passproxy.stop.set()
        assert await raw.is_closed()
    await eventually(lambda: bool(log.named("server.drain_cut")), "the cut is logged")
    assert log.named("server.drain_cut") == [{"connections": 1}]


async def test_a_unix_socket_is_for_the_group_and_replaces_a_stale_one(upstream, tmp_path):
    path = tmp_path / "edge.sock"
    path.touch()
    async with protecting(upstream.url, tmp_path, listen=f"unix:{path}", **NO_IDP) as passproxy:
        assert passproxy.address == f"unix:{path}"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(get("/", "X-Forwarded-For: 203.0.113.9", "Connection: close", cookie=passproxy.cookie()))
        assert b" 200 OK" in await reader.read()
        writer.close()
        await writer.wait_closed()
    assert upstream.requests[0].one(b"x-real-ip") == b"203.0.113.9"


async def test_an_address_that_is_taken_is_an_error_at_once(upstream, passproxy, tmp_path):
    with pytest.raises(OSError, match="in use"):
        async with protecting(upstream.url, tmp_path / "second", listen=passproxy.address, **NO_IDP):
            pass


async def test_an_application_behind_a_unix_socket_is_reached(tmp_path):
    path = tmp_path / "app.sock"
    heads: list[bytes] = []

    async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_unix_server(application, str(path))
    async with protecting(f"http+unix:{path}", tmp_path) as passproxy, Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).body == b"ok"
    listening.close()
    assert b"Host: app.example.com\r\n" in heads[0]


async def test_two_starts_in_one_folder_share_their_keys(upstream, tmp_path):
    async with (
        protecting(upstream.url, tmp_path) as one,
        protecting(upstream.url, tmp_path) as two,
        Raw(two.address) as raw,
    ):
        assert (await raw.ask(get("/", cookie=one.cookie()))).status == 200


def listening(family: int, name: object) -> socket.socket:
    opened = socket.socket(family)
    opened.bind(name)
    opened.listen()
    return opened


async def test_sockets_that_were_passed_win_over_the_configured_address(upstream, tmp_path):
    path = tmp_path / "passed.sock"
    passed = [
        listening(socket.AF_INET, ("127.0.0.1", 0)),
        listening(socket.AF_INET6, ("::1", 0)),
        listening(socket.AF_UNIX, str(path)),
    ]
    ports = [one.getsockname()[1] for one in passed[:2]]
    async with protecting(upstream.url, tmp_path, listen="192.0.2.1:80", passed=passed, **NO_IDP) as passproxy:
        assert passproxy.address == f"127.0.0.1:{ports[0]}, [::1]:{ports[1]}, unix:{path}"
        for opened in (
            asyncio.open_connection("127.0.0.1", ports[0]),
            asyncio.open_connection("::1", ports[1]),
            asyncio.open_unix_connection(str(path)),
        ):
            reader, writer = await opened
            writer.write(get("/", "Connection: close", cookie=passproxy.cookie()))
            assert b" 200 OK" in await reader.read()
            writer.close()
            await writer.wait_closed()
    # Whoever passed it goes on with it.
    assert path.exists()


async def test_what_connects_between_two_processes_waits_in_the_passed_socket(upstream, tmp_path):
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as kept:
        address = "{}:{}".format(*kept.getsockname())
        async with protecting(upstream.url, tmp_path, passed=[kept.dup()], **NO_IDP) as first, Raw(address) as raw:
            assert (await raw.ask(get("/", cookie=first.cookie()))).status == 200
        async with Raw(address) as between:
            await between.send(HEALTH)
            async with protecting(upstream.url, tmp_path, passed=[kept.dup()], **NO_IDP):
                assert (await between.answer()).status == 200
