"""Which logins count as going round in circles, and which cause is named."""

from __future__ import annotations

import pytest

from passproxy.core.errors import LoginLoop, LoopByCookie, LoopByKeys, LoopByTime
from passproxy.core.loop import LOOP_SECONDS, STRIKE_LIMIT, finished, started
from passproxy.core.tokens import EXPIRED, FROM_THE_FUTURE, KEY_UNKNOWN, KeyRing, Purpose
from tests.core.given import NOW, OLD_KEY, ORIGIN, RING

OTHERS = KeyRing((OLD_KEY,), str(ORIGIN))


def rounds(count: int, rejected: str | None, seconds: float = 2) -> str | None:
    """So many logins, each of them finished and followed by the next."""
    value, now = None, float(NOW)
    for _ in range(count):
        value = finished(RING, None if value is None else value.encode(), now)
        now += seconds
        value = started(RING, value.encode(), rejected, now)
    return value


def test_the_first_login_of_a_browser_counts_nothing():
    assert started(RING, None, None, NOW) is None
    assert started(RING, None, EXPIRED, NOW) is None


@pytest.mark.parametrize(
    ("rejected", "cause"),
    [
        (None, LoopByCookie),
        (KEY_UNKNOWN, LoopByKeys),
        (EXPIRED, LoopByTime),
        (FROM_THE_FUTURE, LoopByTime),
        ("revoked", LoginLoop),
    ],
)
def test_lf_11_a_loop_ends_on_a_page_that_names_its_cause(rejected, cause):
    rounds(STRIKE_LIMIT - 1, rejected)
    with pytest.raises(LoginLoop) as caught:
        rounds(STRIKE_LIMIT, rejected)
    assert type(caught.value) is cause


def test_logins_a_minute_apart_are_no_loop():
    value = rounds(10, None, LOOP_SECONDS + 1)
    assert value is None


def test_a_loop_that_two_instances_with_different_keys_make_is_seen_at_once():
    value = finished(OTHERS, None, NOW).encode()
    with pytest.raises(LoopByKeys):
        started(RING, value, KEY_UNKNOWN, NOW + 1)
    assert started(RING, value, None, NOW + 1) is None, "no session came, so nothing says whose keys it had"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"9",
        b"99 1700000000",
        RING.enclose(Purpose.WHO, b"99 %d" % NOW).encode(),
        RING.enclose(Purpose.LOOP, b"99").encode(),
        RING.enclose(Purpose.LOOP, b"x y").encode(),
        RING.enclose(Purpose.LOOP, b"99 %d" % (NOW - LOOP_SECONDS - 1)).encode(),
        RING.enclose(Purpose.LOOP, b"99 %d" % (NOW + LOOP_SECONDS + 1)).encode(),
    ],
    ids=["empty", "a number", "in the clear", "another purpose", "half", "no numbers", "old", "of the future"],
)
def test_lf_11_a_counter_that_is_none_of_ours_or_not_of_now_counts_nothing(value):
    for rejected in (None, EXPIRED, KEY_UNKNOWN):
        assert started(RING, value, rejected, NOW) is None
    first = finished(RING, value, NOW)
    assert started(RING, first.encode(), None, NOW) is not None
