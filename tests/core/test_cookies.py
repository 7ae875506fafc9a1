"""Ours never leave, in any spelling that a browser sends; what is not ours stays byte for byte, in order."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passproxy.core.cookies import (
    COOKIE_LIMIT_BYTES,
    LOGIN_COOKIES_LIMIT_BYTES,
    NO_CRUMBS,
    REMEMBERED_LIMIT,
    SESSION_PARTS_LIMIT,
    VALUE_LIMIT_BYTES,
    Crumbs,
    cookie_names,
)
from passproxy.core.urls import Origin
from tests.core.given import NAMES, ORIGIN, examples

PLAIN = cookie_names(None, Origin("http", "localhost", 8080))
SESSION = NAMES.session.encode()
LOGIN = NAMES.login_prefix.encode()

_FOREIGN_NAME = st.one_of(
    st.sampled_from(
        [b"a", b"passproxy", b"__Host-pass", b"__Host-passproxyx", b"x__Host-passproxy", b"__host-passproxy"]
    ),
    st.binary(min_size=1, max_size=8).filter(lambda b: not set(b) & set(b"=; \t\r\n\x00")),
)
_VALUE = st.binary(max_size=12).map(lambda b: bytes(c for c in b if c not in b";\r\n\x00"))
_FOREIGN = st.tuples(_FOREIGN_NAME, _VALUE).map(lambda pair: pair[0] + b"=" + pair[1])
_OWN = st.tuples(st.sampled_from([SESSION, SESSION + b"-", LOGIN + b"abcdefgh", SESSION + b"-refresh"]), _VALUE).map(
    lambda pair: pair[0] + b"=" + pair[1]
)
_PAIRS = st.lists(st.lists(st.one_of(_FOREIGN, _OWN), min_size=1, max_size=6), max_size=3)


def is_ours(pair: bytes) -> bool:
    """As a browser names it: everything before the first `=`."""
    name = pair.partition(b"=")[0]
    return name == SESSION or name.startswith(SESSION + b"-")


@examples(120)
@given(_PAIRS)
@example([[b'a="', SESSION + b"=x", b'z="']])
def test_ours_never_leave_and_the_others_stay_as_they_are(fields):
    """Other cookies are byte-identical and in order; none of ours is among them; a field without others is dropped."""
    values = [b"; ".join(pairs) for pairs in fields]
    crumbs = NAMES.crumbs(values)
    foreign = [[pair for pair in pairs if not is_ours(pair)] for pairs in fields]
    assert crumbs.others == [b"; ".join(pairs) for pairs in foreign if pairs]
    ours = [pair.split(b"=", 1) for pairs in fields for pair in pairs if is_ours(pair)]
    # Bare ends may be white space, which belongs to nobody.
    assert [v.strip(b" \t") for v in crumbs.session] == [v.strip(b" \t") for n, v in ours if n == SESSION]
    assert set(crumbs.logins) == {n for n, _ in ours if n.startswith(LOGIN)}


@examples(200)
@given(
    st.lists(st.binary(max_size=40), max_size=3),
    st.lists(st.sampled_from([b";", b"; ", b" ;", b";;", b"\t"]), max_size=3),
)
def test_any_bytes_are_taken_apart_without_a_trace_of_ours(values, glue):
    """Whatever surrounds it, a pair of ours between semicolons does not get through."""
    crumbs = NAMES.crumbs([value + b";" + SESSION + b"=secret" + b"".join(glue) for value in values])
    assert len(crumbs.session) >= len(values)
    assert not any(b"secret" in piece for left in crumbs.others for piece in left.split(b";"))


@examples(100)
@given(st.lists(st.binary(max_size=30).filter(lambda b: SESSION not in b), max_size=4))
def test_fields_without_ours_pass_untouched(values):
    assert NAMES.crumbs(values) == ([], {}, values, {})


@pytest.mark.parametrize(
    ("values", "session", "others"),
    [
        pytest.param([SESSION + b"=x"], [b"x"], [], id="alone: the field is dropped"),
        pytest.param([b"a=1; " + SESSION + b"=x; b=2"], [b"x"], [b"a=1; b=2"], id="in the middle"),
        pytest.param([SESSION + b"=x; b=2"], [b"x"], [b"b=2"], id="first"),
        pytest.param([b"a=1; " + SESSION + b"=x"], [b"x"], [b"a=1"], id="last"),
        pytest.param([b"a=1;" + SESSION + b"=x;b=2"], [b"x"], [b"a=1;b=2"], id="without spaces"),
        pytest.param([SESSION + b"=x;"], [b"x"], [], id="with a semicolon behind"),
        pytest.param([SESSION + b"=a=b=="], [b"a=b=="], [], id="the value goes to the end"),
        pytest.param([SESSION + b"="], [b""], [], id="empty"),
        pytest.param([b"a=1; a=2"], [], [b"a=1; a=2"], id="the application's doubles are its own"),
        pytest.param([b";;;=;a"], [], [b";;;=;a"], id="what is malformed passes"),
    ],
)
def test_cookies_are_taken_apart(values, session, others):
    crumbs = NAMES.crumbs(values)
    assert (crumbs.session, crumbs.others) == (session, others)


def test_the_name_of_ours_within_a_value_is_the_applications():
    value = b"a=" + SESSION + b"=x; b=" + SESSION
    assert NAMES.crumbs([value]).others == [value]


def test_without_a_cookie_field_there_is_nothing():
    assert NAMES.crumbs([]) == NO_CRUMBS


def test_everything_behind_the_name_and_a_hyphen_is_ours():
    crumbs = NAMES.crumbs([b"; ".join([SESSION + b"-x=1", SESSION + b"-=2", SESSION + b"x=3"])])
    assert crumbs.others == [SESSION + b"x=3"]
    assert crumbs.logins == {}


# --- names and attributes ---


@pytest.mark.parametrize(
    ("configured", "origin", "name"),
    [
        (None, ORIGIN, "__Host-passproxy"),
        ("wiki", ORIGIN, "__Host-wiki"),
        ("__Host-wiki", ORIGIN, "__Host-wiki"),
        ("__Host-wiki", Origin("http", "localhost", 80), "wiki"),
        (None, Origin("http", "localhost", 80), "passproxy"),
    ],
)
def test_the_name_has_the_prefix_wherever_browsers_allow_it(configured, origin, name):
    assert cookie_names(configured, origin).session == name


def test_a_cookie_is_set_with_every_protection():
    assert NAMES.set("__Host-passproxy", "v", max_age=60) == (
        "__Host-passproxy=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
    )
    assert NAMES.set("n", "v", max_age=60, same_site="None").endswith("HttpOnly; SameSite=None; Secure")


def test_on_a_plain_origin_only_secure_and_none_are_missing():
    assert PLAIN.set("n", "v", max_age=60, same_site="None") == "n=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"


def test_a_cookie_is_expired_with_the_attributes_that_set_it():
    made = NAMES.set("n", "v", max_age=60, same_site="None").split("; ")
    gone = NAMES.expire("n", same_site="None").split("; ")
    assert gone[0] == "n="
    assert [a for a in gone if not a.startswith("Max-Age")][1:] == [a for a in made if not a.startswith("Max-Age")][1:]
    assert "Max-Age=0" in gone


def test_the_budgets_leave_room_in_what_browsers_and_servers_take():
    assert LOGIN_COOKIES_LIMIT_BYTES < 4096
    assert COOKIE_LIMIT_BYTES <= 4096


@pytest.mark.parametrize(
    ("value", "is_ours"),
    [
        (SESSION + b"=x; Path=/", True),
        (LOGIN + b"abc=x", True),
        (b" " + SESSION + b" = x", True),
        (b"=" + SESSION + b"=x", True),
        (b"other=x", False),
        (b"other=" + SESSION + b"=x", False),
        (SESSION, False),
        (b"", False),
    ],
)
def test_a_cookie_that_the_application_sets_is_ours_or_not(value, is_ours):
    assert NAMES.is_set_by(value) is is_ours


def crumbs_of(cookies: dict[str, str], *more: str) -> Crumbs:
    return NAMES.crumbs(["; ".join([*(f"{n}={v}" for n, v in cookies.items()), *more]).encode()])


@examples(40)
@given(st.integers(1, SESSION_PARTS_LIMIT * (VALUE_LIMIT_BYTES - 2)))
def test_ck_06_a_token_comes_back_from_its_cookies_whatever_its_length(length):
    token = ("eyJ" + "".join(chr(ord("a") + n % 23) for n in range(length)))[:length]
    parts = NAMES.parts(token)
    assert all(len(value) <= VALUE_LIMIT_BYTES for value in parts.values())
    assert (len(parts) == 1) == (length <= VALUE_LIMIT_BYTES)
    crumbs = crumbs_of(parts, "mine=1")
    assert NAMES.token(crumbs) == token.encode()
    assert [one.strip() for one in crumbs.others] == [b"mine=1"]


@pytest.mark.parametrize(
    "value", ["1~x", "0~x", "5~x", "9~x", "~x", "a~x", "2~x", "3~x", "4~x", "-~x", "99999999~x", "2~", "3~x~y"]
)
def test_ck_06_a_count_that_is_not_true_is_no_session(value):
    session = NAMES.session
    assert NAMES.token(crumbs_of({session: value})) in (None, value.encode())
    if value[1:2] == "~":
        assert NAMES.token(crumbs_of({session: value})) is None
    # A part that comes twice is none.
    assert NAMES.token(crumbs_of({session: "2~a", f"{session}-2": "b"}, f"{session}-2=c")) is None
    assert NAMES.token(crumbs_of({session: "2~a", f"{session}-2": "b"})) == b"ab"


def test_what_is_left_of_a_larger_session_goes_with_the_smaller_one_that_replaces_it():
    session = NAMES.session
    crumbs = crumbs_of({session: "3~a", f"{session}-2": "b", f"{session}-3": "c", f"{session}-idp": "k"}, "mine=1")
    assert NAMES.over(crumbs) == [session, f"{session}-idp", f"{session}-2", f"{session}-3"]
    assert NAMES.over(crumbs, {session: "x", f"{session}-2": "y"}) == [f"{session}-idp", f"{session}-3"]
    assert NAMES.over(NO_CRUMBS) == []


def test_what_is_remembered_of_cookie_fields_is_bounded_and_the_same():
    names = cookie_names(None, ORIGIN)
    fields = [b"a=%d; %s=t%d" % (number, SESSION, number) for number in range(3 * REMEMBERED_LIMIT)]
    for _ in range(2):
        for field in fields:
            assert names.crumbs([field]) == cookie_names(None, ORIGIN).crumbs([field])
            assert len(names._known) <= REMEMBERED_LIMIT
    long = b"a=" + b"x" * COOKIE_LIMIT_BYTES
    names.crumbs([long])
    assert long not in names._known
