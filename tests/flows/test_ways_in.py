"""The ways into a login that are not the plain one, and what a browser finds after it; both protocols."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from passproxy.core.loop import STRIKE_LIMIT
from passproxy.demo.idp import DemoIdentityProvider
from tests.fakes.browser import Browser, Page
from tests.fakes.cookie_jar import Context
from tests.fakes.gateway import ORIGIN, PassProxy, navigation, protecting
from tests.fakes.html_forms import Field, Form
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Upstream
from tests.flows.both import *  # noqa: F403 - fixtures, which pytest finds by their names
from tests.flows.both import signed_in

SESSION = "__Host-passproxy"
LOGIN = f"{ORIGIN}/.passproxy/login"
EDITOR = f"{ORIGIN}/edit?id=4"
FIELDS = (("title", "Käse & <Brot>"), ("text", 'two\r\nlines "quoted"'), ("empty", ""))
#: What a real browser says of itself when a person follows a link.
SURELY_A_BROWSER = ("Sec-Fetch-Site: none", "Accept-Language: en", "User-Agent: Mozilla/5.0 (X11)")


def lose(browser: Browser, *names: str) -> None:
    """As when a cookie's time is over."""
    for name in names:
        cookie = browser.cookies.named(name)
        assert cookie is not None
        scheme, path = "https" if cookie.secure else "http", cookie.path
        expiring = f"{name}=; Path={path}; Max-Age=0{'; Secure' if cookie.secure else ''}"
        url = f"{scheme}://{cookie.host}/"
        assert browser.cookies.store(url, expiring, Context(url, True, True), browser._clock())
        assert name not in browser.cookies.names()


# The fragment.


async def test_a_browser_is_asked_for_its_fragment_and_keeps_it(browser: Browser, passproxy: PassProxy):
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(navigation("/d?x=1", *SURELY_A_BROWSER))
    assert (answer.status, answer.one(b"location")) == (302, b"/.passproxy/start?return_to=%2Fd%3Fx%3D1")
    assert not answer.all(b"set-cookie")
    start = await browser.once(f"{ORIGIN}/.passproxy/start?return_to=%2Fd%3Fx%3D1")
    (href,) = re.findall(r'id="login" href="([^"]*)"', start.text)
    assert href == "/.passproxy/login?return_to=%2Fd%3Fx%3D1"
    assert "script-src 'sha256-" in start.headers["Content-Security-Policy"]
    # What the page's script goes on to.
    page = await signed_in(browser, ORIGIN + href + quote("#/x?y=1", safe=""))
    assert (page.status, page.url) == (200, f"{ORIGIN}/d?x=1#/x?y=1")


@pytest.mark.parametrize("left_out", range(len(SURELY_A_BROWSER)))
async def test_a_program_that_follows_redirects_gets_the_providers_at_once(
    passproxy: PassProxy, idp: DemoIdentityProvider, left_out: int
):
    lines = [line for number, line in enumerate(SURELY_A_BROWSER) if number != left_out]
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(navigation("/d", *lines))
    assert answer.status == 302
    assert answer.one(b"location").startswith(idp.base_url.encode())


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/.passproxy/logout", "javascript:1"])
async def test_the_page_before_the_login_leads_nowhere_else(browser: Browser, target: str):
    page = await browser.once(f"{ORIGIN}/.passproxy/start?return_to={quote(target, safe='')}")
    assert re.findall(r'id="login" href="([^"]*)"', page.text) == ["/.passproxy/login?return_to=%2F"]
    assert "evil" not in page.text


# Many at once.


async def test_a_hundred_tabs_of_one_browser_finish_in_any_order_each_on_its_own_address(browser: Browser):
    sizes: list[int] = []

    def cookies_bytes() -> int:
        mine = [each for each in browser.cookies if each.name.startswith(f"{SESSION}-login-")]
        return sum(len(each.name) + len(each.value) + 3 for each in mine)

    async def opened(number: int) -> tuple[str, Page]:
        url = f"{ORIGIN}/tab/{number}?q={number * 7919:x}#{number}"
        page = await browser.open(url)
        sizes.append(cookies_bytes())
        return url, page

    tabs: list[tuple[str, Page]] = []
    for start in range(0, 100, 6):  # as many as a browser asks one host at once
        tabs += await asyncio.gather(*(opened(number) for number in range(start, min(start + 6, 100))))
    random.Random(4).shuffle(tabs)
    for url, page in tabs:
        landed = await browser.sign_in(page, "alice", "alice")
        sizes.append(cookies_bytes())
        # A browser without scripts brings no fragment.
        assert (landed.status, landed.url) == (200, url.partition("#")[0])
    assert max(sizes) <= 4096
    assert max(sizes) > 1000, "there were cookies to be measured"


