"""What the tests of the core start from: one origin, one key, one time, and heads as they arrive."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings

from passproxy.core.cookies import CookieNames, cookie_names
from passproxy.core.headers import request_names
from passproxy.core.http1 import NameTable, RequestHead, request_head
from passproxy.core.identity import Authentication, Identity
from passproxy.core.pending import PendingLogin, PendingLogins, Remembered
from passproxy.core.policy import Policy, Rule
from passproxy.core.tokens import Key, KeyRing
from passproxy.core.urls import Origin

NOW = 1_700_000_000
ORIGIN = Origin("https", "app.example.com", 443)
NAMES: CookieNames = cookie_names(None, ORIGIN)
KEY = Key("new", b"n" * 32, NOW)
OLD_KEY = Key("old", b"o" * 32, NOW - 86400)
RING = KeyRing((KEY,), str(ORIGIN))
REQUEST_NAMES: NameTable = request_names()
DATA = Path(__file__).resolve().parents[1] / "data"

ALICE = Identity(
    "https://idp.example.com",
    "subject-of-alice",
    {"user": "alice", "email": "alice@example.com"},
    ("staff", "ops"),
    NOW - 5,
)
SAID_OF_ALICE = Authentication(ALICE.issuer, ALICE.subject, {}, ALICE.authenticated_at)


def examples(count: int) -> settings:
    """The same examples on every run: a failure here is a failure everywhere."""
    return settings(max_examples=count, derandomize=True, deadline=None, database=None)


def lines_of(name: str) -> list[str]:
    """The hostile strings of a data file: one a line, with Python's escapes; `#` at the start comments."""
    text = (DATA / name).read_text("ascii")
    return [
        line.encode("ascii").decode("unicode_escape")
        for line in text.splitlines()
        if line and not line.startswith("# ")
    ]


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes | None = b"app.example.com") -> RequestHead:
    """A parsed request, with the Host that the origin has unless another is given."""
    hosts = () if host is None else (b"Host: " + host,)
    return request_head(b"".join(line + b"\r\n" for line in (start, *hosts, *lines)), REQUEST_NAMES)


def public(*entries: tuple[str, tuple[str, ...]]) -> Policy:
    """A policy under which some paths are public for some methods, and all else needs a session."""
    return Policy([Rule(f"public {n}", (path,), methods, "allow") for n, (path, methods) in enumerate(entries)])


class Jar(dict[bytes, bytes]):
    """A browser's login cookies."""

    def start(self, return_to: str, now: float, logins: PendingLogins) -> PendingLogin:
        return self.take(logins.remember(return_to, dict(self), now))

    def take(self, remembered: Remembered) -> PendingLogin:
        """What an answer sets and expires."""
        for name in remembered.expired:
            self.pop(name.encode("latin-1"), None)
        for name, value in remembered.cookies.items():
            self[name.encode()] = value.encode()
        return remembered.login

    @property
    def size(self) -> int:
        return sum(len(name) + len(value) + 3 for name, value in self.items())
