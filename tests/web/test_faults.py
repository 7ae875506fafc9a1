"""Faults one by one, on either side: how each of them ends, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from passproxy.web import connection, server
from passproxy.web import upstream as upstream_module
from passproxy.web.connection import ClientConnection
from passproxy.web.exchange import Exchange
from passproxy.web.tunnel import Tunnel
from passproxy.web.upstream import UpstreamConnection
from tests.fakes.gateway import PassProxy, alive, eventually, get, protecting, request
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream, hang, ok

MEBIBYTE = 1024 * 1024
HEALTH = get("/.passproxy/health")
LIMITS = {"connect_timeout": "1s", "response_timeout": "1s", "idle_timeout": "1s"}


def occupied() -> Counter[str]:
    """Tasks and sockets."""
    sockets = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            sockets += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    return Counter(tasks=len(asyncio.all_tasks()), sockets=sockets)


def objects() -> Counter[str]:
    return Counter(
        {kind.__name__: len(alive(kind)) for kind in (ClientConnection, UpstreamConnection, Exchange, Tunnel)}
    )


@contextlib.asynccontextmanager
async def limited(upstream: Upstream | str, tmp_path, **sections) -> AsyncIterator[PassProxy]:
    """With short limits. Whatever happens in the block leaves nothing behind, while it runs and afterwards."""
    url = upstream if isinstance(upstream, str) else upstream.url
    before, held = occupied(), objects()
    async with protecting(url, tmp_path, upstream=LIMITS, **sections) as passproxy:
        running = occupied()
        yield passproxy
        if not passproxy.stop.is_set():
            await eventually(lambda: occupied() <= running, "tasks and sockets end")
            await eventually(lambda: objects() == held, "nothing holds what has ended")
    await eventually(lambda: occupied() <= before, "tasks and sockets end with PassProxy")


@pytest.fixture(autouse=True)
def _quick(ticking: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(upstream_module, "IDLE_SECONDS", 0.2)
    gc.freeze()  # what is there already need not be looked through for what is left
    yield
    gc.unfreeze()


@pytest.fixture
async def passproxy(upstream: Upstream, tmp_path) -> AsyncIterator[PassProxy]:
    async with limited(upstream, tmp_path) as running:
        yield running


@contextlib.contextmanager
def listening_to_nobody() -> Iterator[str]:
    """An address whose queue is full: the kernel answers no further attempt to connect."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@contextlib.asynccontextmanager
async def stalled(tmp_path) -> AsyncIterator[PassProxy]:
    """With an application that reads only the beginning of what it is sent; nor does it answer."""
    leave = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await leave.wait()

    async with Upstream(script, slow=True) as upstream, limited(upstream, tmp_path) as passproxy:
        try:
            yield passproxy
        finally:
            leave.set()


def not_read(kind: type[ClientConnection | UpstreamConnection] = ClientConnection) -> bool:
    """Whether there is one, by default a client, that PassProxy does not read any more."""

    def is_paused(each: ClientConnection | UpstreamConnection) -> bool:
        transport = each.transport
        return transport is not None and not transport.is_closing() and not transport.is_reading()

    return bool(alive(kind, is_paused))


async def upload_until_paused(raw: Raw, cookie: str) -> None:
    """Begin an upload, and send no more than it takes: what follows it still fits into the kernel's buffers."""
    await raw.send(request("PUT", "/", "Content-Length: 64000000", cookie=cookie))
    while not not_read():
        await raw.send(bytes(20_000))
        await asyncio.sleep(0.01)


# The application.


async def test_an_application_that_accepts_no_connection_is_a_504_and_the_client_goes_on(tmp_path, log):
    with listening_to_nobody() as url:
        async with limited(url, tmp_path) as passproxy, Raw(passproxy.address) as raw:
            assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 504
            assert (await raw.ask(HEALTH)).status == 200
    assert log.one("upstream.error")["code"] == "PP-UPSTREAM-TIMEOUT"


async def test_an_application_that_comes_back_is_found_again(upstream, passproxy):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback")
        await reader.read()
        writer.close()

    async with Raw(passproxy.address) as raw:
        await upstream.stop()
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 502
        async with await asyncio.start_server(answer, "127.0.0.1", upstream.port):
            assert (await raw.ask(get("/", cookie=passproxy.cookie()))).body == b"back"
            raw.sock.close()
            await eventually(lambda: not alive(UpstreamConnection), "the connection is closed")


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="half a head"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="an interim answer"),
    ],
)
async def test_an_application_that_falls_silent_before_its_answer_is_a_504(upstream, passproxy, log, beginning):
    async def script(seen: Seen, line: Line) -> None:
        await line.send(beginning)
        await hang(seen, line)

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 504
        assert (await raw.ask(HEALTH)).status == 200
    assert log.one("upstream.error")["code"] == "PP-UPSTREAM-TIMEOUT"


