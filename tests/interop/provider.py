"""What a login at a provider that others wrote needs to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Provider:
    """A running provider. `sections` has, by protocol, what PassProxy's configuration says about it."""

    name: str
    base_url: str
    start_seconds: float
    sections: Mapping[str, Mapping[str, Any]]


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
