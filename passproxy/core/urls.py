"""
URLs that PassProxy itself makes or follows: its origin, and where a login may return to.

An origin comes from the configuration and never from a request. `return_to` is
the only function that turns something a visitor sent into a redirect target;
what it does not recognise becomes "/". It does not know which paths are ours:
routing.py does.
"""

from __future__ import annotations

import ipaddress
import re
from binascii import a2b_qp
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from passproxy.core.errors import CallbackMalformed

DEFAULT_PORTS = {"http": 80, "https": 443}

#: With which the address of a Redis begins.
REDIS_SCHEMES = ("redis:", "rediss:", "unix:")

#: Longest return target, in bytes, that a login remembers. A longer one becomes
#: "/": it would not fit the login cookie beside others (RFC 6265 grants 4096).
RETURN_TO_LIMIT_BYTES = 2048

# One slash, then visible ASCII but for: quotes and angle brackets, "#" (which starts
# what we never see) and the backslash (which is a slash to browsers).
_LOCAL_TARGET = re.compile(r"/[!$-;=?-\[\]-~]*\Z")

_FRAGMENT = re.compile(r"[!#-;=?-~]*\Z")

# Leading segments that some reader drops or decodes to nothing, a slash or a control
# character: behind them a second slash would start a host name.
_HOLLOW_START = re.compile(r"/(?:\.|%(?:2f|5c|2e|3b|[01][0-9a-f]|20|7f))*(?:;[^/]*)?/", re.IGNORECASE)

_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:;[^/]*)?(?:/|\Z)", re.IGNORECASE)

#: Most form or query fields that an answer of an identity provider may have.
FIELD_LIMIT = 32


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def url_parts(value: str) -> SplitResult:
    """
    The parts of an absolute URL without a user name in it.

    Raises:
        ValueError: it is none; the text does not quote it.
    """
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port out of range
    except ValueError:
        # The parser's own words may quote what is a password to whoever wrote it.
        raise ValueError("not a URL") from None
    if re.search(r"[\x00-\x20\x7f-\uffff]", value) or not parts.scheme:
        raise ValueError("not a URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise ValueError("the URL has no host")
    return parts


def provider_url(value: str) -> str:
    """
    An https URL, or plain http toward this machine: what it serves decides who gets in.

    Raises:
        ValueError: it is neither.
    """
    parts = url_parts(value)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https; plain http is accepted only toward a loopback address")
    if parts.scheme not in ("http", "https"):
        raise ValueError("must be an https URL")
    return value


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of the protected domain (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        if self.port == DEFAULT_PORTS[self.scheme]:
            return f"{self.scheme}://{self.host}"
        return f"{self.scheme}://{self.host}:{self.port}"

    @classmethod
    def of(cls, domain: str, written: str | None) -> Origin:
        """Of the protected name: https on its own port, unless the configuration writes another origin."""
        if written is None:
            return cls("https", f"[{domain}]" if ":" in domain else domain, DEFAULT_PORTS["https"])
        scheme, _, authority = written.partition("://")
        host, separator, port = authority.rpartition(":")
        if not separator or not port.isdecimal():
            host, port = authority, str(DEFAULT_PORTS[scheme])
        return cls(scheme, host.lower(), int(port))

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    def url(self, path: str) -> str:
        """The absolute URL of a path, which must start with one slash."""
        return f"{self}{path}"

    def hosts(self) -> frozenset[bytes]:
        """
        Values of a Host header that name this origin, in lower case.

        With and without the port: web servers in front often pass the name alone.
        """
        return frozenset({self.host.encode(), f"{self.host}:{self.port}".encode()})


def return_to(target: str) -> str:
    """
    The request target that a login returns to: `target` itself if it is a plain local one, else "/".

    Scheme-relative and backslash forms, control characters, fragments, dot
    segments that leave room for interpretation and over-long targets become "/".
    """
    if len(target) > RETURN_TO_LIMIT_BYTES or not _LOCAL_TARGET.match(target):
        return "/"
    path = target.partition("?")[0]
    if _HOLLOW_START.match(path) or re.match(r"/%(?:2f|5c|[01]|20|7f)", path, re.IGNORECASE):
        return "/"
    # Browsers resolve dot segments before they ask, so nobody's link has them; after
    # resolving, "/a/..//evil" would be a host and "/a/../.passproxy/logout" a page of ours.
    if _DOT_SEGMENT.search(path):
        return "/"
    return target


def with_fragment(target: str) -> str:
    """
    `return_to` for a target that may have a fragment, as browsers write it in `location.hash`.

    A fragment never reaches a server by itself (RFC 9110, 7.1); a single-page application can
    hand its own to the login.
    """
    base, separator, fragment = target.partition("#")
    safe = return_to(base)
    if not separator or safe != base or len(target) > RETURN_TO_LIMIT_BYTES or not _FRAGMENT.match(fragment):
        return safe
    return f"{safe}#{fragment}"


def fields(encoded: bytes) -> Mapping[str, str]:
    """
    The fields of an `application/x-www-form-urlencoded` body or query, each name at most once.

    Strict where two readers could differ: a repeated name, an escaped letter in
    a name, a bad escape or bytes that are not UTF-8 refuse the whole.

    Raises:
        CallbackMalformed: for any of these, and above `FIELD_LIMIT` fields.
    """
    found: dict[str, str] = {}
    pieces = encoded.split(b"&") if encoded else []
    if len(pieces) > FIELD_LIMIT:
        raise CallbackMalformed("too many fields")
    for piece in pieces:
        name, separator, value = piece.partition(b"=")
        if not separator or not re.fullmatch(rb"[A-Za-z0-9_.\-]{1,64}", name):
            raise CallbackMalformed("a field without a plain name")
        if name.decode() in found:
            raise CallbackMalformed(f"field {name.decode()} is repeated")
        found[name.decode()] = _decoded(value)
    return found


def _decoded(value: bytes) -> str:
    if re.search(rb"%(?![0-9A-Fa-f]{2})", value):
        raise CallbackMalformed("a bad percent escape")
    try:
        # Quoted-printable is the same with another escape character, and its decoder is C: urllib's
        # takes 15 ms, in which nobody is served, for a form of nothing but escapes.
        return a2b_qp(value.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")).decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise CallbackMalformed("a field that is not UTF-8") from None
