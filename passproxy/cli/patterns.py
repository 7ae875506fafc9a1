"""
What each passthrough pattern opens, and each rule that allows: asked of the code that decides about requests, not concluded from the pattern.

Each pattern is filled in, and the path that results is spelled in the ways that
some program in between may read as another path. What is then still public is
told; all else is refused or sent to the login.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from passproxy.core.access import rules_of
from passproxy.core.cookies import cookie_names
from passproxy.core.decision import Decider, Forward, Site
from passproxy.core.errors import RequestRefused
from passproxy.core.headers import request_names
from passproxy.core.http1 import request_head
from passproxy.core.policy import Policy
from passproxy.core.session import Sessions
from passproxy.core.settings import Settings
from passproxy.core.tokens import Key, KeyRing
from passproxy.core.urls import Origin

#: Methods that change nothing (RFC 9110, 9.2.1).
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

#: Asked for where a rule is for every method.
_ANY = ("GET", "POST")

#: Ways to spell a path so that somebody may read another one, or the same one in another spelling.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "other letters": str.swapcase,
    "an escaped letter": lambda path: f"/%{ord(path[1:2] or '/'):02x}{path[2:]}",
    "an escaped slash": lambda path: "%2f".join(path.rsplit("/", 1)) if path.count("/") > 1 else f"{path}%2f",
    "a slash behind it": lambda path: f"{path}/",
    "a dot behind it": lambda path: f"{path}.",
    "an escaped space behind it": lambda path: f"{path}%20",
    "a zero byte behind it": lambda path: f"{path}%00",
    "a line end behind it": lambda path: f"{path}%0a",
    "letters behind it": lambda path: f"{path}admin",
    "an ending behind it": lambda path: f"{path}.css",
    "a segment behind it": lambda path: f"{path}/admin",
    "a segment before it": lambda path: f"/admin{path}",
    "a parameter": lambda path: f"{path};x=1",
    "a parameter in front": lambda path: f"/;x=1{path}",
    "an escaped semicolon": lambda path: f"{path}%3bx=1",
    "an escaped question mark": lambda path: f"{path}%3fx=1",
    "an escaped number sign": lambda path: f"{path}%23x",
    "two slashes": lambda path: f"/{path}",
    "two slashes within": lambda path: "//".join(path.rsplit("/", 1)),
    "a dot segment": lambda path: f"/.{path}",
    "a dot segment behind it": lambda path: f"{path}/.",
    "up and to another": lambda path: f"{path}/../admin",
    "up by escapes": lambda path: f"{path}/%2e%2e/admin",
    "up by one escape": lambda path: f"{path}/.%2e/admin",
    "up by an escaped slash": lambda path: f"{path}/..%2fadmin",
    "up by escaped escapes": lambda path: f"{path}/%252e%252e/admin",
    "up by a backslash": lambda path: f"{path}\\..\\admin",
    "up by an escaped backslash": lambda path: f"{path}/..%5cadmin",
    "up with a parameter": lambda path: f"{path}/..;/admin",
    "up by fullwidth dots": lambda path: f"{path}/%ef%bc%8e%ef%bc%8e/admin",
    "up by overlong escapes": lambda path: f"{path}/%c0%ae%c0%ae/admin",
    "up by an escape of another kind": lambda path: f"{path}/%u002e%u002e/admin",
    "from another and up": lambda path: f"/admin/..{path}",
    "a byte above ASCII": lambda path: f"{path}/\xe4",
    "half an escape": lambda path: f"{path}%2",
}


class Entry(NamedTuple):
    """A pattern, its methods (none: all of them), and the networks that it is opened for (none: everybody)."""

    path: str
    methods: tuple[str, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """
    What one pattern opens. No methods mean all of them.

    `also` are spellings of it that are public too, name and path; `tried` is how many there
    were. `doubts` are sentences: what an administrator may not have meant.
    """

    path: str
    methods: tuple[str, ...]
    meaning: str
    tried: int
    also: tuple[tuple[str, str], ...]
    doubts: tuple[str, ...]


def opened(settings: Settings) -> list[Opened]:
    """Each pattern that opens something, in the order of the configuration."""
    public, entries = _asked(settings), _entries(settings)
    return [_opened(entry, entries[:place] + entries[place + 1 :], public) for place, entry in enumerate(entries)]


def _entries(settings: Settings) -> list[Entry]:
    return [
        Entry(path, rule.methods, rule.networks)
        for rule in rules_of(settings)
        if rule.action == "allow" and not rule.is_report_only
        for path in rule.paths
    ]


def filled(pattern: str) -> str:
    """A path that a pattern was written for."""
    return pattern.replace("**", "x/y").replace("*", "x")


def _opened(entry: Entry, others: list[Entry], public: Callable[[str, str], bool]) -> Opened:
    meant = filled(entry.path)
    spelled = {name: spell(meant) for name, spell in SPELLINGS.items()}
    spelled = {name: path for name, path in spelled.items() if path != meant}
    also = tuple(
        (name, path) for name, path in spelled.items() if any(public(method, path) for method in entry.methods or _ANY)
    )
    meaning = _meaning(entry.path) + (f", from {' '.join(entry.networks)}" if entry.networks else "")
    doubts = _doubts(entry, others)
    if not all(public(method, meant) for method in entry.methods or _ANY):
        doubts.insert(0, f"{meant} is not public: a rule before it says otherwise")
    return Opened(entry.path, entry.methods, meaning, len(spelled), also, tuple(doubts))


def _asked(settings: Settings) -> Callable[[str, str], bool]:
    """Whether a request without a session is passed on, as the one who decides about real ones sees it."""
    origin = Origin.of(settings.domain, settings.origin)
    ring = KeyRing((Key("check", secrets.token_bytes(32), 0),), str(origin))
    sessions = Sessions(ring, settings.session.lifetime, lambda session: b"")
    # As for whoever comes from a network that a rule names; and where everything is public, spellings say nothing.
    policy = Policy(
        [replace(rule, networks=()) if rule.action == "allow" else rule for rule in rules_of(settings)],
        "authenticate" if settings.access.default == "allow" else settings.access.default,
    )
    decider = Decider(Site(origin, cookie_names(settings.session.cookie_name, origin), policy, sessions))
    names, host = request_names(), next(iter(origin.hosts()))

    def public(method: str, path: str) -> bool:
        head = f"{method} {path} HTTP/1.1\r\nHost: ".encode("latin-1") + host + b"\r\n"
        try:
            return isinstance(decider.decide(request_head(head, names), 0.0), Forward)
        except RequestRefused:
            return False

    return public


def _meaning(pattern: str) -> str:
    if "*" not in pattern:
        return "this path alone"
    folder = pattern.removesuffix("/**")
    if folder != pattern and "*" not in folder:
        return f"{folder} and everything below it"
    if "**" in pattern:
        return "whatever fits, across segments"
    return "whatever fits, within a segment"


def _doubts(entry: Entry, others: list[Entry]) -> list[str]:
    path, last = entry.path, entry.path.rsplit("/", 1)[-1]
    found = []
    if not entry.methods:
        found.append("for every method: anybody can send POST and DELETE to it, unless the rule names methods")
    if writing := [method for method in entry.methods if method not in _READING]:
        found.append(f"anybody can send {' and '.join(writing)} to it; the application alone checks who that is")
    if last not in ("*", "**") and last.endswith("*"):
        found.append(f"it opens all that begins alike, such as {path[:-1]}-admin; a folder is written {path[:-1]}/**")
    if "**" in path and last.startswith("*") and last not in ("*", "**"):
        found.append(
            f"applications often answer /admin{filled(last[1:])} or /admin/x{filled(last[1:])} with the page /admin: "
            "name the folder of these files"
        )
    if path.startswith(("/*/", "/**/")) and last not in ("*", "**") and not last.startswith("*"):
        found.append(f"it opens this name below every folder, /admin/{filled(last)} too")
    if path != "/" and path.endswith("/"):
        found.append(f"it opens this one path with its slash; what is below it is {path}**")
    if covering := _covering(entry, others):
        found.append(f"{covering} opens it anyway")
    return found


def _covering(entry: Entry, others: list[Entry]) -> str | None:
    """Another pattern that opens all of it, as far as folders tell."""
    for other in others:
        folder = other.path.removesuffix("/**")
        is_below = folder != other.path and "*" not in folder and f"{entry.path}/".startswith(f"{folder}/")
        has_methods = not other.methods or (entry.methods and set(entry.methods) <= set(other.methods))
        if is_below and has_methods and not other.networks and entry.path != other.path:
            return other.path
    return None
