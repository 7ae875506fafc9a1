"""Whose a cookie is, which places it is removed from, and what all of that may cost."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from passproxy.core.cleanup import (
    EXPIRY_LIMIT,
    MARKS_LIMIT,
    NAME_LIMIT_BYTES,
    PATTERN_LIMIT_CHARACTERS,
    PATTERNS_LIMIT,
    STORAGE_KEY_LIMIT_CHARACTERS,
    STORAGE_KEYS_LIMIT,
    Cleanup,
    CleanupRules,
    Occasion,
    checked_pattern,
)
from passproxy.core.session_claims import Session
from passproxy.core.settings import Settings
from passproxy.core.tokens import KeyRing
from tests.core.given import ALICE, KEY, NAMES, NOW, OLD_KEY, ORIGIN

PATTERNS = (r"JSESSIONID\..+", "JSESSIONID", "__Host-app", "a|b")
ALICES = Session("session-1", ALICE, NOW, NOW + 3600)
BOBS = replace(ALICES, id="session-2", identity=replace(ALICE, subject="subject-of-bob"))


def cleanup(*on: Occasion, keys: Any = (KEY,), **rules: Any) -> Cleanup:
    ring = KeyRing(keys, str(ORIGIN), lambda: NOW)
    return Cleanup(ring, NAMES, ORIGIN, CleanupRules(**{"patterns": PATTERNS, "on": frozenset(on), **rules}))


def marked(one: Cleanup, session: Session, *said: bytes, path: bytes = b"/") -> list[bytes]:
    """What a browser sends after the application said this: our marks."""
    return [line.partition(";")[0].encode() for line in one.admitted(session, [], path).marks(said)]


def passed(one: Cleanup, session: Session, *cookies: bytes) -> bytes:
    return b"; ".join(one.admitted(session, [b"; ".join(cookies)], b"/").cookies)


def test_what_the_application_set_for_somebody_reaches_it_with_that_person_alone():
    marks = marked(cleanup(), ALICES, b"JSESSIONID=alices; Path=/app; HttpOnly")
    assert passed(cleanup(), ALICES, b"JSESSIONID=alices", *marks) == b"JSESSIONID=alices"
    assert passed(cleanup(), BOBS, b"JSESSIONID=alices", *marks) == b""
    assert passed(cleanup(), ALICES, b"JSESSIONID=alices") == b""


def test_of_two_with_one_name_the_own_one_passes_and_the_rest_stays_byte_for_byte():
    marks = marked(cleanup(), BOBS, b"JSESSIONID=bobs")
    admitted = cleanup().admitted(BOBS, [b'x="1;2"; JSESSIONID=alices;  y; JSESSIONID=bobs', *marks], b"/")
    assert admitted.cookies == [b'x="1;2";  y; JSESSIONID=bobs']
    assert admitted.foreign == [b"JSESSIONID"]


def test_a_mark_is_for_one_name_and_one_value_and_one_key_ring():
    mark = marked(cleanup(), ALICES, b"a=1")
    assert passed(cleanup(), ALICES, b"a=1", *mark) == b"a=1"
    assert passed(cleanup(), ALICES, b"b=1", *mark) == b""
    assert passed(cleanup(), ALICES, b"a=2", *mark) == b""
    assert passed(cleanup(keys=(OLD_KEY,)), ALICES, b"a=1", *mark) == b""
    assert passed(cleanup(keys=(OLD_KEY, KEY)), ALICES, b"a=1", *mark) == b"a=1"


def test_a_new_session_of_the_same_person_keeps_cookies_unless_it_is_told_not_to():
    again = replace(ALICES, id="session-3")
    for one, expected in ((cleanup("user_change"), b"a=1"), (cleanup("user_change", "reauth"), b"")):
        mark = marked(one, ALICES, b"a=1")
        assert passed(one, again, b"a=1", *mark) == expected
        assert one.is_clean(again, one.clean(ALICES).encode()) == bool(expected)
    assert not cleanup().is_clean(BOBS, cleanup().clean(ALICES).encode())
    assert not cleanup().is_clean(ALICES, None)


def test_what_replaces_a_cookie_replaces_its_mark_and_another_place_has_its_own():
    first, second = (marked(cleanup(), ALICES, said)[0] for said in (b"a=1; Path=/app", b"a=2;path=/app "))
    (third,) = marked(cleanup(), ALICES, b"a=1", path=b"/other/page")
    assert first.partition(b"=")[0] == second.partition(b"=")[0] != third.partition(b"=")[0]
    gone = cleanup().admitted(ALICES, [first], b"/").marks([b"a=; Path=/app; Max-Age=0"])
    assert len(gone) == 1
    assert "Max-Age=0" in gone[0]


def test_marks_are_bounded():
    said = [b"a=1; Path=/%d" % number for number in range(MARKS_LIMIT + 1)]
    marks = marked(cleanup(), ALICES, *said)
    assert len(marks) == MARKS_LIMIT
    assert cleanup().admitted(ALICES, marks, b"/").marks([b"a=1; Path=/more"]) == []
    assert len(cleanup().admitted(ALICES, marks, b"/").marks([b"a=2; Path=/0"])) == 1


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b" JSESSIONID\t", id="spaces"),
        pytest.param(b"\xa0JSESSIONID\x85", id="what Python strips"),
        pytest.param(b"%4aSESSIONID", id="an escape that old PHP decodes"),
        pytest.param(b"x" * (NAME_LIMIT_BYTES + 1), id="longer than patterns are tried on"),
    ],
)
def test_a_name_that_an_application_may_read_as_a_configured_one_is_one(name):
    assert passed(cleanup(), BOBS, name + b"=alices", b"c=1") == b"c=1"


def test_without_patterns_no_name_is_configured():
    assert passed(cleanup(patterns=()), BOBS, b"x" * 200 + b"=1") == b"x" * 200 + b"=1"


def test_a_name_at_the_limit_is_tried():
    name = b"x" * NAME_LIMIT_BYTES
    assert passed(cleanup(), BOBS, name + b"=1") == name + b"=1"


def test_the_whole_name_must_match():
    assert passed(cleanup(), BOBS, b"XJSESSIONID=1", b"JSESSIONIDX=2", b"ab=3") == b"XJSESSIONID=1; JSESSIONIDX=2; ab=3"


def test_cookies_expire_in_every_place_in_which_this_path_could_see_them():
    lines = cleanup().expired([b"a"], b"/x/y?")
    places = {re.search(r"Path=([^;]*)", line)[1] for line in lines}  # type: ignore[index]
    assert places == {"/", "/x", "/x/", "/x/y?"}
    domains = {(re.search(r"Domain=([^;]*)", line) or ["", ""])[1] for line in lines}
    assert domains == {"", "app.example.com", "example.com"}
    assert all(line.startswith("a=; ") and line.endswith("; Secure") for line in lines)


def test_the_host_prefix_has_one_place():
    assert cleanup().expired([b"__Host-app"], b"/x/y") == ["__Host-app=; Path=/; Max-Age=0; Secure"]


def test_lines_that_expire_are_bounded_and_every_name_has_its_likeliest_place():
    names = [b"a%d" % number for number in range(EXPIRY_LIMIT)]
    lines = cleanup().expired(names, b"/1/2/3/4/5/6")
    assert len(lines) == EXPIRY_LIMIT
    assert {line.partition("=")[0].encode() for line in lines} == set(names)


@pytest.mark.parametrize("name", [b"a\xe4", b'a"', b"a b", b"a,b", b"a\x01", b"a:b", b"x" * 129])
def test_a_name_that_is_no_token_is_in_no_line_of_ours(name):
    assert cleanup().expired([name], b"/") == []


@pytest.mark.parametrize("path", [b"/a;Domain=x/b", b"/a\xe4/b", b"/a\x01/b", b"no path"])
def test_a_path_cannot_add_an_attribute(path):
    for line in cleanup().expired([b"a"], path):
        assert re.fullmatch(r"a=; Path=/; Max-Age=0(; Domain=[a-z.]+)?; Secure", line)


@pytest.mark.parametrize(
    "pattern",
    ["", "(a+)+", "a.*b.*c.*", r"a\1", "a{2}{3}{4}", "[", "a*", "|", "x" * (PATTERN_LIMIT_CHARACTERS + 1), "(?i)a"],
)
def test_a_pattern_that_could_take_long_or_match_nothing_is_refused(pattern):
    with pytest.raises(ValueError, match=r"must|not a regular|matches the empty"):
        checked_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", [r"JSESSIONID\..+", "MY_APP", "a|b", r"app\(1\)", "[()+*]x", ".*_session_.*", "x" * 128]
)
def test_a_pattern_of_bounded_time_is_taken(pattern):
    assert checked_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a/b?x=1&y#f", "https://app.example.com/login?to=%2Fa%2Fb%3Fx%3D1%26y%23f"),
        ("/login?to=%2Fa", "/login?to=%2Fa"),
        ("/login", "/login"),
    ],
)
def test_the_application_s_own_login_gets_the_target_but_for_itself(target, expected):
    one = cleanup(reauth_url="https://app.example.com/login?to={path}")
    assert one.onward(target) == expected
    assert cleanup().onward(target) == target


def configured(**cleanup: Any) -> Settings:
    return Settings.model_validate(
        {
            "domain": "app.example.com",
            "upstream": {"url": "http://127.0.0.1:3000"},
            "oidc": {"issuer": "https://idp.example.com", "client_id": "app", "client_secret": "s3cret-of-the-client"},
            "cleanup": cleanup,
        }
    )


@pytest.mark.parametrize(
    ("cleanup", "problem"),
    [
        ({"reauth_redirect_url": "https://evil.example/login"}, "on this origin"),
        ({"reauth_redirect_url": "https://app.example.com.evil.example/"}, "on this origin"),
        ({"reauth_redirect_url": "https://app.example.com:8443/"}, "on this origin"),
        ({"reauth_redirect_url": "https://app.example.com//evil.example/"}, "on this origin"),
        ({"reauth_redirect_url": "https://app.example.com/.passproxy/logout"}, "on this origin"),
        ({"reauth_redirect_url": "https://app.example.com/{path}/{path}"}, "one place"),
        ({"reauth_redirect_url": "https://app.example.com/{user}"}, "one place"),
        ({"on": ["logout"]}, "needs user_change"),
        ({"clear_site_data": ["cookies"]}, "cache"),
        ({"cookies": ["(a+)+"]}, "without groups"),
        ({"cookies": [f"a{number}" for number in range(PATTERNS_LIMIT + 1)]}, "at most 10"),
        ({"storage_keys": [f"a{number}" for number in range(STORAGE_KEYS_LIMIT + 1)]}, "at most 50"),
        ({"storage_keys": ["x" * (STORAGE_KEY_LIMIT_CHARACTERS + 1)]}, "at most 200"),
    ],
)
def test_a_configuration_that_leads_elsewhere_or_has_no_bound_is_refused(cleanup, problem):
    with pytest.raises(ValueError, match=problem):
        configured(**cleanup)


def test_a_configuration_at_every_limit_is_taken():
    settings = configured(
        cookies=[f"a{number}" for number in range(PATTERNS_LIMIT)],
        storage_keys=["x" * STORAGE_KEY_LIMIT_CHARACTERS] * STORAGE_KEYS_LIMIT,
        reauth_redirect_url="https://app.example.com/login?to={path}",
    )
    assert len(settings.cleanup.cookies) == PATTERNS_LIMIT
