"""What `passproxy serve` does with the settings; apart from the command, so that it is loaded while they are read."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from passproxy import app
from passproxy.web import log
from passproxy.web.server import CONNECTION_LIMIT
from passproxy.web.systemd import ServiceManager, passed_sockets

if TYPE_CHECKING:
    from passproxy.core.settings import Settings

#: Descriptors besides connections: libraries, the log, the identity provider, the XML process.
OTHER_FILES = 128


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    # A core dump would hold keys and tokens.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    log.set_up(settings.log.format, settings.log.level)
    # A tunnel takes one on either side.
    _allow_open_files(2 * CONNECTION_LIMIT + settings.upstream.max_connections)
    try:
        uvloop.run(_serve(settings))
    except OSError as error:
        sys.stderr.write(f"listen: {settings.listen}: {error.strerror or error}\n")
        return 1
    return 0


def _allow_open_files(connections: int) -> None:
    """As many descriptors as connections may need: many systems give a process 1,024 unless it asks for more."""
    wanted = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        log.event("warning", "server.open_files", limit=soft, wanted=wanted, hint="raise LimitNOFILE of the service")


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    manager = ServiceManager(os.environ, os.getpid(), time.monotonic)

    def end() -> None:
        manager.stopping()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)

    def ready(address: str) -> None:
        log.event("info", "server.ready", listen=address, domain=settings.domain)
        manager.ready(f"Serving {settings.domain} at {address}")

    await app.serve(settings, stop, ready, passed_sockets(os.environ, os.getpid()))
    log.event("info", "server.stopped")
