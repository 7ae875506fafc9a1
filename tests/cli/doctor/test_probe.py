"""Asking one server one thing, whatever it does."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohttp
import pytest

from passproxy.cli.doctor.probe import Answer, ask, reason, within
from passproxy.cli.doctor.report import ok
from passproxy.core.errors import ConfigError

GET = b"GET / HTTP/1.1\r\n\r\n"


async def answered(said: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        loop = asyncio.get_running_loop()
        return await ask(lambda factory: loop.create_connection(factory, "127.0.0.1", port), GET)


async def test_the_status_and_the_beginning_of_the_body_are_read():
    assert await answered(b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\nok\n") == Answer(204, b"ok\n")


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 2xx\r\n\r\n", b"x" * 100_000, b"HTTP/1.1 200 OK\r\n"]
)
async def test_what_is_no_http_is_said_to_be_none(said):
    with pytest.raises(ValueError, match="no HTTP answer"):
        await answered(said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
        (FileNotFoundError(2, "No such file"), "no such socket"),
        (PermissionError(13, "Permission denied"), "may not connect"),
        (socket.gaierror(-2, "Name or service not known"), "not known to the resolver"),
        (TimeoutError(), "no answer in time"),
        (OSError(113, "No route to host"), "No route to host"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "no TLS"),
        (ValueError("more than 10 redirects"), "more than 10 redirects"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
        (KeyError("x"), "KeyError"),
    ],
)
def test_what_went_wrong_is_said_plainly(error, said):
    assert said in reason(error)


async def test_a_check_that_hangs_ends():
    async def hang() -> list:
        await asyncio.Event().wait()
        return []

    (found,) = await within("listen", hang(), 0.05)
    assert (found.check, found.result) == ("listen", "failed")


async def test_a_check_that_breaks_is_unknown_and_keeps_nobody_else():
    async def broken() -> list:
        raise RuntimeError("a bug\x1b")

    (found,) = await within("listen", broken())
    assert (found.result, "\x1b" in found.text) == ("unknown", False)

    async def fine() -> list:
        return [ok("x", "y")]

    assert await within("x", fine()) == [ok("x", "y")]


async def test_what_the_configuration_names_and_cannot_be_used_has_failed():
    async def unusable() -> list:
        raise ConfigError(("upstream.ca_file: /nowhere: No such file or directory",))

    (found,) = await within("upstream", unusable())
    assert (found.result, "upstream.ca_file: /nowhere" in found.text) == ("failed", True)
