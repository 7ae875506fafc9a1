"""
Passthrough tokens: how scripts, probes and backup jobs get in without a login.

A token is a secret that the configuration knows by its digest, with a name, and
a scope of paths, methods, client networks and time. It stands for no person:
the application is told its name and nobody's identity. Parsing is strict, and
whatever does not fit exactly is no token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from passproxy.core.errors import RequestRefused, TargetAmbiguous, TokenOutOfScope, TokenThrottled, TokenUnknown
from passproxy.core.http1 import RequestHead
from passproxy.core.policy import Address
from passproxy.core.routing import Routes, is_ambiguous

#: Noted and never passed on; `Authorization` counts as well where the configuration says so.
FIELD = b"x-passproxy-authorization"
AUTHORIZATION = b"authorization"

#: 128 bits in hexadecimal; what is shorter is a password.
TOKEN_LENGTH_LIMITS = (32, 512)

#: Wrong tokens of one address within a minute; guessing 128 bits takes longer, and a log is not to be filled.
FAILURES_LIMIT = 30
FAILURES_SECONDS = 60.0

#: Addresses whose failures are counted. One that is forgotten may try a minute's worth again.
ADDRESSES_LIMIT = 4096

# RFC 6750, 2.1: one scheme, spaces, and a b64token.
BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9\-._~+/]+=*)\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """
    One token. No paths, methods or networks: all of them. `expires_at` is in seconds since the epoch.

    The groups that the whole domain requires are asked of people, not of tokens. Rules that require groups do
    not ask a token with `paths`; one without may do there what somebody in no group may. A rule that denies
    holds for it in any case.
    """

    name: str
    digest: bytes
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    expires_at: float = float("inf")


class Scope:
    """Paths, methods and networks for which a token is good; none of one kind: all of them. `whose` is for the log."""

    def __init__(
        self,
        whose: str,
        paths: tuple[str, ...] = (),
        methods: tuple[str, ...] = (),
        networks: tuple[str, ...] = (),
        refused: type[TokenOutOfScope] = TokenOutOfScope,
    ) -> None:
        self._whose = whose
        self._routes = Routes([(paths or ("/**",), methods)])
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._refused = refused

    def check(self, head: RequestHead, address: Address) -> None:
        """
        Raises:
            TokenOutOfScope: it is not good for this request.
            TargetAmbiguous: somebody could read the path in another way.
        """
        if self._networks and not _is_in(address(), self._networks):
            raise self._refused(f"{self._whose}: not from this address")
        if self._routes.first(head.method, head.path) is None:
            raise self._refused(f"{self._whose}: not for this path and method")
        if is_ambiguous(head.path):
            raise TargetAmbiguous(f"{self._whose}: a path that can be read in two ways")


class Failures:
    """Counts the wrong tokens of each address."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[float, int]] = {}

    def are_many(self, address: str, now: float) -> bool:
        """Count one more; whether there were too many before it, within a minute."""
        began, count = self._counted.get(address, (now, 0))
        if now - began >= FAILURES_SECONDS:
            began, count = now, 0
        if len(self._counted) >= ADDRESSES_LIMIT and address not in self._counted:
            del self._counted[next(iter(self._counted))]
        self._counted[address] = (began, count + 1)
        return count >= FAILURES_LIMIT


class Tokens:
    """All tokens of a domain. With `in_authorization` they may come in that field too."""

    def __init__(self, tokens: Iterable[Token], *, in_authorization: bool = False) -> None:
        self._tokens = [
            (token, Scope(f"token {token.name}", token.paths, token.methods, token.networks)) for token in tokens
        ]
        self._in_authorization = in_authorization
        self._failures = Failures()

    def of(self, head: RequestHead, address: Address, now: float) -> Token | None:
        """
        The token with which a request comes; None when it brings none.

        Raises:
            TokenUnknown: what it brings is none of ours, or not exactly one; TokenThrottled after many of these.
            TokenOutOfScope: it is, and not for this request.
            TargetAmbiguous: somebody could read the path in another way.
        """
        values = head.noted.get(FIELD)
        if values is None:
            if not self.in_authorization(head):
                return None
            values = head.noted[AUTHORIZATION]
        found = self._match(values[0]) if len(values) == 1 else None
        if found is None:
            raise self._failed(address(), now)
        token, scope = self._tokens[found]
        if token.expires_at <= now:
            raise TokenOutOfScope(f"token {token.name}: expired")
        scope.check(head, address)
        return token

    def in_authorization(self, head: RequestHead) -> bool:
        """Whether a token of ours is in `Authorization`; what else is there is the application's."""
        values = head.noted.get(AUTHORIZATION, ()) if self._in_authorization else ()
        return any(self._match(value) is not None for value in values)

    def has(self, token: Token) -> bool:
        """Whether a token is one of these, with this very scope."""
        return any(token == one for one, _ in self._tokens)

    def _match(self, value: bytes) -> int | None:
        bearer = BEARER.match(value)
        if bearer is None or len(bearer[1]) > TOKEN_LENGTH_LIMITS[1]:
            return None
        digest, found = hashlib.sha256(bearer[1]).digest(), None
        for number, (token, _) in enumerate(self._tokens):
            # All of them, so that how long it takes says nothing.
            if hmac.compare_digest(token.digest, digest):
                found = number
        return found

    def _failed(self, address: str, now: float) -> RequestRefused:
        if self._failures.are_many(address, now):
            return TokenThrottled("too many wrong tokens from this address")
        return TokenUnknown("no passthrough token of ours, or not exactly one")


def without_authorization(head: RequestHead) -> RequestHead:
    """A head whose Authorization carried a token of ours, without it."""
    return head._replace(lines=[line for line in head.lines if line[:14].lower() != b"authorization:"])


def _is_in(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
