"""
The application's own cookies, kept apart by who they were set for.

A browser keeps what an application set for one person and sends it with the next one's requests.
So each configured cookie gets a mark beside it in the very answer that sets it: a keyed digest of
whom it is for, its name and its value, in a cookie that nobody else can write. With a session, a
configured cookie without a mark of that person is taken out of the request; whatever path or
domain it has, and whether or not the browser could be made to drop it. Stores nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from passproxy.core.cookies import CookieNames, Crumbs
from passproxy.core.session_claims import Session
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.core.urls import Origin, is_loopback

#: Patterns of cookie names. Applications have one or two sessions, and some cookies beside.
PATTERNS_LIMIT = 10

#: Of one pattern.
PATTERN_LIMIT_CHARACTERS = 128

#: Places of a pattern that may match more or less. With two, a name of n characters takes at most n * n steps.
REPEATS_LIMIT = 2

#: Longest cookie name that patterns are tried on. A longer one is taken for one of them: nobody needs it.
NAME_LIMIT_BYTES = 128

#: Marks that a browser keeps, 75 bytes each: they travel with every request beside the session.
MARKS_LIMIT = 16

#: How long a mark lasts: as long as the longest session.
MARK_SECONDS = 31 * 86400

#: Set-Cookie lines by which one answer expires cookies: some 3 KiB; web servers take an answer's head of 4 to 8.
EXPIRY_LIMIT = 32

#: Folders of a path that a cookie is looked for in. Applications set theirs at the top, or for their first folder.
DEPTH_LIMIT = 3

#: Domains that a cookie of this host can have: its own and two above.
DOMAIN_LIMIT = 3

#: Keys of the page's storage, and characters of one.
STORAGE_KEYS_LIMIT = 50
STORAGE_KEY_LIMIT_CHARACTERS = 200

#: When cookies stop being the session's: somebody else signs in, anybody signs in anew, somebody signs out.
Occasion = Literal["user_change", "reauth", "logout"]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}\Z")
_LITERAL = re.compile(r"[A-Za-z0-9_-]+\Z")
# RFC 6265, 4.1.1 without what could end the attribute.
_PATH = re.compile(rb"/[!-:<-~]*\Z")
_ESCAPED = re.compile(r"\\[.^$*+?{}\[\]|()\\-]|\\[dwDWsS]")
_CLASS = re.compile(r"\[\^?(?:\\.|[^\]\\])+\]")
_PLACE = "{path}"


@dataclass(frozen=True, slots=True)
class CleanupRules:
    """`reauth_url` is an absolute URL of this origin, in which `{path}` stands for the percent-encoded target."""

    patterns: tuple[str, ...] = ()
    storage_keys: tuple[str, ...] = ()
    clear_site_data: tuple[str, ...] = ()
    reauth_url: str | None = None
    on: frozenset[Occasion] = frozenset()


class Admitted(NamedTuple):
    """
    The cookies of a request that the application may see, and the names of those that it may not.

    `marks` gives the Set-Cookie values that belong beside the application's own.
    """

    cookies: Sequence[bytes]
    foreign: list[bytes]
    marks: Callable[[Iterable[bytes]], list[str]]


def checked_pattern(value: str) -> str:
    """
    A regular expression for a whole cookie name, whose time is bounded.

    Raises:
        ValueError: it has groups, references, or more than two repeats, or is none.
    """
    if not 0 < len(value) <= PATTERN_LIMIT_CHARACTERS:
        raise ValueError(f"must have 1 to {PATTERN_LIMIT_CHARACTERS} characters")
    plain = _CLASS.sub("", _ESCAPED.sub("", value))
    if re.search(r"[()\\]", plain):
        raise ValueError("must be without groups and references; list a pattern for each alternative")
    if len(re.findall(r"[*+?{]", plain)) > REPEATS_LIMIT:
        raise ValueError(f"must have at most {REPEATS_LIMIT} of * + ? {{}}, which bounds the time that a name takes")
    try:
        compiled = re.compile(value)
    except (re.error, OverflowError, RecursionError):
        raise ValueError("not a regular expression") from None
    if compiled.fullmatch(""):
        raise ValueError("matches the empty name, and so would match everything that has none")
    return value


class Cleanup:
    """The rules of one origin."""

    def __init__(self, ring: KeyRing, names: CookieNames, origin: Origin, rules: CleanupRules) -> None:
        self._ring = ring
        self._names = names
        self.rules = rules
        self._patterns = [re.compile(pattern).fullmatch for pattern in rules.patterns]
        self._literals = [pattern.encode() for pattern in rules.patterns if _LITERAL.match(pattern)]
        self._prefix = names.mark_prefix.encode()
        self._domains = _domains(origin.host)

    def admitted(self, session: Session, values: list[bytes], path: bytes) -> Admitted:
        """What of the Cookie fields of a request with this session may pass; `path` is the request's."""
        crumbs = self._names.crumbs(values)
        marks = {name: value for name, value in crumbs.more.items() if name.startswith(self._prefix)}
        known, scopes = set(marks.values()), self._scopes(session)
        cookies: list[bytes] = []
        foreign: list[bytes] = []
        for value in crumbs.others:
            left: list[bytes] = []
            for piece in value.split(b";"):
                name, separator, content = _pair(piece)
                if separator and self.is_configured(name):
                    mine = (_mac(key, scope, name, content) for key, scope in scopes)
                    if not any(mark in known for mark in mine):
                        foreign.append(name)
                        continue
                left.append(piece)
            if kept := b";".join(left).lstrip(b" \t"):
                cookies.append(kept)

        def beside(set_cookies: Iterable[bytes]) -> list[str]:
            return self._beside(set_cookies, marks.keys(), scopes[0], path)

        return Admitted(cookies, list(dict.fromkeys(foreign)), beside)

    def is_configured(self, name: bytes) -> bool:
        """Whether a cookie of this name is one of those; also as an application would read it that decodes names."""
        if len(name) > NAME_LIMIT_BYTES:
            return bool(self._patterns)
        readings = {name, unquote_to_bytes(name)} if b"%" in name else {name}
        texts = [reading.decode("latin-1").strip() for reading in readings]
        return any(match(text) for match in self._patterns for text in texts)

    def marks(self, crumbs: Crumbs) -> list[str]:
        """The names of the marks that came along, as many as are ever set."""
        found = [name.decode() for name in crumbs.more if name.startswith(self._prefix) and _TOKEN.match(name)]
        return found[:MARKS_LIMIT]

    def came(self, values: list[bytes]) -> list[bytes]:
        """The names of the configured cookies in a request, and those that are configured by their plain names."""
        pieces = (piece for value in self._names.crumbs(values).others for piece in value.split(b";"))
        found = (name for name, separator, _ in map(_pair, pieces) if separator and self.is_configured(name))
        return list(dict.fromkeys((*found, *self._literals)))

    def expired(self, names: Sequence[bytes], *paths: bytes) -> list[str]:
        """
        Set-Cookie values that remove cookies of these names wherever a request for one of the paths could see them.

        At most EXPIRY_LIMIT; the likeliest places of every name first.
        """
        plain = [name.decode() for name in names if _TOKEN.match(name)]
        places = list(dict.fromkeys(place for path in paths for place in _places(path)))
        secure = "; Secure" if self._names.secure else ""
        lines = [
            f"{name}=; Path={place}; Max-Age=0{domain}{secure}"
            for domain in self._domains
            for place in places
            for name in plain
            if not (name.lower().startswith("__host-") and (domain or place != "/"))
        ]
        return lines[:EXPIRY_LIMIT]

    def is_clean(self, session: Session, value: bytes | None) -> bool:
        """Whether this browser was cleaned for this session; `value` is what `clean` gave it."""
        return value is not None and any(value == _mac(key, scope, b"clean") for key, scope in self._scopes(session))

    def clean(self, session: Session) -> str:
        """The value that says for whom a browser was cleaned."""
        key, scope = self._scopes(session)[0]
        return _mac(key, scope, b"clean").decode()

    def onward(self, target: str) -> str:
        """Where a browser that was cleaned goes: the local target, or by way of the application's own login."""
        url = self.rules.reauth_url
        if url is None or _path_of(target) == _path_of(url):
            return target
        return url.replace(_PLACE, quote(target, safe=""))

    def _scopes(self, session: Session) -> list[tuple[bytes, bytes]]:
        identity = session.identity
        account = f"{len(identity.issuer)}:{identity.issuer}{identity.subject}".encode()
        scope = b"session " + session.id.encode() if "reauth" in self.rules.on else b"account " + account
        newest, *older = self._ring.key(Purpose.CLEANUP), *self._ring.keys(Purpose.CLEANUP)
        return [(key, scope) for key in (newest, *older)]

    def _beside(
        self, set_cookies: Iterable[bytes], had: Iterable[bytes], scope: tuple[bytes, bytes], path: bytes
    ) -> list[str]:
        slots, lines = set(had), []
        for said in set_cookies:
            name, separator, value = _pair(said.partition(b";")[0])
            if not separator or not self.is_configured(name):
                continue
            slot = self._slot(name, said, path)
            if not value:
                if slot in slots:
                    lines.append(self._names.expire(slot.decode()))
            elif slot in slots or len(slots) < MARKS_LIMIT:
                slots.add(slot)
                lines.append(self._names.set(slot.decode(), _mac(*scope, name, value).decode(), max_age=MARK_SECONDS))
        return lines

    def _slot(self, name: bytes, said: bytes, path: bytes) -> bytes:
        """One mark for each place that a cookie has in a browser: what replaces the one replaces the other."""
        attributes = {key.lower(): value for key, _, value in map(_pair, said.split(b";")[1:])}
        place = attributes.get(b"path", b"")
        if not place.startswith(b"/"):
            place = path.rpartition(b"/")[0] or b"/"
        return self._prefix + _digest(b"slot", name, attributes.get(b"domain", b"").lower().lstrip(b"."), place)[:12]


