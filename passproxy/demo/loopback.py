"""
Listening on this machine alone.

Both servers of the demo accept whatever their forms say, so they must not be
reachable from elsewhere: `bound` refuses every address that is not loopback,
and `is_loopback_authority` recognises a Host header that some other site's name
was pointed here with (DNS rebinding).
"""

from __future__ import annotations

import re
import socket
from types import TracebackType
from typing import Self

from aiohttp import web

from passproxy.core.urls import is_loopback

#: Streams and WebSockets of the demo never end by themselves.
SHUTDOWN_TIMEOUT_SECONDS = 1.0

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?\Z", re.IGNORECASE)


def is_loopback_authority(authority: str) -> bool:
    """Whether a Host header names this machine."""
    match = _AUTHORITY.match(authority)
    return match is not None and is_loopback(match[1].lower())


def bound(host: str, port: int) -> socket.socket:
    """
    A socket bound to a loopback address; port 0 takes a free one.

    A name such as `localhost` means 127.0.0.1, whatever the resolver thinks.

    Raises:
        ValueError: the host is not this machine.
        OSError: the port is taken.
    """
    if not is_loopback(host):
        raise ValueError(f"the demo listens on loopback only, not on {host}")
    address = host if host[-1:].isdigit() or ":" in host else "127.0.0.1"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
    except BaseException:
        listening.close()
        raise
    return listening


class LoopbackServer:
    """
    Lifetime of one demo server: `start()` and `stop()`, or `async with`.

    A subclass says what is served, once the address is known.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        if not is_loopback(host):
            raise ValueError(f"the demo listens on loopback only, not on {host}")
        self._host = host
        self._port = port
        self._base_url: str | None = None
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """Scheme, host and port, without a slash at the end; known from `start()` on."""
        if self._base_url is None:
            raise RuntimeError("the demo server has not been started")
        return self._base_url

    def build(self, base_url: str) -> web.Application:
        """What is served at this address."""
        raise NotImplementedError

    async def start(self) -> str:
        """Listen; returns the base URL."""
        listening = bound(self._host, self._port)
        name = f"[{self._host}]" if ":" in self._host else self._host
        base_url = f"http://{name}:{listening.getsockname()[1]}"
        # Bodies are handed on as they came: an application behind a proxy is here to
        # show what arrived, and a compressed body could be a bomb.
        runner = web.AppRunner(
            self.build(base_url),
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS,
        )
        try:
            await runner.setup()
            await web.SockSite(runner, listening).start()
        except BaseException:
            await runner.cleanup()
            listening.close()
            raise
        self._runner, self._base_url = runner, base_url
        return base_url

    async def stop(self) -> None:
        """Stop listening and end what is still open. Twice is the same as once."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
