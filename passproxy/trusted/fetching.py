"""
Reading a small document over HTTPS, within bounds.

No redirects, no compression, no proxy of the environment; limits on size and
time, for connecting and for the whole answer. Plain HTTP only to this machine.
An application that reaches the outside through a proxy of its own hands another
function of the same shape to `KeySet`.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from urllib.parse import SplitResult, urlsplit

from passproxy.trusted.errors import FetchFailed

#: For connecting, and then for the whole answer. Requests wait for some fetches.
FETCH_SECONDS = 5.0

#: A key set of one issuer is below 20 KiB.
DOCUMENT_LIMIT_BYTES = 256 * 1024

#: Addresses are configured, or come from a document that is checked as a whole.
URL_LIMIT_CHARACTERS = 2048


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_fetchable(url: str) -> bool:
    """Whether an address is one that `fetched` reads: https, or http to this machine, and nothing odd in it."""
    if len(url) > URL_LIMIT_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or "#" in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def fetched(url: str) -> bytes:
    """
    The body of a 200 answer.

    Raises:
        FetchFailed: anything else, too large, or not complete in time.
    """
    if not is_fetchable(url):
        raise FetchFailed("only https addresses are read, and http ones of this machine")
    parts = urlsplit(url)
    connection = _connection(parts)
    try:
        connection.connect()
        return _bounded_answer(connection, parts)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchFailed(f"{parts.hostname}: {type(error).__name__}") from error
    finally:
        connection.close()


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=FETCH_SECONDS)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=FETCH_SECONDS, context=context)


def _bounded_answer(connection: http.client.HTTPConnection, parts: SplitResult) -> bytes:
    # A timeout of the socket is for each single read: whoever sends a byte every few
    # seconds would never meet it.
    late = threading.Event()
    cut = threading.Timer(FETCH_SECONDS, _cut, (connection.sock, late))
    cut.daemon = True
    cut.start()
    try:
        answer = _answer(connection, parts)
    finally:
        cut.cancel()
    if late.is_set():
        raise FetchFailed(f"{parts.hostname} took too long")
    return answer


def _cut(connected: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        # Below TLS, whose own state belongs to the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _answer(connection: http.client.HTTPConnection, parts: SplitResult) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"Accept": "application/json", "Accept-Encoding": "identity"})
    response = connection.getresponse()
    if response.status != 200:
        raise FetchFailed(f"{parts.hostname} answers with status {response.status}; redirects are not followed")
    # Decoded it could be a thousand times as large, before anybody counts.
    if response.getheader("Content-Encoding", "identity").strip().lower() != "identity":
        raise FetchFailed(f"{parts.hostname} answers compressed, which was not asked for")
    body = response.read(DOCUMENT_LIMIT_BYTES + 1)
    if len(body) > DOCUMENT_LIMIT_BYTES:
        raise FetchFailed(f"{parts.hostname} answers with more than {DOCUMENT_LIMIT_BYTES} bytes")
    if response.length:
        raise FetchFailed(f"{parts.hostname} broke off its answer")
    return body
