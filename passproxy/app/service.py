"""
One domain, served: from the first settings to the last request, and new settings in between.

The only owner of a clock and of a client session. A new configuration is built
beside the one in force and takes its place between two requests, or is refused
and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

import passproxy
from passproxy.app.building import Built, Tools, built
from passproxy.core.counts import Counts
from passproxy.core.errors import ConfigError
from passproxy.web import audit, log
from passproxy.web.access import LoggedConnection
from passproxy.web.connection import ClientConnection, Handler
from passproxy.web.gateway import Gateway
from passproxy.web.observed import Observed
from passproxy.web.server import Server
from passproxy.web.watch import Watch

if TYPE_CHECKING:
    from passproxy.core.settings import Settings
    from passproxy.web.admin import Admin

#: Logins that began at a provider that is not configured any more may still come back to it.
LINGER_SECONDS = 60.0


class Kept(Protocol):
    """What goes on beside the requests, for as long as it is configured."""

    async def run(self) -> None: ...


class Service:
    """`run` once; while it runs, `reload` as often as wanted, and `spawn` what belongs to no request."""

    def __init__(self, settings: Settings, passed: Sequence[socket.socket] = ()) -> None:
        self._settings = settings
        self._watch = Watch(time.monotonic)
        self._server = Server(settings.listen, self._watch, passed, self._connection)
        self._is_passed = bool(passed)
        self.spawn = self._server.spawn
        self._gateway: Gateway
        self._tools: Tools
        self._built: Built
        self._tasks: asyncio.TaskGroup
        self._admin: Admin | None = None
        self._running: dict[object, asyncio.Task[None]] = {}
        self._lingering: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
        """
        Serve until `stop`. `ready` is told what is listened on: the sockets that were passed, or `listen`.

        Raises:
            ConfigError: something that the settings name cannot be used.
            OSError: the address cannot be listened on.
        """
        async with client_session() as http:
            self._tools = Tools(http, self._watch, self._server.spawn, time.time, Counts())
            self._built = built(self._settings, self._tools)
            self._gateway = Gateway(self._built.parts, self._server.spawn)
            audit.event("audit.keys", verifying=" ".join(self._built.kids))
            async with self._told():
                self._watch.ticks.append(self._gateway.end_what_is_over)
                await self._server.open(self._gateway)
                await self._served(stop, ready)

    async def _served(self, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            self._keep_running(self._built)
            await self._server.run(stop, ready)
            self._built.parts.pool.close()
            for task in (*self._running.values(), *self._lingering):
                task.cancel()

    @contextlib.asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """With the admin listener, if there is to be one. What it needs is loaded only then."""
        listen = self._settings.admin.listen
        if listen is None:
            yield
            return
        from passproxy.web.admin import Admin

        self._admin = Admin(listen, self._observed())
        log.event("info", "admin.ready", listen=await self._admin.open())
        try:
            yield
        finally:
            self._admin.close()

    def _observed(self) -> Observed:
        now = self._built
        return Observed(
            now.parts.counts,
            self._server,
            now.parts.pool,
            now.provider,
            now.revocations,
            len(now.kids),
            time.time,
            now.issuers,
            needs_revocations=now.settings.revocation.when_unavailable == "closed",
        )

    def _connection(
        self, handler: Handler, watch: Watch, closed: Callable[[ClientConnection], None]
    ) -> ClientConnection:
        access = self._built.access
        if access is None:
            return ClientConnection(handler, watch, closed)
        return LoggedConnection(access, handler, watch, closed)

    def reload(self, settings: Settings) -> None:
        """
        Judge the next request by these settings; what is under way ends as it began.

        Raises:
            ConfigError: they cannot be used. Those before stay in force.
        """
        before = self._built
        if settings.listen != before.settings.listen and not self._is_passed:
            raise ConfigError((f"listen: changes at a restart only; {before.settings.listen} is still listened on",))
        if settings.admin.listen != before.settings.admin.listen:
            raise ConfigError(("admin.listen: changes at a restart only",))
        after = built(settings, self._tools, before)
        self._gateway.adopt(after.parts)
        self._built = after
        if self._admin is not None:
            self._admin.observed = self._observed()
        if after.kids != before.kids:
            audit.event("audit.keys", verifying=" ".join(after.kids))
        self._keep_running(after)
        for one in (before.provider, before.revocations, *before.issuers):
            if one not in (after.provider, after.revocations, *after.issuers):
                self._end(self._running.pop(one))
        if before.parts.pool is not after.parts.pool:
            before.parts.pool.close()

    def _keep_running(self, now: Built) -> None:
        kept: tuple[tuple[Kept, str], ...] = (
            (now.provider, "keep the identity provider's description fresh"),
            (now.revocations, "follow the list of revoked sessions"),
            *((issuer, f"keep the keys of {issuer.trust.name} fresh") for issuer in now.issuers),
        )
        for one, name in kept:
            if one not in self._running:
                self._running[one] = self._tasks.create_task(one.run(), name=name)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)
        asyncio.get_running_loop().call_later(LINGER_SECONDS, task.cancel)


def client_session(**more: Any) -> aiohttp.ClientSession:
    """What speaks to the identity provider: nothing of the environment takes part, and no cookie is kept."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"PassProxy/{passproxy.__version__}"},
        trust_env=False,
        **more,
    )


async def serve(
    settings: Settings, stop: asyncio.Event, ready: Callable[[str], None], passed: Sequence[socket.socket] = ()
) -> None:
    """Serve one domain until `stop`; as `Service.run`."""
    await Service(settings, passed).run(stop, ready)
