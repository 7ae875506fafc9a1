"""
A browser's cookies: which it takes from an answer, and which it sends with a request.

As RFC 6265bis has it and Chromium does it, strict where browsers differ, so
that what works here works in all of them. It knows no public suffix list: a
site is the last two labels of a name, or a whole address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

#: What Chromium and Firefox keep of a cookie's name and value together.
COOKIE_LIMIT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Cookie:
    name: str
    value: str
    host: str
    host_only: bool
    path: str
    secure: bool
    http_only: bool
    same_site: str
    expires: float | None
    number: int


@dataclass(frozen=True, slots=True)
class Context:
    """What sends a request: the document it comes from (none for what the visitor typed), and how."""

    initiator: str | None = None
    navigation: bool = True
    safe_method: bool = True

    def is_same_site(self, url: str) -> bool:
        return self.initiator is None or site(self.initiator) == site(url)


def site(url: str) -> tuple[str, str]:
    """Scheme and registrable domain. Ports do not count: two of them on one address are the same site."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme, host if _is_address(host) else ".".join(host.split(".")[-2:])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    if _is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


class CookieJar:
    """
    Args:
        trusts_loopback: Secure cookies are kept for plain http to this machine
            too, as Chromium and Firefox do; Safari does not.
    """

    def __init__(self, *, trusts_loopback: bool = True) -> None:
        self._trusts_loopback = trusts_loopback
        self._cookies: dict[tuple[str, str, str], Cookie] = {}
        self._count = 0

    def __iter__(self) -> Iterator[Cookie]:
        return iter(tuple(self._cookies.values()))

    def named(self, name: str) -> Cookie | None:
        return next((cookie for cookie in self if cookie.name == name), None)

    def names(self) -> set[str]:
        return {cookie.name for cookie in self}

    def clear(self) -> None:
        self._cookies.clear()

    def header(self, url: str, context: Context, now: float) -> str:
        """The value of the Cookie header of a request, or an empty string."""
        parts = urlsplit(url)
        sent = [cookie for cookie in self if self._is_sent(cookie, parts, url, context, now)]
        sent.sort(key=lambda cookie: (-len(cookie.path), cookie.number))
        return "; ".join(f"{cookie.name}={cookie.value}" if cookie.name else cookie.value for cookie in sent)

    def _is_sent(self, cookie: Cookie, parts: SplitResult, url: str, context: Context, now: float) -> bool:
        host = parts.hostname or ""
        if cookie.expires is not None and cookie.expires <= now:
            return False
        if host != cookie.host and (cookie.host_only or not host.endswith(f".{cookie.host}")):
            return False
        if not _path_matches(parts.path or "/", cookie.path):
            return False
        if cookie.secure and not self._is_secure(parts):
            return False
        if context.is_same_site(url) or cookie.same_site == "none":
            return True
        # Chromium sends a cookie without SameSite with a POST for two minutes after it
        # was set. Nobody else does, so nobody may depend on it.
        return cookie.same_site == "lax" and context.navigation and context.safe_method

    def _is_secure(self, parts: SplitResult) -> bool:
        return parts.scheme == "https" or (self._trusts_loopback and is_loopback(parts.hostname or ""))

    def store(self, url: str, set_cookie: str, context: Context, now: float) -> bool:
        """Take one Set-Cookie line; says whether it was accepted (a deletion is)."""
        cookie = self._parsed(urlsplit(url), set_cookie, now)
        if cookie is None:
            return False
        if cookie.same_site != "none" and not context.navigation and not context.is_same_site(url):
            return False
        key = (cookie.host, cookie.path, cookie.name)
        if cookie.expires is not None and cookie.expires <= now:
            self._cookies.pop(key, None)
        else:
            self._cookies[key] = cookie
        return True

    def _parsed(self, parts: SplitResult, set_cookie: str, now: float) -> Cookie | None:
        pair, *pieces = set_cookie.split(";")
        name, equals, value = pair.partition("=")
        name, value = (name.strip(), value.strip()) if equals else ("", name.strip())
        attributes = {}
        for piece in pieces:
            key, _, given = piece.partition("=")
            attributes[key.strip().lower()] = given.strip()
        host = parts.hostname or ""
        domain = attributes.get("domain", "").lstrip(".").lower()
        path = attributes.get("path", "")
        self._count += 1
        cookie = Cookie(
            name=name,
            value=value,
            host=domain or host,
            host_only=not domain,
            path=path if path.startswith("/") else _default_path(parts.path),
            secure="secure" in attributes,
            http_only="httponly" in attributes,
            same_site=_same_site(attributes.get("samesite", "")),
            expires=_expires(attributes, now),
            number=self._count,
        )
        return cookie if self._is_acceptable(cookie, parts) else None

    def _is_acceptable(self, cookie: Cookie, parts: SplitResult) -> bool:
        host = parts.hostname or ""
        if len(cookie.name) + len(cookie.value) > COOKIE_LIMIT_BYTES or not cookie.name + cookie.value:
            return False
        if cookie.host != host and not host.endswith(f".{cookie.host}"):
            return False
        if cookie.secure and not self._is_secure(parts):
            return False
        if cookie.same_site == "none" and not cookie.secure:
            return False
        if cookie.name.lower().startswith("__secure-"):
            return cookie.secure
        if cookie.name.lower().startswith("__host-"):
            return cookie.secure and cookie.host_only and cookie.path == "/"
        return True


def _same_site(value: str) -> str:
    return value.lower() if value.lower() in ("strict", "lax", "none") else "lax"


def _expires(attributes: dict[str, str], now: float) -> float | None:
    if (age := attributes.get("max-age", "")).lstrip("-").isdecimal():
        return now + int(age)
    try:
        return parsedate_to_datetime(attributes["expires"].replace("-", " ")).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def _default_path(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _path_matches(path: str, prefix: str) -> bool:
    return path == prefix or (path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix)] == "/"))
