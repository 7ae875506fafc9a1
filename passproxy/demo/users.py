"""
The people of the demo, and the check of their passwords.

The passwords are the login names, printed on the sign-in form itself. This is
the reason why the demo never listens beyond loopback; loopback.py sees to that.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """`subject` is what never changes about somebody; it is deliberately not the login name."""

    login: str
    password: str
    subject: str
    given_name: str
    family_name: str
    groups: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.given_name} {self.family_name}"

    @property
    def email(self) -> str:
        return f"{self.login}@example.com"


USERS = (
    User("alice", "alice", "5b0f3c1e-7a41-4d0c-9f5e-2f8c6a1d9b70", "Alice", "Archer", ("engineering", "ops")),
    User("bob", "bob", "c2a97d64-1e83-4b57-8c0a-6de4f7b35128", "Bob", "Baker", ()),
)


def user_with(login: str, password: str) -> User | None:
    """The user whose login name and password these are."""
    for user in USERS:
        if user.login == login and hmac.compare_digest(user.password.encode(), password.encode()):
            return user
    return None
