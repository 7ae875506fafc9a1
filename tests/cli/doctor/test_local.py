"""Is PassProxy there, and the application, and nobody past PassProxy."""

from __future__ import annotations

import asyncio
import os

import pytest

from passproxy.cli.doctor.local import _is_loopback_in_hex, application, listening
from passproxy.cli.doctor.probe import within
from tests.cli.doctor.given import origin_at, results, settings, text_of
from tests.fakes.commands import free_port
from tests.fakes.gateway import protecting
from tests.fakes.tls import certified
from tests.fakes.upstream import Upstream, answering, hang


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def listen(address: str, **sections):
    configured = settings(listen=address, **sections)
    return await listening(configured, origin_at(configured))


async def upstream_findings(**upstream):
    configured = settings(upstream=upstream)
    return await application(configured.upstream, origin_at(configured))


async def test_a_passproxy_that_runs_is_recognised(passproxy):
    assert results(await listen(passproxy.address)) == {"listen": "ok"}


async def test_over_a_unix_socket_as_well(upstream, tmp_path):
    address = f"unix:{tmp_path}/s"
    async with protecting(upstream.url, tmp_path, listen=address):
        assert results(await listen(address)) == {"listen": "ok"}


async def test_passproxy_for_another_domain_is_said_to_be_that(passproxy):
    found = await listen(passproxy.address, domain="other.example.com")
    assert results(found) == {"listen": "failed"}
    assert "another domain" in text_of(found, "listen")


async def test_a_free_address_is_a_warning_only():
    found = await listen(f"127.0.0.1:{free_port()}")
    assert results(found) == {"listen": "warning"}
    assert "not running" in text_of(found, "listen")


async def test_an_address_of_another_machine_is_no_place_to_listen():
    found = await within("listen", listen("192.0.2.1:8123"), 2)
    assert results(found)["listen"] == "failed"


async def test_another_program_at_the_address_is_said_to_be_one(upstream):
    assert results(await listen(f"127.0.0.1:{upstream.port}")) == {"listen": "failed"}


async def test_a_program_that_says_nothing_ends_the_check():
    async with Upstream(hang) as silent:
        found = await within("listen", listen(f"127.0.0.1:{silent.port}"), 0.3)
    assert results(found) == {"listen": "failed"}


async def test_an_application_that_answers_is_fine_and_sees_its_own_host(upstream):
    found = await upstream_findings(url=upstream.url)
    assert results(found) == {"upstream": "ok", "bypass": "ok"}
    assert upstream.requests[-1].one(b"host") == b"app.example.com"
    assert not any(name.lower().startswith(b"x-passproxy") for name, _ in upstream.requests[-1].fields)


async def test_an_application_that_is_down_has_failed():
    found = await upstream_findings(url=f"http://127.0.0.1:{free_port()}")
    assert results(found) == {"upstream": "failed"}
    assert "nothing listens there" in text_of(found, "upstream")


async def test_an_application_with_an_error_of_its_own_is_a_warning():
    async with Upstream(answering(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", closes=True)) as broken:
        assert results(await upstream_findings(url=broken.url))["upstream"] == "warning"


async def test_something_that_is_no_application_has_failed():
    async with Upstream(answering(b"SSH-2.0-OpenSSH\r\n\r\n", closes=True)) as odd:
        assert results(await upstream_findings(url=odd.url)) == {"upstream": "failed"}


async def _secured(folder, days: float, **more):
    made = certified(folder, days, since=-10)

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=made.server())
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await upstream_findings(url=f"https://127.0.0.1:{port}", ca_file=str(made.certificate), **more)


async def test_an_application_over_tls_is_verified_as_passproxy_verifies_it(tmp_path):
    assert results(await _secured(tmp_path, 5))["upstream"] == "ok"
    found = await _secured(tmp_path, 5, server_name="other.example.com")
    assert results(found) == {"upstream": "failed"}


async def test_an_application_with_an_expired_certificate_has_failed(tmp_path):
    found = await _secured(tmp_path, -1)
    assert results(found) == {"upstream": "failed"}
    assert "certificate has expired" in text_of(found, "upstream")


async def test_an_application_that_listens_everywhere_can_be_reached_past_passproxy():
    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    async with server:
        found = await upstream_findings(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert results(found) == {"upstream": "ok", "bypass": "warning"}
    assert "127.0.0.1" in text_of(found, "bypass")


@pytest.mark.parametrize(("mode", "result"), [(0o660, "ok"), (0o666, "warning")])
async def test_a_unix_socket_is_for_those_who_may_write_to_it(tmp_path, mode, result):
    path = f"{tmp_path}/app.sock"
    async with await asyncio.start_unix_server(answer, path):
        os.chmod(path, mode)
        found = await upstream_findings(url=f"http+unix:{path}")
    assert results(found) == {"upstream": "ok", "bypass": result}


async def test_a_socket_that_is_not_there_has_failed(tmp_path):
    found = await upstream_findings(url=f"http+unix:{tmp_path}/nothing")
    assert "no such socket" in text_of(found, "upstream")


@pytest.mark.parametrize(
    ("order", "address", "is_loopback"),
    [
        ("little", "0100007F", True),
        ("little", "00000000", False),
        ("little", "0101A8C0", False),
        ("little", "00000000000000000000000001000000", True),
        ("little", "00000000000000000000000000000000", False),
        ("little", "0000000000000000FFFF00000100007F", True),
        ("big", "7F000001", True),
        ("big", "0100007F", False),
        ("big", "00000000000000000000000000000001", True),
    ],
)
def test_addresses_are_read_as_the_kernel_writes_them(order, address, is_loopback):
    assert _is_loopback_in_hex(address, order) is is_loopback
