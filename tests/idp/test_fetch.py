"""Reading a document from a server that may be slow, endless, elsewhere or hostile."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from passproxy.core.errors import IdpUnavailable
from passproxy.idp import fetch as module
from passproxy.idp.fetch import Answer, fetch


class Server:
    """Answers every connection with the same raw bytes, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer = b""
        self.endless: bytes | None = None
        self.pause_seconds = 0.0
        self.asked: list[bytes] = []
        self.url = ""
        self.open: list[asyncio.StreamWriter] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.append(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            self.asked.append(head + await reader.readexactly(length))
            writer.write(self.answer)
            while self.endless is not None:
                await asyncio.sleep(self.pause_seconds)
                writer.write(self.endless)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    fake = Server()
    listening = await asyncio.start_server(fake.talk, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/doc"
    async with listening:
        yield fake
        # Since Python 3.12 a listener is only gone with its connections.
        for writer in fake.open:
            writer.transport.abort()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def response(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body


async def test_a_document_is_read(server, http):
    server.answer = response(b"{}", "Content-Type: application/json; charset=utf-8")
    assert await fetch(http, server.url) == Answer(200, "application/json", b"{}")
    assert server.asked[0].startswith(b"GET /doc HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in server.asked[0]


async def test_a_form_is_posted_as_it_is(server, http):
    server.answer = response(b"{}")
    await fetch(http, server.url, form="a=1&b=%20", headers={"X-A": "b"})
    assert server.asked[0].startswith(b"POST /doc HTTP/1.1\r\n")
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in server.asked[0]
    assert b"X-A: b\r\n" in server.asked[0]
    assert server.asked[0].endswith(b"\r\n\r\na=1&b=%20")


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Oops", "204 No Content"])
async def test_any_status_but_a_redirect_is_an_answer(server, http, status):
    server.answer = response(b"" if status.startswith("204") else b"x", status=status)
    assert (await fetch(http, server.url)).status == int(status[:3])


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "/elsewhere"])
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent", "304 Same"])
async def test_a_redirect_is_not_followed(server, http, status, location):
    server.answer = response(b"", f"Location: {location}", status=status)
    with pytest.raises(IdpUnavailable):
        await fetch(http, server.url)
    assert len(server.asked) == 1


async def test_a_document_that_is_announced_too_large_is_refused(server, http):
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n"
    server.endless, server.pause_seconds = b"", 0.01
    with pytest.raises(IdpUnavailable):
        await fetch(http, server.url, limit_bytes=10)


async def test_a_document_without_an_end_is_cut_off(server, http):
    server.answer, server.endless = b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536
    with pytest.raises(IdpUnavailable, match="more than 100000 bytes"):
        await fetch(http, server.url, limit_bytes=100_000)


async def test_a_document_of_exactly_the_limit_is_read(server, http):
    server.answer = response(b"x" * 10)
    assert len((await fetch(http, server.url, limit_bytes=10)).body) == 10
    server.answer = response(b"x" * 11)
    with pytest.raises(IdpUnavailable):
        await fetch(http, server.url, limit_bytes=10)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP", "gzip, gzip"])
async def test_a_compressed_answer_is_refused_before_it_is_unpacked(server, http, coding):
    server.answer = response(gzip.compress(bytes(10_000_000)), f"Content-Encoding: {coding}")
    with pytest.raises(IdpUnavailable, match="compressed"):
        await fetch(http, server.url)


async def test_a_drop_at_a_time_ends_in_time(server, http, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.1)
    server.answer, server.endless, server.pause_seconds = b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.01
    began = time.monotonic()
    with pytest.raises(IdpUnavailable, match="no answer in time"):
        await fetch(http, server.url)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", id="less than announced"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="a broken chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", id="a head without an end"),
    ],
)
async def test_an_answer_that_is_none_is_refused(server, http, answer):
    server.answer = answer
    with pytest.raises(IdpUnavailable):
        await fetch(http, server.url)


async def test_what_the_server_sent_is_escaped_and_cut_in_the_detail(server, http):
    server.answer = b"\x1b[31mnot\xffHTTP\r\nforged log line " + b"x" * 5000 + b"\r\n\r\n"
    with pytest.raises(IdpUnavailable) as refusal:
        await fetch(http, server.url)
    assert refusal.value.detail.isprintable()
    assert len(refusal.value.detail) < 2000


async def test_nobody_there(http, unused_tcp_port):
    with pytest.raises(IdpUnavailable) as refusal:
        await fetch(http, f"http://127.0.0.1:{unused_tcp_port}/doc")
    assert "127.0.0.1" in refusal.value.detail


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "http://a:b:c/"])
async def test_what_is_no_url_is_refused(http, url):
    with pytest.raises(IdpUnavailable):
        await fetch(http, url)


async def test_a_header_with_a_line_end_is_refused(server, http):
    with pytest.raises(IdpUnavailable):
        await fetch(http, server.url, headers={"X-A": "b\r\nX-B: c"})
    assert server.asked == []


async def test_cancelling_is_not_an_answer(server, http):
    server.endless, server.pause_seconds = b"", 0.01
    task = asyncio.ensure_future(fetch(http, server.url))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
