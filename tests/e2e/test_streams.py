"""
Large and live: what passes through `passproxy serve` arrives whole and at once, and leaves nothing behind in its memory.

A gigabyte is more than a process could keep by accident. PassProxy, the
application and this client are three processes; sessions come from real logins.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.measured import measured
from tests.e2e.processes import Child, child
from tests.e2e.site import Site, site
from tests.fakes.browser import Browser
from tests.fakes.cookie_jar import Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

GIBIBYTE = 1024**3

#: Chunks take the same way, so less of them is enough.
CHUNKED_BYTES = 256 * 1024**2

#: Beside this, nothing that grows with a body would stay unnoticed.
GROWTH_LIMIT_KIBIBYTES = 32 * 1024

MESSAGE_BYTES = 1024 * 1024
MESSAGES = 20
EVENTS = 40
EVENT_LIMIT_SECONDS = 0.05

#: What the demo application's downloads repeat.
_DOWNLOADED = bytes(range(256)) * 8192

# An odd number of bytes: no buffer's size divides it, so that a piece which is lost,
# doubled or swapped with another changes the digest.
_UPLOADED = bytes(range(251)) * 4177

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Visit:
    """A site, and the headers of somebody who is logged in there."""

    site: Site
    headers: dict[str, str]

    @property
    def url(self) -> str:
        return self.site.origin


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def visit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Visit]:
    async with site("oidc", tmp_path_factory.mktemp("streams")) as running:
        async with Browser() as browser:
            page = await browser.sign_in(await browser.open(f"{running.origin}/whoami?a=b"), "alice", "alice")
            assert page.url == f"{running.origin}/whoami?a=b"
            cookies = {name: value for name, value in page.json()["headers"] if name.lower() == "cookie"}
            assert cookies == {}, "the application saw a cookie of PassProxy"
            pair = browser.cookies.header(f"{running.origin}/", Context(), time.time())
        yield Visit(running, {"Cookie": pair})


class Growth:
    """What a process needs within a block: memory in KiB above what it had, at the end and at most, and CPU seconds."""

    def __init__(self, process: Child) -> None:
        self._process = process
        self.left = self.peak = 0
        self.cpu_seconds = 0.0

    def __enter__(self) -> Growth:
        # proc_pid_clear_refs(5): 5 makes the peak what is in use now.
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        self._before = self._process.kibibytes("VmRSS"), self._process.cpu_seconds()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.left = self._process.kibibytes("VmRSS") - self._before[0]
        self.peak = self._process.kibibytes("VmHWM") - self._before[0]
        self.cpu_seconds = self._process.cpu_seconds() - self._before[1]

    def report(self, what: str, count: int, seconds: float) -> None:
        measured(
            f"{what}: {count / 2**20 / seconds:.0f} MiB/s; PassProxy used {self.cpu_seconds:.2f} s of CPU, "
            f"grew by {self.peak} KiB at most and kept {self.left} KiB"
        )


def connection(visit: Visit) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", visit.site.port, timeout=_TIMEOUT_SECONDS)


def downloaded(visit: Visit, target: str) -> tuple[int, bool]:
    """How many bytes came, and whether they were the right ones."""
    buffer, expected = memoryview(bytearray(len(_DOWNLOADED) // 2)), memoryview(_DOWNLOADED)
    count, is_right = 0, True
    client = connection(visit)
    client.request("GET", target, headers=visit.headers)
    with client.getresponse() as answer:
        assert answer.status == 200
        while size := answer.readinto(buffer):
            at = count % 256
            is_right = is_right and buffer[:size] == expected[at : at + size]
            count += size
    client.close()
    return count, is_right


def uploaded(visit: Visit, count: int, *, is_announced: bool) -> dict[str, object]:
    """What the application says about a body of the pattern, and the digest that it should have."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        left = count
        while left:
            piece = _UPLOADED[:left]
            digest.update(piece)
            left -= len(piece)
            yield piece

    headers = {
        **visit.headers,
        **({"Content-Length": str(count)} if is_announced else {"Transfer-Encoding": "chunked"}),
    }
    client = connection(visit)
    client.request("POST", "/echo?digest", pieces(), headers, encode_chunked=not is_announced)
    with client.getresponse() as answer:
        assert answer.status == 200, answer.read()
        said = json.loads(answer.read())
    client.close()
    assert said["sha256"] == digest.hexdigest()
    return said


