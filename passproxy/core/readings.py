"""
Everything that a path can be read as, by any program behind us.

Servers, frameworks and file systems decode, cut, merge and resolve, in orders of their own and some of
them twice. `readings` does to a path all that they are known to do, in every order, until nothing new
comes out. A rule about a path is a rule about each of these. Which of them is right nobody here knows.

Sources: RFC 3986, 5.2.4 (dot segments) and 6.2.2 (case, escapes); Servlet 6.0, 3.5 (what containers
refuse, since they read it differently); the WHATWG URL standard (backslashes, tabs and line ends).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from passproxy.core.errors import TargetUnreadable

#: Readings of one path. Those that browsers and applications make have two, seldom eight.
READINGS_LIMIT = 64

#: ... and their bytes together, which bounds the work: a path of file names in full-width script has 4 KiB.
READINGS_LIMIT_BYTES = 16 * 1024

# Lower case, no escape, no empty or dot segment, no dot or slash at an end: all programs read it alike.
_PLAIN = re.compile(rb"/|(?:/[a-z0-9_~!$&'()*+,:@=|\[\]-]++(?:\.[a-z0-9_~!$&'()*+,:@=|\[\]-]++)*+)++")

_PARAMETERS = re.compile(rb";[^/]*")
_SLASHES = re.compile(rb"/{2,}")
_QUERY = re.compile(rb"[?#].*", re.DOTALL)
_TRIMMED = re.compile(rb"(?<=[^/.\x00-\x20])[.\x00-\x20]+(?=/|\Z)")
_SLASH_ESCAPE = re.compile(rb"(%2f|%5c)", re.IGNORECASE)
_DOT_ESCAPE = re.compile(rb"%2e", re.IGNORECASE)
_UNICODE_ESCAPE = re.compile(rb"%u([0-9a-f]{4})", re.IGNORECASE)
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}")


def is_plain(path: bytes) -> bool:
    """Whether everybody reads this path alike, upper and lower case included."""
    return _PLAIN.fullmatch(path) is not None


def readings(path: bytes) -> tuple[bytes, ...]:
    """
    All readings of a path, itself first. Letter case and a slash at the end are left as they are.

    Raises:
        TargetUnreadable: there are too many to look at.
    """
    found = {path: None}
    waiting, size = [path], len(path)
    while waiting:
        reading = waiting.pop()
        for reader in _READERS:
            other = reader(reading)
            if other in found or other == reading:
                continue
            size += len(other)
            if len(found) >= READINGS_LIMIT or size > READINGS_LIMIT_BYTES:
                raise TargetUnreadable(f"more than {READINGS_LIMIT} readings or {READINGS_LIMIT_BYTES} bytes of them")
            found[other] = None
            waiting.append(other)
    return tuple(found)


def _without_dot_segments(path: bytes) -> bytes:
    """RFC 3986, 5.2.4; empty segments are segments."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    *folders, last = path[1:].split(b"/")
    for segment in (*folders, last):
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if last in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _rooted(path: bytes) -> bytes:
    return path if path.startswith(b"/") else b"/" + path


def _decoded(path: bytes) -> bytes:
    return unquote_to_bytes(path) if b"%" in path else path


def _decoded_but_for_slashes(path: bytes) -> bytes:
    """As servers do that let an escaped slash be part of a name."""
    pieces = _SLASH_ESCAPE.split(path)
    if len(pieces) == 1:
        return path
    return b"".join(piece if n % 2 else unquote_to_bytes(piece) for n, piece in enumerate(pieces))


def _with_plain_dots(path: bytes) -> bytes:
    """As the WHATWG's parser reads dot segments, before anybody decodes anything."""
    return _DOT_ESCAPE.sub(b".", path) if b"%2" in path else path


def _with_unicode_escapes(path: bytes) -> bytes:
    """`%u002e`, as IIS once read it."""
    if b"%" not in path:
        return path
    return _UNICODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", "replace"), path)


def _with_overlong_forms(path: bytes) -> bytes:
    """UTF-8 sequences that are longer than they may be, decoded all the same."""
    if path.isascii():
        return path

    def character(match: re.Match[bytes]) -> bytes:
        first, *others = match[0]
        value = first & (0x3F >> len(others))
        for byte in others:
            value = value << 6 | byte & 0x3F
        return chr(value).encode("utf-8", "replace")

    return _OVERLONG.sub(character, path)


def _compatible(path: bytes) -> bytes:
    """Full-width and other forms of plain letters made plain (NFKC), and letters that are plain in lower case."""
    if path.isascii():
        return path
    return unicodedata.normalize("NFKC", path.decode("utf-8", "replace")).casefold().encode("utf-8", "replace")


_READERS: tuple[Callable[[bytes], bytes], ...] = (
    _decoded,
    _decoded_but_for_slashes,
    _with_plain_dots,
    _with_unicode_escapes,
    _with_overlong_forms,
    _compatible,
    lambda path: _PARAMETERS.sub(b"", path) if b";" in path else path,
    lambda path: path.replace(b"\\", b"/"),
    lambda path: _SLASHES.sub(b"/", path) if b"//" in path else path,
    _without_dot_segments,
    lambda path: _rooted(_QUERY.sub(b"", path)),
    lambda path: _rooted(path.partition(b"\0")[0]),
    lambda path: path.translate(None, b"\t\r\n"),
    lambda path: _TRIMMED.sub(b"", path),
)