async def test_an_application_that_stops_reading_is_a_504_while_the_client_still_sends(tmp_path, log):
    async with stalled(tmp_path) as passproxy, Raw(passproxy.address) as raw:
        size = 64 * MEBIBYTE
        await raw.send(request("PUT", "/", f"Content-Length: {size}", cookie=passproxy.cookie()))
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(raw.sock, bytes(size)))
        assert (await raw.answer()).status == 504
        sending.cancel()
        await asyncio.wait({sending})
        assert await raw.is_closed()
    assert log.one("upstream.error")["code"] == "PP-UPSTREAM-TIMEOUT"


async def test_an_application_that_resets_an_upload_is_a_502_while_the_client_still_sends(upstream, passproxy, log):
    async def script(seen: Seen, line: Line) -> None:
        await line.some()
        line.reset()

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        await raw.send(request("PUT", "/", "Content-Length: 1000000", cookie=passproxy.cookie(), body=b"x"))
        assert (await raw.answer()).status == 502
        await raw.send(bytes(300_000))
        assert await raw.is_closed()
    assert log.one("upstream.error")["code"] == "PP-UPSTREAM-UNREACHABLE"


async def test_an_answer_before_the_application_stops_reading_reaches_a_client_that_still_sends(tmp_path):
    proceed = asyncio.Event()

    async def early(seen: Seen, line: Line) -> None:
        await proceed.wait()
        await line.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await line.gone()

    async with (
        Upstream(early, slow=True) as upstream,
        limited(upstream, tmp_path) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        await raw.send(request("PUT", "/", "Content-Length: 64000000", cookie=passproxy.cookie(), body=bytes(500_000)))
        await eventually(not_read, "reading is paused")
        proceed.set()
        assert (await raw.answer()).body == b"big"
        assert await raw.is_closed()


async def test_a_kept_connection_that_is_reset_costs_no_request(upstream, passproxy, log):
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        upstream.lines[0].reset()
        await eventually(lambda: not alive(UpstreamConnection), "the reset is noticed")
        assert (await raw.ask(request("POST", "/next", cookie=passproxy.cookie(), body=b"x"))).body == b"/next"
    assert [seen.connection for seen in upstream.requests] == [0, 1]
    assert log.events == []


async def test_an_application_that_resets_while_its_client_reads_slowly_is_seen_as_a_cut(upstream, passproxy, log):
    proceed = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MEBIBYTE))
        sending = asyncio.ensure_future(line.send(bytes(32 * MEBIBYTE)))
        await proceed.wait()
        line.reset()
        await sending

    upstream.script = script
    async with Raw(passproxy.address, small=True) as raw:
        await raw.send(get("/", cookie=passproxy.cookie()))
        await raw.head()
        await eventually(lambda: not_read(UpstreamConnection), "reading is paused")
        proceed.set()
        with pytest.raises(Cut):
            await raw.take(64 * MEBIBYTE)
    await eventually(lambda: bool(log.named("upstream.truncated")), "the log line")


# The client.


async def test_a_client_that_leaves_while_the_application_is_being_connected_to_leaves_nothing(tmp_path):
    with listening_to_nobody() as url:
        async with limited(url, tmp_path) as passproxy, Raw(passproxy.address) as raw:
            await raw.send(get("/", cookie=passproxy.cookie()))
            await eventually(lambda: len(alive(Exchange)) == 1, "the attempt to connect")


@pytest.mark.parametrize("resets", [False, True])
async def test_a_client_that_leaves_within_the_answer_frees_the_application(upstream, passproxy, resets):
    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning")
        await line.gone()

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/", cookie=passproxy.cookie()))
        await raw.head()
        assert await raw.take(9) == b"beginning"
        if resets:
            raw.reset()
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")


async def test_a_client_that_leaves_an_answer_unread_frees_the_application(upstream, passproxy):
    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MEBIBYTE))
        await line.send(bytes(64 * MEBIBYTE))

    def is_full(each: ClientConnection) -> bool:
        return each.transport is not None and each.transport.get_write_buffer_size() > 0

    upstream.script = script
    async with Raw(passproxy.address, small=True) as raw:
        await raw.send(get("/", cookie=passproxy.cookie()))
        await eventually(lambda: bool(alive(ClientConnection, is_full)), "more is written than read")
    await eventually(lambda: not alive(UpstreamConnection), "the application's connection is closed")


@pytest.mark.parametrize("resets", [False, True])
async def test_a_client_that_leaves_while_nobody_reads_its_upload_is_noticed(tmp_path, monkeypatch, resets):
    """Reading is paused, so the loop tells nothing of it; the application's own limit is far away."""
    monkeypatch.setitem(LIMITS, "idle_timeout", "1h")
    async with stalled(tmp_path) as passproxy:
        cookie = passproxy.cookie()
        async with Raw(passproxy.address) as raw:
            await upload_until_paused(raw, cookie)
            if resets:
                raw.reset()
        await eventually(lambda: not alive(Exchange), "the exchange is given up")


