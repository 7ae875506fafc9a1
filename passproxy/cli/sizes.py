"""How large cookies and identity headers can become, and what in front of PassProxy and behind it has to take that."""

from __future__ import annotations

from dataclasses import dataclass

from passproxy.core.access import attribute_rules_of, identity_headers_of
from passproxy.core.cookies import (
    LOGIN_COOKIES_LIMIT_BYTES,
    SESSION_PARTS_LIMIT,
    VALUE_LIMIT_BYTES,
    CookieNames,
)
from passproxy.core.http1 import HEAD_LIMIT_BYTES
from passproxy.core.identity import VALUE_LIMIT_CHARACTERS
from passproxy.core.session_claims import INFLATED_LIMIT_BYTES
from passproxy.core.settings import Settings

#: nginx's large_client_header_buffers and Apache's LimitRequestFieldSize, unless they are told otherwise.
USUAL_LINE_BYTES = 8192

#: The values of the small ones: a digest and a counter, enclosed.
_SMALL_VALUE_BYTES = 200

#: Seconds since the epoch, for the next centuries.
_TIME_BYTES = 11

#: "name=value; ".
_OVERHEAD_BYTES = 3


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    In bytes, at worst.

    `cookie_line` is one Cookie field with everything of ours, `session` the session's part of it.
    `identity` are the header lines that the application gets; `groups_are_bounded` says whether
    the configuration limits which groups are among them.
    """

    session: int
    cookie_line: int
    identity: int
    groups_are_bounded: bool


def sizes(settings: Settings, names: CookieNames) -> Sizes:
    """The worst case of a configuration."""
    parts = [names.session, *(f"{names.session}-{number}" for number in range(2, SESSION_PARTS_LIMIT + 1))]
    session = sum(len(name) + VALUE_LIMIT_BYTES + _OVERHEAD_BYTES for name in parts)
    others = len(names.kept) + VALUE_LIMIT_BYTES + len(names.who) + len(names.loop) + 2 * _SMALL_VALUE_BYTES
    cookie_line = len("Cookie: ") + session + others + 3 * _OVERHEAD_BYTES + LOGIN_COOKIES_LIMIT_BYTES
    named = attribute_rules_of(settings).named_groups
    is_bounded = bool(named) and not settings.identity.groups.include
    headers = identity_headers_of(settings)
    lists = {"session_expires": _TIME_BYTES, "roles": headers.joined_length(settings.access.roles)}
    lists["groups"] = headers.joined_length(named) if is_bounded else INFLATED_LIMIT_BYTES
    lines = headers.longest(VALUE_LIMIT_CHARACTERS, lists)
    # Whoever has more to say is not let in.
    return Sizes(session, cookie_line, min(lines, settings.headers.size_limit), is_bounded)


def advice(found: Sizes) -> list[str]:
    """What to set elsewhere, so that nothing fails there first."""
    kib = (HEAD_LIMIT_BYTES - 2048) // 1024
    said = [
        f"Web servers take {USUAL_LINE_BYTES:,} bytes a line unless told otherwise, PassProxy {HEAD_LIMIT_BYTES:,} in all.",
        f"nginx: large_client_header_buffers 1 {kib}k;   Apache: LimitRequestFieldSize {kib * 1024}",
    ]
    if found.cookie_line > kib * 1024:
        said.append("That is more than either may pass on: shorten session.cookie_name.")
    if not found.groups_are_bounded:
        said.append(
            "Somebody in more groups than fit there is not let in (headers.size_limit): see identity.groups.include."
        )
    return said
