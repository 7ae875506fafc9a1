"""This machine's part: is PassProxy there, and is the application behind it, and only behind it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import stat
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from passproxy.app.dial import dial_to
from passproxy.cli.doctor.probe import Answer, Connect, ask, reason
from passproxy.cli.doctor.report import Finding, failed, ok, unknown, warning
from passproxy.core.errors import EndpointUnknown, HostUnknown
from passproxy.core.routing import PREFIX
from passproxy.core.settings import Settings, UpstreamSettings
from passproxy.core.urls import Origin, is_loopback
from passproxy.web.seen import ENDPOINT

#: Of proc_net_tcp(5): the state of a socket that listens.
_LISTENING = "0A"


async def listening(settings: Settings, origin: Origin) -> list[Finding]:
    """Whether PassProxy answers at its address, or could be started there."""
    address = settings.listen
    try:
        answer = await ask(_way_to(address), _request(PREFIX + ENDPOINT, str(origin).partition("://")[2]))
    except PermissionError:
        return [unknown("listen", f"This user may not connect to {address}.", "Run it as root or as the service.")]
    except (ConnectionRefusedError, FileNotFoundError):
        return [_unused(address)]
    except (OSError, ValueError) as error:
        return [failed("listen", f"{address} does not answer like PassProxy: {reason(error)}.", _TAKEN)]
    return [_judged(address, answer)]


_TAKEN = "Another program has taken the address: stop it, or choose another `listen`."


def _judged(address: str, answer: Answer) -> Finding:
    # A page that is there for nobody without a key; health would answer whatever the Host.
    if answer.status == EndpointUnknown.status and EndpointUnknown.code.encode() in answer.body:
        return ok("listen", f"PassProxy answers at {address}.")
    if HostUnknown.code.encode() in answer.body:
        return failed(
            "listen",
            f"At {address} answers PassProxy for another domain.",
            "Two domains need two addresses in `listen`.",
        )
    return failed("listen", f"{address} does not answer like PassProxy (status {answer.status}).", _TAKEN)


def _unused(address: str) -> Finding:
    hint = "Start it: passproxy serve FILE, or systemctl start passproxy@NAME."
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), int(port)))
            except OSError as error:
                text = f"PassProxy is not running and could not listen at {address}: {error.strerror or error}."
                return failed("listen", text, "`listen` must be an address of this machine and a port that is free.")
    return warning("listen", f"PassProxy is not running; {address} is free.", hint)


def _way_to(address: str) -> Connect:
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        return partial(loop.create_unix_connection, path=address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    # Connecting to "everywhere" means this machine, but not on every system.
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - compared, not bound
    return partial(loop.create_connection, host=host, port=int(port))


def _request(path: str, host: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()


async def application(settings: UpstreamSettings, origin: Origin) -> list[Finding]:
    """Whether the application answers, and whether it does so to others as well."""
    way, name = dial_to(settings), settings.url
    host = str(origin).partition("://")[2] if settings.preserve_host else way.authority.decode()
    try:
        answer = await ask(way.connect, _request("/", host))
    except PermissionError as error:
        return [unknown("upstream", f"{name}: {reason(error)}.", "Run it as root or as the service.")]
    except (OSError, ValueError) as error:
        return [
            failed("upstream", f"{name}: {reason(error)}.", "Is the application running, and is upstream.url right?")
        ]
    if answer.status >= 500:
        found = warning("upstream", f"{name} answers, with status {answer.status}.", "Look into the application's log.")
    else:
        found = ok("upstream", f"{name} answers (status {answer.status}).")
    return [found, _only_through_us(settings.url)]


def _only_through_us(url: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme == "http+unix":
        if stat.S_IMODE(os.stat(parts.path).st_mode) & stat.S_IWOTH:
            text = "Every user of this machine can write to the application's socket, and needs no login there."
            return warning("bypass", text, f"chmod o-w {parts.path}, with PassProxy in the socket's group.")
        return ok("bypass", "The application listens on a unix socket that not everybody can write to.")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if not is_loopback(host):
        text = f"The application is at {host}: whoever reaches it there directly needs no login."
        return warning(
            "bypass", text, f"Let nothing but PassProxy reach port {port}, by a firewall or a network of its own."
        )
    is_open = _is_open_to_others(port)
    if is_open is None:
        return unknown("bypass", "It cannot be told here whether the application can be reached past PassProxy.")
    if is_open:
        text = f"The application listens on port {port} of every network: whoever reaches it there needs no login."
        return warning("bypass", text, "Bind the application to 127.0.0.1, or close the port to others by a firewall.")
    return ok("bypass", "The application listens on loopback only: nobody gets past PassProxy from outside.")


def _is_open_to_others(port: int) -> bool | None:
    """Whether a socket of this port listens beyond loopback (proc_net_tcp(5)); None where that cannot be seen."""
    found = []
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, state = line.split()[1], line.split()[3]
            if state == _LISTENING and int(local.partition(":")[2], 16) == port:
                found.append(not _is_loopback_in_hex(local.partition(":")[0]))
    return any(found) if found else None


def _is_loopback_in_hex(address: str, order: str = sys.byteorder) -> bool:
    """As the kernel writes addresses: in words of 32 bits, each in the order of the machine."""
    words = [bytes.fromhex(address[start : start + 8]) for start in range(0, len(address), 8)]
    found = ipaddress.ip_address(b"".join(word[::-1] if order == "little" else word for word in words))
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
