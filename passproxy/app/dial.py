"""How the application is reached: TCP, TLS or a unix socket, as the configuration says and no request can change."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from passproxy.core.errors import ConfigError
from passproxy.web import log

if TYPE_CHECKING:
    from passproxy.core.settings import UpstreamSettings


@dataclass(frozen=True, slots=True)
class Dial:
    """How the application is reached; fixed here, whatever a request says."""

    connect: Callable[[Callable[[], asyncio.Protocol]], Any]
    authority: bytes


def dial_to(settings: UpstreamSettings) -> Dial:
    """
    The way to the application.

    Raises:
        ConfigError: its certificate authority cannot be used.
    """
    parts = urlsplit(settings.url)
    if parts.scheme == "http+unix":
        return Dial(
            lambda factory: asyncio.get_running_loop().create_unix_connection(factory, parts.path), b"localhost"
        )
    if _is_link_local(parts.hostname or ""):
        # Cloud machines answer there with their own credentials.
        log.event("warning", "upstream.link_local", host=parts.hostname, hint="is upstream.url really the application?")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    secured: dict[str, Any] = {}
    if parts.scheme == "https":
        secured = {"ssl": _tls(settings), "server_hostname": settings.server_name or parts.hostname}
    connect = partial(_connect, host=parts.hostname, port=port, **secured)
    return Dial(connect, parts.netloc.encode())


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def _connect(factory: Callable[[], asyncio.Protocol], **address: Any) -> Any:
    return asyncio.get_running_loop().create_connection(factory, **address)


def _tls(settings: UpstreamSettings) -> ssl.SSLContext:
    context = trusting(settings)
    if not settings.verify_tls:
        log.event(
            "warning",
            "upstream.tls_not_verified",
            hint="upstream.verify_tls is off: anybody on the way can read and change",
        )
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def trusting(settings: UpstreamSettings) -> ssl.SSLContext:
    """
    With the certificate authorities that are trusted about the application.

    Raises:
        ConfigError: they cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        reason = "no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError((f"upstream.ca_file: {settings.ca_file}: {reason}",)) from None
