"""
What an application is told of somebody: the fields of a profile (profiles.py), and those that were configured.

`IdentityHeaders` compiles both once; the lines are made once for each session. What stands in an attribute cannot become a line of its own,
nor another member of a list.

Which names no client may send is in headers.py: those of every profile, whichever is chosen.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote

from passproxy.core.errors import IdentityUnsafe
from passproxy.core.headers import PREFIX, is_reserved, normal_form
from passproxy.core.identity import Identity, has_unsafe
from passproxy.core.profiles import PROFILES

#: What a template can name, in the order of the documentation.
PLACEHOLDERS = (
    *("user", "subject", "email", "name", "given_name", "surname", "upn", "account", "dn", "company", "department"),
    *("phone", "groups", "roles", "session_expires"),
)

#: The longest header names that are in use have some forty characters.
NAME_LIMIT_CHARACTERS = 64

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{NAME_LIMIT_CHARACTERS - 1}}}\Z")

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

#: Printable ASCII without the percent sign.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

#: RFC 8187, 3.2.1: attr-char, besides letters and digits.
_ATTR_CHAR = "!#$&+-.^_`|~"
_EXTENDED = "UTF-8''"


#: Fields of other products, in normal form. They may be configured one by one as well.
_KNOWN = frozenset(
    normal_form(name.encode()) for profile in PROFILES.values() for name in profile.fields if PREFIX not in name.lower()
)


def name_problem(name: str) -> str | None:
    """Why a header of this name cannot be configured; None when it can."""
    if not _NAME.match(name):
        return f"a header is named with letters, digits, - and _, {NAME_LIMIT_CHARACTERS} at most"
    normal = normal_form(name.encode())
    if normal == b"authorization":
        return "upstream.basic_auth is what sets Authorization"
    if normal.decode().startswith(PREFIX):
        return "names that begin with X-Passproxy- are PassProxy's own"
    if normal not in _KNOWN and is_reserved(normal):
        return "this header has a meaning of its own in every request; choose another name"
    return None


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts and names of placeholders by turns, a literal first and last."""

    pieces: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.pieces[1::2]

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with what there is; empty where none of the placeholders is there."""
        names = self.names
        if names and not any(name in values for name in names):
            return ""
        return "".join(values.get(piece, "") if n % 2 else piece for n, piece in enumerate(self.pieces)).strip(" ")


def template(text: str) -> Template:
    """
    The template that is written like this: `{email}` is a placeholder, `{{` and `}}` are braces.

    Raises:
        ValueError: it is none, or names what there is not; the text does not quote it.
    """
    if has_unsafe(text):
        raise ValueError("control characters and line ends cannot be in a header")
    pieces, literal, end = [], "", 0
    for match in _PIECE.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        name = match[1]
        if name is None:
            if len(match[0]) == 1:
                raise ValueError("a brace stands alone: {email} is a placeholder, {{ and }} are braces")
            literal += match[0][0]
            continue
        if name not in PLACEHOLDERS:
            raise ValueError(f"an unknown placeholder; {_nearest(name)}")
        pieces += [literal, name]
        literal = ""
    return Template((*pieces, literal + text[end:]))


def _nearest(name: str) -> str:
    import difflib  # only where somebody made a mistake

    close = difflib.get_close_matches(name, PLACEHOLDERS, n=1, cutoff=0.6)
    return f"did you mean {{{close[0]}}}?" if close else f"there are {', '.join(PLACEHOLDERS)}"


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """
    The credentials that the application wants of whoever asks (RFC 7617). `username` is a template.

    A user name is sent whole or not at all: where a placeholder is missing there is no field.
    """

    username: Template
    password: str = field(repr=False)

    def line(self, values: Mapping[str, str]) -> bytes:
        """
        The line of Authorization, or nothing.

        Raises:
            IdentityUnsafe: the name has a colon, behind which the application would read a password.
        """
        if not all(name in values for name in self.username.names):
            return b""
        username = self.username.filled(values)
        if ":" in username:
            raise IdentityUnsafe("upstream.basic_auth.username: a user name has a colon")
        credentials = base64.b64encode(f"{username}:{self.password}".encode())
        return b"Authorization: Basic " + credentials + b"\r\n"


class IdentityHeaders:
    """
    Profile, further templates by field name, list separator (None: the profile's) and encoding, compiled.

    `names` are those that no client may send because of these settings. `without_session`
    are the lines for requests that nobody in particular sends.
    """

    def __init__(
        self,
        profile: str = "passproxy",
        further: Mapping[str, str] = MappingProxyType({}),
        *,
        separator: str | None = None,
        encoding: str = "utf-8",
        basic_auth: BasicAuth | None = None,
    ) -> None:
        chosen = PROFILES[profile]
        self.separator = chosen.separator if separator is None else separator
        self._between = f'"{self.separator}"' if chosen.is_quoted else self.separator
        self._is_quoted = chosen.is_quoted
        self._own = [(f"{name}: ", placeholder) for name, placeholder in chosen.fields.items()]
        self._further = [(f"{name}: ", template(text)) for name, text in further.items()]
        self._encoded = ENCODINGS[encoding]
        self._basic_auth = basic_auth
        self.names = (*further, *(() if basic_auth is None else ("Authorization",)))
        self.without_session = b"" if basic_auth is None else basic_auth.line({})

    def lines(self, identity: Identity, expires_at: int, roles: Iterable[str] = ()) -> bytes:
        """
        The header lines of a session, each ending with CRLF.

        Raises:
            IdentityUnsafe: a value has characters that no header can carry faithfully.
        """
        values = {**identity.attributes, "subject": identity.subject, "session_expires": str(expires_at)}
        for name, members in (("groups", identity.groups), ("roles", roles)):
            if joined := self._joined(members):
                values[name] = joined
        if has_unsafe("".join(values.values())):
            name = next(name for name, value in values.items() if has_unsafe(value))
            raise IdentityUnsafe(f"attribute {name} has a forbidden character")
        said = [(start, text) for start, name in self._own if (text := values.get(name, "").strip(" "))]
        said += [(start, text) for start, form in self._further if (text := form.filled(values))]
        encoded = self._encoded
        lines = "".join([f"{start}{encoded(text)}\r\n" for start, text in said]).encode()
        return lines if self._basic_auth is None else lines + self._basic_auth.line(values)

    def longest(self, value: int, lists: Mapping[str, int]) -> int:
        """How long the lines become where no value is longer than this many bytes, and no list than it says."""
        size = len(self._basic_auth.line(dict.fromkeys(PLACEHOLDERS, "x" * value))) if self._basic_auth else 0
        forms = [*((start, Template(("", name, ""))) for start, name in self._own), *self._further]
        for start, form in forms:
            size += len(start) + len("\r\n") + sum(map(len, form.pieces[::2]))
            size += sum(lists.get(placeholder, value) for placeholder in form.names)
        return size

    def joined_length(self, members: Iterable[str]) -> int:
        """How many bytes a list of these takes."""
        return len(self._joined(members).encode())

    def _joined(self, members: Iterable[str]) -> str:
        """A list as one value, without the members that would be read as several."""
        kept = [each for each in members if self.separator not in each and not (self._is_quoted and '"' in each)]
        return f'"{self._between.join(kept)}"' if kept and self._is_quoted else self._between.join(kept)


def _as_it_is(text: str) -> str:
    return text


def _percent(text: str) -> str:
    return quote(text, safe=_PLAIN)


def _rfc8187(text: str) -> str:
    if text.isascii() and not text.upper().startswith(_EXTENDED):
        return text
    return _EXTENDED + quote(text, safe=_ATTR_CHAR)


#: How what is not ASCII is written, by the name that the configuration has for it; UTF-8 in any case.
ENCODINGS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"utf-8": _as_it_is, "percent": _percent, "rfc8187": _rfc8187}
)