def _pair(piece: bytes) -> tuple[bytes, bytes, bytes]:
    name, separator, value = piece.partition(b"=")
    return name.strip(b" \t"), separator, value.strip(b" \t")


def _joined(parts: Iterable[bytes]) -> bytes:
    # Lengths first, so that no two lists are written alike.
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _digest(*parts: bytes) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(_joined(parts)).digest())


def _mac(key: bytes, *parts: bytes) -> bytes:
    raw = hmac.digest(key, _joined(parts), "sha256")[:16]
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _domains(host: str) -> list[str]:
    """As attributes: none, then each domain from the host's own up to two labels. An address has only itself."""
    if is_loopback(host) or ":" in host or host.replace(".", "").isdigit():
        return [""]
    labels = host.split(".")
    above = [".".join(labels[start:]) for start in range(len(labels) - 1)]
    return ["", *(f"; Domain={domain}" for domain in above[:DOMAIN_LIMIT])]


def _places(path: bytes) -> list[str]:
    """The paths that a cookie may have to be seen at this one, the shortest first."""
    if not _PATH.match(path):
        path = _safe_start(path)
    segments = path.split(b"/")[1:][: DEPTH_LIMIT + 1]
    places = ["/"]
    for end in range(1, len(segments) + 1):
        place = "/" + b"/".join(segments[:end]).decode("latin-1")
        is_last = end == len(segments)
        if end <= DEPTH_LIMIT:
            places += [place] if is_last else [place, place + "/"]
    return list(dict.fromkeys(places))


def _safe_start(path: bytes) -> bytes:
    """The folders of a path before the first character that no Path attribute can have."""
    start = re.match(rb"[!-:<-~]*", path)
    return b"/" if start is None else (start[0].rpartition(b"/")[0] + b"/")


def _path_of(url: str) -> str:
    bare = re.sub(r"\Ahttps?://[^/]*", "", url)
    return bare.partition("#")[0].partition("?")[0]