@pytest.mark.parametrize("resets", [False, True])
async def test_a_client_that_leaves_requests_waiting_is_noticed(upstream, tmp_path, monkeypatch, resets):
    monkeypatch.setitem(LIMITS, "response_timeout", "1h")
    upstream.script = hang
    async with limited(upstream, tmp_path) as passproxy:
        cookie = passproxy.cookie()
        async with Raw(passproxy.address) as raw:
            await raw.send(get("/", cookie=cookie))
            await eventually(lambda: len(upstream.requests) == 1, "the first request")
            await raw.send(get("/", "X-Padding: " + "x" * 4000, cookie=cookie) * 20)
            await eventually(not_read, "reading is paused")
            if resets:
                raw.reset()
        await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
    assert len(upstream.requests) == 1


async def test_a_client_whose_upload_waits_is_not_given_up(tmp_path, monkeypatch):
    """It is looked after, and still there."""
    monkeypatch.setattr(connection, "CLIENT_IDLE_SECONDS", 0.1)
    proceed = asyncio.Event()

    async def script(seen: Seen, line: Line) -> None:
        await proceed.wait()
        await ok(seen, line)

    async with (
        Upstream(script, slow=True) as upstream,
        limited(upstream, tmp_path) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        sending = asyncio.ensure_future(raw.send(request("PUT", "/", cookie=passproxy.cookie(), body=bytes(400_000))))
        await eventually(not_read, "reading is paused")
        await asyncio.sleep(0.3)
        proceed.set()
        assert (await raw.answer()).status == 200
        await sending
        assert upstream.requests[0].body == bytes(400_000)


async def test_a_client_that_reads_no_answer_is_dropped_also_when_its_upload_ends_meanwhile(
    upstream, passproxy, monkeypatch
):
    """The limit for reading has begun before the upload ends, and must not end with it."""
    monkeypatch.setattr(connection, "CLIENT_IDLE_SECONDS", 0.5)

    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MEBIBYTE))
        await asyncio.gather(line.send(bytes(64 * MEBIBYTE)), line.body())

    def is_full(each: ClientConnection) -> bool:
        return each.transport is not None and each.transport.get_write_buffer_size() > 0

    upstream.script = script
    async with Raw(passproxy.address, small=True) as raw:
        await raw.send(request("PUT", "/", "Content-Length: 2", cookie=passproxy.cookie(), body=b"x"))
        await eventually(lambda: bool(alive(ClientConnection, is_full)), "more is written than read")
        await raw.send(b"y")
        await eventually(lambda: not alive(Exchange), "the exchange is given up")


# Stopping.


async def test_streams_and_slow_readers_are_finished_when_told_to_stop(upstream, passproxy):
    proceed = asyncio.Event()
    size = 8 * MEBIBYTE

    async def script(seen: Seen, line: Line) -> None:
        if seen.target == b"/events":
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            await proceed.wait()
            await line.send(b"data: 2\n\n")
            line.close()
        else:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    upstream.script = script
    async with Raw(passproxy.address) as events, Raw(passproxy.address, small=True) as slow:
        await slow.send(get("/large", cookie=passproxy.cookie()))
        await slow.head()
        await events.send(get("/events", cookie=passproxy.cookie()))
        await events.head()
        assert await events.take(14) == b"9\r\ndata: 1\n\n\r\n"
        passproxy.stop.set()
        await asyncio.sleep(0.1)
        proceed.set()
        assert await events.rest() == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
        assert await slow.take(size) == bytes(size)
        assert await slow.is_closed()


async def test_stopping_does_not_wait_for_a_client_that_has_left(tmp_path, monkeypatch, log):
    monkeypatch.setitem(LIMITS, "idle_timeout", "1h")
    monkeypatch.setattr(server, "DRAIN_SECONDS", 3600.0)
    async with stalled(tmp_path) as passproxy, Raw(passproxy.address) as raw:
        await upload_until_paused(raw, passproxy.cookie())
        raw.reset()
        passproxy.stop.set()
        await eventually(lambda: not alive(ClientConnection), "the client's leaving is noticed")
    assert log.named("server.drain_cut") == []


async def test_a_stream_that_does_not_end_is_cut_and_not_completed(upstream, passproxy, monkeypatch, log):
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)

    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
        await line.gone()

    upstream.script = script
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/events", cookie=passproxy.cookie()))
        await raw.head()
        assert await raw.take(14) == b"9\r\ndata: 1\n\n\r\n"
        passproxy.stop.set()
        with pytest.raises(ConnectionResetError):
            await raw.rest()
    await eventually(lambda: bool(log.named("server.drain_cut")), "the cut is logged")
