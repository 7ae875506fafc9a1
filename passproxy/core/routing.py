"""
Where a request belongs, by its path: to PassProxy itself, or to one of several sets of patterns.

A path that some reader would take for another one is never public:
`is_ambiguous` says which those are, readings.py what else they may be. Knows no
session and no verdict.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast
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
    """
    Several sets of patterns in order, and which of them covers a request first.

    An entry is its patterns and its methods, none meaning every method. One expression is compiled
    for each method, so that the number of entries hardly matters.
    """

    def __init__(self, entries: Iterable[tuple[Iterable[str], Iterable[str]]] = (), *, is_folded: bool = False) -> None:
        write = _folded if is_folded else expression
        written = [("|".join(map(write, patterns)), frozenset(methods)) for patterns, methods in entries]
        compiled: dict[tuple[int, ...], _Covering] = {}

        def covering(method: str | None) -> _Covering:
            numbers = tuple(n for n, (_, methods) in enumerate(written) if not methods or method in methods)
            if numbers not in compiled:
                # The empty group behind each entry is how a match tells which one it was.
                source = "|".join(f"(?:{written[n][0]})()" for n in numbers) or "(?!)"
                compiled[numbers] = _Covering(re.compile(source.encode(), re.DOTALL).fullmatch, numbers)
            return compiled[numbers]

        named = {method for _, methods in written for method in methods}
        self._by_method = {method.encode(): covering(method) for method in named}
        self._others = covering(None)

    def first(self, method: bytes, path: bytes) -> int | None:
        """The number of the first entry that covers a path as it is; says nothing about ambiguity."""
        covering = self._by_method.get(method, self._others)
        match = covering.fullmatch(path)
        return None if match is None else covering.numbers[cast(int, match.lastindex) - 1]


class _Covering(NamedTuple):
    fullmatch: Callable[[bytes], re.Match[bytes] | None]
    numbers: tuple[int, ...]


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


def _folded(pattern: str) -> str:
    """For paths in lower case, with or without a slash at the end."""
    return expression(pattern.lower().rstrip("/") or "/") + "/?"


def expression(pattern: str) -> str:
    """
    The regular expression of a path pattern, without groups.

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
