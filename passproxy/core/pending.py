"""
Pending logins: what PassProxy must remember between start and callback.

A pending login travels in the browser, enclosed, because the process keeps no
state; any replica can finish it. It proves that the browser presenting an
answer is the one that was sent to ask. This module sets no cookie and checks no
answer: endpoints.py does the first, each provider the second.

A hundred tabs may start at once. Each start sets a small cookie of its own, so
that answers that cross each other on the way overwrite nothing. What has piled
up is gathered in one cookie, and a small one is given up only after the browser
was seen to have it in there. All together stay within a budget: beyond it the
oldest lose the target they return to, then (after hundreds) themselves.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import zlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES, CookieNames
from passproxy.core.errors import LoginExpired, LoginUnknown, TokenInvalid
from passproxy.core.tokens import KeyRing, Purpose

#: From the redirect to the answer: time for a password, a second factor and a phone call.
LOGIN_LIMIT_SECONDS = 15 * 60

#: Small cookies before they are gathered: browsers ask one host six times at once.
SMALL_LIMIT = 4

#: The gathering cookie, name and value, as long as small ones still need room beside it.
GATHERED_LIMIT_BYTES = 2850

#: What the gathering cookie may inflate to: 300 logins with targets of 200 bytes.
INFLATED_LIMIT_BYTES = 64 * 1024

#: "name=value; " takes three more than both.
_COOKIE_OVERHEAD_BYTES = 3

_BINDING_BYTES = 16
_SERIAL_BYTES = 3
_TIME_BYTES = 5
_LOGIN_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """
    One login under way. `started_at` is seconds since the epoch.

    `binding` is the secret of one browser, `serial` tells its logins apart. What
    must match between start and answer is derived from both.
    """

    binding: bytes
    serial: bytes
    started_at: int
    return_to: str

    @property
    def secret(self) -> bytes:
        """Never leaves PassProxy; the browser has it only enclosed."""
        return hashlib.sha256(b"login" + self.binding + self.serial + _time(self.started_at)).digest()

    @property
    def login_id(self) -> str:
        """On the wire the state or RelayState: 22 URL-safe characters that do not tell the secret."""
        digest = hashlib.sha256(b"login id" + self.secret).digest()[:16]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Remembered:
    """A new login, the cookies to set for it by name, and those to expire."""

    login: PendingLogin
    cookies: Mapping[str, str]
    expired: list[str]


@dataclass(frozen=True, slots=True)
class PendingLogins:
    """The pending logins of browsers, in their cookies."""

    ring: KeyRing
    names: CookieNames

    @property
    def _gathered_name(self) -> str:
        return self.names.login_prefix + "all"

    def remember(self, return_to: str, cookies: Mapping[bytes, bytes], now: float) -> Remembered:
        """A new login for a browser that has these login cookies."""
        gathered, small, useless = self._read(cookies, now)
        latest = max((*gathered, *small.values()), key=lambda login: login.started_at, default=None)
        binding = secrets.token_bytes(_BINDING_BYTES) if latest is None else latest.binding
        login = PendingLogin(binding, secrets.token_bytes(_SERIAL_BYTES), int(now), return_to)
        added = {self._small_name(login): self._enclosed([login])}
        settled = {replace(one, return_to="") for one in gathered}
        expired = useless + [name for name, one in small.items() if replace(one, return_to="") in settled]
        left = {name: one for name, one in small.items() if name not in expired}
        room = LOGIN_COOKIES_LIMIT_BYTES - _size(added)
        beside = sum(_size({name: cookies[name.encode("latin-1")].decode("latin-1")}) for name in left)
        present = _size({self._gathered_name: cookies.get(self._gathered_name.encode(), b"").decode("latin-1")})
        if len(left) >= SMALL_LIMIT or beside + present > room:
            if beside + GATHERED_LIMIT_BYTES > room:
                expired += left  # no room for both: the browser is trusted to take the gathered one
                beside = 0
            budget = min(GATHERED_LIMIT_BYTES, room - beside)
            budget -= len(self._gathered_name) + _COOKIE_OVERHEAD_BYTES
            value = self._gathered([*gathered, *left.values()], budget)
            added[self._gathered_name] = value
        return Remembered(login, added, expired)

    def find(self, login_id: str, cookies: Mapping[bytes, bytes], now: float) -> PendingLogin:
        """
        The pending login with this id among a browser's login cookies.

        Raises:
            LoginUnknown: this browser was not given that id.
            LoginExpired: it was, too long ago.
        """
        if not is_login_id(login_id):
            raise LoginUnknown("the login id is not one of ours")
        if not cookies:
            raise LoginUnknown("no login cookie came back")
        logins = [login for value in cookies.values() for login in self._logins(value)]
        same = [login for login in logins if secrets.compare_digest(login.login_id, login_id)]
        if not same:
            raise LoginUnknown(f"not among the {len(logins)} logins of this browser")
        # A gathered copy may have lost its target; the small cookie still has it.
        login = max(same, key=lambda one: one.return_to != "/")
        if not _is_current(login, now):
            raise LoginExpired("outside its time")
        return login

    def names_of(self, over: Container[str], cookies: Mapping[bytes, bytes]) -> list[str]:
        """The cookies that hold no login but those that are over, by their ids."""
        found = {name.decode("latin-1"): self._logins(value) for name, value in cookies.items()}
        return [name for name, logins in found.items() if logins and all(login.login_id in over for login in logins)]

    def _small_name(self, login: PendingLogin) -> str:
        return self.names.login_prefix + base64.urlsafe_b64encode(login.serial).decode()

    def _read(
        self, cookies: Mapping[bytes, bytes], now: float
    ) -> tuple[list[PendingLogin], dict[str, PendingLogin], list[str]]:
        """What was gathered, what has a cookie of its own, and the names of cookies that hold nothing."""
        gathered: list[PendingLogin] = []
        small: dict[str, PendingLogin] = {}
        useless: list[str] = []
        for raw_name, value in cookies.items():
            name = raw_name.decode("latin-1")
            logins = [login for login in self._logins(value) if _is_current(login, now)]
            if name == self._gathered_name:
                gathered = logins
            elif len(logins) == 1:
                small[name] = logins[0]
            else:
                useless.append(name)
        return gathered, small, useless

    def _logins(self, value: bytes) -> list[PendingLogin]:
        try:
            return _logins_from(self.ring.disclose(Purpose.PENDING, value))
        except (TokenInvalid, ValueError, IndexError, zlib.error):
            return []

    def _gathered(self, logins: Iterable[PendingLogin], budget: int) -> str:
        """As many as fit, the newest first; where it gets tight, the oldest without their targets."""
        unique: dict[tuple[bytes, bytes], PendingLogin] = {}
        for login in logins:
            key = (login.binding, login.serial)
            if key not in unique or unique[key].return_to == "/":
                unique[key] = login
        newest_first = sorted(unique.values(), key=lambda login: login.started_at, reverse=True)
        if self._fits(newest_first, budget):
            return self._enclosed(newest_first)
        low, high = 0, len(newest_first)
        while low < high:  # how many may keep their target
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fits(_bare(newest_first, middle), budget) else (low, middle - 1)
        kept = _bare(newest_first, low)
        while kept and not self._fits(kept, budget):
            kept = kept[: len(kept) * 9 // 10]
        return self._enclosed(kept)

    def _fits(self, logins: list[PendingLogin], budget: int) -> bool:
        """Whether it fits the cookie, and can be inflated again."""
        return len(_plain(logins)) <= INFLATED_LIMIT_BYTES and len(self._enclosed(logins)) <= budget

    def _enclosed(self, logins: list[PendingLogin]) -> str:
        return self.ring.enclose(Purpose.PENDING, _content(logins))


def is_login_id(text: str) -> bool:
    """Whether it looks like an id that we gave out; whose it is, and whether it is true, `find` says."""
    return _LOGIN_ID.match(text) is not None


def _bare(logins: list[PendingLogin], keep: int) -> list[PendingLogin]:
    return logins[:keep] + [replace(login, return_to="/") for login in logins[keep:]]


def _is_current(login: PendingLogin, now: float) -> bool:
    return -60 <= now - login.started_at <= LOGIN_LIMIT_SECONDS


def _size(cookies: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) + _COOKIE_OVERHEAD_BYTES for name, value in cookies.items())


def _time(seconds: int) -> bytes:
    return seconds.to_bytes(_TIME_BYTES, "big")


# The layout: logins of one browser share its binding, so they are grouped by it.
#   group: binding, number of logins (2 bytes), then for each its serial, its time,
#   the length of its target (2 bytes) and the target. All of it deflated.


def _plain(logins: list[PendingLogin]) -> bytes:
    groups: dict[bytes, list[PendingLogin]] = {}
    for login in logins:
        groups.setdefault(login.binding, []).append(login)
    return b"".join(
        binding + len(group).to_bytes(2, "big") + b"".join(map(_packed, group)) for binding, group in groups.items()
    )


def _content(logins: list[PendingLogin]) -> bytes:
    deflate = zlib.compressobj(6, wbits=-15)
    return deflate.compress(_plain(logins)) + deflate.flush()


def _packed(login: PendingLogin) -> bytes:
    target = b"" if login.return_to == "/" else login.return_to.encode()
    return login.serial + _time(login.started_at) + len(target).to_bytes(2, "big") + target


def _logins_from(content: bytes) -> list[PendingLogin]:
    inflate = zlib.decompressobj(wbits=-15)
    plain = inflate.decompress(content, INFLATED_LIMIT_BYTES)
    if inflate.unconsumed_tail:
        raise ValueError("larger than anything that was enclosed")  # half a target is a wrong target
    logins: list[PendingLogin] = []
    position = 0
    while position < len(plain):
        binding = plain[position : position + _BINDING_BYTES]
        position += _BINDING_BYTES + 2
        for _ in range(int.from_bytes(plain[position - 2 : position], "big")):
            serial = plain[position : position + _SERIAL_BYTES]
            start = position + _SERIAL_BYTES + _TIME_BYTES + 2
            started_at = int.from_bytes(plain[position + _SERIAL_BYTES : start - 2], "big")
            position = start + int.from_bytes(plain[start - 2 : start], "big")
            logins.append(PendingLogin(binding, serial, started_at, plain[start:position].decode() or "/"))
    return logins
