"""`passproxy health`: asks the instance of a configuration whether it is alive, for health checks of containers."""

from __future__ import annotations

import argparse
import http.client
import os
import re
import socket
import sys
from typing import Any

from passproxy.cli.files import add_file, loaded
from passproxy.core.errors import ConfigError
from passproxy.core.routing import PREFIX

#: An answer takes a millisecond; whoever does not give it in this time serves nobody.
TIMEOUT_SECONDS = 3.0

_VARIABLE = "PASSPROXY_LISTEN"
_ADDRESS = re.compile(r"unix:/.+|[^:/]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")

#: Where one reaches what listens on every address.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "health",
        help="ask whether an instance is alive",
        description=(
            "Ask the instance that listens where the configuration says whether it is alive. Exits with 0 if it is, "
            f"with 1 if not. Without a file {_VARIABLE} says where; the rest of the configuration is not needed."
        ),
        epilog="example: passproxy health /etc/passproxy/grafana.yaml",
    )
    add_file(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    listen = loaded(arguments.file).listen if arguments.file is not None else _listen_of_environment()
    try:
        status = _status(listen)
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{listen}: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}\n")
        return 1
    if status != http.client.OK:
        sys.stderr.write(f"{listen}: answers with status {status}\n")
        return 1
    sys.stdout.write(f"{listen}: alive\n")
    return 0


def _listen_of_environment() -> str:
    listen = os.environ.get(_VARIABLE)
    if listen is not None and _ADDRESS.fullmatch(listen):
        return listen
    # What the models need in memory and in time is spared to a check every half minute.
    from pydantic import TypeAdapter, ValidationError

    from passproxy.core.formats import ListenAddress
    from passproxy.core.settings import Settings

    if listen is None:
        return str(Settings.model_fields["listen"].default)
    try:
        return TypeAdapter(ListenAddress).validate_python(listen)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError((f"{_VARIABLE}: {message}",)) from None


def _status(listen: str) -> int:
    """Raises `OSError` or `HTTPException`: nobody answers there, or not in time, or not in HTTP."""
    connection = _connection(listen)
    try:
        connection.request("GET", PREFIX + "health")
        return connection.getresponse().status
    finally:
        connection.close()


def _connection(listen: str) -> http.client.HTTPConnection:
    if listen.startswith("unix:"):
        return _UnixConnection(listen.removeprefix("unix:"))
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return http.client.HTTPConnection(_LOOPBACK.get(host, host), int(port), timeout=TIMEOUT_SECONDS)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)
