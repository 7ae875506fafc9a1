"""Our own pages, over the wire: methods, documents, and who may log out."""

from __future__ import annotations

import pytest

from tests.fakes.gateway import get, navigation, request
from tests.fakes.raw import Raw


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "health", 200),
        ("HEAD", "health", 200),
        ("POST", "health", 405),
        ("DELETE", "health", 405),
        ("GET", "logged-out", 200),
        ("POST", "logged-out", 405),
        ("POST", "login", 405),
        ("PUT", "logout", 405),
        ("POST", "userinfo", 405),
        ("POST", "oidc/callback", 405),
        ("GET", "saml/acs", 404),
        ("GET", "saml/metadata", 404),
        ("GET", "nothing", 404),
        ("GET", "", 404),
        ("GET", "HEALTH", 404),
        ("GET", "userinfo", 401),
    ],
)
async def test_each_page_has_its_methods(upstream, passproxy, method, path, status):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(request(method, f"/.passproxy/{path}"))
        assert got.status == status
        assert got.one(b"cache-control") == b"no-store"
        if status == 405:
            assert method.encode() not in got.one(b"allow").split(b", ")
    assert upstream.is_untouched


async def test_health_answers_whatever_the_host_is_and_tells_nothing(passproxy):
    """INFO-03: a load balancer asks by address."""
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(get("/.passproxy/health", host="10.0.0.1:8123"))
        assert (got.status, got.body) == (200, b"ok\n")
        assert not got.all(b"server")
        head = await raw.ask(request("HEAD", "/.passproxy/health"))
        assert (head.body, head.one(b"content-length")) == (b"", b"3")


@pytest.mark.parametrize(
    ("lines", "at_once"),
    [
        (("Sec-Fetch-Site: same-origin",), True),
        (("Sec-Fetch-Site: none",), True),
        (("Origin: https://app.example.com",), True),
        (("Sec-Fetch-Site: same-site",), False),
        (("Sec-Fetch-Site: cross-site",), False),
        (("Sec-Fetch-Site: cross-site", "Origin: https://app.example.com"), False),
        (("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"), False),
        (("Origin: https://evil.example",), False),
        (("Origin: null",), False),
        ((), False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_only_our_own_pages_log_out_without_asking(passproxy, log, method, lines, at_once):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(
            request(method, "/.passproxy/logout", "Accept: text/html", *lines, cookie=passproxy.cookie())
        )
    if at_once:
        assert got.status == 303
        (cookie,) = got.all(b"set-cookie")
        assert cookie.startswith(b"__Host-passproxy=; Path=/; Max-Age=0")
        assert b"Secure" in cookie
        assert log.one("auth.logout")["user"] == "alice"
    else:
        assert (got.status, got.all(b"set-cookie"), log.events) == (200, [], [])
        assert b"form-action 'self'" in got.one(b"content-security-policy")
        assert b"<form" in got.body


async def test_the_login_page_while_the_provider_is_down_is_a_503(passproxy):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(navigation("/.passproxy/login?return_to=/x"))
        assert got.status == 503
        assert got.all(b"retry-after")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", b"PP-CALLBACK-MALFORMED"),
        ("?state=", b"PP-CALLBACK-MALFORMED"),
        ("?code=x", b"PP-CALLBACK-MALFORMED"),
        ("?state=a&state=b", b"PP-CALLBACK-MALFORMED"),
        ("?state=x&code=x", b"PP-LOGIN-UNKNOWN"),
        ("?state=" + "A" * 22 + "&code=x", b"PP-LOGIN-UNKNOWN"),
    ],
)
async def test_a_callback_that_nobody_asked_for_is_refused_before_the_provider_is_asked(passproxy, log, query, code):
    async with Raw(passproxy.address) as raw:
        got = await raw.ask(navigation("/.passproxy/oidc/callback" + query))
    assert got.status in (400, 403)
    assert code in got.body
    assert not [each for each in got.all(b"set-cookie") if b"Max-Age=0" not in each]
    assert log.one("auth.reject")["code"] == code.decode()


@pytest.mark.parametrize("kind", ["image", "iframe", "script", "empty"])
async def test_ck_11_a_login_begins_only_in_a_window(passproxy, kind):
    """Pictures on a hostile page bring none of each other's cookies, and would fill the jar."""
    async with Raw(passproxy.address) as raw:
        mode = "Sec-Fetch-Mode: navigate" if kind == "iframe" else "Sec-Fetch-Mode: no-cors"
        got = await raw.ask(get("/.passproxy/login?return_to=/x", mode, f"Sec-Fetch-Dest: {kind}"))
        assert got.status == 401
        assert not got.all(b"set-cookie")


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "nothing", "PP-ENDPOINT"), ("POST", "health", "PP-ENDPOINT-METHOD")]
)
async def test_a_page_that_is_not_there_says_which_condition_it_is(passproxy, log, method, path, code):
    async with Raw(passproxy.address) as raw:
        await raw.ask(request(method, f"/.passproxy/{path}"))
    assert log.one("request.refused")["code"] == code
