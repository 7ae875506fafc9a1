"""
From settings to parts: everything is built here, top to bottom, and handed down.

Once at the start, and again for each new configuration; it takes no decision
about any request.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from passproxy.app.dial import dial_to
from passproxy.core.access import attribute_rules_of, identity_headers_of, policy_of, tokens_of, trusts_of
from passproxy.core.assertion import AssertionRules, Assertions
from passproxy.core.bearer import Tokens
from passproxy.core.cleanup import Cleanup, CleanupRules
from passproxy.core.cookies import CookieNames, cookie_names
from passproxy.core.counts import Counts
from passproxy.core.decision import Decider, Site
from passproxy.core.errors import ConfigError
from passproxy.core.forwarded import Forwarded, pseudonym
from passproxy.core.forwarded_target import WEB_SERVERS
from passproxy.core.headers import answer_names, request_names
from passproxy.core.identity import AttributeRules
from passproxy.core.issuers import BearerTokens
from passproxy.core.pending import PendingLogins
from passproxy.core.plain import written
from passproxy.core.policy import Policy
from passproxy.core.request_ids import PREFIX_BYTES, RequestIds
from passproxy.core.session import SessionRules, Sessions
from passproxy.core.session_claims import Session
from passproxy.core.tokens import Key, KeyRing, Purpose
from passproxy.core.urls import REDIS_SCHEMES, Origin
from passproxy.idp.base import IdentityProvider
from passproxy.idp.issuers import issuers_of
from passproxy.idp.login import Logins
from passproxy.idp.logout import Logouts
from passproxy.idp.registry import build, section_of
from passproxy.idp.renewal import Renewals
from passproxy.idp.revocation import NoRevocations, Revocations, SharedRevocations
from passproxy.keyfile import obtained_keys
from passproxy.web.access import AccessLog
from passproxy.web.endpoints import Endpoints
from passproxy.web.exchange import Limits
from passproxy.web.parts import Parts
from passproxy.web.pool import UpstreamPool
from passproxy.web.responses import Look, Pages
from passproxy.web.watch import Watch

if TYPE_CHECKING:
    from passproxy.core.settings import Settings
    from passproxy.idp.issuers import JwtIssuer
    from passproxy.idp.redis_revocations import RedisRevocations

REDIS_MISSING = (
    "revocation.store: needs the package redis: pip install 'passproxy[redis]', or apt install python3-redis"
)

DEFAULT_STATE_DIR = "/var/lib/passproxy"


@dataclass(frozen=True, slots=True)
class Tools:
    """What the process has once, whatever is configured. `spawn` runs a coroutine that belongs to no request."""

    http: aiohttp.ClientSession
    watch: Watch
    spawn: Callable[[Coroutine[Any, Any, None], str], None]
    clock: Callable[[], float]
    counts: Counts


@dataclass(frozen=True, slots=True)
class Built:
    """All that one configuration makes of the tools."""

    settings: Settings
    parts: Parts
    provider: IdentityProvider
    logins: Logins
    revocations: Revocations
    issuers: tuple[JwtIssuer, ...]
    #: Of the keys that verify sessions.
    kids: tuple[str, ...]
    access: AccessLog | None
    #: What the provider and the pool were made from: with the same again, they stay.
    provider_made_from: bytes
    pool_made_from: bytes


def built(settings: Settings, tools: Tools, before: Built | None = None) -> Built:
    """
    Everything, from settings. What `before` knows and must not be forgotten is taken over:
    ended sessions, used logins and assertions, renewals under way, connections.

    Raises:
        ConfigError: something that the settings name cannot be used; nothing has changed then.
    """
    origin = Origin.of(settings.domain, settings.origin)
    ring = KeyRing(_keys(settings), str(origin), tools.clock)
    names = cookie_names(settings.session.cookie_name, origin)
    headers = identity_headers_of(settings)
    policy = policy_of(settings)

    def rendered(session: Session) -> bytes:
        roles = policy.roles_of(session.identity.groups)
        return headers.lines(session.identity, session.expires_at, roles)

    revocations = _revocations(settings, tools, before)
    session_rules = SessionRules(
        settings.session.refresh, settings.session.not_before or 0, policy.granted, settings.headers.size_limit
    )
    sessions = Sessions(ring, settings.session.lifetime, rendered, session_rules, revocations.revoked)
    rules = attribute_rules_of(settings)
    forwarded = Forwarded(origin, settings.trusted_proxies, settings.upstream.send_via)
    dial = dial_to(settings.upstream)
    pool_made_from = made_from(settings.upstream, str(names))
    if before is not None and before.pool_made_from == pool_made_from:
        pool = before.parts.pool
    else:
        stripped = answer_names(settings.upstream.strip_version_headers)
        pool = UpstreamPool(dial.connect, _limits(settings), stripped, names, tools.watch, tools.counts)
    pages = Pages(Look(settings.domain, settings.support.url, settings.support.footer))
    copies, state_dir = ring.keys(Purpose.LAST_GOOD), _state_dir(settings)
    provider_made_from = made_from(section_of(settings), str(origin), str(state_dir))
    if before is not None and before.provider_made_from == provider_made_from:
        provider = before.provider
    else:
        provider = build(settings, origin, tools.http, state_dir, copies, tools.clock)
    issuers = _issuers(settings, origin, tools, before)
    logins = Logins(provider, PendingLogins(ring, names), sessions, rules, None if before is None else before.logins)
    assertions = _assertions(settings, ring, origin, policy)
    cleanup = _cleanup(settings, ring, names, origin)
    web_server = None if settings.forward_auth is None else WEB_SERVERS[settings.forward_auth.web_server]
    renewed_before = None if before is None else before.parts.renewals
    parts = Parts(
        origin=origin,
        names=request_names(
            (*headers.names, *(() if settings.assertion is None else (settings.assertion.header,))),
            notes_authorization=settings.passthrough.tokens_in_authorization
            or bool(issuers and settings.bearer.in_authorization),
            noted=frozenset() if web_server is None else web_server.names,
        ),
        public_lines=headers.without_session,
        decider=Decider(
            Site(
                origin,
                names,
                policy,
                sessions,
                forwarded.client,
                pseudonym(origin),
                # With issuers, whatever is in our own field has to be some token.
                tokens_of(settings) or (Tokens(()) if issuers else None),
                _bearers(settings, issuers, sessions, rules),
                assertions is not None or bool(settings.cleanup.cookies),
                web_server is not None,
                is_uninformed=_uninformed(settings, revocations),
            )
        ),
        forwarded=forwarded,
        request_ids=RequestIds(forwarded, secrets.token_bytes(PREFIX_BYTES)),
        endpoints=Endpoints(
            origin,
            names,
            logins,
            Logouts(provider, ring, revocations),
            pages,
            tools.counts,
            policy.roles_of,
            assertions,
            cleanup,
        ),
        renewals=Renewals(provider, sessions, ring, rules, tools.counts, tools.spawn, renewed_before, revocations),
        pages=pages,
        pool=pool,
        watch=tools.watch,
        clock=tools.clock,
        host=None if settings.upstream.preserve_host else dial.authority,
        assertions=assertions,
        counts=tools.counts,
        cleanup=cleanup if settings.cleanup.cookies else None,
        web_server=web_server,
    )
    access = AccessLog(forwarded, parts.decider.session_of) if settings.log.access else None
    return Built(
        settings, parts, provider, logins, revocations, issuers, ring.kids, access, provider_made_from, pool_made_from
    )


def made_from(section: Any, *more: str) -> bytes:
    """A digest of a section, of what the files that it names contain, and of what else matters."""
    digest = hashlib.sha256("\0".join((written(section), *more)).encode())
    for name, path in section:
        if name.endswith("_file") and path is not None:
            # What cannot be read is told by whoever needs it.
            with contextlib.suppress(OSError):
                digest.update(Path(path).read_bytes())
    return digest.digest()


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


def _assertions(settings: Settings, ring: KeyRing, origin: Origin, policy: Policy) -> Assertions | None:
    asked = settings.assertion
    if asked is None:
        return None
    rules = AssertionRules(asked.header, asked.audience or str(origin), asked.lifetime)
    return Assertions(ring, origin, rules, policy.roles_of)


def _cleanup(settings: Settings, ring: KeyRing, names: CookieNames, origin: Origin) -> Cleanup | None:
    asked = settings.cleanup
    if not (asked.cookies or asked.storage_keys or asked.clear_site_data or asked.reauth_redirect_url):
        return None
    rules = CleanupRules(
        asked.cookies, asked.storage_keys, asked.clear_site_data, asked.reauth_redirect_url, frozenset(asked.on)
    )
    return Cleanup(ring, names, origin, rules)


def _issuers(settings: Settings, origin: Origin, tools: Tools, before: Built | None) -> tuple[JwtIssuer, ...]:
    known = before.issuers if before is not None and before.parts.origin == origin else ()
    return issuers_of(trusts_of(settings), origin, tools.http, tools.clock, known)


def _bearers(
    settings: Settings, issuers: tuple[JwtIssuer, ...], sessions: Sessions, rules: AttributeRules
) -> BearerTokens | None:
    if not issuers:
        return None
    limit, in_authorization = settings.headers.size_limit, settings.bearer.in_authorization
    return BearerTokens(issuers, sessions, rules, lines_limit_bytes=limit, in_authorization=in_authorization)


def _limits(settings: Settings) -> Limits:
    upstream = settings.upstream
    return Limits(upstream.max_connections, upstream.connect_timeout, upstream.response_timeout, upstream.idle_timeout)


def _revocations(settings: Settings, tools: Tools, before: Built | None) -> Revocations:
    store, lifetime = settings.revocation.store, settings.session.lifetime
    if before is not None:
        was = before.settings
        if (was.revocation, was.session.lifetime, was.domain) == (settings.revocation, lifetime, settings.domain):
            return before.revocations
    revocations: Revocations
    if store == "none":
        revocations = NoRevocations(lifetime, tools.clock)
    elif store == "memory":
        revocations = Revocations(lifetime, tools.clock)
    elif store.startswith(REDIS_SCHEMES):
        revocations = redis_revocations(settings, tools.clock)
    else:
        revocations = SharedRevocations(Path(store.removeprefix("file:")), lifetime, tools.clock)
    if before is not None:
        revocations.take_over(before.revocations)
    return revocations


def _uninformed(settings: Settings, revocations: Revocations) -> Callable[[], bool] | None:
    if settings.revocation.when_unavailable == "open":
        return None
    return lambda: not revocations.is_current


def redis_revocations(settings: Settings, clock: Callable[[], float]) -> RedisRevocations:
    """
    The list in the Redis that the settings name.

    Raises:
        ConfigError: it cannot be used here.
    """
    # Loaded only here: it takes some MiB.
    try:
        from passproxy.idp.redis_revocations import RedisRevocations
    except ImportError:
        raise ConfigError((REDIS_MISSING,)) from None
    password = settings.revocation.password
    said = None if password is None else password.get_secret_value()
    listed = settings.revocation
    lifetime = settings.session.lifetime
    return RedisRevocations(listed.store, said, settings.domain, lifetime, clock, ca_file=listed.ca_file)
