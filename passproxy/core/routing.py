"""
Where a request belongs, by its raw path: to PassProxy itself, to what is public, or to what is protected.

Patterns are compared with the bytes of the request line and with nothing
decoded. A path that some reader would take for another one is never public:
`is_ambiguous` says which those are. Knows no session.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

#: Everything below it is ours, nothing of it is forwarded.
PREFIX = "/.passproxy/"

# Escapes of "." "/" "\" ";" "?" "#" "%" and of control characters, escapes that are
# none, and the characters themselves where they mean different things to different readers.
_AMBIGUOUS = re.compile(
    rb"%(?:2[35ef]|3[bf]|5c|[01][0-9a-f]|7f|(?![0-9a-f]{2}))|[;\\\x80-\xff]|//|/\.{1,2}(?:/|\Z)",
    re.IGNORECASE,
)
_SPECIAL = frozenset("./\\;?#%")


class Routes:
    """The public part of a domain: request method -> one compiled expression for all its patterns."""

    def __init__(self, passthrough: Iterable[tuple[str, tuple[str, ...]]] = ()) -> None:
        patterns: dict[bytes, list[str]] = {}
        for pattern, methods in passthrough:
            for method in methods:
                patterns.setdefault(method.encode(), []).append(_expression(pattern))
        self._public: Mapping[bytes, re.Pattern[bytes]] = {
            method: re.compile("|".join(expressions).encode()) for method, expressions in patterns.items()
        }

    def is_public(self, method: bytes, path: bytes) -> bool:
        """Whether the raw path matches a passthrough pattern; says nothing about ambiguity."""
        public = self._public.get(method)
        return public is not None and public.fullmatch(path) is not None


def endpoint(path: bytes) -> str | None:
    """The part of a path behind the reserved prefix, or None when the path is the application's."""
    if path.startswith(b"/.passproxy") and path[11:12] in (b"", b"/"):
        return path[len(PREFIX) :].decode("latin-1")
    return None


def is_ambiguous(path: bytes) -> bool:
    """Whether two programs could read this path differently."""
    if _AMBIGUOUS.search(path):
        return True
    if b"%" not in path:
        return False
    try:
        decoded = unquote_to_bytes(path).decode("utf-8", "strict")
    except UnicodeDecodeError:
        return True  # overlong forms and the like
    # Fullwidth dots and slashes become plain ones where Unicode is normalised.
    return any(ord(c) > 0x7F and _SPECIAL & set(unicodedata.normalize("NFKC", c)) for c in decoded)


def _expression(pattern: str) -> str:
    """
    `*` stays within a segment, `**` crosses segments, a trailing `/**` matches the folder itself too.

    What stands between two wildcards is found at its first place and not looked
    for again (an atomic group): a later place could only leave less to match.
    So no path, however made, takes more than one pass for each pattern.
    """
    folder = pattern.endswith("/**")
    first, *others = (_within_segments(part) for part in pattern.removesuffix("/**" if folder else "").split("**"))
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    last = f".*{others[-1]}" if others else ""
    return f"(?:{first}{middle}{last}{'(?:/.*)?' if folder else ''})"


def _within_segments(part: str) -> str:
    return "/".join(_segment(segment) for segment in part.split("/"))


def _segment(segment: str) -> str:
    first, *others = (re.escape(literal) for literal in segment.split("*"))
    middle = "".join(f"(?>[^/]*?{literal})" for literal in others[:-1])
    return first + middle + (f"[^/]*{others[-1]}" if others else "")
