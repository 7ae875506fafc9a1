"""
Routes that needed no login in oauth2-proxy: regular expressions, and which of them are paths.

Only an expression that is plain text between ^ and $ says which paths it opens.
Any other is reported: what it opens besides is for somebody to look at.
"""

from __future__ import annotations

import re
from typing import Any

from passproxy.cli.importers.draft import Draft

#: Characters that mean themselves, escaped ones, and what may follow a folder.
_LITERAL = re.compile(r"\^(/(?:[A-Za-z0-9_~!@&=:',/-]|\\[./_~-])*)(\.\*|\.\+|)(\$?)\Z")

_ROUTE = re.compile(r"(?:([A-Z]+)(!?)=)?(.*)\Z", re.DOTALL)

#: A route without a method was open for all of them.
_READING = ("GET", "HEAD")


def add_routes(draft: Draft, options: dict[str, Any]) -> None:
    """`skip_auth_routes` and `skip_auth_regex` as passthrough paths, and the preflights."""
    for option in ("skip_auth_regex", "skip_auth_routes"):
        for number, route in enumerate(options.pop(option, [])):
            _add(draft, f"{option}[{number}]", str(route), has_method=option == "skip_auth_routes")
    if str(options.pop("skip_auth_preflight", "false")).lower() in ("true", "1"):
        draft.set_if_known(
            "passthrough.preflight",
            True,
            "skip_auth_preflight",
            "OPTIONS needs a session too, or a path that is public for OPTIONS",
        )


def _add(draft: Draft, source: str, route: str, *, has_method: bool) -> None:
    match = _ROUTE.match(route) if has_method else None
    method, negated, expression = match.groups() if match else (None, "", route)
    path = _path(expression)
    if path is None or negated:
        draft.note(
            "decide", source, f"{route} is no plain path between ^ and $, so it is not public any more: write a path"
        )
        return
    entry: Any = path
    if method and method not in _READING:
        entry = {"path": path, "methods": [method]}
    if not draft.public(entry, source):
        return
    if not method:
        draft.note("changed", source, f"{path} was open for every method; now for GET and HEAD")
    if not expression.endswith("$") and not path.endswith("/**"):
        draft.note("changed", source, f"everything that begins with {path} was open; now this path alone")


def _path(expression: str) -> str | None:
    match = _LITERAL.match(expression)
    if match is None:
        return None
    literal, rest, end = re.sub(r"\\(.)", r"\1", match[1]), match[2], match[3]
    if literal.endswith("/") and (rest or not end) and literal != "/":
        return f"{literal}**"  # a folder, with what is below it
    return None if rest else literal
