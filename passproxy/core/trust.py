"""
Which issuers of bearer tokens are trusted, with what, and what is asked of whoever verifies their tokens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from passproxy.core.identity import Authentication


@dataclass(frozen=True, slots=True)
class Trust:
    """
    One issuer, what its tokens must say, and what they are good for. A value: the same again is the same trust.

    One of `audiences` must be named. `required` has claims, each with the values of which one must be
    there. `claims` has our names of attributes with the claims that they are read from, in place of the
    usual ones. `passes_on` lets the application have the token as well.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...]
    algorithms: frozenset[str]
    jwks_uri: str | None = None
    types: tuple[str, ...] = ("at+jwt", "JWT")
    takes_id_tokens: bool = False
    lifetime_limit_seconds: int = 86400
    leeway_seconds: int = 60
    required: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    claims: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    passes_on: bool = False


class Vouched(NamedTuple):
    """What a token says whose signature holds, and the keys with which that was found; times since the epoch."""

    authentication: Authentication
    issued_at: int
    expires_at: int
    keys: object


class TokenIssuer(Protocol):
    """Verifies the tokens of one issuer."""

    @property
    def trust(self) -> Trust: ...

    @property
    def keys(self) -> object:
        """The keys that verify now, None for none; the same object for as long as they are the same."""

    def vouched(self, token: str, now: float) -> Vouched:
        """
        What a token says.

        Raises:
            BearerKeysMissing: it could be one, and its key is not among those that are known.
            BearerRefused: it does not hold.
            BearerOutOfScope: it does, and does not say what is required.
        """

    def may_have_newer_keys(self) -> bool:
        """Whether waiting for `newer_keys` could change anything."""

    def newer_keys(self) -> Awaitable[None]:
        """Look for newer keys, for a bounded time; raises nothing."""
