"""
What the demo application knows about a request, from its head alone.

`Received` is the head exactly as it arrived: the raw target, and every header
with its own spelling, in order. `Visitor` is what the identity headers of
PassProxy say. Nothing is verified here; that the headers can be believed is
PassProxy's promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

IDENTITY_PREFIX = "x-passproxy-"


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Decoded for reading; the raw form is in `target`."""
        pieces = (piece.partition("=") for piece in self.target.partition("?")[2].split("&") if piece)
        return tuple((_readable(name), _readable(value)) for name, _, value in pieces)

    @property
    def identity_headers(self) -> tuple[tuple[str, str], ...]:
        return tuple(header for header in self.headers if header[0].lower().startswith(IDENTITY_PREFIX))


@dataclass(frozen=True, slots=True)
class Visitor:
    user: str
    name: str
    email: str
    groups: tuple[str, ...]

    @property
    def initials(self) -> str:
        words = self.name.split()
        return "".join(word[0] for word in (words[0], *words[1:][-1:])).upper()


def received(method: str, raw_target: str, raw_headers: Iterable[tuple[bytes, bytes]]) -> Received:
    """`raw_target` as aiohttp has it: bytes that are not UTF-8 are surrogates in it. White space around a value is none of it."""
    target = _decoded(raw_target.encode("utf-8", "surrogateescape"))
    return Received(
        method, target, tuple((_decoded(name), _decoded(value.strip(b" \t"))) for name, value in raw_headers)
    )


def visitor_from(identity_headers: Iterable[tuple[str, str]]) -> Visitor | None:
    """Who the identity headers name; nobody when there are none, which is to say: no proxy in front."""
    values = {name.lower().removeprefix(IDENTITY_PREFIX): value for name, value in identity_headers}
    user = values.get("user") or values.get("subject")
    if not user:
        return None
    groups = tuple(group.strip() for group in values.get("groups", "").split(",") if group.strip())
    return Visitor(user, values.get("name", "").strip() or user, values.get("email", ""), groups)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _readable(encoded: str) -> str:
    return unquote_plus(encoded, errors="replace")
