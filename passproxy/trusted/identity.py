"""
Who is there: the one object that an application reads.

It is made of the claims of a verified assertion and of nothing else. Each proxy
names its claims differently; `ClaimNames` says how, so that the application
does not need to know which proxy stands in front of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from passproxy.trusted.errors import ClaimWrong


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims make an identity. The first that has a value wins."""

    subject: tuple[str, ...] = ("sub",)
    user: tuple[str, ...] = ("preferred_username", "email", "sub")
    email: tuple[str, ...] = ("email",)
    name: tuple[str, ...] = ("name",)
    groups: tuple[str, ...] = ("groups",)
    roles: tuple[str, ...] = ("roles",)


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A verified identity.

    `subject` is the stable identifier, to keep accounts by, together with
    `issuer`; `user` is what to show, and `user`, `email` and `name` may change
    or be given to somebody else. `email` and `name` are "" when they are not
    known. `expires_at` is the end of the assertion, in seconds since the epoch,
    not of the session. `claims` are all claims of the assertion.
    """

    issuer: str
    subject: str
    user: str
    email: str
    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    expires_at: int
    claims: Mapping[str, Any] = field(repr=False)


def identity_from(claims: Mapping[str, Any], names: ClaimNames, expires_at: int) -> Identity:
    """
    The identity in the claims of an assertion, which must have been verified.

    An e-mail address that the proxy marks as not verified is left out: whoever
    typed it in need not be its owner.

    Raises:
        ClaimWrong: there is no subject.
    """
    usable = dict(claims)
    if claims.get("email_verified") in (False, "false"):
        usable.pop("email", None)
    subject = _first(usable, names.subject)
    if not subject:
        raise ClaimWrong("the assertion has no subject")
    return Identity(
        issuer=str(claims["iss"]),
        subject=subject,
        user=_first(usable, names.user) or subject,
        email=_first(usable, names.email),
        name=_first(usable, names.name),
        groups=_all(usable, names.groups),
        roles=_all(usable, names.roles),
        expires_at=expires_at,
        claims=MappingProxyType(dict(claims)),
    )


def _first(claims: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := claims.get(name), str) and value), "")


def _all(claims: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        value = claims.get(name)
        values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        if found := tuple(entry for entry in values if isinstance(entry, str) and entry):
            return found
    return ()
