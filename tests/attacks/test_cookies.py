"""Rows CK of the catalogue, as far as cookies are bytes: what is ours, what leaves, what the application may set."""

from __future__ import annotations

import pytest

from passproxy.core.cookies import LOGIN_COOKIES_LIMIT_BYTES, cookie_names
from passproxy.core.decision import Decider, Forward, Site
from passproxy.core.errors import LoginError
from passproxy.core.pending import LOGIN_LIMIT_SECONDS, PendingLogins
from passproxy.core.policy import Policy
from passproxy.core.session import Sessions
from passproxy.core.session_claims import Session
from passproxy.core.urls import Origin
from tests.core.given import ALICE, NAMES, NOW, ORIGIN, RING, Jar, request

OWN = NAMES.session.encode()
SESSIONS = Sessions(RING, 3600, lambda session: b"")
GOOD = SESSIONS.seal(Session("id", ALICE, NOW, NOW + 3600)).encode()
DECIDER = Decider(Site(ORIGIN, NAMES, Policy(), SESSIONS))
PENDING = PendingLogins(RING, NAMES)


def forwarded(*cookies: bytes) -> list[bytes] | None:
    """The Cookie values that reach the application, or None when there is no session."""
    decision = DECIDER.decide(request(*(b"Cookie: " + cookie for cookie in cookies)), NOW)
    return decision.cookies if isinstance(decision, Forward) else None


def test_one_good_cookie_is_a_session():
    assert forwarded(OWN + b"=" + GOOD) == []


@pytest.mark.parametrize(
    "cookies",
    [
        [OWN + b"=" + GOOD + b"; " + OWN + b"=evil"],
        [OWN + b"=evil; " + OWN + b"=" + GOOD],
        [OWN + b"=" + GOOD + b"; " + OWN + b"=" + GOOD],
        [OWN + b"=" + GOOD, OWN + b"=evil"],
        [OWN + b"=evil", OWN + b"=" + GOOD],
        [OWN + b"=; " + OWN + b"=" + GOOD],
        [b"a=b; " + OWN + b"=" + GOOD + b";" + OWN + b"="],
    ],
)
def test_ck_01_two_session_cookies_are_none(cookies):
    assert forwarded(*cookies) is None


def test_ck_02_every_cookie_field_is_read_and_stripped():
    assert forwarded(b"a=1", OWN + b"=" + GOOD + b"; b=2", b"c=3; " + OWN + b"-login-x=y") == [b"a=1", b"b=2", b"c=3"]
    head = request(b"Cookie: a=1", b"Cookie: " + OWN + b"=" + GOOD)
    assert not any(b"ookie" in line for line in head.lines)


@pytest.mark.parametrize(
    ("cookie", "left"),
    [
        (b'a="; ' + OWN + b"=" + GOOD + b'; z=1"', b'a="; z=1"'),
        (b'$Version=1; a="x; ' + OWN + b"=" + GOOD + b'"', None),
        (b'a="\\"; ' + OWN + b"=" + GOOD + b'; z="', b'a="\\"; z="'),
    ],
)
def test_ck_03_a_quoted_string_swallows_nothing(cookie, left):
    result = forwarded(cookie)
    assert result == (None if left is None else [left])


@pytest.mark.parametrize(
    "spelling",
    [
        b"\xe2\x80\x80" + OWN + b"=",
        b"\xc2\xa0" + OWN + b"=",
        b"\x85" + OWN + b"=",
        b"=" + OWN + b"=",
        b"==" + OWN + b"=",
        b"__host-passproxy=",
        b"__HOST-PASSPROXY=",
        b"__Host-Passproxy=",
        OWN + b" =",
        OWN + b"\xc2\xa0=",
        b'"' + OWN + b'"=',
        b"%5f_Host-passproxy=",
        b"__Host-passprox%79=",
        b"$" + OWN + b"=",
        b"$Path=/; x" + OWN + b"=",
        OWN + b"\xff=",
        OWN[:-1] + b"=",
        OWN + b"_=",
        b"passproxy=",
        b"__Secure-passproxy=",
    ],
)
def test_ck_04_a_name_that_only_looks_like_ours_is_not_ours(spelling):
    assert forwarded(spelling + GOOD) is None
    assert NAMES.crumbs([spelling + GOOD]).session == []


def test_ck_04_a_version_before_ours_changes_nothing():
    assert forwarded(b"$Version=1; " + OWN + b"=" + GOOD) == [b"$Version=1"]


def test_ck_05_cookies_have_every_attribute_and_no_domain():
    set_cookie = NAMES.set(NAMES.session, "v", max_age=5)
    name, *attributes = set_cookie.split("; ")
    assert name.startswith("__Host-")
    assert set(attributes) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=5"}
    assert LOGIN_LIMIT_SECONDS <= 15 * 60


