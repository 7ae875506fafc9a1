"""One assertion out of the headers, and without what anybody could have written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from passproxy.core.profiles import PROFILES
from passproxy.trusted.errors import AssertionAmbiguous
from passproxy.trusted.headers import PLAIN_HEADERS, Headers, normal_form
from tests.trusted.given import examples, settings

HEADERS = Headers(settings("https://app.example.com/keys"))
KEEPING = Headers(settings("https://app.example.com/keys"), strip=())


def test_the_assertion_is_taken_out() -> None:
    token, kept = HEADERS.split([(b"host", b"app.example.com"), (b"X-Passproxy-Assertion", b" abc\t")])
    assert token == b"abc"
    assert kept == [(b"host", b"app.example.com")]


def test_without_one_there_is_none() -> None:
    assert HEADERS.split([(b"host", b"app.example.com")]) == (None, [(b"host", b"app.example.com")])
    assert HEADERS.split([(b"x-passproxy-assertion", b" ")]) == (None, [])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(b"x-passproxy-assertion", b"abc")] * 2, id="twice the same"),
        pytest.param([(b"x-passproxy-assertion", b"abc"), (b"X-PASSPROXY-ASSERTION", b"def")], id="two"),
        pytest.param([(b"x-passproxy-assertion", b"abc, def")], id="two in one"),
        pytest.param([(b"x-passproxy-assertion", b"abc"), (b"x_passproxy_assertion", b"def")], id="with underscores"),
        pytest.param([(b"x_passproxy_assertion", b"abc")], id="with underscores alone"),
        pytest.param([(b"x.passproxy.assertion", b"abc")], id="with dots"),
        pytest.param([(b"x-passproxy--assertion", b"abc")], id="with two hyphens"),
        pytest.param([(b"x_passproxy_assertion", b"")], id="with underscores and empty"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(AssertionAmbiguous):
        HEADERS.split(fields)
    with pytest.raises(AssertionAmbiguous):
        KEEPING.split(fields)


PLAIN = [
    b"X-Passproxy-User",
    b"x_passproxy_user",
    b"X.Passproxy.Groups",
    b"X-Passproxy-Anything-New",
    b"Remote-User",
    b"REMOTE_USER",
    b"X-Forwarded-User",
    b"X-Auth-Request-Email",
    b"Cf-Access-Authenticated-User-Email",
    b"X-Goog-Authenticated-User-Email",
    b"X-Pomerium-Claim-Email",
    b"X-Amzn-Oidc-Identity",
    b"Oidc-Claim-Sub",
]


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_identity_header_is_removed(name: bytes) -> None:
    assert HEADERS.split([(name, b"admin"), (b"accept", b"*/*")]) == (None, [(b"accept", b"*/*")])
    assert KEEPING.split([(name, b"admin")]) == (None, [(name, b"admin")])


@pytest.mark.parametrize("name", sorted(PROFILES["passproxy"].fields))
def test_every_plain_header_of_passproxy_is_removed(name: str) -> None:
    assert HEADERS.split([(name.encode(), b"admin")]) == (None, [])


@pytest.mark.parametrize(
    "name",
    [
        b"host", b"cookie", b"authorization", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"user-agent",
        b"x-passproxy", b"remote", b"accept",
    ],
)  # fmt: skip
def test_other_headers_stay_as_they_are(name: bytes) -> None:
    assert HEADERS.split([(name, b"value\xff")]) == (None, [(name, b"value\xff")])


def test_every_name_in_the_list_is_in_normal_form() -> None:
    assert [name for name in PLAIN_HEADERS if normal_form(name) != name.rstrip("-")] == []


def test_an_application_may_choose_what_is_removed() -> None:
    own = Headers(settings("https://app.example.com/keys"), strip=("X-Own-User", "X-My-"))
    fields = [(b"x_own_user", b"a"), (b"x-my-group", b"b"), (b"x-own-users", b"c"), (b"x-mine", b"d")]
    assert own.split(fields)[1] == fields[2:]


def environ(**variables: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "10.0.0.1", "HTTP_HOST": "app.example.com", **variables}


def test_the_assertion_is_taken_out_of_the_environment() -> None:
    variables = environ(HTTP_X_PASSPROXY_ASSERTION="abc", HTTP_X_PASSPROXY_USER="admin", HTTP_REMOTE_USER="admin")
    assert HEADERS.taken_from(variables) == b"abc"
    assert variables == environ()


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_X_PASSPROXY_ASSERTION": "abc,def"},
        {"HTTP_X_PASSPROXY_ASSERTION": "abc", "HTTP_X.PASSPROXY.ASSERTION": "def"},
        {"HTTP_X.PASSPROXY_ASSERTION": "def"},
    ],
)
def test_an_environment_that_could_be_read_in_two_ways_is_refused(variables: dict[str, Any]) -> None:
    with pytest.raises(AssertionAmbiguous):
        HEADERS.taken_from(environ(**variables))


@pytest.mark.parametrize("name", ["HTTP_X_PASSPROXY_USER", "HTTP_X.PASSPROXY.USER", "HTTP_X__PASSPROXY_USER"])
def test_an_environment_keeps_no_plain_identity(name: str) -> None:
    variables = environ(**{name: "admin"})
    assert HEADERS.taken_from(variables) is None
    assert variables == environ()


@examples(200)
@each(st.text(st.sampled_from("xX-_.pasrobyunet "), min_size=1, max_size=30))
def test_no_spelling_of_a_plain_header_stays(name: str) -> None:
    """What a CGI-style server would call HTTP_X_PASSPROXY_USER never reaches the application."""
    _, kept = HEADERS.split([(name.encode(), b"admin")])
    if normal_form(name) == "x-passproxy-user":
        assert kept == []


@pytest.mark.parametrize("separator", ["-", "_", ".", "--", "__", "-_", " ", "~"])
def test_any_separator_is_one(separator: str) -> None:
    name = separator.join(("X", "Passproxy", "User"))
    assert HEADERS.split([(name.encode(), b"admin")]) == (None, [])
