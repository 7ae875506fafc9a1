"""
A session as a value, and as the claims of its token.

Attributes and groups are compressed where they would not fit a cookie otherwise.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

from passproxy.core.errors import TokenInvalid
from passproxy.core.handles import HANDLE
from passproxy.core.identity import ALIASES, Identity

#: What compressed claims may inflate to. Twenty times what fits the cookies at all.
INFLATED_LIMIT_BYTES = 256 * 1024

#: Of the claims' layout. A token of another version is no session.
VERSION = 2

_ATTRIBUTES = frozenset(ALIASES) - {"groups"} | {"user"}
_CLAIMS = frozenset({"v", "sid", "sub", "idp", "auth_time", "checked", "handles", "iss", "aud", "iat", "exp"})


@dataclass(frozen=True, slots=True)
class Session:
    """
    An identity with its times, in seconds since the epoch. `id` is random and new with each login.

    `checked_at` is when the provider last confirmed it, 0 where it cannot be asked again.
    `handles` are those under which it can be revoked (`handle_of`), its own among them.
    """

    id: str
    identity: Identity
    issued_at: int
    expires_at: int
    checked_at: int = 0
    handles: tuple[str, ...] = ()


def claims_of(session: Session, *, is_compressed: bool) -> dict[str, Any]:
    """The claims of its token, beside those that every token has."""
    identity = session.identity
    content: dict[str, Any] = {"attributes": dict(identity.attributes), "groups": list(identity.groups)}
    if is_compressed:
        deflated = zlib.compress(json.dumps(content, ensure_ascii=False).encode(), 9)
        content = {"z": base64.b85encode(deflated).decode()}
    return {
        "v": VERSION,
        "sid": session.id,
        "sub": identity.subject,
        "idp": identity.issuer,
        "auth_time": identity.authenticated_at,
        "checked": session.checked_at,
        "handles": list(session.handles),
        **content,
    }


def session_from(claims: dict[str, Any]) -> Session:
    """
    A session, of claims that were sealed. Strict: every claim has its type, none is missing, none is unknown.

    Raises:
        TokenInvalid: they are not of this layout.
    """
    content = {name: claims.pop(name) for name in claims.keys() - _CLAIMS}
    if content.keys() == {"z"}:
        content = _inflated(content["z"])
    attributes, groups, handles = content.get("attributes"), content.get("groups"), claims.get("handles")
    sound = (
        content.keys() == {"attributes", "groups"}
        and claims.keys() == _CLAIMS
        and type(claims["v"]) is int
        and claims["v"] == VERSION
        and all(type(claims[name]) is str and claims[name] for name in ("sid", "sub", "idp"))
        and all(type(claims[name]) is int for name in ("auth_time", "checked"))
        and isinstance(attributes, dict)
        and "user" in attributes
        and all(name in _ATTRIBUTES and type(value) is str and value for name, value in attributes.items())
        and _are_texts(groups)
        and _are_texts(handles, HANDLE)
    )
    if not sound or attributes is None or groups is None or handles is None:
        raise TokenInvalid("claims of another layout")
    identity = Identity(claims["idp"], claims["sub"], attributes, tuple(groups), claims["auth_time"])
    return Session(claims["sid"], identity, claims["iat"], claims["exp"], claims["checked"], tuple(handles))


def _are_texts(values: Any, form: re.Pattern[str] = re.compile(".", re.DOTALL)) -> bool:
    return isinstance(values, list) and all(type(value) is str and form.match(value) for value in values)


def _inflated(text: Any) -> dict[str, Any]:
    """What was compressed; signed by us, and still not trusted with our memory."""
    try:
        inflate = zlib.decompressobj()
        plain = inflate.decompress(base64.b85decode(text), INFLATED_LIMIT_BYTES)
        content = json.loads(plain) if inflate.eof else None
    except (ValueError, TypeError, zlib.error, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise TokenInvalid("claims that cannot be inflated")
    return content


def largest_part(identity: Identity) -> str:
    """What to keep out of a session that is too large, for the log."""
    sizes = {name: len(value.encode()) for name, value in identity.attributes.items()}
    sizes[f"groups ({len(identity.groups)})"] = sum(len(group.encode()) + 3 for group in identity.groups)
    largest = max(sizes, key=lambda name: sizes[name])
    return f"the largest part is {largest} with {sizes[largest]} bytes"
