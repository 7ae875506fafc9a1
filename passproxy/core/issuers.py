"""
Bearer tokens of issuers that are trusted to say who asks: how programs with an account of their own get in.

A token is a JWT (RFC 7519) in `Authorization`, or in the field of passthrough tokens, whose issuer is one of
the configured ones. Who it says is there is an identity like that of a login: the same headers, the same rules.
A token that was verified is remembered by its digest, so that its signature is paid for once. Verifying
itself, and the keys for it, are the business of whoever implements `TokenIssuer` (trust.py).

What only looks like a token of ours is one that is refused; what names another issuer, or none that can be
read, is the application's.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from passproxy.core.bearer import AUTHORIZATION, BEARER, FIELD, Failures, Scope
from passproxy.core.errors import (
    BearerKeysMissing,
    BearerOutOfScope,
    BearerRefused,
    BearerThrottled,
    IdentityIncomplete,
    IdentityUnsafe,
    RequestRefused,
)
from passproxy.core.handles import own_handle, subject_handle
from passproxy.core.http1 import RequestHead
from passproxy.core.identity import AttributeRules, identity_from
from passproxy.core.policy import Address
from passproxy.core.session import Known, Sessions
from passproxy.core.session_claims import Session
from passproxy.core.trust import TokenIssuer, Trust

#: Tokens remembered, which saves a signature check each; programs are few, and a token serves for many requests.
REMEMBERED_LIMIT = 4096

#: What was not asked for during one such period is forgotten at the end of the next.
REMEMBERED_SECONDS = 10 * 60

#: Access tokens with a few hundred groups have this much; a head has room for twice of it.
TOKEN_LIMIT_BYTES = 16 * 1024


class AwaitKeys(NamedTuple):
    """Look for newer keys and decide again; where the answer is this once more, refuse with `error`."""

    newer_keys: Callable[[], Awaitable[None]]
    error: RequestRefused
    report: None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bearer:
    """A verified token: who it stands for, under which trust, and what the application is told of it."""

    known: Known
    trust: Trust
    keys: object

    @property
    def name(self) -> str:
        return self.trust.name

    @property
    def expires_at(self) -> float:
        return float(self.known.expires_at)

    @property
    def lines(self) -> bytes:
        """The header lines of its identity, and the one that says that it was no login."""
        return self.known.lines + f"X-Passproxy-Token: {self.trust.name}\r\n".encode()


class _Entry(NamedTuple):
    issuer: TokenIssuer
    scope: Scope | None
    rules: AttributeRules


class _Found(NamedTuple):
    """A token in a field, its digest, and whose it says it is."""

    token: bytes
    key: bytes
    entry: _Entry


class BearerTokens:
    """
    All issuers of a domain. With `in_authorization` False their tokens count in our own field alone.

    `rules` say how claims become attributes; `lines_limit_bytes` is how much may be told of somebody.
    """

    def __init__(
        self,
        issuers: Iterable[TokenIssuer],
        sessions: Sessions,
        rules: AttributeRules,
        *,
        lines_limit_bytes: int = 8 * 1024,
        in_authorization: bool = True,
    ) -> None:
        self._entries = {
            each.trust.issuer: _Entry(each, _scope(each.trust), _rules(each.trust, rules)) for each in issuers
        }
        self._sessions = sessions
        self._lines_limit_bytes = lines_limit_bytes
        self._in_authorization = in_authorization
        self._failures = Failures()
        self._recent: dict[bytes, Bearer] = {}
        self._older: dict[bytes, Bearer] = {}
        self._foreign: set[bytes] = set()
        self._period_ends_at = 0.0

    def of(self, head: RequestHead, address: Address, now: float) -> Bearer | AwaitKeys | None:
        """
        The token with which a request comes; None when it brings none of ours.

        Raises:
            BearerRefused: it does not hold, or is not exactly one; BearerThrottled after many of these.
            BearerOutOfScope: it holds, and not for this request.
            BearerKeysMissing: the issuer's keys are not known.
            TargetAmbiguous: it has a scope, and somebody could read the path in another way.
        """
        values = self._values(head)
        found = next((found for value in values if (found := self._found(value)) is not None), None)
        if found is None:
            return None
        try:
            if len(values) != 1:
                raise BearerRefused("more than one field with a token")
            bearer = self._verified(found, now)
        except BearerRefused as error:
            if self._failures.are_many(address(), now):
                raise BearerThrottled(f"too many wrong tokens from this address; this one: {error.detail}") from None
            raise
        scope = found.entry.scope
        if scope is not None and isinstance(bearer, Bearer):
            scope.check(head, address)
        return bearer

    def in_authorization(self, head: RequestHead) -> bool:
        """Whether a token is in `Authorization` that the application does not get."""
        values = head.noted.get(AUTHORIZATION, ()) if self._in_authorization else ()
        return any(found is not None and not found.entry.issuer.trust.passes_on for found in map(self._found, values))

    def remembered(self, head: RequestHead) -> Bearer | None:
        """The token that counts of a request which was judged before; None where there is none, or it did not hold."""
        found = next((found for value in self._values(head) if (found := self._found(value)) is not None), None)
        return None if found is None else self._recent.get(found.key)

    def still_holds(self, bearer: Bearer) -> bool:
        """Whether a token that was taken would be taken again, its own end aside."""
        entry = self._entries.get(bearer.trust.issuer)
        return entry is not None and entry.issuer.trust == bearer.trust and self._sessions.still_holds(bearer.known)

    def _values(self, head: RequestHead) -> Sequence[bytes]:
        values = head.noted.get(FIELD)
        if values is None:
            values = head.noted.get(AUTHORIZATION) if self._in_authorization else None
        return values or ()

    def _found(self, value: bytes) -> _Found | None:
        """Whose token is in a field; before anything of it was verified, which is why nothing else is made of it."""
        match = BEARER.match(value)
        if match is None or match[1].count(b".") < 2:
            return None
        key = hashlib.sha256(match[1]).digest()
        known = self._recent.get(key) or self._older.get(key)
        if known is not None:
            return _Found(match[1], key, self._entries[known.trust.issuer])
        if key in self._foreign:
            return None
        entry = self._entries.get(_issuer_named(match[1]))
        if entry is None:
            if len(self._foreign) >= REMEMBERED_LIMIT:
                self._foreign.clear()
            self._foreign.add(key)
            return None
        return _Found(match[1], key, entry)

    def _verified(self, found: _Found, now: float) -> Bearer | AwaitKeys:
        token, key, entry = found
        if len(token) > TOKEN_LIMIT_BYTES:
            raise BearerRefused(f"{entry.issuer.trust.name}: longer than {TOKEN_LIMIT_BYTES} bytes")
        bearer = self._recent.get(key)
        if bearer is None or bearer.keys is not entry.issuer.keys:
            bearer = self._older.pop(key, None)
            if bearer is None or bearer.keys is not entry.issuer.keys:
                self._recent.pop(key, None)
                try:
                    bearer = self._opened(token.decode(), key, entry, now)
                except BearerKeysMissing as error:
                    return self._without_keys(entry.issuer, error)
            self._remember(key, bearer, now)
        if bearer.known.expires_at <= now:
            self._recent.pop(key, None)
            raise BearerRefused(f"{bearer.name}: expired at {bearer.known.expires_at}")
        if not self._sessions.still_holds(bearer.known):
            raise BearerRefused(f"{bearer.name}: revoked, or from before session.not_before")
        return bearer

    def _without_keys(self, issuer: TokenIssuer, error: BearerKeysMissing) -> AwaitKeys:
        if issuer.may_have_newer_keys():
            return AwaitKeys(issuer.newer_keys, error)
        if issuer.keys is None:
            raise error
        raise BearerRefused(error.detail)

    def _opened(self, token: str, key: bytes, entry: _Entry, now: float) -> Bearer:
        trust = entry.issuer.trust
        vouched = entry.issuer.vouched(token, now)
        try:
            identity = identity_from(vouched.authentication, entry.rules)
            # Two tokens never have the same digest, so that what one is told cannot be another one's.
            name = f"bearer:{key.hex()}"
            handles = (own_handle(name), subject_handle(identity.subject))
            session = Session(name, identity, vouched.issued_at, vouched.expires_at, 0, handles)
            known = self._sessions.known(session)
        except (IdentityIncomplete, IdentityUnsafe) as error:
            raise BearerRefused(f"{trust.name}: {error.code} {error.detail}") from None
        if len(known.lines) > self._lines_limit_bytes:
            raise BearerRefused(f"{trust.name}: header lines of {len(known.lines)} bytes")
        return Bearer(known, trust, vouched.keys)

    def _remember(self, key: bytes, bearer: Bearer, now: float) -> None:
        if now >= self._period_ends_at or len(self._recent) >= REMEMBERED_LIMIT:
            self._recent, self._older = {}, self._recent
            self._period_ends_at = now + REMEMBERED_SECONDS
        self._recent[key] = bearer


def _scope(trust: Trust) -> Scope | None:
    if not (trust.paths or trust.methods or trust.networks):
        return None
    return Scope(f"issuer {trust.name}", trust.paths, trust.methods, trust.networks, BearerOutOfScope)


def _rules(trust: Trust, rules: AttributeRules) -> AttributeRules:
    return replace(rules, aliases=MappingProxyType({**rules.aliases, **trust.claims}))


def _issuer_named(token: bytes) -> str:
    """The issuer that a token names, "" for none; read as generously as the most generous application would."""
    payload = token.split(b".", 2)[1]
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return ""
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else ""
