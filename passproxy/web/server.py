"""
Listening, counting, draining.

Accepts connections up to a limit, runs what has no connection of its own in
one task group (so that no task is lost and each has a name), and on the way
out lets exchanges finish within a limit. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from passproxy.core.frames import GOING_AWAY
from passproxy.web import log
from passproxy.web.connection import ClientConnection, Handler
from passproxy.web.gateway import Gateway
from passproxy.web.tunnel import LAST_WORDS_SECONDS, Tunnel
from passproxy.web.watch import Watch

#: Client connections at a time, tunnels included. One takes about 8 KiB idle, and two descriptors
#: (its own and its upstream's) while it works.
CONNECTION_LIMIT = 8192

#: For exchanges under way when told to stop; systemd kills after 90 s by default.
DRAIN_SECONDS = 30.0

#: Before that, for requests that are on their way on connections which look idle: closing those
#: at once would fail them. The web server in front sends within a millisecond of connecting.
FAREWELL_SECONDS = 0.3

#: Accepted by the kernel and not yet by us.
BACKLOG = 1024

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


#: Makes a connection of a handler, the watch, and what is told when it is gone.
ConnectionFactory = Callable[[Handler, Watch, Callable[[ClientConnection], None]], ClientConnection]


class Server:
    """One domain's listeners and their connections: `open`, then `run`. Sockets that were passed win over `listen`."""

    def __init__(
        self,
        listen: str,
        watch: Watch,
        passed: Sequence[socket.socket] = (),
        connection: ConnectionFactory = ClientConnection,
    ) -> None:
        self._listen = listen
        self._connection = connection
        self._passed = passed
        self._watch = watch
        self._connections: set[ClientConnection] = set()
        self._empty = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._tunnels: set[Tunnel] = set()
        #: Whether new connections are accepted: not yet before `run`, not any more while draining.
        self.is_serving = False
        self._listeners: list[asyncio.Server]

    @property
    def sizes(self) -> tuple[int, int]:
        """Client connections that speak HTTP, and tunnels."""
        return len(self._connections), len(self._tunnels)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something in the background. It must not raise; if it does, that is logged."""
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(_guarded(work, name), name=name)

    async def open(self, gateway: Gateway) -> None:
        """
        Take the address, without accepting anything yet.

        Raises:
            OSError: it cannot be listened on.
        """

        def connection() -> asyncio.Protocol:
            if len(self._connections) + len(gateway.tunnels) >= CONNECTION_LIMIT:
                gateway.counts.turned_away += 1
                return _Busy()
            client = self._connection(gateway, self._watch, self._gone)
            self._connections.add(client)
            return client

        self._tunnels = gateway.tunnels
        self._listeners = await self._listening(connection)

    async def run(self, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
        """Serve until `stop`, then drain. `ready` is told the addresses, with the real port."""
        async with asyncio.TaskGroup() as self._tasks:
            sweep = self._tasks.create_task(self._watch.run(), name="sweep time limits")
            for listener in self._listeners:
                await listener.start_serving()
            self.is_serving = True
            ready(", ".join(_address(listener.sockets[0]) for listener in self._listeners))
            await stop.wait()
            self.is_serving = False
            for listener in self._listeners:
                listener.close()
            await self._drain()
            sweep.cancel()
            self._tasks = None

    async def _listening(self, factory: Callable[[], asyncio.Protocol]) -> list[asyncio.Server]:
        loop = asyncio.get_running_loop()
        if self._passed:
            return [await _taken_over(one, factory) for one in self._passed]
        if self._listen.startswith("unix:"):
            path = self._listen.removeprefix("unix:")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            server = await loop.create_unix_server(factory, path, backlog=BACKLOG, start_serving=False)
            # The web server in front runs as another user of the same group.
            os.chmod(path, 0o660)
            return [server]
        host, _, port = self._listen.rpartition(":")
        return [await loop.create_server(factory, host.strip("[]"), int(port), backlog=BACKLOG, start_serving=False)]

    def _gone(self, client: ClientConnection) -> None:
        self._connections.discard(client)
        if not self._connections:
            self._empty.set()

    async def _emptied(self, seconds: float) -> None:
        """Wait until every connection is gone, for so long at most."""
        if self._connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()

    async def _drain(self) -> None:
        for client in list(self._connections):
            client.last()
        for tunnel in list(self._tunnels):
            tunnel.end(GOING_AWAY, "shutting down")
        await self._emptied(FAREWELL_SECONDS)
        for client in list(self._connections):
            client.finish()
        await self._emptied(DRAIN_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                while self._tunnels:  # noqa: ASYNC110 - two seconds at most, once
                    await asyncio.sleep(0.02)
        for tunnel in list(self._tunnels):
            tunnel.abort("shutting down")
        if self._connections:
            log.event("warning", "server.drain_cut", connections=len(self._connections))
        for client in list(self._connections):
            client.abort()
        await asyncio.sleep(0)


async def _guarded(work: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await work
    except Exception as error:
        log.failure("task.failed", error, task=name)


async def _taken_over(passed: socket.socket, factory: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    how: dict[str, Any] = {"sock": passed, "backlog": BACKLOG, "start_serving": False}
    if passed.family != socket.AF_UNIX:
        return await loop.create_server(factory, **how)
    try:
        # The file is not ours: the next process listens on it too.
        return await loop.create_unix_server(factory, **{**how, "cleanup_socket": False})
    except TypeError:  # before uvloop 0.22, which never removes it
        return await loop.create_unix_server(factory, **how)


def _address(listening: socket.socket) -> str:
    if listening.family == socket.AF_UNIX:
        return f"unix:{listening.getsockname()}"
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Busy(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(_BUSY)  # type: ignore[attr-defined] # a stream's transport
        transport.close()
