"""
The real web servers with the configurations that are shipped for them: only ports, paths and the name are other ones.

Each `...` function writes everything that its server needs into one folder and
gives the command that runs it in the foreground.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import nginx as _nginx
from tests.e2e.processes import child, free_port, is_listening

ETC = Path(__file__).parents[2] / "etc"

#: Debian has servers where ordinary users do not look.
_PATH = os.environ.get("PATH", "") + ":/usr/sbin"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to be: `port` speaks TLS, `plain_port` leads there; `folder` has a certificate and its key."""

    domain: str
    port: int
    plain_port: int
    passproxy_port: int
    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    def put(self, text: str, replacements: Sequence[tuple[str, str]]) -> str:
        """What is shipped, for this place; each replacement must find something."""
        everywhere = [
            (r"127\.0\.0\.1:8123\b", f"127.0.0.1:{self.passproxy_port}"),
            (r"\bapp\.example\.com\b", self.domain),
        ]
        for pattern, replacement in [*replacements, *everywhere]:
            text, count = re.subn(pattern, replacement, text)
            assert count > 0, f"{pattern} is not in what is shipped any more"
        return text

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path


def found(command: str) -> str:
    return shutil.which(command, path=_PATH) or command


def nginx(place: Place) -> list[str]:
    text = _nginx.printed(place.domain, place.port, f"127.0.0.1:{place.passproxy_port}")
    main = _nginx.written(_nginx.placed(text, place.domain, place.plain_port, place.folder), place.folder)
    return [_nginx.NGINX, "-e", str(place.folder / "start.log"), "-c", str(main)]


_APACHE_MODULES = (
    *("mpm_event", "authz_core", "ssl", "socache_shmcb", "http2", "headers", "rewrite", "setenvif"),
    *("proxy", "proxy_http", "reqtimeout"),
)

_APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
ErrorLog {folder}/error.log
Mutex posixsem
{modules}
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{plain_port}
{user}
Include {folder}/passproxy.conf
"""


def apache(place: Place) -> list[str]:
    folder = Path("/usr/lib/apache2/modules")
    modules = "\n".join(f"LoadModule {name}_module {folder}/mod_{name}.so" for name in _APACHE_MODULES)
    user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
    facts = {"folder": place.folder, "port": place.port, "plain_port": place.plain_port}
    main = place.write("apache.conf", _APACHE.format(modules=modules, user=user, **facts))
    replacements = [
        (r"\*:80>", f"127.0.0.1:{place.plain_port}>"),
        (r"\*:443>", f"127.0.0.1:{place.port}>"),
        (r"/etc/ssl/certs/app\.example\.com\.pem", str(place.certificate)),
        (r"/etc/ssl/private/app\.example\.com\.key", str(place.key)),
        (r"https://app\.example\.com%1", f"https://{place.domain}:{place.port}%1"),
    ]
    place.write("passproxy.conf", place.put((ETC / "apache" / "passproxy.conf").read_text("utf-8"), replacements))
    return [found("apache2"), "-D", "FOREGROUND", "-f", str(main)]


_CADDY = """
{{
    admin off
    http_port {plain_port}
    https_port {port}
    default_bind 127.0.0.1
    storage file_system {folder}/storage
}}
"""


def caddy_options(place: Place) -> str:
    """What is said once, above the domain."""
    return _CADDY.format(folder=place.folder, port=place.port, plain_port=place.plain_port)


def caddy(place: Place) -> list[str]:
    replacements = [
        (r"/etc/ssl/certs/app\.example\.com\.pem", str(place.certificate)),
        (r"/etc/ssl/private/app\.example\.com\.key", str(place.key)),
    ]
    text = place.put((ETC / "caddy" / "Caddyfile").read_text("utf-8"), replacements)
    file = place.write("Caddyfile", caddy_options(place) + text)
    return [found("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]


def haproxy(place: Place) -> list[str]:
    both = place.certificate.read_text("ascii") + place.key.read_text("ascii")
    pair = place.write("both.pem", both)
    replacements = [
        (r"bind :80\b", f"bind 127.0.0.1:{place.plain_port}"),
        (r"bind :443\b", f"bind 127.0.0.1:{place.port}"),
        (r"/etc/ssl/private/app\.example\.com\.pem", str(pair)),
        (r"https://app\.example\.com\b", f"https://{place.domain}:{place.port}"),
    ]
    file = place.write("passproxy.cfg", place.put((ETC / "haproxy" / "passproxy.cfg").read_text("utf-8"), replacements))
    return [found("haproxy"), "-db", "-f", str(file)]


SERVERS: dict[str, Callable[[Place], list[str]]] = {
    "nginx": nginx,
    "Apache": apache,
    "Caddy": caddy,
    "HAProxy": haproxy,
}


@contextlib.asynccontextmanager
async def front_end(
    server: str,
    domain: str,
    port: int,
    passproxy_port: int,
    folder: Path,
    spoil: Callable[[Place], None] = lambda place: None,
    servers: Mapping[str, Callable[[Place], list[str]]] = SERVERS,
) -> AsyncIterator[Place]:
    """This server as long as the block; `spoil` may change what was written for it."""
    _nginx.make_certificate(domain, folder)
    place = Place(domain, port, free_port(), passproxy_port, folder)
    command = servers[server](place)
    spoil(place)
    async with child(command, folder / "front.log", lambda said: is_listening(port)):
        yield place
