"""A login ends in the browser in which it began, in its time, and the jar never overflows."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES
from passproxy.core.errors import LoginExpired, LoginUnknown
from passproxy.core.pending import LOGIN_LIMIT_SECONDS, PendingLogin, PendingLogins, new_pending
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.core.urls import RETURN_TO_LIMIT_BYTES
from tests.core.given import KEY, NAMES, NOW, OLD_KEY, ORIGIN, RING, examples

LOGINS = PendingLogins(RING, NAMES)


class Jar(dict[bytes, bytes]):
    """A browser's login cookies."""

    def start(self, return_to: str, now: float, logins: PendingLogins = LOGINS) -> PendingLogin:
        pending = new_pending(return_to, now)
        name, value = logins.cookie_name(pending.login_id), logins.enclose(pending)
        for lost in logins.surplus(self, len(name) + len(value) + 3, now):
            del self[lost.encode()]
        self[name.encode()] = value.encode()
        return pending

    @property
    def size(self) -> int:
        return sum(len(name) + len(value) + 3 for name, value in self.items())


def test_a_login_is_found_by_its_id():
    jar = Jar()
    pending = jar.start("/a?b", NOW + 0.7)
    found = LOGINS.find(pending.login_id, jar, NOW + 5)
    assert found == pending
    assert (found.return_to, found.started_at) == ("/a?b", NOW)


def test_login_ids_are_short_url_safe_and_never_the_same():
    ids = {new_pending("/", NOW).login_id for _ in range(200)}
    assert len(ids) == 200
    assert all(len(login_id) == 22 and login_id.replace("-", "").replace("_", "").isalnum() for login_id in ids)


def test_a_login_id_does_not_tell_the_secret():
    pending = new_pending("/", NOW)
    assert pending.login_id == PendingLogin(pending.secret, 0, "/other").login_id
    assert pending.secret.hex() not in pending.login_id


@pytest.mark.parametrize("count", [100])
def test_of_a_hundred_logins_in_one_jar_the_newest_are_always_found(count):
    """The budget holds at each step, the oldest are lost first, and whatever is left is found, in any order."""
    jar = Jar()
    started = []
    for number in range(count):
        started.append(jar.start(f"/page/{number}?tab={number}", NOW + number))
        assert jar.size <= LOGIN_COOKIES_LIMIT_BYTES
        assert LOGINS.find(started[-1].login_id, jar, NOW + number) == started[-1]
    kept = len(jar)
    assert kept >= 20
    remaining = started[-kept:]
    random.Random(1).shuffle(remaining)
    for pending in remaining:
        assert LOGINS.find(pending.login_id, jar, NOW + count).return_to == pending.return_to
    for pending in started[:-kept]:
        with pytest.raises(LoginUnknown):
            LOGINS.find(pending.login_id, jar, NOW + count)


@examples(30)
@given(st.lists(st.integers(1, RETURN_TO_LIMIT_BYTES), min_size=1, max_size=12))
def test_the_budget_holds_for_targets_of_any_length(lengths):
    jar = Jar()
    for number, length in enumerate(lengths):
        pending = jar.start("/" + "x" * (length - 1), NOW + number)
        assert jar.size <= LOGIN_COOKIES_LIMIT_BYTES
        assert LOGINS.find(pending.login_id, jar, NOW + number) == pending


def test_logins_that_nobody_finished_in_time_are_removed_though_there_is_room():
    jar = Jar()
    jar.start("/old", NOW)
    jar.start("/newer", NOW + 600)
    jar.start("/now", NOW + LOGIN_LIMIT_SECONDS + 1)
    assert len(jar) == 2


def test_what_is_not_ours_among_the_login_cookies_is_removed_first():
    jar = Jar({NAMES.login_prefix.encode() + b"junk": b"x" * 50, NAMES.login_prefix.encode() + b"\xff": b""})
    assert set(LOGINS.surplus(jar, 100, NOW)) == {f"{NAMES.login_prefix}junk", f"{NAMES.login_prefix}\xff"}


@pytest.mark.parametrize(
    "login_id", ["", "x", "A" * 21, "A" * 23, "A" * 21 + "!", "A" * 22 + "\n", "ä" * 22, "../" * 8]
)
def test_a_login_id_of_another_shape_is_unknown(login_id):
    with pytest.raises(LoginUnknown):
        LOGINS.find(login_id, {}, NOW)


def test_a_browser_without_the_cookie_cannot_finish():
    pending = Jar().start("/", NOW)
    with pytest.raises(LoginUnknown):
        LOGINS.find(pending.login_id, {}, NOW)
    with pytest.raises(LoginUnknown):
        LOGINS.find(pending.login_id, Jar(), NOW)


def test_the_cookie_of_another_login_under_this_ones_name_does_not_help():
    """Only eight characters of the id are in the name: the rest is compared with what is enclosed."""
    jar = Jar()
    mine, theirs = jar.start("/mine", NOW), jar.start("/theirs", NOW)
    name = LOGINS.cookie_name(mine.login_id).encode()
    with pytest.raises(LoginUnknown):
        LOGINS.find(mine.login_id, {name: LOGINS.enclose(theirs).encode()}, NOW)
    forged = theirs.login_id[:8] + mine.login_id[8:]
    with pytest.raises(LoginUnknown):
        LOGINS.find(forged, jar, NOW)


@pytest.mark.parametrize("value", [b"", b"new.", b"new.AAAA", b"\xff", b"x" * 5000])
def test_a_cookie_that_does_not_open_is_unknown(value):
    pending = new_pending("/", NOW)
    with pytest.raises(LoginUnknown):
        LOGINS.find(pending.login_id, {LOGINS.cookie_name(pending.login_id).encode(): value}, NOW)


def test_a_session_token_is_no_pending_login():
    pending = new_pending("/", NOW)
    token = RING.seal(Purpose.SESSION, {}, issued_at=NOW, expires_at=NOW + 60).encode()
    with pytest.raises(LoginUnknown):
        LOGINS.find(pending.login_id, {LOGINS.cookie_name(pending.login_id).encode(): token}, NOW)


@pytest.mark.parametrize(
    ("later", "in_time"),
    [
        (0, True),
        (LOGIN_LIMIT_SECONDS, True),
        (LOGIN_LIMIT_SECONDS + 1, False),
        (-60, True),
        (-61, False),
        (10**9, False),
    ],
)
def test_a_login_has_its_time(later, in_time):
    jar = Jar()
    pending = jar.start("/", NOW)
    if in_time:
        assert LOGINS.find(pending.login_id, jar, NOW + later) == pending
    else:
        with pytest.raises(LoginExpired):
            LOGINS.find(pending.login_id, jar, NOW + later)


def test_any_replica_with_the_key_file_finishes_a_login_also_after_a_rotation():
    before = PendingLogins(KeyRing((OLD_KEY,), str(ORIGIN)), NAMES)
    after = PendingLogins(KeyRing((KEY, OLD_KEY), str(ORIGIN)), NAMES)
    jar = Jar()
    pending = jar.start("/x", NOW, before)
    assert after.find(pending.login_id, jar, NOW + 1) == pending
    with pytest.raises(LoginUnknown):
        LOGINS.find(pending.login_id, jar, NOW + 1)


def test_the_cookie_hides_the_target_and_the_secret():
    pending = new_pending("/reset?token=secret", NOW)
    value = LOGINS.enclose(pending)
    assert "reset" not in value
    assert value.isascii()
