"""The stand-in for a browser does what browsers do; whole logins rely on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.fakes.browser import Browser, Front, RedirectLoop
from tests.fakes.cookie_jar import Context, CookieJar
from tests.fakes.html_forms import forms

NOW = 1_700_000_000.0
HERE = "https://app.example.com/a/b"
TYPED = Context()


def stored(*lines: str, url: str = HERE, context: Context = TYPED, trusts_loopback: bool = True) -> CookieJar:
    jar = CookieJar(trusts_loopback=trusts_loopback)
    for line in lines:
        jar.store(url, line, context, NOW)
    return jar


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("a=1; SameSite=None", id="for every site, but not secure"),
        pytest.param("__Host-a=1; Path=/", id="host prefix, but not secure"),
        pytest.param("__Host-a=1; Secure", id="host prefix, but a narrower path"),
        pytest.param("__Host-a=1; Secure; Path=/; Domain=app.example.com", id="host prefix with a domain"),
        pytest.param("__Secure-a=1", id="secure prefix, but not secure"),
        pytest.param("a=1; Domain=other.example.com", id="for a foreign host"),
        pytest.param("a=" + "x" * 4096, id="longer than a cookie can be"),
    ],
)
def test_a_cookie_that_browsers_drop_is_dropped(line: str) -> None:
    assert stored(line).names() == set()


def test_a_secure_cookie_is_neither_taken_nor_sent_in_the_clear() -> None:
    assert stored("a=1; Secure", url="http://app.example.com/").names() == set()
    assert stored("a=1; Secure; Path=/").header("http://app.example.com/", TYPED, NOW) == ""


def test_loopback_counts_as_secure_unless_the_browser_is_strict() -> None:
    url = "http://127.0.0.1:8123/"
    assert stored("a=1; Secure", url=url).header(url, TYPED, NOW) == "a=1"
    assert stored("a=1; Secure", url=url, trusts_loopback=False).names() == set()


@pytest.mark.parametrize(
    ("context", "sent"),
    [
        pytest.param(Context(), "s=1; l=1; d=1; n=1", id="typed by the visitor"),
        pytest.param(Context("https://other.example.com/"), "s=1; l=1; d=1; n=1", id="a link on the same site"),
        pytest.param(Context("https://idp.example.org/"), "l=1; d=1; n=1", id="a link on another site"),
        pytest.param(Context("http://app.example.com/"), "l=1; d=1; n=1", id="a link on the same name without TLS"),
        pytest.param(Context("https://idp.example.org/", safe_method=False), "n=1", id="a form of another site"),
        pytest.param(Context("https://idp.example.org/", navigation=False), "n=1", id="a script of another site"),
    ],
)
def test_which_cookies_cross_a_site(context: Context, sent: str) -> None:
    jar = stored(
        "s=1; SameSite=Strict; Secure", "l=1; SameSite=Lax; Secure", "d=1; Secure", "n=1; SameSite=None; Secure"
    )
    assert jar.header(HERE, context, NOW) == sent


def test_two_ports_of_one_address_are_one_site_and_share_cookies() -> None:
    jar = stored("a=1; SameSite=Strict", url="http://127.0.0.1:8123/")
    assert jar.header("http://127.0.0.1:9000/", Context("http://127.0.0.1:8123/"), NOW) == "a=1"
    assert jar.header("http://localhost:8123/", TYPED, NOW) == ""


def test_paths_longest_first_and_only_where_they_match() -> None:
    jar = stored("r=1; Path=/", "b=1; Path=/a/b", "c=1; Path=/a/bc", "d=1")
    assert jar.header(HERE, TYPED, NOW) == "b=1; d=1; r=1"


def test_a_cookie_ends_and_can_be_deleted() -> None:
    jar = stored("a=1; Max-Age=10", "b=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT", "c=1")
    assert jar.header(HERE, TYPED, NOW + 11) == "b=1; c=1"
    jar.store(HERE, "c=; Max-Age=0", TYPED, NOW)
    assert jar.names() == {"a", "b"}


def test_a_form_sends_what_a_browser_would() -> None:
    page = """
    <form action="?again" method=post>
      <input type=hidden name=h value="1&amp;2"><input name=user><input type=password name=secret>
      <input type=checkbox name=off><input type=checkbox name=on checked><input name=gone disabled value=x>
      <input type=submit name=cancel value=no><button name=login value=yes>Go</button>
    </form><form action=/other></form>
    """
    form, other = forms(page, "http://h/login?x=1")
    assert (form.action, form.method, other.method) == ("http://h/login?again", "post", "get")
    data = form.signed_in("alice", "pw").data("login")
    assert data == [("h", "1&2"), ("user", "alice"), ("secret", "pw"), ("on", "on"), ("login", "yes")]


def test_filling_in_a_field_that_is_not_there_is_noticed() -> None:
    (form,) = forms("<form><input name=a></form>", "http://h/")
    with pytest.raises(AssertionError, match="the form has no"):
        form.filled({"b": "1"})


SELF_SUBMITTING = """<body onload="document.forms[0].submit()"><form method="post" action="{action}">
<input type="hidden" name="RelayState" value="r"><noscript><input type="submit"></noscript></form></body>"""


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    match request.path:
        case "/start":
            location = request.query.get("to", "/whoami")
            return web.Response(status=303, headers={"Location": location, "Set-Cookie": "seen=1; Path=/"})
        case "/loop":
            return web.Response(status=302, headers={"Location": "/loop"})
        case "/self":
            page = SELF_SUBMITTING.format(action=request.query["to"])
            return web.Response(text=page, content_type="text/html")
        case _:
            body = (await request.read()).decode()
            return web.json_response({"method": request.method, "body": body, "headers": dict(request.headers)})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_redirects_are_followed_recorded_and_keep_the_fragment(port: int) -> None:
    async with Browser() as browser:
        page = await browser.open(f"http://127.0.0.1:{port}/start#chapter")
    assert page.url == f"http://127.0.0.1:{port}/whoami#chapter"
    assert [(hop.status, hop.method, hop.location) for hop in page.hops] == [(303, "GET", page.url)]
    seen = page.json()["headers"]
    assert seen["Cookie"] == "seen=1"
    assert (seen["Sec-Fetch-Site"], seen["Sec-Fetch-Mode"], seen["Sec-Fetch-Dest"]) == ("none", "navigate", "document")


async def test_a_redirect_loop_is_told_as_one(port: int) -> None:
    async with Browser() as browser:
        with pytest.raises(RedirectLoop, match="302 GET"):
            await browser.open(f"http://127.0.0.1:{port}/loop")


async def test_a_self_submitting_form_is_a_cross_site_post(port: int) -> None:
    """127.0.0.1 and localhost are two sites, so they can play a provider and an application."""
    async with Browser() as browser:
        app = f"http://127.0.0.1:{port}"
        await browser.open(f"{app}/start")
        page = await browser.open(f"http://localhost:{port}/self?to={app}/acs")
    seen = page.json()
    assert (seen["method"], seen["body"]) == ("POST", "RelayState=r")
    assert seen["headers"]["Origin"] == f"http://localhost:{port}"
    assert seen["headers"]["Sec-Fetch-Site"] == "cross-site"
    assert "Cookie" not in seen["headers"]
    assert page.hops[-1].location == f"{app}/acs"


async def test_a_request_by_a_script_says_so(port: int) -> None:
    async with Browser() as browser:
        url = f"http://127.0.0.1:{port}/api"
        page = await browser.fetch(url, page=f"http://localhost:{port}/", method="POST", body=b"x")
    seen = page.json()["headers"]
    assert (seen["Sec-Fetch-Mode"], seen["Sec-Fetch-Dest"], seen["Sec-Fetch-Site"]) == ("cors", "empty", "cross-site")
    assert "Sec-Fetch-User" not in seen


async def test_a_front_stands_in_for_a_web_server_with_tls(port: int) -> None:
    front = Front(f"http://127.0.0.1:{port}", {"X-Forwarded-Proto": "https"})
    async with Browser({"https://app.example.com": front}) as browser:
        page = await browser.open("https://app.example.com/start?to=https://app.example.com/a%252Fb?c")
    assert page.url == "https://app.example.com/a%2Fb?c"
    seen = page.json()["headers"]
    assert (seen["Host"], seen["X-Forwarded-Proto"]) == ("app.example.com", "https")
