"""`passproxy nginx FILE`: the web server's part of a configuration, complete, for nginx."""

from __future__ import annotations

import argparse
import math
import re
import sys
from importlib.resources import files
from typing import Any

import jinja2

from passproxy.cli.files import add_file, loaded
from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES, SESSION_PARTS_LIMIT, VALUE_LIMIT_BYTES
from passproxy.core.errors import ConfigError
from passproxy.core.http1 import HEAD_LIMIT_BYTES
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin

#: The first nginx with `http2 on`; before it, `http2` was a word of `listen`.
HTTP2_DIRECTIVE_SINCE = (1, 25, 1)

#: All cookies of ours in one line at the very most: the parts of a session, logins under way, what
#: the provider wants back, and two small ones; with their names.
COOKIES_LIMIT_BYTES = (SESSION_PARTS_LIMIT + 1) * (VALUE_LIMIT_BYTES + 64) + LOGIN_COOKIES_LIMIT_BYTES + 512

#: The longest line that nginx reads: room for the application's cookies beside ours, and for what
#: nginx adds below PassProxy's own limit on a whole head.
LINE_KIB = 28

#: nginx waits longer than PassProxy does, so that it is PassProxy who explains a limit that is met.
TIMEOUT_FACTOR = 1.5

# What nginx reads as one word, without quotes and escapes.
_WORD = re.compile(r"[A-Za-z0-9/._~@:+-]+\Z")
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "nginx",
        help="print nginx's part of a configuration",
        description=(
            "Print a complete nginx configuration for the domain of a file: TLS, HTTP/2, buffers large enough for the "
            "largest session, and time limits above those of the file. `nginx -t` accepts it once the certificate is there."
        ),
        epilog="example: passproxy nginx /etc/passproxy/grafana.yaml > /etc/nginx/conf.d/grafana.conf",
    )
    add_file(parser)
    parser.add_argument("--nginx", type=_version, default=HTTP2_DIRECTIVE_SINCE, metavar="VERSION", help="e.g. 1.22")
    parser.add_argument("--further", action="store_true", help="without what a machine needs once, for a second domain")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    sys.stdout.write(rendered(loaded(arguments.file), arguments.nginx, is_further=arguments.further))
    return 0


def rendered(settings: Settings, version: tuple[int, ...] = HTTP2_DIRECTIVE_SINCE, *, is_further: bool = False) -> str:
    """
    The text of nginx's configuration for these settings.

    Raises:
        ConfigError: nginx has no part in them, or cannot be told of them.
    """
    origin = Origin.of(settings.domain, settings.origin)
    if origin.scheme != "https":
        raise ConfigError((f"origin: {origin} is for a trial without a web server in front; nginx is for https",))
    server, is_everywhere = _server(settings.listen)
    longest = max(settings.upstream.response_timeout, settings.upstream.idle_timeout)
    text = (files("passproxy.cli") / "nginx.conf.j2").read_text("utf-8")
    environment = jinja2.Environment(  # noqa: S701 - text for nginx; each value was validated, or is one word
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(text).render(
        domain=settings.domain,
        authority=str(origin).partition("://")[2],
        port=origin.port,
        host="$host" if origin.port == 443 else "$host:$server_port",
        upstream="passproxy_" + re.sub(r"\W", "_", settings.domain, flags=re.ASCII),
        server=server,
        is_everywhere=is_everywhere,
        http2="" if version >= HTTP2_DIRECTIVE_SINCE else " http2",
        is_further=is_further,
        cookies_kib=math.ceil(COOKIES_LIMIT_BYTES / 1024),
        line_kib=LINE_KIB,
        head_kib=HEAD_LIMIT_BYTES // 1024,
        timeout_minutes=math.ceil(longest * TIMEOUT_FACTOR / 60),
    )


def _server(listen: str) -> tuple[str, bool]:
    """Where nginx finds PassProxy, and whether that is only one of the addresses it listens on."""
    if not _WORD.match(listen) and not listen.startswith("["):
        raise ConfigError((f"listen: {listen!r} cannot be written in nginx's configuration without quotes",))
    host, _, port = listen.rpartition(":")
    if host in _EVERY_ADDRESS:
        return f"{_EVERY_ADDRESS[host]}:{port}", True
    return listen, False


def _version(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,4}){1,2}", text):
        raise argparse.ArgumentTypeError("expected a version, such as 1.22")
    return tuple(map(int, text.split(".")))
