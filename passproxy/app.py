"""
The composition root: settings in, a running server out.

Everything is built here, once, top to bottom, and handed down. This is the
only owner of a clock and of a client session, and it takes no decision about
any request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

import passproxy
from passproxy.core.cookies import cookie_names
from passproxy.core.decision import Decider, Site
from passproxy.core.errors import ConfigError
from passproxy.core.forwarded import Forwarded
from passproxy.core.headers import answer_names, identity_lines
from passproxy.core.identity import AttributeRules, Identity, extended_aliases
from passproxy.core.pending import PendingLogins
from passproxy.core.routing import Routes
from passproxy.core.session import Session, SessionRules, Sessions
from passproxy.core.tokens import Key, KeyRing, Purpose
from passproxy.core.urls import Origin
from passproxy.idp.login import Logins
from passproxy.idp.logout import Logouts
from passproxy.idp.registry import build
from passproxy.idp.renewal import Renewals
from passproxy.idp.revocation import NoRevocations, Revocations, SharedRevocations
from passproxy.keyfile import obtained_keys
from passproxy.web import log
from passproxy.web.endpoints import Endpoints
from passproxy.web.exchange import Limits
from passproxy.web.gateway import Gateway, Parts
from passproxy.web.pool import UpstreamPool
from passproxy.web.responses import Look, Pages
from passproxy.web.server import Server
from passproxy.web.watch import Watch

if TYPE_CHECKING:
    from passproxy.core.settings import Settings, UpstreamSettings

DEFAULT_STATE_DIR = "/var/lib/passproxy"


async def serve(
    settings: Settings, stop: asyncio.Event, ready: Callable[[str], None], passed: Sequence[socket.socket] = ()
) -> None:
    """
    Serve one domain until `stop`. `ready` is told what is listened on: the sockets that were passed, or `listen`.

    Raises:
        ConfigError: something that the settings name cannot be used.
        OSError: the address cannot be listened on.
    """
    origin = Origin.of(settings.domain, settings.origin)
    ring = KeyRing(_keys(settings), str(origin), time.time)
    names = cookie_names(settings.session.cookie_name, origin)
    separator = settings.headers.list_separator

    def rendered(session: Session) -> bytes:
        return identity_lines(session.identity, session.expires_at, separator)

    revocations = _revocations(settings)
    sessions = Sessions(ring, settings.session.lifetime, rendered, _session_rules(settings), revocations.revoked)
    rules = _attribute_rules(settings, separator)
    routes = Routes((entry.path, entry.methods) for entry in settings.passthrough.paths)
    watch = Watch(time.monotonic)
    way = dial(settings.upstream)
    pool = UpstreamPool(
        way.connect, _limits(settings), answer_names(settings.upstream.strip_version_headers), names, watch
    )
    pages = Pages(Look(settings.domain, settings.support.url, settings.support.footer))
    state_dir = _state_dir(settings)
    async with client_session() as http:
        copies = ring.keys(Purpose.LAST_GOOD)
        provider = build(settings, origin, http, state_dir, copies, time.time)
        logins = Logins(provider, PendingLogins(ring, names), sessions, rules)
        server = Server(settings.listen, watch, passed)
        parts = Parts(
            origin=origin,
            decider=Decider(Site(origin, names, routes, sessions)),
            forwarded=Forwarded(origin, settings.trusted_proxies),
            endpoints=Endpoints(origin, names, logins, Logouts(provider, ring, revocations), pages),
            renewals=Renewals(provider, sessions, ring, rules, server.spawn),
            pages=pages,
            pool=pool,
            watch=watch,
            clock=time.time,
            host=None if settings.upstream.preserve_host else way.authority,
        )
        await server.open(Gateway(parts, server.spawn))
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(provider.run(), name="keep the identity provider's description fresh")
            following = tasks.create_task(revocations.run(), name="follow the list of revoked sessions")
            await server.run(stop, ready)
            pool.close()
            keeping.cancel()
            following.cancel()


def client_session(**more: Any) -> aiohttp.ClientSession:
    """What speaks to the identity provider: nothing of the environment takes part, and no cookie is kept."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"PassProxy/{passproxy.__version__}"},
        trust_env=False,
        **more,
    )


def state_dir_of(settings: Settings) -> Path:
    """Where keys and last good copies live: configured, given by systemd, or the default."""
    configured = settings.state_dir or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(configured or f"{DEFAULT_STATE_DIR}/{settings.domain}")


def _state_dir(settings: Settings) -> Path:
    path = state_dir_of(settings)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError((f"state_dir: {path} cannot be made: {error.strerror}",)) from None
    return path


def keys_file_of(settings: Settings) -> Path:
    """Where the session keys are: configured, or in the state folder."""
    return Path(settings.session.keys_file or state_dir_of(settings) / "keys.json")


def _keys(settings: Settings) -> tuple[Key, ...]:
    _state_dir(settings)
    return obtained_keys(keys_file_of(settings), may_create=settings.session.keys_file is None, now=time.time())


def _limits(settings: Settings) -> Limits:
    upstream = settings.upstream
    return Limits(upstream.max_connections, upstream.connect_timeout, upstream.response_timeout, upstream.idle_timeout)


def _revocations(settings: Settings) -> Revocations:
    store, lifetime = settings.revocation.store, settings.session.lifetime
    if store == "none":
        return NoRevocations(lifetime, time.time)
    if store == "memory":
        return Revocations(lifetime, time.time)
    return SharedRevocations(Path(store.removeprefix("file:")), lifetime, time.time)


def _session_rules(settings: Settings) -> SessionRules:
    required = frozenset(settings.access.require_any_group)

    def permits(identity: Identity) -> bool:
        return not required or not required.isdisjoint(identity.groups)

    return SessionRules(settings.session.refresh, settings.session.not_before or 0, permits)


def _attribute_rules(settings: Settings, separator: str) -> AttributeRules:
    identity = settings.identity
    return AttributeRules(
        aliases=extended_aliases({str(name): names for name, names in identity.attributes.items()}),
        group_include=tuple(re.compile(pattern) for pattern in identity.groups.include),
        group_strip_prefix=identity.groups.strip_prefix,
        list_separator=separator,
        named_groups=frozenset(settings.access.require_any_group),
    )


@dataclass(frozen=True, slots=True)
class Dial:
    """How the application is reached; fixed here, whatever a request says."""

    connect: Callable[[Callable[[], asyncio.Protocol]], Any]
    authority: bytes


def dial(settings: UpstreamSettings) -> Dial:
    """
    The way to the application.

    Raises:
        ConfigError: the file with its certificate authorities cannot be used.
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
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError((f"upstream.ca_file: {settings.ca_file}: {error.strerror or 'no certificates'}",)) from None
    if not settings.verify_tls:
        log.event(
            "warning",
            "upstream.tls_not_verified",
            hint="upstream.verify_tls is off: anybody on the way can read and change",
        )
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
