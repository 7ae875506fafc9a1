"""What a login at a provider that others wrote needs to know about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from tests.interop.visit import Visit

#: How a provider tells PassProxy that a session is over: by the person's browser, by a request of its
#: own, or not at all, so that it shows when the session is renewed.
Ending = Literal["browser", "server", "renewal"]

#: What becomes of the key that a provider signed with when it gets a new one.
OldKey = Literal["kept", "removed"]


@dataclass(frozen=True, slots=True)
class Stand:
    """Where PassProxy stands: its origin, and the address that it listens on."""

    name: str
    origin: str
    listen: str

    def url(self, path: str) -> str:
        """Of an endpoint of PassProxy's own."""
        return f"{self.origin}/.passproxy/{path}"


@dataclass(frozen=True, slots=True)
class Case:
    """
    One installation: how PassProxy and the provider are configured for each other.

    `section` is PassProxy's configuration of the provider, `client` what the
    provider's of PassProxy differs in, in the provider's own words. `as_meant`
    raises AssertionError unless the last login really went the way that the
    name promises. Without `is_renewed`, an `ending`, an `old_key` or a `start_url`
    (where the provider starts a login by itself), nothing is checked about
    them. Without `is_single_logout` a logout at PassProxy is
    none at the provider.
    """

    name: str
    protocol: Literal["oidc", "saml"]
    stand: Stand
    section: Mapping[str, Any]
    as_meant: Callable[[Visit], Awaitable[None]]
    client: Mapping[str, Any] = field(default_factory=dict)
    is_renewed: bool = False
    is_single_logout: bool = True
    ending: Ending | None = None
    old_key: OldKey | None = None
    start_url: str | None = None


class Provider(Protocol):
    """A running provider, and what its administrator can do to it."""

    name: str
    base_url: str
    start_seconds: float
    log: Path
    cases: Sequence[Case]

    async def introduce(self, case: Case, metadata: bytes | None) -> None:
        """Register PassProxy as it describes itself, where that could not be done before it ran."""

    async def end_sessions(self, visit: Visit) -> None:
        """End the session of the person at the provider, without PassProxy having been asked for it."""

    async def set_groups(self, login: str, groups: Sequence[str]) -> None:
        """Put a person into these groups and no others."""

    async def new_key(self, old: OldKey) -> None:
        """Sign with another key from now on."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who can log in at each provider, with their name as the password."""

    login: str
    groups: tuple[str, ...]

    @property
    def email(self) -> str:
        return f"{self.login}@example.com"


ALICE = Person("alice", ("engineering", "ops"))
BOB = Person("bob", ())
