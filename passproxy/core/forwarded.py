"""
What the application is told about the client: address, scheme and host.

The address comes from the connection, and behind a trusted proxy from the
rightmost X-Forwarded-For entry that no trusted proxy wrote. Scheme and host
come from the configuration, whatever a client or a proxy says.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from passproxy.core.urls import Origin

#: Lines remembered, by peer and X-Forwarded-For: about as many as clients at a time.
REMEMBERED_LIMIT = 4096

#: Longest X-Forwarded-For that is remembered; three or four addresses are below 160 bytes.
REMEMBERED_LIMIT_BYTES = 256

#: Entries of one X-Forwarded-For that are looked at, from the right. A chain of
#: trusted proxies is three or four long.
HOP_LIMIT = 32


def pseudonym(origin: Origin) -> bytes:
    """What one domain's proxies call themselves in `Via` (RFC 9110, 7.6.3); a request meets each domain once."""
    return b"passproxy-" + hashlib.sha256(str(origin).encode()).hexdigest()[:8].encode()


class Forwarded:
    """Makes the forwarded header lines of one origin, and its `Via` unless `is_announced` is false."""

    def __init__(self, origin: Origin, trusted: Iterable[str], is_announced: bool = True) -> None:
        host = str(origin).partition("://")[2]
        self._fixed = f"X-Forwarded-Proto: {origin.scheme}\r\nX-Forwarded-Host: {host}\r\nX-Forwarded-Port: {origin.port}\r\n".encode()
        if is_announced:
            self._fixed += b"Via: 1.1 " + pseudonym(origin) + b"\r\n"
        self._trusted = [ipaddress.ip_network(network, strict=False) for network in trusted]
        self._lines: dict[tuple[str, bytes], bytes] = {}
        self._trusts: dict[str, bool] = {"": True}  # the other end of a unix socket

    def lines(self, peer: str, values: list[bytes] | None) -> bytes:
        """
        The lines for a request, each ending with CRLF.

        `peer` is the address of the connection, "" for a unix socket, whose
        other end is a local proxy that may write to it.
        """
        value = b"" if values is None else values[0] if len(values) == 1 else b",".join(values)
        key = (peer, value)
        known = self._lines.get(key)
        if known is None:
            peer = _unmapped(peer)
            if value and peer and not self._is_trusted(peer):
                return self.lines(peer, None)  # what a stranger says has no effect
            known = self._made(peer, value)
            if len(value) > REMEMBERED_LIMIT_BYTES:
                return known
            if len(self._lines) >= REMEMBERED_LIMIT:
                del self._lines[next(iter(self._lines))]
            self._lines[key] = known
        return known

    def client(self, peer: str, values: list[bytes] | None) -> str:
        """The client's address as far as it can be believed."""
        return self._hops(_unmapped(peer), b",".join(values or ()))[0]

    def trusts(self, peer: str) -> bool:
        """Whether a trusted proxy is at the other end of a connection; `peer` as for `lines`."""
        known = self._trusts.get(peer)
        if known is None:
            if len(self._trusts) >= REMEMBERED_LIMIT:
                del self._trusts[next(iter(self._trusts))]
            known = self._trusts[peer] = peer == "" or self._is_trusted(_unmapped(peer))
        return known

    def _made(self, peer: str, value: bytes) -> bytes:
        client, chain = self._hops(peer, value)
        return f"X-Forwarded-For: {', '.join(chain)}\r\nX-Real-IP: {client}\r\n".encode() + self._fixed

    def _hops(self, peer: str, value: bytes) -> tuple[str, list[str]]:
        """The client, and the chain from it to our peer."""
        believed: list[str] = [] if not peer else [peer]
        if peer and not self._is_trusted(peer):
            return peer, believed
        for entry in reversed(value.split(b",")[-HOP_LIMIT:]):
            address = _address(entry.strip().decode("latin-1"))
            if address is None:
                break
            believed.insert(0, address)
            if not self._is_trusted(address):
                break
        return (believed[0] if believed else "unix:"), believed or ["unix:"]

    def _is_trusted(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._trusted)


def _unmapped(peer: str) -> str:
    """A dual-stack listener sees IPv4 clients as ::ffff:192.0.2.1."""
    return peer.removeprefix("::ffff:") if "." in peer else peer


def _address(text: str) -> str | None:
    """An address in its usual form; a port, as some proxies add one, is dropped, and a zone refused."""
    if "%" in text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
