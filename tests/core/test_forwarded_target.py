"""The head that a web server asks about: read like one that arrived, and refused where anything is unclear."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.errors import ForwardedTargetRefused, MethodRefused, RequestMalformed
from passproxy.core.forwarded_target import WEB_SERVERS, authorization, forwarded_head
from passproxy.core.headers import request_names
from passproxy.core.http1 import RequestHead, request_head
from passproxy.core.settings import ForwardAuthSettings

_X_FORWARDED = {
    "Host": "127.0.0.1:8123",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "app.example.com",
    "X-Forwarded-Uri": "/reports?year=2026",
}

#: A complete question of each, for GET /reports?year=2026 of this host.
QUESTIONS = {
    "nginx": {"Host": "app.example.com", "X-Original-Method": "GET", "X-Original-URI": "/reports?year=2026"},
    **dict.fromkeys(("caddy", "haproxy", "traefik"), _X_FORWARDED),
}

#: The parser of requests itself sees to the Host.
FIELDS = [(server, name) for server, fields in QUESTIONS.items() for name in fields if name != "Host"]


def question(server: str, *further: str, **changed: str | None) -> RequestHead:
    """`changed` are other values by field name with `_` for `-`; None leaves the field out."""
    fields: dict[str, str | None] = {**QUESTIONS[server], **{k.replace("_", "-"): v for k, v in changed.items()}}
    lines = [*(f"{name}: {value}" for name, value in fields.items() if value is not None), *further]
    raw = "\r\n".join(["GET /.passproxy/auth HTTP/1.1", *lines, ""]).encode("latin-1")
    return request_head(raw, request_names(noted=WEB_SERVERS[server].names))


def asked(server: str, head: RequestHead, scheme: str = "https") -> RequestHead:
    web_server = WEB_SERVERS[server]
    return forwarded_head(head, web_server, scheme, request_names(noted=web_server.names))


def test_the_configuration_knows_these_web_servers_and_no_others():
    assert set(get_args(ForwardAuthSettings.model_fields["web_server"].annotation)) == WEB_SERVERS.keys()


@pytest.mark.parametrize("server", QUESTIONS)
def test_what_is_asked_about_is_what_the_fields_say_and_all_others_are_as_they_came(server: str):
    head = question(server, "Cookie: a=1", "Accept: text/html", "X-Forwarded-For: 192.0.2.7")
    got = asked(server, head)
    assert (got.method, got.target, got.path) == (b"GET", b"/reports?year=2026", b"/reports")
    assert got.noted[b"host"] == [b"app.example.com"]
    assert got.noted[b"cookie"] == [b"a=1"]
    assert got.noted[b"x-forwarded-for"] == [b"192.0.2.7"]
    assert got.value(b"accept") == b"text/html"


@pytest.mark.parametrize(("server", "name"), FIELDS)
@pytest.mark.parametrize("how", ["missing", "empty", "doubled"])
def test_a_field_that_is_not_there_exactly_once_is_refused(server: str, name: str, how: str):
    if how == "doubled":
        head = question(server, f"{name}: {QUESTIONS[server][name]}")
    else:
        head = question(server, **{name.replace("-", "_"): None if how == "missing" else ""})
    with pytest.raises(ForwardedTargetRefused, match=name.lower()):
        asked(server, head)


@pytest.mark.parametrize("server", ["caddy", "haproxy", "traefik"])
@pytest.mark.parametrize(
    ("told", "scheme", "is_taken"),
    [
        ("https", "https", True),
        ("WSS", "https", True),
        ("http", "https", False),
        ("ws", "https", False),
        ("https, http", "https", False),
        ("gopher", "https", False),
        ("http", "http", True),
        ("https", "http", False),
    ],
)
def test_the_scheme_is_that_of_the_origin(server: str, told: str, scheme: str, is_taken: bool):
    head = question(server, X_Forwarded_Proto=told)
    if is_taken:
        assert asked(server, head, scheme).path == b"/reports"
    else:
        with pytest.raises(ForwardedTargetRefused):
            asked(server, head, scheme)


@pytest.mark.parametrize(
    "target",
    [
        "reports",
        "https://app.example.com/reports",
        "*",
        "//evil example/",
        "/a b",
        "/a HTTP/1.1",
        "/a#b",
        "/\x80",
        "/a\tb",
    ],
)
@pytest.mark.parametrize(("server", "name"), [("nginx", "X_Original_URI"), ("caddy", "X_Forwarded_Uri")])
def test_what_no_request_line_could_have_is_refused(server: str, name: str, target: str):
    with pytest.raises((ForwardedTargetRefused, RequestMalformed)):
        asked(server, question(server, **{name: target}))


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW", "get", "GET /x", "GET, POST"])
def test_a_method_that_is_not_forwarded_is_not_asked_about_either(method: str):
    with pytest.raises(RequestMalformed) as caught:
        asked("nginx", question("nginx", X_Original_Method=method))
    assert method not in ("TRACE", "CONNECT", "BREW") or isinstance(caught.value, MethodRefused)


def test_a_question_has_no_body():
    with pytest.raises(ForwardedTargetRefused):
        asked("nginx", question("nginx", "Content-Length: 3"))


def test_the_fields_of_another_web_server_say_nothing():
    got = asked(
        "nginx", question("nginx", "X-Forwarded-Uri: /public", "X-Forwarded-Method: POST", "X-Forwarded-Host: evil")
    )
    assert (got.method, got.path) == (b"GET", b"/reports")


def test_other_spellings_of_the_fields_say_nothing():
    got = asked(
        "nginx", question("nginx", "X_Original_URI: /public", "X-Original_URI: /public", "X.Original.URI: /public")
    )
    assert got.path == b"/reports"
    assert not [line for line in got.lines if b"riginal" in line]


def test_authorization_is_handed_on_once():
    assert authorization(question("nginx")) is None
    assert authorization(question("nginx", "AUTHORIZATION:  Basic abc ")) == b"Basic abc"
    with pytest.raises(ForwardedTargetRefused):
        authorization(question("nginx", "Authorization: a", "Authorization: a"))


@given(
    st.text("/.%;\\\\?#:@ ab25ceEF\x80", max_size=24).map(lambda rest: "/" + rest),
    st.sampled_from(["GET", "POST", "get", "PUT"]),
)
def test_a_request_is_read_as_if_it_had_arrived(target: str, method: str):
    arrived: RequestHead | None
    try:
        # Spaces around a field's value are none of it.
        raw = f"{method} {target.rstrip(' ')} HTTP/1.1\r\nHost: app.example.com\r\n".encode("latin-1")
        arrived = request_head(raw, request_names())
    except RequestMalformed:
        arrived = None
    try:
        got = asked("nginx", question("nginx", X_Original_Method=method, X_Original_URI=target))
    except RequestMalformed:
        assert arrived is None
    else:
        assert arrived is not None
        assert (got.method, got.target, got.path) == (arrived.method, arrived.target, arrived.path)
        assert got.noted[b"host"] == arrived.noted[b"host"]
