"""
The request that a web server asks about and serves itself: taken from its fields, read like any other.

Each web server says it under names of its own, and the configuration says which web server it is: nothing
is guessed from what came along. What it says is parsed by the parser of real requests; the result is judged
by decision.py, as if it had arrived here. Whether the peer may be believed at all is the caller's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from passproxy.core.errors import ForwardedTargetRefused
from passproxy.core.http1 import NameTable, RequestHead, request_head

#: The path behind the reserved prefix at which web servers ask.
ENDPOINT = "auth"

_AUTHORIZATION = b"authorization:"

# Traefik names the scheme of a WebSocket.
_SCHEMES = {"https": frozenset({b"https", b"wss"}), "http": frozenset({b"http", b"ws"})}


class WebServer(NamedTuple):
    """
    How one web server asks, and what it can do with an answer.

    `method`, `target`, `host` and `scheme` are names of fields, in lower case; without `scheme` it says none.
    With `knows_two_refusals` any status but 2xx, 401 and 403 is a fault to it, and the visitor never sees the
    answer. With `numbers_cookies` it can hand on single fields alone, so each cookie has a name of its own.
    """

    method: bytes
    target: bytes
    host: bytes
    scheme: bytes | None = None
    knows_two_refusals: bool = False
    numbers_cookies: bool = False

    @property
    def names(self) -> frozenset[bytes]:
        """The fields that are read only because of it."""
        return frozenset({self.method, self.target, self.host, *filter(None, (self.scheme,))}) - {b"host"}


_X_FORWARDED = WebServer(b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-host", b"x-forwarded-proto")

#: By the name that the configuration has for them.
WEB_SERVERS: Mapping[str, WebServer] = MappingProxyType(
    {
        "nginx": WebServer(
            b"x-original-method", b"x-original-uri", b"host", knows_two_refusals=True, numbers_cookies=True
        ),
        "caddy": _X_FORWARDED._replace(numbers_cookies=True),
        "haproxy": _X_FORWARDED._replace(numbers_cookies=True),
        "traefik": _X_FORWARDED,
    }
)


def forwarded_head(head: RequestHead, web_server: WebServer, scheme: str, names: NameTable) -> RequestHead:
    """
    The head that is asked about: method, target and host as the web server says, all other fields as they came.

    `head` is the question. `scheme` is the origin's.

    Raises:
        ForwardedTargetRefused: a field is missing, there more than once, or contradicts the others.
        RequestMalformed: what they say is no request line; or a subclass, as for a request that arrives.
    """
    if head.body:
        raise ForwardedTargetRefused("a body came along, which nobody asked for")
    if web_server.scheme is not None and _only(head, web_server.scheme).lower() not in _SCHEMES[scheme]:
        raise ForwardedTargetRefused(f"{web_server.scheme.decode()} is not that of the origin")
    method, target, host = (_only(head, name) for name in (web_server.method, web_server.target, web_server.host))
    if target[:1] != b"/":
        raise ForwardedTargetRefused(f"{web_server.target.decode()} does not begin with a slash")
    read = request_head(b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, target, host), names)
    noted = {**head.noted, b"host": read.noted[b"host"]}
    return head._replace(method=read.method, target=read.target, path=read.path, noted=noted)


def authorization(head: RequestHead) -> bytes | None:
    """
    The value of Authorization that came along, for the application.

    Raises:
        ForwardedTargetRefused: there is more than one, and a web server can hand on one.
    """
    size = len(_AUTHORIZATION)
    values = [line[size:].strip(b" \t") for line in head.lines if line[:size].lower() == _AUTHORIZATION]
    if len(values) > 1:
        raise ForwardedTargetRefused("more than one Authorization")
    return values[0] if values else None


def _only(head: RequestHead, name: bytes) -> bytes:
    values = head.noted.get(name, ())
    if len(values) != 1 or not values[0]:
        raise ForwardedTargetRefused(f"{name.decode()} is there {len(values)} times, or empty")
    return values[0]
