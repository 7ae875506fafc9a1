"""
Section 2.14 of the catalogue, row by row: an application that is slower than its clients, or not there.

Time limits are those of production, made short.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from passproxy.app import building
from passproxy.web import server
from passproxy.web.exchange import Limits
from tests.fakes.gateway import PassProxy, eventually, get, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream, ok

MEBIBYTE = 1024 * 1024
HEALTH = get("/.passproxy/health")


@contextlib.asynccontextmanager
async def many(passproxy: PassProxy, count: int) -> AsyncIterator[list[Raw]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Raw(passproxy.address)) for _ in range(count)]


async def is_served(passproxy: PassProxy) -> None:
    """Somebody else gets what he asks for."""
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(HEALTH)).status == 200
        assert (await raw.ask(get("/other", cookie=passproxy.cookie("bob")))).body == b"/other"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


async def test_dos_10_uploads_wait_for_an_application_that_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight at a time of eight gigabytes each: what was taken fits into the buffers, and nothing is put on disk."""
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)
    taken = 0

    async def idle(seen: Seen, line: Line) -> None:
        await asyncio.sleep(60)

    async def fill(raw: Raw, head: bytes) -> None:
        nonlocal taken
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.4):
                await loop.sock_sendall(raw.sock, head)
                while True:
                    await loop.sock_sendall(raw.sock, bytes(256 * 1024))
                    taken += 256 * 1024

    async with (
        Upstream(idle, slow=True) as upstream,
        protecting(upstream.url, tmp_path) as passproxy,
        many(passproxy, 8) as sockets,
        Raw(passproxy.address) as other,
    ):
        head = request("PUT", "/big", f"Content-Length: {8 * 1024 * MEBIBYTE}", cookie=passproxy.cookie())
        files = names(tmp_path)
        await asyncio.gather(*(fill(raw, head) for raw in sockets))
        assert 0 < taken <= 8 * 12 * MEBIBYTE
        assert names(tmp_path) == files
        assert (await other.ask(HEALTH)).status == 200


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an application may take to be reached, to answer, and between two pieces."""
    monkeypatch.setattr(building, "_limits", lambda settings: Limits(64, 0.3, 0.3, 0.3))


async def test_dos_11_an_application_that_nobody_can_reach(
    ticking: None, short: None, tmp_path: Path, log: Log
) -> None:
    """Its queue is full, so that the kernel answers no further SYN."""
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with protecting(url, tmp_path) as passproxy, Raw(passproxy.address) as raw:
            assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 504
            assert (await raw.ask(HEALTH)).status == 200
    assert log.one("upstream.error")["code"] == "PP-UPSTREAM-TIMEOUT"


@pytest.mark.parametrize(
    ("told", "status"),
    [
        pytest.param(b"", 504, id="DOS-11 accepts and says nothing"),
        pytest.param(b"HTTP/1.1 200", 504, id="DOS-11 half a status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, id="DOS-11 a head and no body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", 200, id="DOS-11 one chunk"),
    ],
)
async def test_an_application_that_stalls(
    ticking: None, short: None, upstream: Upstream, tmp_path: Path, log: Log, told: bytes, status: int
) -> None:
    async def stall(seen: Seen, line: Line) -> None:
        await line.send(told)
        await line.gone()

    upstream.script = stall
    async with protecting(upstream.url, tmp_path) as passproxy:
        async with Raw(passproxy.address) as raw:
            await raw.send(get("/slow", cookie=passproxy.cookie()))
            if status == 504:
                assert (await raw.answer()).status == 504
            else:
                assert b" 200 " in await raw.head()
                with pytest.raises((Cut, ConnectionResetError)):
                    await raw.take(1000)
        await eventually(lambda: upstream.lines[0].is_gone, "the connection is given up")
        log.one("upstream.error" if status == 504 else "upstream.truncated")
        upstream.script = ok
        await is_served(passproxy)


def are_there(upstream: Upstream, count: int) -> bool:
    return len(upstream.requests) == count


async def test_dos_11_those_who_wait_for_one_page_hold_up_no_other(upstream: Upstream, passproxy: PassProxy) -> None:
    """More of them than common pools have connections."""
    proceed = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        if seen.target == b"/slow":
            await proceed.wait()
        await ok(seen, line)

    upstream.script = script
    async with many(passproxy, 120) as waiting:
        # In two parts, because the application's own queue takes a hundred at a time.
        for part in (waiting[:60], waiting[60:]):
            count = len(upstream.requests) + len(part)
            for raw in part:
                await raw.send(get("/slow", cookie=passproxy.cookie()))
            await eventually(partial(are_there, upstream, count), "all of them wait")
        await is_served(passproxy)
        proceed.set()
        for raw in waiting:
            assert (await raw.answer()).body == b"/slow"
