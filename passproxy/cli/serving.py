"""What `passproxy serve` does with the settings; apart from the command, so that it is loaded while they are read."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvloop

from passproxy.app.service import Service
from passproxy.cli.dangers import dangers
from passproxy.cli.files import ReadingFailed
from passproxy.core.errors import ConfigError
from passproxy.web import audit, log
from passproxy.web.server import CONNECTION_LIMIT
from passproxy.web.systemd import ServiceManager, passed_sockets

if TYPE_CHECKING:
    from passproxy.core.settings import Settings

#: Descriptors besides connections: libraries, the log, the identity provider, the XML process.
OTHER_FILES = 128


def serve(settings: Settings, read: Callable[[], Settings]) -> int:
    """Serve until SIGTERM or SIGINT, and `read` the settings anew on SIGHUP; the exit code."""
    # A core dump would hold keys and tokens.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prepare(settings)
    try:
        uvloop.run(_serve(settings, read))
    except OSError as error:
        sys.stderr.write(f"listen: {settings.listen}: {error.strerror or error}\n")
        return 1
    return 0


def _prepare(settings: Settings) -> None:
    log.set_up(settings.log.format, settings.log.level)
    for danger in dangers(settings, None):
        log.event("warning", "config.danger" if danger.is_grave else "config.doubt", key=danger.key, hint=danger.text)
    audit.set_up(settings.log.audit)
    # A tunnel takes one on either side.
    _allow_open_files(2 * CONNECTION_LIMIT + settings.upstream.max_connections)


def _allow_open_files(connections: int) -> None:
    """As many descriptors as connections may need: many systems give a process 1,024 unless it asks for more."""
    wanted = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        log.event("warning", "server.open_files", limit=soft, wanted=wanted, hint="raise LimitNOFILE of the service")


async def _serve(settings: Settings, read: Callable[[], Settings]) -> None:
    stop, asked = asyncio.Event(), asyncio.Event()
    reading = asyncio.Lock()
    manager = ServiceManager(os.environ, os.getpid(), time.monotonic)
    service = Service(settings, passed_sockets(os.environ, os.getpid()))
    loop = asyncio.get_running_loop()

    def end() -> None:
        manager.stopping()
        stop.set()

    def ready(address: str) -> None:
        # What is here now stays: the collector need not look at it again, and what is left of the start is room.
        gc.collect()
        gc.freeze()
        log.event("info", "server.ready", listen=address, domain=settings.domain)
        manager.ready(f"Serving {settings.domain} at {address}")
        loop.add_signal_handler(signal.SIGHUP, lambda: service.spawn(reload(), "reload the configuration"))

    async def reload() -> None:
        asked.set()
        async with reading:
            # One reading answers all that asked before it began.
            if asked.is_set():
                asked.clear()
                manager.reloading()
                manager.ready(await _reload(service, read))

    # Until it is ready there is nothing to reload, and the signal's own meaning would end the process.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await service.run(stop, ready)
    log.event("info", "server.stopped")


async def _reload(service: Service, read: Callable[[], Settings]) -> str:
    """Read and adopt, or keep what is in force; a sentence about it."""
    try:
        settings = await asyncio.to_thread(read)
        audit.check(settings.log.audit)
        service.reload(settings)
    except ConfigError as error:
        for problem in error.problems:
            log.event("error", "reload.refused", problem=problem, hint="the configuration before stays in force")
        return f"Configuration refused with {len(error.problems)} problems; the one before stays in force"
    except ReadingFailed as error:
        log.event("error", "reload.unread", problem=str(error), hint="the configuration before stays in force")
        return "The configuration could not be read; the one before stays in force"
    except Exception as error:
        # Ours to mend, and no reason to stop serving.
        log.failure("reload.failed", error)
        return "The new configuration could not be adopted; the one before stays in force"
    _prepare(settings)
    log.event("info", "reload.done", domain=settings.domain)
    return f"Serving {settings.domain} with the new configuration"
