"""
The admin listener: /metrics, /live and /ready, apart from what visitors reach. Off unless configured.

Small on purpose: a head, within a limit and a time; one answer; the connection is closed. It knows no
session and no identity, and only reads. Whoever reaches it learns numbers, never names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import cast

from passproxy.core.errors import ConfigError, RequestMalformed
from passproxy.core.headers import request_names
from passproxy.core.http1 import request_head
from passproxy.web import log
from passproxy.web.metrics import CONTENT_TYPE, Exporter
from passproxy.web.observed import Observed
from passproxy.web.responses import Response, as_json, document

#: A Prometheus sends some 300 bytes.
HEAD_LIMIT_BYTES = 8 * 1024

#: For a head to arrive and an answer to be read.
TIMEOUT_SECONDS = 10.0

#: Two or three who ask at once are usual.
CONNECTION_LIMIT = 32

_TEXT = "text/plain; charset=utf-8"


class Admin:
    """`open`, then `close`. In between it answers by itself, about what is `observed` at the time."""

    def __init__(self, listen: str, observed: Observed) -> None:
        self._listen = listen
        self.observed = observed
        self._exporter = Exporter(lambda: self.observed)
        self._names = request_names()
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None

    async def open(self) -> str:
        """
        Listen, and say where.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        try:
            if self._listen.startswith("unix:"):
                path = self._listen.removeprefix("unix:")
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                self._listener = await loop.create_unix_server(self._connection, path)
                # Whoever collects runs as another user of the same group.
                os.chmod(path, 0o660)
                return self._listen
            host, _, port = self._listen.rpartition(":")
            self._listener = await loop.create_server(self._connection, host.strip("[]"), int(port))
        except OSError as error:
            raise ConfigError((f"admin.listen: {self._listen}: {error.strerror or error}",)) from None
        return f"{host}:{self._listener.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.transport.abort()

    def answer(self, head: bytes) -> bytes:
        """The answer to a head that ends with CRLF, as bytes; never raises."""
        try:
            request = request_head(head, self._names)
        except RequestMalformed as error:
            return document(_TEXT, b"", status=error.status).wire(with_body=True, closes=True)
        if request.method not in (b"GET", b"HEAD") or request.body:
            response = document(_TEXT, b"GET and HEAD\n", status=405).with_fields((("Allow", "GET, HEAD"),))
        else:
            try:
                response = self._told(request.path)
            except Exception as error:
                log.failure("admin.failed", error)
                response = document(_TEXT, b"", status=500)
        return response.wire(with_body=request.method != b"HEAD", closes=True)

    def _told(self, path: bytes) -> Response:
        match path:
            case b"/metrics":
                return document(CONTENT_TYPE, self._exporter.text())
            case b"/live":
                return as_json({"live": True})
            case b"/ready":
                reasons = self.observed.not_ready()
                told: dict[str, object] = {"ready": not reasons, "reasons": reasons}
                if notes := self.observed.notes():
                    told["notes"] = notes
                return as_json(told, status=503 if reasons else 200)
            case _:
                return document(_TEXT, b"/metrics, /live, /ready\n", status=404)

    def _connection(self) -> asyncio.Protocol:
        return _Connection(self.answer, self._connections)


class _Connection(asyncio.Protocol):
    """One question. `connections` is the set of those that are open."""

    def __init__(self, answer: Callable[[bytes], bytes], connections: set[_Connection]) -> None:
        self._answer = answer
        self._connections = connections
        self._buffer = b""
        self._is_answered = False
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before anything else

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if len(self._connections) >= CONNECTION_LIMIT:
            self.transport.abort()
            return
        self._connections.add(self)
        self._timer = asyncio.get_running_loop().call_later(TIMEOUT_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT_BYTES)
        if end >= 0:
            self._send(self._answer(self._buffer[: end + 2]))
        elif len(self._buffer) >= HEAD_LIMIT_BYTES:
            self._send(document(_TEXT, b"", status=431).wire(with_body=True, closes=True))

    def _send(self, answer: bytes) -> None:
        self._is_answered = True
        self._buffer = b""
        self.transport.write(answer)
        self.transport.close()
