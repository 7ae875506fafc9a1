"""A login ends in the browser in which it began, in its time, and the jar never overflows."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES
from passproxy.core.errors import LoginExpired, LoginUnknown
from passproxy.core.pending import LOGIN_LIMIT_SECONDS, SMALL_LIMIT, PendingLogin, PendingLogins
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.core.urls import RETURN_TO_LIMIT_BYTES
from tests.core.given import KEY, NAMES, NOW, OLD_KEY, ORIGIN, RING, Jar, examples

LOGINS = PendingLogins(RING, NAMES)


def started(return_to: str = "/") -> tuple[PendingLogin, bytes, bytes]:
    """A login in an empty browser, and its one cookie."""
    jar = Jar()
    login = jar.start(return_to, NOW, LOGINS)
    ((name, value),) = jar.items()
    return login, name, value


def test_a_login_is_found_by_its_id():
    jar = Jar()
    login = jar.start("/a?b", NOW + 0.7, LOGINS)
    found = LOGINS.find(login.login_id, jar, NOW + 5)
    assert found == login
    assert (found.return_to, found.started_at) == ("/a?b", NOW)


def test_login_ids_are_short_url_safe_and_never_the_same():
    jar = Jar()
    ids = {jar.start("/", NOW, LOGINS).login_id for _ in range(200)}
    assert len(ids) == 200
    assert all(len(login_id) == 22 and login_id.replace("-", "").replace("_", "").isalnum() for login_id in ids)


def test_a_login_id_does_not_tell_the_secret_and_no_login_tells_another():
    jar = Jar()
    one, other = jar.start("/", NOW, LOGINS), jar.start("/", NOW, LOGINS)
    assert one.binding == other.binding, "one browser, one binding"
    assert one.secret != other.secret
    assert one.secret.hex() not in one.login_id
    assert LOGINS.find(one.login_id, jar, NOW).secret == one.secret


@pytest.mark.parametrize("at_once", [1, 2, 6])
@pytest.mark.parametrize("target", ["/page/{}?tab={}", "/d/{:024x}/view?panel={:04x}"])
def test_a_hundred_tabs_all_land_where_they_wanted_in_any_order(at_once, target):
    """N1: also when several start at once and none of them brings the cookies of the others."""
    chance = random.Random(7)
    jar, waiting = Jar(), []
    for first in range(0, 100, at_once):
        seen = dict(jar)
        answers = [
            LOGINS.remember(target.format(chance.getrandbits(64), n), seen, NOW + n / 100)
            for n in range(first, min(first + at_once, 100))
        ]
        chance.shuffle(answers)
        waiting += [jar.take(answer) for answer in answers]
        assert jar.size <= 4096
    chance.shuffle(waiting)
    for login in waiting:
        assert LOGINS.find(login.login_id, jar, NOW + 60).return_to == login.return_to
        for name in LOGINS.names_of({login.login_id}, jar):
            del jar[name.encode()]


def test_beyond_the_budget_the_oldest_lose_their_target_and_never_the_login():
    chance = random.Random(7)
    jar = Jar()
    logins = [jar.start(f"/{chance.getrandbits(480):x}", NOW + n, LOGINS) for n in range(100)]
    assert jar.size <= LOGIN_COOKIES_LIMIT_BYTES
    found = [LOGINS.find(login.login_id, jar, NOW + 100) for login in logins]
    assert [one.secret for one in found] == [login.secret for login in logins]
    kept = [one.return_to == login.return_to for one, login in zip(found, logins, strict=True)]
    assert kept == sorted(kept), "the newest are those that keep it"
    assert kept[-1]
    assert not kept[0]


@examples(30)
@given(st.lists(st.integers(1, RETURN_TO_LIMIT_BYTES), min_size=1, max_size=12))
def test_the_budget_holds_for_targets_of_any_length(lengths):
    jar, chance = Jar(), random.Random(3)
    for number, length in enumerate(lengths):
        target = "/" + "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length - 1))
        login = jar.start(target, NOW + number, LOGINS)
        assert jar.size <= LOGIN_COOKIES_LIMIT_BYTES
        assert LOGINS.find(login.login_id, jar, NOW + number) == login


def test_a_small_cookie_goes_only_after_the_browser_was_seen_to_have_it_gathered():
    """Two answers that cross each other must not both count on the other one."""
    jar = Jar()
    for number in range(SMALL_LIMIT):
        jar.start(f"/{number}", NOW + number, LOGINS)
    gathering = LOGINS.remember("/next", dict(jar), NOW + 10)
    assert any(name.endswith("-all") for name in gathering.cookies)
    assert gathering.expired == []
    jar.take(gathering)
    assert len(LOGINS.remember("/one-more", dict(jar), NOW + 11).expired) == SMALL_LIMIT


def test_logins_that_nobody_finished_in_time_are_removed_though_there_is_room():
    jar = Jar()
    jar.start("/old", NOW, LOGINS)
    jar.start("/newer", NOW + 600, LOGINS)
    jar.start("/now", NOW + LOGIN_LIMIT_SECONDS + 1, LOGINS)
    assert len(jar) == 2


def test_what_is_not_ours_among_the_login_cookies_is_removed():
    prefix = NAMES.login_prefix.encode()
    _, _, valid = started()
    remembered = LOGINS.remember(
        "/", {prefix + b"junk": b"x" * 50, prefix + b"\xff": b"", prefix + b"\xfe": valid}, NOW
    )
    assert set(remembered.expired) == {f"{NAMES.login_prefix}junk", f"{NAMES.login_prefix}\xff"}


@pytest.mark.parametrize(
    "login_id", ["", "x", "A" * 21, "A" * 23, "A" * 21 + "!", "A" * 22 + "\n", "ä" * 22, "../" * 8]
)
def test_a_login_id_of_another_shape_is_unknown(login_id):
    _, name, value = started()
    with pytest.raises(LoginUnknown):
        LOGINS.find(login_id, {name: value}, NOW)


def test_a_browser_without_the_cookie_cannot_finish():
    login, _, _ = started()
    with pytest.raises(LoginUnknown):
        LOGINS.find(login.login_id, {}, NOW)


def test_the_cookies_of_another_browser_do_not_help():
    mine, name, _ = started("/mine")
    _, _, theirs = started("/theirs")
    with pytest.raises(LoginUnknown):
        LOGINS.find(mine.login_id, {name: theirs}, NOW)


@pytest.mark.parametrize("value", [b"", b"new.", b"new.AAAA", b"\xff", b"x" * 5000])
def test_a_cookie_that_does_not_open_is_unknown(value):
    login, name, _ = started()
    with pytest.raises(LoginUnknown):
        LOGINS.find(login.login_id, {name: value}, NOW)


@pytest.mark.parametrize("content", [b"", b"\x00", b"x" * 40, bytes(200)])
def test_what_was_enclosed_in_another_layout_is_no_login(content):
    """A version of ours to come, say."""
    login, name, _ = started()
    with pytest.raises(LoginUnknown):
        LOGINS.find(login.login_id, {name: RING.enclose(Purpose.PENDING, content).encode()}, NOW)


def test_a_session_token_is_no_pending_login():
    login, name, _ = started()
    token = RING.seal(Purpose.SESSION, {}, issued_at=NOW, expires_at=NOW + 60).encode()
    with pytest.raises(LoginUnknown):
        LOGINS.find(login.login_id, {name: token}, NOW)


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
    login = jar.start("/", NOW, LOGINS)
    if in_time:
        assert LOGINS.find(login.login_id, jar, NOW + later) == login
    else:
        with pytest.raises(LoginExpired):
            LOGINS.find(login.login_id, jar, NOW + later)


def test_any_replica_with_the_key_file_finishes_a_login_also_after_a_rotation():
    before = PendingLogins(KeyRing((OLD_KEY,), str(ORIGIN)), NAMES)
    after = PendingLogins(KeyRing((KEY, OLD_KEY), str(ORIGIN)), NAMES)
    jar = Jar()
    login = jar.start("/x", NOW, before)
    assert after.find(login.login_id, jar, NOW + 1) == login
    with pytest.raises(LoginUnknown):
        LOGINS.find(login.login_id, jar, NOW + 1)


def test_the_cookie_hides_the_target_and_the_secret():
    login, _, value = started("/reset?token=secret")
    assert b"reset" not in value
    assert login.secret.hex().encode() not in value
    assert value.isascii()


@pytest.mark.parametrize(("length", "count"), [(2000, 40), (2000, 100), (800, 100)])
def test_long_targets_that_are_much_alike_cost_no_login_and_are_never_cut(length, count):
    """Links of one dashboard: small when deflated together, and more than is inflated again."""
    jar = Jar()
    logins = [jar.start(f"/{'x' * length}/{number}", NOW + number, LOGINS) for number in range(count)]
    for login in logins:
        assert LOGINS.find(login.login_id, jar, NOW + count).return_to in (login.return_to, "/")
    assert LOGINS.find(logins[-1].login_id, jar, NOW + count) == logins[-1]


def gathered(*logins: PendingLogin) -> bytes:
    """A cookie of several logins, as PassProxy lays them out."""
    plain = b"".join(
        login.binding + b"\0\1" + login.serial + login.started_at.to_bytes(5, "big") + len(login.return_to).to_bytes(2, "big")
        + login.return_to.encode() for login in logins
    )  # fmt: skip
    return RING.enclose(Purpose.PENDING, zlib.compress(plain, wbits=-15)).encode()


ALL = NAMES.login_prefix.encode() + b"all"


def test_of_two_copies_of_a_login_the_one_with_a_target_stays():
    logins = [PendingLogin(b"b" * 16, bytes([number]) * 3, NOW, f"/{number}") for number in range(3)]
    bare = [PendingLogin(login.binding, login.serial, login.started_at, "/") for login in logins]
    for copies in ((*bare, *logins), (*logins, *bare)):
        jar = Jar({ALL: gathered(*copies)})
        before = jar[ALL]
        for _ in range(SMALL_LIMIT + 1):
            jar.start("/new", NOW, LOGINS)
        assert jar[ALL] != before
        for login in logins:
            assert LOGINS.find(login.login_id, jar, NOW) == login


def test_beyond_hundreds_the_oldest_logins_are_over():
    chance = random.Random(5)
    many = [PendingLogin(chance.randbytes(16), chance.randbytes(3), NOW - number, "/") for number in range(400)]
    jar = Jar({ALL: gathered(*many)})
    for _ in range(SMALL_LIMIT + 2):
        jar.start("/", NOW, LOGINS)
    assert jar.size <= LOGIN_COOKIES_LIMIT_BYTES
    assert LOGINS.find(many[0].login_id, jar, NOW) == many[0]
    with pytest.raises(LoginUnknown):
        LOGINS.find(many[-1].login_id, jar, NOW)


def test_a_cookie_that_inflates_without_end_is_none():
    for content in (bytes(100_000), bytes(10_000_000)):
        cookie = RING.enclose(Purpose.PENDING, zlib.compress(content, wbits=-15)).encode()
        with pytest.raises(LoginUnknown, match="not among the 0 logins"):
            LOGINS.find("A" * 22, {ALL: cookie}, NOW)