@pytest.mark.parametrize("suffix", [b"_chunks", b"-chunks", b"-0", b"-1", b"_0", b".0"])
@pytest.mark.parametrize("value", [b"99999999", b"-1", b"", GOOD])
def test_ck_06_there_are_no_chunks_to_count(suffix, value):
    assert forwarded(OWN + suffix + b"=" + value) is None
    assert forwarded(OWN + b"=" + GOOD + b"; " + OWN + suffix + b"=" + value) is not None


def test_ck_08_no_cookie_of_ours_reaches_the_application():
    jar = b"; ".join(
        [
            b"a=1",
            OWN + b"=" + GOOD,
            OWN + b"-login-abcdefgh=x",
            OWN + b"-refresh=y",
            OWN + b"-=z",
            b" b = 2 ",
            OWN + b"x=3",
        ]
    )
    assert forwarded(jar) == [b"a=1;  b = 2 ; " + OWN + b"x=3"]
    assert not any(GOOD in value for value in forwarded(jar) or [])


@pytest.mark.parametrize(
    "value",
    [
        OWN + b"=evil",
        OWN + b"=evil; Path=/; Secure",
        OWN + b"=",
        OWN + b"-login-abcdefgh=x; Secure",
        OWN + b"-anything=x",
        b" " + OWN + b"=x",
        b"\t" + OWN + b" = x",
        OWN + b"\t=x",
    ],
)
def test_ck_09_the_application_sets_no_cookie_of_ours(value):
    assert NAMES.is_set_by(value)


@pytest.mark.parametrize("value", [b"=%s=evil; Path=/", b" = %s=evil", b"=%s-login-abcdefgh=evil", b"\t=\t%s=evil"])
@pytest.mark.parametrize("names", [NAMES, cookie_names(None, Origin("http", "localhost", 80))], ids=["https", "http"])
def test_ck_09_nor_a_nameless_one_that_comes_back_as_ours(names, value):
    """
    A cookie without a name is sent as its bare value: `=name=evil` comes back as `name=evil`.

    Browsers refuse such values with a `__Host-` prefix since CVE-2022-2860; older ones, and
    every one on a plain origin, do not.
    """
    assert names.is_set_by(value % names.session.encode())


@pytest.mark.parametrize(
    "value",
    [b"a=1", b"a=" + OWN + b"=x", OWN + b"x=1", b"x" + OWN + b"=1", b"", b"=", b"a", b"=a=" + OWN, b";" + OWN + b"=x"],
)
def test_ck_09_every_other_cookie_of_the_application_passes(value):
    assert not NAMES.is_set_by(value)


def test_ck_10_what_was_set_is_expired_under_the_same_name_and_path():
    for site in ("Lax", "None"):
        made, gone = NAMES.set("n", "v", max_age=1, same_site=site), NAMES.expire("n", same_site=site)
        assert gone == made.replace("n=v", "n=").replace("Max-Age=1", "Max-Age=0")


def test_ck_11_login_cookies_stay_within_their_budget():
    jar = Jar()
    for number in range(100):
        jar.start("/some/page?with=a&query=of+its+own", NOW + number, PENDING)
        assert jar.size <= LOGIN_COOKIES_LIMIT_BYTES


def test_ck_12_each_tab_finishes_its_own_login():
    jar = Jar()
    one, other = jar.start("/one", NOW, PENDING), jar.start("/other", NOW, PENDING)
    assert PENDING.find(other.login_id, jar, NOW).return_to == "/other"
    assert PENDING.find(one.login_id, jar, NOW).return_to == "/one"
    (name,) = PENDING.names_of({one.login_id}, jar)
    del jar[name.encode()]
    with pytest.raises(LoginError):
        PENDING.find(one.login_id, jar, NOW)


@pytest.mark.parametrize(
    "cookie",
    [
        b";;;=;a",
        b"=",
        b";",
        b"",
        b"; ".join(b"c%d=v" % number for number in range(200)),
        b"x=" + b"y" * 16_000,
        b"\xff\xfe\xfd",
        b"a=\t\tb",
        b"; ; " + OWN,
        OWN + b";=" + GOOD,
    ],
)
def test_ck_13_a_malformed_jar_breaks_nothing_and_passes_unchanged(cookie):
    assert forwarded(cookie) is None
    # White space around a value is no part of it.
    assert forwarded(OWN + b"=" + GOOD, cookie) == [cookie.strip(b" \t")]


def test_ck_11_logins_that_start_at_once_fit_too():
    """
    Fifty navigations, none of which brings the cookies of the others: more than browsers send at once.

    nginx accepts 8 KiB of one field by default. Above that the visitor gets nothing but
    errors until the cookies expire.
    """
    jar = Jar()
    for _ in range(50):
        jar.take(PENDING.remember("/some/page?with=a&query=of+its+own", {}, NOW))
    assert jar.size <= 8192
