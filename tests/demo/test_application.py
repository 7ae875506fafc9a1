"""The demo application: what it repeats is what arrived, and its streams stream."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from passproxy.demo.application import DemoApplication

ALICE = {
    "X-Passproxy-User": "alice",
    "X-Passproxy-Name": "Alice Archer",
    "X-Passproxy-Email": "alice@example.com",
    "X-Passproxy-Groups": "engineering,ops",
}


async def raw_answer(application: DemoApplication, request: bytes) -> bytes:
    """The body of the answer to these very bytes."""
    address = urlsplit(application.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2]


async def page_of(http: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> tuple[str, str]:
    async with http.get(url, headers=headers) as response:
        assert response.status == 200
        return await response.text(), response.headers["Content-Security-Policy"]


async def test_whoami_repeats_the_head_as_it_arrived(application: DemoApplication) -> None:
    body = await raw_answer(
        application,
        b"GET /whoami?a=%2F%7e&a=..&b=//x;y HTTP/1.1\r\nhost: h\r\nX-tWo: 1\r\nX_Two: 2\r\nx-two:  3 \r\n"
        b"X-Utf: \xc3\xa9\r\nX-Latin: \xe9\r\nConnection: close\r\n\r\n",
    )
    head: dict[str, Any] = json.loads(body)
    assert head == {
        "method": "GET",
        "target": "/whoami?a=%2F%7e&a=..&b=//x;y",
        "headers": [
            ["host", "h"],
            ["X-tWo", "1"],
            ["X_Two", "2"],
            ["x-two", "3"],
            ["X-Utf", "é"],
            ["X-Latin", "é"],
            ["Connection", "close"],
        ],
    }


async def test_whoami_takes_other_methods_too(http: aiohttp.ClientSession, application: DemoApplication) -> None:
    async with http.put(application.base_url + "/whoami", data=b"x") as response:
        assert (await response.json())["method"] == "PUT"


async def test_the_page_says_who_and_where_you_are(http: aiohttp.ClientSession, application: DemoApplication) -> None:
    page, _ = await page_of(http, application.base_url + "/d/abc?x=1&name=a%20b", ALICE)
    for text in ("Hello, Alice Archer", "alice@example.com", "<li>ops</li>", "/d/abc?x=1&amp;name=a%20b", ">a b<"):
        assert text in page
    assert 'href="/.passproxy/logout"' in page


async def test_the_page_says_when_nobody_vouches(http: aiohttp.ClientSession, application: DemoApplication) -> None:
    page, _ = await page_of(http, application.base_url + "/", {"X-Passproxy-Groups": "ops"})
    assert "Nobody vouches for you" in page
    assert "/.passproxy/logout" not in page


@pytest.mark.parametrize("target", ["/%3Cscript%3E", "/a%2Fb;v=2/", "/..%2f", "/caf%C3%A9?%E9=%FF", "/a//b"])
async def test_every_other_path_is_a_page(application: DemoApplication, target: str) -> None:
    page = await raw_answer(application, f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert f'mono">{target}<'.encode() in page


async def test_what_arrives_is_escaped(application: DemoApplication) -> None:
    page = await raw_answer(
        application,
        b'GET /"><img?<b>=<i> HTTP/1.1\r\nHost: h\r\nX-Passproxy-User: <u>\r\nX-Passproxy-Name: <s>\r\n'
        b"Connection: close\r\n\r\n",
    )
    for markup in (b"<img", b"<b>", b"<i>", b"<u>", b"<s>"):
        assert markup not in page


async def test_the_page_runs_its_own_script_and_nothing_else(
    http: aiohttp.ClientSession, application: DemoApplication
) -> None:
    page, policy = await page_of(http, application.base_url + "/", ALICE)
    nonce = re.search(r"script-src 'nonce-([\w-]{22})'", policy)
    assert nonce
    assert page.count("<script") == page.count(f'<script nonce="{nonce[1]}">') == 1
    assert "unsafe" not in policy
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    other, _ = await page_of(http, application.base_url + "/", ALICE)
    assert nonce[1] not in other


async def test_a_megabyte_comes_back_over_the_websocket(
    http: aiohttp.ClientSession, application: DemoApplication
) -> None:
    sent = os.urandom(1024 * 1024)
    async with http.ws_connect(application.base_url + "/ws", max_msg_size=0) as socket:
        await socket.send_bytes(sent)
        assert await socket.receive_bytes() == sent
        await socket.send_str("é" * 500_000)
        assert await socket.receive_str() == "é" * 500_000


async def test_an_open_websocket_is_closed_when_the_application_ends(http: aiohttp.ClientSession) -> None:
    async with DemoApplication() as application:
        socket = await http.ws_connect(application.base_url + "/ws")
    message = await socket.receive(timeout=1)
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert message.data == 1001


async def test_a_plain_request_to_the_websocket_is_told_so(
    http: aiohttp.ClientSession, application: DemoApplication
) -> None:
    async with http.get(application.base_url + "/ws") as response:
        assert response.status == 426


async def test_events_come_one_by_one(http: aiohttp.ClientSession, application: DemoApplication) -> None:
    async with http.get(application.base_url + "/events?count=3&interval=0.05") as response:
        assert response.content_type == "text/event-stream"
        events = [line async for line in response.content if line.startswith(b"data: ")]
    assert [json.loads(event[6:])["number"] for event in events] == [1, 2, 3]


async def test_an_endless_stream_starts_at_once_and_ends_with_the_application(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(3):
        async with DemoApplication() as application:
            response = await http.get(application.base_url + "/events?interval=3600")
            assert await response.content.readline() == b"id: 1\n"
        assert b"data: " in await response.read()


@pytest.mark.parametrize("query", ["count=x", "count=-1", "interval=-1", "interval=nan", "interval=inf"])
async def test_wrong_numbers_are_refused(http: aiohttp.ClientSession, application: DemoApplication, query: str) -> None:
    async with http.get(f"{application.base_url}/events?{query}") as response:
        assert response.status == 400


async def pieces() -> AsyncIterator[bytes]:
    for number in range(64):
        yield bytes([number]) * 16_384


async def test_an_upload_of_unknown_length_is_echoed(http: aiohttp.ClientSession, application: DemoApplication) -> None:
    expected = b"".join([piece async for piece in pieces()])
    async with http.post(application.base_url + "/echo", data=pieces()) as response:
        assert response.content_type == "application/octet-stream"
        assert await response.read() == expected
    async with http.post(application.base_url + "/echo?digest", data=pieces()) as response:
        answer = await response.json()
    assert answer == {"length": len(expected), "sha256": hashlib.sha256(expected).hexdigest()}


async def test_a_compressed_upload_is_not_unpacked(http: aiohttp.ClientSession, application: DemoApplication) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with http.post(application.base_url + "/echo", data=b"not gzip", headers=headers) as response:
        assert await response.read() == b"not gzip"


@pytest.mark.parametrize("count", [0, 1, 65_535, 65_536, 3_000_001])
async def test_a_download_has_the_length_that_was_asked_for(
    http: aiohttp.ClientSession, application: DemoApplication, count: int
) -> None:
    async with http.get(f"{application.base_url}/bytes/{count}") as response:
        assert response.content_length == count
        assert len(await response.read()) == count
    async with http.get(f"{application.base_url}/bytes/{count}?chunked") as response:
        assert response.content_length is None
        assert len(await response.read()) == count


async def test_head_requests_have_no_body(application: DemoApplication) -> None:
    for path in ("/bytes/10", "/events", "/d/abc", "/whoami"):
        request = f"HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        async with asyncio.timeout(2):
            assert await raw_answer(application, request.encode()) == b""


async def test_a_visitor_who_leaves_ends_the_stream(application: DemoApplication) -> None:
    async with aiohttp.ClientSession() as http:
        response = await http.get(application.base_url + "/bytes/10000000000")
        await response.content.readexactly(1_000_000)
        response.close()
    async with aiohttp.ClientSession() as http, http.get(application.base_url + "/whoami") as response:
        assert response.status == 200