# A late or repeated answer.


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What browsers bring to the callback."""
    brought: list[Any] = []
    original = Browser._answer

    async def recording(browser: Browser, request: Any, relation: str | None) -> Page:
        if "/oidc/callback" in request.url or request.url.endswith("/saml/acs"):
            brought.append(request)
        return await original(browser, request, relation)

    monkeypatch.setattr(Browser, "_answer", recording)
    return brought


async def test_an_answer_that_comes_again_goes_on_for_whoever_is_signed_in(
    browser: Browser, answers: list[Any], upstream: Upstream
):
    await signed_in(browser, EDITOR)
    page = await browser._shown(answers[-1])
    assert (page.status, page.url) == (200, f"{ORIGIN}/")
    assert upstream.request_lines[-1] == b"GET / HTTP/1.1"


async def test_an_answer_that_comes_again_gives_nothing_to_anybody_else(
    browser: Browser, passproxy: PassProxy, answers: list[Any], upstream: Upstream, log: Log
):
    await signed_in(browser)
    upstream.forget()
    log.forget()
    async with Browser(passproxy.front) as thief:
        page = await thief._shown(answers[-1])
        assert (page.status, "PP-LOGIN-UNKNOWN" in page.text) == (403, True)
        assert len(thief.cookies.names() & {SESSION}) == 0
    assert upstream.requests == []
    assert {fields["code"] for fields in log.named("auth.reject")} == {"PP-LOGIN-UNKNOWN"}


# Round in circles.


async def test_lf_11_ten_logins_whose_session_is_lost_end_on_a_page(browser: Browser, upstream: Upstream, log: Log):
    store = browser.cookies.store
    browser.cookies.store = lambda url, line, *rest: not line.startswith(f"{SESSION}=") and store(url, line, *rest)
    page = await signed_in(browser, EDITOR)
    assert page.status == 508
    logins = [hop for hop in page.hops if hop.location == EDITOR]
    assert len(logins) == STRIKE_LIMIT
    assert "PP-LOOP-COOKIE" in page.text
    assert upstream.requests == []
    (told,) = log.named("auth.reject")
    assert told["code"] == "PP-LOOP-COOKIE"
    # Whoever reads the page may try again, and then it counts anew.
    browser.cookies.store = store
    assert (await signed_in(browser, EDITOR)).url == EDITOR


async def test_instances_that_do_not_share_their_keys_are_told_apart_at_once(
    browser: Browser, provider: dict[str, Any], upstream: Upstream, tmp_path: Path
):
    await signed_in(browser)
    (tmp_path / "other").mkdir()
    async with protecting(upstream.url, tmp_path / "other", **provider) as other:
        browser._fronts = other.front
        page = await browser.open(f"{ORIGIN}/")
    assert page.status == 508
    assert "PP-LOOP-KEYS" in page.text
    assert SESSION not in browser.cookies.names()


async def test_signing_out_and_in_again_is_no_loop(browser: Browser):
    for _ in range(5):
        page = await signed_in(browser)
        assert page.status == 200
        await browser.open(f"{ORIGIN}/.passproxy/logout", come_from=page)
        assert not {name for name in browser.cookies.names() if name.startswith("__Host-")}


# A form that met the end of its session.


def form(action: str = EDITOR, fields: tuple[tuple[str, str], ...] = FIELDS) -> Form:
    return Form(action, "post", tuple(Field(name, value, "hidden") for name, value in fields))


def kept(page: Page) -> str:
    (value,) = re.findall(r'<data hidden id="form" value="([^"]*)">', page.text)
    return value


async def restored(browser: Browser, page: Page, value: str) -> Page:
    """What the page that takes it out of the window's storage sends."""
    return await browser.submit(page, form(f"{ORIGIN}/.passproxy/restore", (("form", value),)))


