"""
Cookies as bytes: which are ours, what is left for the application, and how ours are set.

The application never sees a cookie of ours, and never sets one. Names are
compared as exact bytes after a plain split at ";" (RFC 6265, 5.4 sends nothing
else), so a quoted string of the application cannot swallow ours, and what is
not ours stays byte for byte. Knows no token: values are opaque here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from passproxy.core.urls import Origin

#: All login cookies of a browser together, names included: they travel with every
#: request beside the session's, and nginx accepts 8 KiB of fields by default.
LOGIN_COOKIES_LIMIT_BYTES = 3600

#: Longest cookie, name and attributes included, that browsers keep (RFC 6265, 6.1).
COOKIE_LIMIT_BYTES = 4096

#: Longest value that is put into one cookie: room for a name of 64 and all attributes.
VALUE_LIMIT_BYTES = 3584

#: Cookies that a session may take. Web servers take some 8 KiB of fields by default and 16 to
#: 32 KiB when told to; what is larger fails in places that nobody looks at.
SESSION_PARTS_LIMIT = 4

#: Cookie fields of which is remembered what is in them: a page is many requests with the same one.
REMEMBERED_LIMIT = 128

SameSite = Literal["Lax", "None"]


class Crumbs(NamedTuple):
    """
    The Cookie fields of a request, taken apart.

    `session` holds each value of the session cookie (more than one is an attack
    or an accident, and counts as none), `logins` our login cookies by name,
    `more` whatever else is ours (empty where it came twice), `others` the field
    values that are left for the application.
    """

    session: Sequence[bytes]
    logins: Mapping[bytes, bytes]
    others: Sequence[bytes]
    more: Mapping[bytes, bytes]


NO_CRUMBS = Crumbs([], {}, [], {})


@dataclass(frozen=True, slots=True)
class CookieNames:
    """
    The names that belong to PassProxy: the session's, and everything that starts with it and a hyphen.

    `secure` says whether the origin is https; on a plain loopback origin a
    browser would refuse the `Secure` attribute and the `__Host-` prefix.
    """

    session: str
    secure: bool
    _own: bytes = field(init=False, repr=False)
    _known: dict[bytes, Crumbs] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_own", self.session.encode())

    @property
    def login_prefix(self) -> str:
        return f"{self.session}-login-"

    def crumbs(self, values: Sequence[bytes]) -> Crumbs:
        """Take the values of all Cookie fields apart."""
        if len(values) != 1 or len(values[0]) > COOKIE_LIMIT_BYTES:
            return self._taken_apart(values)
        value = values[0]
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= REMEMBERED_LIMIT:
                self._known.clear()
            known = self._known[value] = self._taken_apart(values)
        return known

    def _taken_apart(self, values: Sequence[bytes]) -> Crumbs:
        own = self._own
        session: list[bytes] = []
        logins: dict[bytes, bytes] = {}
        others: list[bytes] = []
        more: dict[bytes, bytes] = {}
        for value in values:
            if own not in value:
                others.append(value)
                continue
            left: list[bytes] = []
            for piece in value.split(b";"):
                pair = piece.strip(b" \t")
                if not pair.startswith(own):
                    left.append(piece)
                    continue
                name, separator, content = pair.partition(b"=")
                if not separator or not self.is_own(name):
                    left.append(piece)
                elif name == own:
                    session.append(content)
                elif name.startswith(self.login_prefix.encode()):
                    logins[name] = content
                else:
                    more[name] = b"" if name in more else content
            if kept := b";".join(left).lstrip(b" \t"):
                others.append(kept)
        return Crumbs(session, logins, others, more)

    @property
    def kept(self) -> str:
        """What the provider's adapter wants to have back."""
        return f"{self.session}-idp"

    @property
    def who(self) -> str:
        """Who was signed in last in this browser (rescue.py)."""
        return f"{self.session}-who"

    @property
    def loop(self) -> str:
        """How often logins led nowhere (loop.py)."""
        return f"{self.session}-loop"

    @property
    def clean(self) -> str:
        """For whom this browser was cleaned last (cleanup.py)."""
        return f"{self.session}-clean"

    @property
    def mark_prefix(self) -> str:
        """Of the marks beside cookies of the application (cleanup.py)."""
        return f"{self.session}-own-"

    def parts(self, token: str) -> dict[str, str]:
        """
        The cookies of a session token, which fits one unless it is long; then it says in how many it is.

        The caller has checked that it is no longer than SESSION_PARTS_LIMIT parts.
        """
        if len(token) <= VALUE_LIMIT_BYTES:
            return {self.session: token}
        step = VALUE_LIMIT_BYTES - 2
        pieces = [token[start : start + step] for start in range(0, len(token), step)]
        return {self._part(n): piece if n else f"{len(pieces)}~{piece}" for n, piece in enumerate(pieces)}

    def token(self, crumbs: Crumbs) -> bytes | None:
        """The session token that came along, put together again; None where a part of it is missing."""
        value = crumbs.session[0]
        if value[1:2] != b"~":
            return value
        count = value[:1]
        if not b"2" <= count <= b"%d" % SESSION_PARTS_LIMIT:
            return None
        rest = [crumbs.more.get(self._part(n).encode(), b"") for n in range(1, int(count))]
        return value[2:] + b"".join(rest) if all(rest) else None

    def over(self, crumbs: Crumbs, kept: Container[str] = ()) -> list[str]:
        """The names of the cookies of a session that came along, but for those that are to stay."""
        names = [self.session, self.kept, *map(self._part, range(1, SESSION_PARTS_LIMIT))]
        came = {name.decode("latin-1") for name in crumbs.more}
        return [
            name for name in names if name not in kept and (name in came or (name == self.session and crumbs.session))
        ]

    def _part(self, number: int) -> str:
        return f"{self.session}-{number + 1}" if number else self.session

    def is_own(self, name: bytes) -> bool:
        own = self._own
        return name.startswith(own) and name[len(own) : len(own) + 1] in (b"", b"-")

    def is_set_by(self, value: bytes) -> bool:
        """Whether a Set-Cookie value of the application sets one of our names."""
        # Browsers trim the name; a nameless "=name=value" comes back as "name=value" (CVE-2022-2860).
        pair = value.partition(b";")[0].lstrip(b"= \t")
        name, separator, _ = pair.partition(b"=")
        return bool(separator) and self.is_own(name.strip(b" \t"))

    def set(self, name: str, value: str, *, max_age: int, same_site: SameSite = "Lax") -> str:
        """A Set-Cookie value. SameSite=None without Secure is refused by browsers, so plain origins get Lax."""
        site = same_site if self.secure else "Lax"
        secure = "; Secure" if self.secure else ""
        return f"{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite={site}{secure}"

    def expire(self, name: str, *, same_site: SameSite = "Lax") -> str:
        """The Set-Cookie value that removes what `set` made."""
        return self.set(name, "", max_age=0, same_site=same_site)


def cookie_names(configured: str | None, origin: Origin) -> CookieNames:
    """
    The names for an origin.

    `__Host-` makes browsers refuse the cookie from any other host, path or over
    plain HTTP (RFC 6265bis, 4.1.3.2), so a configured name gets it too.
    """
    bare = (configured or "passproxy").removeprefix("__Host-")
    return CookieNames(f"__Host-{bare}" if origin.is_secure else bare, origin.is_secure)