async def test_the_measurement_notices_what_is_kept_and_what_was_kept_for_a_moment(tmp_path: Path):
    code = """if True:
        import time
        print("ready", flush=True)
        time.sleep(0.5)
        moment = b"x" * (64 * 2**20)
        del moment
        kept = b"x" * (48 * 2**20)
        print("done", flush=True)
        time.sleep(60)"""
    async with child([sys.executable, "-c", code], tmp_path / "log", lambda said: "ready" in said) as process:
        with Growth(process) as growth:
            async with asyncio.timeout(20):
                while "done" not in process.said:  # noqa: ASYNC110 - another process cannot set an event
                    await asyncio.sleep(0.05)
    assert growth.peak > 60 * 1024
    assert growth.left > 44 * 1024


@pytest.mark.parametrize(
    ("target", "size"),
    [
        pytest.param(f"/bytes/{GIBIBYTE}", GIBIBYTE, id="with its length"),
        pytest.param(f"/bytes/{CHUNKED_BYTES}?chunked", CHUNKED_BYTES, id="in chunks"),
    ],
)
async def test_a_large_download_comes_whole_without_piling_up(visit: Visit, target: str, size: int):
    begun = time.monotonic()
    with Growth(visit.site.passproxy) as growth:
        count, is_right = await asyncio.to_thread(downloaded, visit, target)
    growth.report(f"GET {target}", count, time.monotonic() - begun)
    assert (count, is_right) == (size, True)
    assert max(growth.left, growth.peak) < GROWTH_LIMIT_KIBIBYTES


@pytest.mark.parametrize(
    ("size", "is_announced"),
    [pytest.param(GIBIBYTE, True, id="with its length"), pytest.param(CHUNKED_BYTES, False, id="in chunks")],
)
async def test_a_large_upload_arrives_whole_without_piling_up(visit: Visit, size: int, is_announced: bool):
    begun = time.monotonic()
    with Growth(visit.site.passproxy) as growth:
        said = await asyncio.to_thread(uploaded, visit, size, is_announced=is_announced)
    growth.report(f"POST, {'announced' if is_announced else 'chunked'}", size, time.monotonic() - begun)
    assert said["length"] == size
    assert max(growth.left, growth.peak) < GROWTH_LIMIT_KIBIBYTES


async def test_what_a_client_does_not_read_is_not_kept_for_it(visit: Visit):
    with Growth(visit.site.passproxy) as growth:
        client = connection(visit)
        client.request("GET", f"/bytes/{GIBIBYTE}", headers=visit.headers)
        answer = client.getresponse()
        await asyncio.sleep(2)
        read = await asyncio.to_thread(answer.read, MESSAGE_BYTES)
        answer.close()
        client.close()
    measured(f"a client that does not read for 2 s: PassProxy grew by {growth.peak} KiB at most")
    assert len(read) == MESSAGE_BYTES
    assert growth.peak < GROWTH_LIMIT_KIBIBYTES


async def test_an_event_arrives_when_it_is_sent(visit: Visit):
    delays: list[float] = []
    async with (
        aiohttp.ClientSession(headers=visit.headers) as http_client,
        http_client.get(f"{visit.url}/events?count={EVENTS}&interval=0.03") as answer,
    ):
        assert answer.content_type == "text/event-stream"
        async for line in answer.content:
            now = time.time()
            if line.startswith(b"data:"):
                # To the millisecond, rounded down: no delay is measured shorter than it was.
                sent = datetime.fromisoformat(json.loads(line[5:])["time"]).timestamp()
                delays.append(now - sent)
    measured(f"events: {1000 * statistics.median(delays):.1f} ms (median), {1000 * max(delays):.1f} ms (most)")
    assert len(delays) == EVENTS
    assert statistics.median(delays) < EVENT_LIMIT_SECONDS


async def test_large_messages_come_back_byte_for_byte(visit: Visit):
    messages = [os.urandom(MESSAGE_BYTES) for _ in range(MESSAGES)]
    begun = time.monotonic()
    with Growth(visit.site.passproxy) as growth:
        async with (
            aiohttp.ClientSession(headers=visit.headers) as http_client,
            http_client.ws_connect(f"{visit.url}/ws", max_msg_size=2 * MESSAGE_BYTES) as websocket,
        ):
            for message in messages:
                await websocket.send_bytes(message)
                assert await websocket.receive_bytes(timeout=_TIMEOUT_SECONDS) == message
    growth.report(
        f"WebSocket, {MESSAGES} messages of 1 MiB and back", 2 * MESSAGES * MESSAGE_BYTES, time.monotonic() - begun
    )
    assert growth.peak < GROWTH_LIMIT_KIBIBYTES