async def test_lf_13_a_form_that_met_an_expired_session_is_sent_after_the_login_when_its_author_agrees(
    browser: Browser, upstream: Upstream, log: Log
):
    page = await signed_in(browser, EDITOR)
    lose(browser, SESSION)
    upstream.forget()
    page = await browser.submit(page, form())
    assert (page.status, upstream.requests) == (401, [])
    assert page.headers.getall("Set-Cookie", []) == []
    assert "Brot" not in page.text, "enclosed, not shown"
    assert not log.tells("Brot")
    value = kept(page)
    page = await signed_in(browser, f"{LOGIN}?return_to=%2F.passproxy%2Frestore")
    assert page.url == f"{ORIGIN}/.passproxy/restore"
    page = await restored(browser, page, value)
    assert page.status == 200
    assert upstream.requests == [], "a person has to agree"
    confirmed = page.form()
    assert (confirmed.action, confirmed.method) == (EDITOR, "post")
    await browser.submit(page)
    (seen,) = upstream.requests
    assert upstream.request_lines == [b"POST /edit?id=4 HTTP/1.1"]
    assert seen.body == b"title=K%C3%A4se+%26+%3CBrot%3E&text=two%0D%0Alines+%22quoted%22&empty="
    assert seen.one(b"origin") == ORIGIN.encode()


async def test_a_form_is_not_sent_in_the_name_of_somebody_else(browser: Browser, upstream: Upstream):
    page = await signed_in(browser, EDITOR)
    lose(browser, SESSION)
    page = await browser.submit(page, form())
    value = kept(page)
    lose(browser, *(cookie.name for cookie in browser.cookies if cookie.host != "app.example.com"))
    page = await signed_in(browser, f"{LOGIN}?return_to=%2F.passproxy%2Frestore", "bob")
    upstream.forget()
    page = await restored(browser, page, value)
    assert (page.status, "PP-FORM-OTHER" in page.text) == (403, True)
    assert upstream.requests == []


async def test_a_form_from_elsewhere_or_without_a_session_restores_nothing(browser: Browser, upstream: Upstream):
    page = await signed_in(browser, EDITOR)
    lose(browser, SESSION)
    value = kept(await browser.submit(page, form()))
    assert (await restored(browser, page, value)).status == 401
    first = await browser.once(f"{ORIGIN}/.passproxy/restore")
    assert (first.status, first.headers["Location"].startswith(ORIGIN)) == (302, False), "a login comes first"
    page = await signed_in(browser)
    upstream.forget()
    forged = Page(200, "https://evil.example/", page.headers, b"")
    page = await restored(browser, forged, value)
    # A cross-site POST brings no session, so it is not even looked at.
    assert (page.status, upstream.requests) == (401, [])


async def test_lf_13_a_form_of_another_site_or_of_a_stranger_is_not_kept(browser: Browser, upstream: Upstream):
    stranger = Page(200, EDITOR, (await browser.fetch(EDITOR)).headers, b"")
    page = await browser.submit(stranger, form())
    assert (page.status, "form_kept" in page.text, "<data" in page.text) == (401, False, False)
    page = await signed_in(browser, EDITOR)
    lose(browser, SESSION)
    upstream.forget()
    forged = Page(200, "https://evil.example/", page.headers, b"")
    page = await browser.submit(forged, form())
    assert (page.status, "<data" in page.text) == (401, False)
    assert upstream.requests == []


# A small window.


async def test_a_script_is_told_of_a_window_that_signs_in_and_tells_it(browser: Browser):
    page = await browser.fetch(f"{ORIGIN}/api", page=f"{ORIGIN}/")
    assert page.json()["popup_url"] == f"{ORIGIN}/.passproxy/popup"
    page = await signed_in(browser, page.json()["popup_url"])
    assert (page.status, page.url) == (200, f"{ORIGIN}/.passproxy/popup")
    assert "location.origin" in page.text
    assert '"*"' not in page.text


async def test_no_picture_starts_a_login(browser: Browser):
    for path in ("login", "popup"):
        page = await browser.fetch(f"{ORIGIN}/.passproxy/{path}", page="https://evil.example/")
        assert (page.status, page.headers.getall("Set-Cookie", [])) == (401, [])
