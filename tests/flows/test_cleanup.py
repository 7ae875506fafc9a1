"""Alice leaves a session of the application in a browser, and bob signs in there: nothing of hers comes with his name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.browser import Browser, Page
from tests.fakes.cookie_jar import Context
from tests.fakes.gateway import ORIGIN, PassProxy, get, protecting
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Line, Seen, Upstream
from tests.flows.both import idp, provider

__all__ = ["idp", "provider"]

COOKIES: dict[str, Any] = {"cookies": ["JSESSIONID", r"app\..+"]}

#: What the application sets on these paths: `{}` is the person's name.
SETS = {
    b"/": (b"JSESSIONID={}-top; Path=/; HttpOnly", b"theme={}; Path=/"),
    b"/app/in": (b"JSESSIONID={}-app; Path=/app; HttpOnly", b"app.x={}-deep"),
    b"/shared": (b"app.y={}-parent; Path=/; Domain=example.com", b"app.z={}-slash; Path=/app/; Secure"),
}


async def application(seen: Seen, line: Line) -> None:
    """Gives everybody who comes without one a session, on three paths and for two domains."""
    await line.body()
    user = (seen.all(b"x-passproxy-user") or [b"nobody"])[0]
    held = b"; ".join(seen.all(b"cookie"))
    lines = [said.replace(b"{}", user) for said in SETS.get(seen.target, ())]
    new = [b"Set-Cookie: " + said + b"\r\n" for said in lines if said.partition(b";")[0] not in held]
    await line.send(b"HTTP/1.1 200 OK\r\n" + b"".join(new) + b"Content-Length: 2\r\n\r\nok")


@contextlib.asynccontextmanager
async def site(
    provider: dict[str, Any], upstream: Upstream, folder: Path, **cleanup: Any
) -> AsyncIterator[tuple[PassProxy, Browser]]:
    upstream.script = application
    sections = {**provider, "cleanup": {**COOKIES, **cleanup}}
    async with protecting(upstream.url, folder, **sections) as passproxy, Browser(passproxy.front) as browser:
        yield passproxy, browser


async def entered(browser: Browser, user: str, url: str = f"{ORIGIN}/") -> Page:
    """Signed in as this user, whoever the provider remembers."""
    for name in browser.cookies.names():
        if not name.startswith(("__Host-passproxy", "JSESSIONID", "app.", "theme")):
            _forget(browser, name)
    return await browser.sign_in(await browser.open(url), user, user)


def _forget(browser: Browser, name: str) -> None:
    for cookie in browser.cookies:
        if cookie.name == name:
            browser.cookies._cookies.pop((cookie.host, cookie.path, cookie.name))


async def visited(browser: Browser) -> None:
    for path in ("/", "/app/in", "/shared", "/", "/app/in", "/app/other", "/shared"):
        await browser.open(ORIGIN + path)


def ended(browser: Browser) -> None:
    """The session is gone, as after its time; what else is there stays."""
    _forget(browser, "__Host-passproxy")
    _forget(browser, "__Host-passproxy-idp")


def mixed(upstream: Upstream) -> list[tuple[bytes, list[bytes]]]:
    """Requests in which a configured cookie of one came with the name of another."""
    found = []
    for seen in upstream.requests:
        (user,) = seen.all(b"x-passproxy-user")
        other = b"alice" if user == b"bob" else b"bob"
        pairs = [pair.strip() for value in seen.all(b"cookie") for pair in value.split(b";")]
        if any(other in pair and not pair.startswith(b"theme") for pair in pairs):
            found.append((seen.target, pairs))
    return found


def names_seen(upstream: Upstream) -> set[bytes]:
    return {pair.strip() for seen in upstream.requests for value in seen.all(b"cookie") for pair in value.split(b";")}


async def test_the_application_never_sees_one_person_s_cookie_with_another_s_name(
    provider, upstream, tmp_path, log: Log
):
    async with site(provider, upstream, tmp_path) as (_, browser):
        await entered(browser, "alice")
        await visited(browser)
        assert {b"JSESSIONID=alice-top", b"JSESSIONID=alice-app", b"app.x=alice-deep", b"app.y=alice-parent"} <= (
            names_seen(upstream)
        )
        assert b"app.z=alice-slash" in names_seen(upstream)
        ended(browser)
        upstream.forget()
        log.forget()
        page = await entered(browser, "bob", f"{ORIGIN}/app/in")
        assert page.url == f"{ORIGIN}/app/in"
        assert [event["user"] for event in log.named("session.cleaned")] == ["bob"]
        await visited(browser)
        assert mixed(upstream) == []
        assert {b"JSESSIONID=bob-top", b"JSESSIONID=bob-app", b"app.y=bob-parent"} <= names_seen(upstream)
        assert b"theme=alice" in names_seen(upstream), "only what is configured"
        assert not any("alice" in cookie.value for cookie in browser.cookies if cookie.name != "theme")


async def test_it_holds_as_well_when_the_browser_drops_nothing(provider, upstream, tmp_path):
    async with site(provider, upstream, tmp_path) as (_, browser):
        await entered(browser, "alice")
        await visited(browser)
        store = browser.cookies.store

        def stubborn(url: str, line: str, context: Context, now: float) -> bool:
            ours = line.startswith("__Host-passproxy")
            return store(url, line, context, now) if ours or "Max-Age=0" not in line else True

        browser.cookies.store = stubborn  # type: ignore[method-assign]
        ended(browser)
        upstream.forget()
        await entered(browser, "bob")
        await visited(browser)
        assert mixed(upstream) == []
        assert b"JSESSIONID=bob-app" in names_seen(upstream)


@pytest.mark.parametrize(("on", "stays"), [(["user_change"], True), (["user_change", "reauth"], False)])
async def test_the_same_person_again_keeps_the_session_unless_it_is_configured(provider, upstream, tmp_path, on, stays):
    async with site(provider, upstream, tmp_path, on=on) as (_, browser):
        await entered(browser, "alice")
        await visited(browser)
        ended(browser)
        upstream.forget()
        await entered(browser, "alice", f"{ORIGIN}/app/other")
        assert (b"JSESSIONID=alice-app" in names_seen(upstream)) is stays


async def test_a_logout_takes_the_application_s_session_along(provider, upstream, tmp_path):
    async with site(provider, upstream, tmp_path, clear_site_data=["cache", "storage"]) as (_, browser):
        await entered(browser, "alice")
        await visited(browser)
        upstream.forget()
        answer = await browser.once(f"{ORIGIN}/.passproxy/logout")
        assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
        assert not any(cookie.name == "JSESSIONID" and cookie.path == "/" for cookie in browser.cookies)
        await entered(browser, "alice", f"{ORIGIN}/app/other")
        assert b"JSESSIONID=alice-app" not in names_seen(upstream)


async def test_the_page_removes_the_storage_and_goes_by_way_of_the_application_s_login_once(
    provider, upstream, tmp_path
):
    wanted = {"storage_keys": ['a"<b>&', "k"], "reauth_redirect_url": f"{ORIGIN}/login?return_url={{path}}"}
    async with site(provider, upstream, tmp_path, **wanted) as (_, browser):
        page = await entered(browser, "alice", f"{ORIGIN}/deep?x=1")
        assert page.url == f"{ORIGIN}/login?return_url=%2Fdeep%3Fx%3D1"
        answer = await browser.once(f"{ORIGIN}/.passproxy/clean?return_to=/deep")
        assert (answer.status, answer.headers["Location"]) == (303, "/deep")
        _forget(browser, "__Host-passproxy-clean")
        answer = await browser.once(f"{ORIGIN}/.passproxy/clean?return_to=/deep")
        assert 'data-keys="[&#34;a\\&#34;\\u003cb\\u003e\\u0026&#34;, &#34;k&#34;]"' in answer.text
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        assert "Clear-Site-Data" not in answer.headers
        _forget(browser, "__Host-passproxy-clean")
        answer = await browser.open(f"{ORIGIN}/.passproxy/clean?return_to=//evil.example/")
        assert answer.url == f"{ORIGIN}/login?return_url=%2F"


async def test_nobody_is_cleaned_without_a_session_and_nothing_changes_where_nothing_is_configured(
    provider, upstream, tmp_path
):
    async with site(provider, upstream, tmp_path) as (passproxy, _):
        async with Raw(passproxy.address) as raw:
            assert (await raw.ask(get("/.passproxy/clean"))).status == 401
        passproxy.reload(cleanup={})
        async with Raw(passproxy.address) as raw:
            assert (await raw.ask(get("/.passproxy/clean"))).status == 404
            cookie = f"{passproxy.cookie()}; JSESSIONID=anybody-s"
            assert (await raw.ask(get("/plain", cookie=cookie))).status == 200
        assert upstream.requests[-1].all(b"cookie") == [b"JSESSIONID=anybody-s"]


async def test_hostile_names_add_no_line_and_no_more_than_the_limit(provider, upstream, tmp_path):
    async with site(provider, upstream, tmp_path, cookies=[".+"]) as (passproxy, _):
        hostile = "; ".join(["a b=1", "a\tb=1", 'q"=1', "n:x=1", *(f"c{number}=1" for number in range(60))])
        async with Raw(passproxy.address) as raw:
            answer = await raw.ask(
                get("/x;Domain=evil", "Accept: text/html", cookie=f"{passproxy.cookie()}; {hostile}")
            )
        said = answer.all(b"set-cookie")
        assert 0 < len(said) <= 32
        assert all(line.startswith(b"c") and b"evil" not in line for line in said)
        assert answer.one(b"cache-control") == b"no-store"
        assert not upstream.requests[-1].all(b"cookie")
