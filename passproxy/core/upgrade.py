"""
Requests to switch protocols: which are genuine, and which answers accept them.

After a valid 101 both directions are raw bytes, and nobody reads them any
more. So everything is checked before: a complete handshake, from our own
pages, and an answer that accepts exactly what was asked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import NamedTuple

from passproxy.core.errors import OriginForeign, UpgradeRefused, UpgradeVersion
from passproxy.core.http1 import AnswerHead, RequestHead, connection_options

_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==\Z")
_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?\Z")

# RFC 6455, 1.3. SHA-1 is the handshake's, not a protection.
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# Protocols in which further requests would travel that nobody judges any more.
_MORE_REQUESTS = (b"h2c", b"h2", b"http", b"tls", b"connect")


class Upgrade(NamedTuple):
    """
    What a client asks to switch to.

    For a WebSocket, `accept` is the answer's key, and `subprotocols` those of which the answer may name one.
    """

    protocol: bytes
    accept: bytes | None
    subprotocols: frozenset[bytes] = frozenset()

    @property
    def lines(self) -> bytes:
        return b"Connection: Upgrade\r\nUpgrade: " + self.protocol + b"\r\n"

    def is_accepted_by(self, answer: AnswerHead) -> bool:
        """Whether a 101 names the protocol that was asked for and, for a WebSocket, proves it."""
        protocols = answer.noted.get(b"upgrade", [])
        if len(protocols) != 1 or protocols[0].lower() != self.protocol.lower():
            return False
        if b"upgrade" not in connection_options(answer.noted.get(b"connection", [])):
            return False
        if self.accept is None:
            return True
        chosen = answer.noted.get(b"sec-websocket-protocol", [])
        # RFC 6455, 4.1: the browser would end the connection over another one, with no reason given.
        return answer.noted.get(b"sec-websocket-accept") == [self.accept] and (
            not chosen or (len(chosen) == 1 and chosen[0] in self.subprotocols)
        )


def upgrade_of(head: RequestHead, origin: bytes) -> Upgrade | None:
    """
    What a request asks to switch to, or None when it is an ordinary request.

    An offer of several protocols, or of one that carries further HTTP requests,
    is optional to accept (RFC 9110, 7.8): the request goes on without it.

    Raises:
        UpgradeRefused: a WebSocket handshake that is incomplete or not from our own pages.
    """
    offers = head.noted[b"upgrade"]
    asked = b"upgrade" in connection_options(head.noted.get(b"connection", []))
    if len(offers) == 1 and offers[0].lower() == b"websocket":
        if not asked:
            raise UpgradeRefused("Upgrade: websocket without Connection: upgrade")
        return _websocket(head, origin)
    if not asked or len(offers) != 1 or not _PROTOCOL.match(offers[0]) or offers[0].lower().startswith(_MORE_REQUESTS):
        return None
    if head.version == 0 or head.body:
        raise UpgradeRefused("an upgrade over HTTP/1.0 or with a body")
    check_origin(head, origin)
    return Upgrade(offers[0], None)


def check_origin(head: RequestHead, origin: bytes) -> None:
    """Raises `OriginForeign` when a browser says that another site's page asks (RFC 6455, 10.2)."""
    origins = [line for line in head.lines if line[:7].lower() == b"origin:"]
    if not origins:
        return  # not a browser, or not a page: no foreign site can make one leave it out
    if len(origins) != 1 or head.value(b"origin") != origin:
        raise OriginForeign("Origin is not ours")


def _websocket(head: RequestHead, origin: bytes) -> Upgrade:
    """RFC 6455, 4.2.1."""
    if head.method != b"GET" or head.version == 0 or head.body:
        raise UpgradeRefused("a WebSocket handshake that is not a plain GET over HTTP/1.1")
    if head.value(b"sec-websocket-version") != b"13":
        raise UpgradeVersion("Sec-WebSocket-Version is not 13")
    key = head.value(b"sec-websocket-key")
    if key is None or not _KEY.match(key):
        raise UpgradeRefused("Sec-WebSocket-Key is not 16 bytes")
    check_origin(head, origin)
    digest = hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest()
    offered = [line.partition(b":")[2] for line in head.lines if line[:23].lower() == b"sec-websocket-protocol:"]
    subprotocols = frozenset(name.strip(b" \t") for name in b",".join(offered).split(b","))
    return Upgrade(b"websocket", base64.b64encode(digest), subprotocols - {b""})
