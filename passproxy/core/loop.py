"""
Logins that lead nowhere: how often a browser came back without the session that it was just given.

A counter in a cookie that lives for a minute, enclosed, so that nobody else can write it. It is set
when a login finishes; a login that starts while it is there is a strike. Knows no cookie and no clock.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final

from passproxy.core.errors import LoginLoop, LoopByCookie, LoopByKeys, LoopByTime, TokenInvalid
from passproxy.core.tokens import EXPIRED, FROM_THE_FUTURE, KEY_UNKNOWN, KeyRing, Purpose

#: How long after a login the next one counts. Redirects take a second or two; a person who
#: signs out and in again has lost the counter with the session.
LOOP_SECONDS = 60

#: The start that gets the page instead of the provider's. Browsers themselves give up after some
#: twenty redirects, without a word about the reason.
STRIKE_LIMIT = 3

_CAUSES: Final[dict[str | None, type[LoginLoop]]] = {
    None: LoopByCookie,
    KEY_UNKNOWN: LoopByKeys,
    EXPIRED: LoopByTime,
    FROM_THE_FUTURE: LoopByTime,
}


@dataclass(frozen=True, slots=True)
class Strikes:
    """`count` logins started within a minute of `finished_at` (seconds since the epoch), when one had finished."""

    count: int
    finished_at: int


def finished(ring: KeyRing, value: bytes | None, now: float) -> str:
    """The counter after a login; `value` is what the browser brought."""
    count = 0
    if value is not None:
        with contextlib.suppress(TokenInvalid):
            count = _read(ring, value, now).count
    return _enclosed(ring, Strikes(count, int(now)))


def started(ring: KeyRing, value: bytes | None, rejected: str | None, now: float) -> str | None:
    """
    The counter after one more start, None where there is nothing to count.

    `rejected` says why the session that came along was none; None says that none came.

    Raises:
        LoginLoop: this goes round in circles; the class says what is the likely cause.
    """
    if value is None:
        return None
    try:
        before = _read(ring, value, now)
    except TokenInvalid as error:
        # The browser keeps the counter for a minute, so somebody with other keys has set both just now.
        if rejected == error.detail == KEY_UNKNOWN:
            raise LoopByKeys("neither the session nor the counter is by a key of this instance") from None
        return None
    if before.count + 1 >= STRIKE_LIMIT:
        cause = _CAUSES.get(rejected, LoginLoop)
        raise cause(f"{before.count + 1} logins without a session; the last cookie: {rejected or 'did not come back'}")
    return _enclosed(ring, Strikes(before.count + 1, before.finished_at))


def _enclosed(ring: KeyRing, strikes: Strikes) -> str:
    return ring.enclose(Purpose.LOOP, b"%d %d" % (strikes.count, strikes.finished_at))


def _read(ring: KeyRing, value: bytes, now: float) -> Strikes:
    """Raises `TokenInvalid` for what is no counter, or not one of the last minute."""
    try:
        count, finished_at = map(int, ring.disclose(Purpose.LOOP, value).split())
    except ValueError:
        raise TokenInvalid("not a counter") from None
    if abs(now - finished_at) > LOOP_SECONDS:
        raise TokenInvalid("not of the last minute")
    return Strikes(count, finished_at)
