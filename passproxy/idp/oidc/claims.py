"""
Verified claims become attributes.

Keeps the provider's names; which of them mean what is decided by core/identity.
Invariant: a value that has not the shape of its claim never becomes one that
has. A group list is read exactly or the login is refused, because rules decide
by groups. Nothing is split, joined or repaired here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from passproxy.core.identity import ALIASES
from passproxy.idp.oidc.errors import GroupsRefused

# They describe the token, not the person.
OF_THE_TOKEN = frozenset(
    {"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash", "auth_time", "sid"}
)


def attributes_from(
    id_token: Mapping[str, Any], userinfo: Mapping[str, Any], *, allow_unverified_email: bool
) -> dict[str, tuple[str, ...]]:
    """
    The attributes of somebody; what the ID token says goes before what userinfo says.

    Raises:
        GroupsRefused: the groups are there in no form that can be read exactly.
    """
    claims = {**userinfo, **id_token}
    dropped = OF_THE_TOKEN
    if not allow_unverified_email and (_is_unverified(id_token) or _is_unverified(userinfo)):
        dropped |= frozenset(ALIASES["email"])
    _check_groups(claims)
    return {name: values for name, value in claims.items() if name not in dropped and any(values := values_of(value))}


def _is_unverified(claims: Mapping[str, Any]) -> bool:
    # Some providers write the boolean as text, and a 0 is not a 1. Absence says nothing.
    verified = claims.get("email_verified", True)
    return verified.strip().lower() != "true" if isinstance(verified, str) else verified is not True


def values_of(value: Any) -> tuple[str, ...]:
    """The value as texts; none for what has no plain form (objects, lists of lists, null)."""
    listed = value if isinstance(value, list) else [value]
    texts = tuple(text for one in listed if (text := _text(one)) is not None)
    return texts if len(texts) == len(listed) else ()


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return None


def _check_groups(claims: Mapping[str, Any]) -> None:
    present = [name for name in ALIASES["groups"] if claims.get(name) not in (None, [], "")]
    # Only the first name counts later; a strange value under another one does no harm.
    for name in present[:1]:
        groups = claims[name]
        if not isinstance(groups, str) and not (isinstance(groups, list) and all(isinstance(g, str) for g in groups)):
            raise GroupsRefused(f"claim {name} is neither text nor a list of texts")
    for name in _referred(claims):
        if name in ALIASES["groups"] and name not in present:
            raise GroupsRefused(f"claim {name} is only a reference (overage), the list itself was not sent")


def _referred(claims: Mapping[str, Any]) -> Iterator[str]:
    """Claims that are to be fetched elsewhere (Core 5.6.2). What was permitted has been by now, see overage.py."""
    names = claims.get("_claim_names")
    if isinstance(names, dict):
        yield from names
    elif names is not None:
        raise GroupsRefused("_claim_names is not an object")
    if claims.get("hasgroups"):
        yield "groups"
