"""Our own answers as values: what each carries, and that text from outside stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from passproxy.core import errors
from passproxy.core.errors import IdpUnavailable, LoginRequired, MethodRefused, PassProxyError, UpgradeVersion
from passproxy.web.responses import Look, Pages, Response, as_json, document, redirect

PAGES = Pages(Look("app.example.com", "https://help.example.com/", "Example & <b>Sons</b> {{7*7}}"))


def kinds(base: type[PassProxyError]) -> list[type[PassProxyError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in kinds(child))]


def page_of(error: PassProxyError, *, html: bool = True) -> Response:
    return PAGES.error(error, "0123456789abcdef", html=html, retry_url='/a?b="><script>&c')


@pytest.mark.parametrize("kind", [kind for kind in kinds(PassProxyError) if kind is not errors.ConfigError])
def test_every_error_has_a_page_and_a_problem_without_its_detail(kind):
    error = kind("the private detail")
    page, problem = page_of(error), page_of(error, html=False)
    assert page.status == problem.status == error.status >= 400
    for response in (page, problem):
        assert b"private detail" not in response.body
        assert error.code.encode() in response.body
        assert b"0123456789abcdef" in response.body
    told = json.loads(problem.body)
    assert (told["status"], told["code"]) == (error.status, error.code)
    assert {"title", "detail", "hint"} <= told.keys()


def test_text_from_outside_is_escaped():
    body = page_of(LoginRequired()).body
    assert b'"><script>' not in body
    assert b"Example &amp; &lt;b&gt;Sons&lt;/b&gt; {{7*7}}" in body


CONFIRM = {"target": "/x", "fields": [("a", "1")], "names": ["a"], "user": "alice"}


@pytest.mark.parametrize(
    ("template", "script"),
    [
        ("start.html", "start.js"),
        ("popup.html", "popup.js"),
        ("form_kept.html", "form_kept.js"),
        ("form_taken.html", "form_taken.js"),
        ("form_confirm.html", "form_confirm.js"),
    ],
)
def test_a_page_with_a_script_allows_this_one(template, script):
    page = PAGES.page(template, script=script, login_url="/x", form="x", **CONFIRM)
    inline = page.body.partition(b"<script>")[2].partition(b"</script>")[0]
    digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
    assert len(inline) > 50
    assert f"script-src 'sha256-{digest}'" in dict(page.fields)["Content-Security-Policy"]


def test_a_page_allows_its_one_style_and_nothing_else():
    page = page_of(LoginRequired())
    policy = dict(page.fields)["Content-Security-Policy"]
    style = page.body.partition(b"<style>")[2].partition(b"</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "form-action 'none'" in policy
    body = page.body.lower()
    for loaded in (b"<script", b"<link", b" src=", b"url(", b"@import", b" style=", b" onclick"):
        assert loaded not in body


def test_fields_are_replaced_but_cookies_are_added():
    response = document("text/plain", b"x").with_fields((("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")))
    response = response.with_fields((("Set-Cookie", "c=3"), ("Cache-Control", "private")))
    assert [value for name, value in response.fields if name == "Set-Cookie"] == ["a=1", "b=2", "c=3"]
    assert [value for name, value in response.fields if name == "Cache-Control"] == ["private"]


def test_the_wire_form_is_exact():
    response = Response(200, (("X", "y"),), b"body")
    start = rb"HTTP/1\.1 200 OK\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\nX: y\r\nContent-Length: 4\r\n"
    assert re.fullmatch(start + rb"\r\nbody", response.wire(with_body=True, closes=False))
    assert re.fullmatch(start + rb"Connection: close\r\n\r\n", response.wire(with_body=False, closes=True))
    assert b"Connection: close" in response.closing().wire(with_body=True, closes=False)


def test_redirects_and_documents_are_never_stored():
    for response in (redirect("/x"), as_json({"a": "\u00e4"}), document("text/plain", b"")):
        assert dict(response.fields)["Cache-Control"] == "no-store"
        assert dict(response.fields)["Referrer-Policy"] == "no-referrer"
    assert redirect("/x").status == 303
    assert as_json({"a": "\u00e4"}).body == '{"a": "\u00e4"}'.encode()


def test_some_errors_say_what_to_do_next():
    assert ("Sec-WebSocket-Version", "13") in page_of(UpgradeVersion()).fields
    assert "Retry-After" in dict(page_of(IdpUnavailable()).fields)
    assert "GET" in dict(page_of(MethodRefused()).fields)["Allow"]
