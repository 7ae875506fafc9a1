"""`passproxy demo` as its first visitors meet it: the real command, a real browser, both protocols."""

from __future__ import annotations

import asyncio
import time

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import DEEP_LINK, TABS, Demo
from tests.e2e.measured import measured
from tests.e2e.window import Window, log_in, screenshots, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: What browsers write to the console about each answer with such a status.
_REFUSED = r"status of 401"


async def test_alice_lands_exactly_on_the_deep_link_that_she_asked_for(demo: Demo, window: Window):
    page = await window.page()
    await log_in(page, demo.origin + DEEP_LINK, "alice")
    assert page.url == demo.origin + DEEP_LINK
    await expect(page.locator(".target")).to_have_text(DEEP_LINK)
    window.check()


async def test_the_page_shows_who_alice_is(demo: Demo, window: Window):
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "alice")
    you = page.get_by_role("region", name="You", exact=True)
    await expect(you).to_contain_text("Hello, Alice Archer")
    await expect(you).to_contain_text("alice@example.com")
    await expect(you.get_by_role("listitem")).to_have_text(["engineering", "ops"])
    told = page.get_by_role("table", name="Identity headers")
    await expect(told).to_contain_text("X-Passproxy-User")
    window.check()


async def test_events_arrive_and_the_websocket_echoes(demo: Demo, window: Window):
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "alice")
    await expect(page.locator("#stream-state")).to_have_text("Connected")
    await expect(page.locator("#socket-state")).to_have_text("Connected")
    await page.get_by_label("Message to send").fill("Grüße, 漢字")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#log li")).to_contain_text(["Grüße, 漢字"])
    await expect(page.locator("#ticks")).to_have_text("3")
    await screenshots(page, demo.protocol, "application")
    window.check()


async def test_bob_is_in_no_group(demo: Demo, window: Window):
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "bob")
    await expect(page.get_by_role("region", name="You", exact=True)).to_contain_text("In no group")
    names = [name.lower() for name, _ in (await page.evaluate("fetch('/whoami').then(r => r.json())"))["headers"]]
    assert "x-passproxy-user" in names
    assert "x-passproxy-groups" not in names
    window.check()


async def test_signing_out_on_the_page_needs_no_confirmation(demo: Demo, window: Window):
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "alice")
    await page.get_by_role("link", name="Sign out").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")
    assert page.url == f"{demo.origin}/.passproxy/logged-out"
    assert "passproxy" not in await window.cookies()
    await screenshots(page, demo.protocol, "logged-out")
    window.check()


async def test_a_link_of_another_site_cannot_sign_anybody_out(demo: Demo, window: Window):
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "alice")
    await page.goto(demo.idp)
    await page.evaluate("url => location.assign(url)", f"{demo.origin}/.passproxy/logout")
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("Sign out of 127.0.0.1?")
    assert "passproxy" in await window.cookies()
    await screenshots(page, demo.protocol, "confirm")
    await page.get_by_role("link", name="Stay signed in").click()
    await expect(heading).to_contain_text("Hello, Alice")
    await page.go_back()
    await page.get_by_role("button", name="Sign out").click()
    await expect(heading).to_have_text("You are signed out")
    assert "passproxy" not in await window.cookies()
    window.check()


async def test_after_a_wrong_password_the_right_one_still_leads_to_the_deep_link(demo: Demo, window: Window):
    page = await window.page()
    await page.goto(demo.origin + DEEP_LINK)
    await sign_in(page, "alice", "wrong")
    await expect(page.get_by_role("alert")).to_be_visible()
    assert "passproxy" not in await window.cookies()
    await sign_in(page, "alice")
    await page.wait_for_url(demo.origin + DEEP_LINK)
    window.check(r"status of 403")


async def test_twenty_tabs_opened_at_once_all_land_on_their_own_address(demo: Demo, window: Window):
    # A page without an event stream: over plain HTTP/1.1 browsers open six connections to a
    # host, which six such tabs would keep for themselves. Over HTTP/2 there is no such limit.
    urls = [f"{demo.origin}/whoami?sort=name&page={number}" for number in range(TABS)]
    pages = [await window.page() for _ in urls]
    begun = time.monotonic()
    await asyncio.gather(*(page.goto(url) for page, url in zip(pages, urls, strict=True)))
    asked = time.monotonic()
    pending = [name for name in await window.cookies() if "-login-" in name]
    # In the reverse order; the provider's own session makes no difference to a form that is shown.
    await asyncio.gather(*(sign_in(page, "alice") for page in reversed(pages)))
    await asyncio.gather(*(page.wait_for_url(url) for page, url in zip(pages, urls, strict=True)))
    assert [page.url for page in pages] == urls
    left = [name for name in await window.cookies() if "-login-" in name]
    measured(
        f"{demo.protocol}: {TABS} tabs asked in {asked - begun:.1f} s, all landed {time.monotonic() - asked:.1f} s "
        f"later; {len(pending)} login cookies on the way, {len(left)} left"
    )
    assert left == []
    window.check()


async def test_a_script_without_a_session_gets_a_problem_and_no_cookie(demo: Demo, window: Window):
    page = await window.page()
    # Of the same origin, and without a content security policy that would forbid the fetch.
    await page.goto(f"{demo.origin}/.passproxy/health")
    fetched = await page.evaluate(
        """async () => {
            const answer = await fetch("/api/things?x=1");
            return [answer.status, answer.redirected, answer.headers.get("content-type"), await answer.json()];
        }"""
    )
    asked = await page.evaluate(
        """() => new Promise(done => {
            const request = new XMLHttpRequest();
            request.onloadend = () => done([request.status, request.getResponseHeader("content-type")]);
            request.open("POST", "/api/things");
            request.send("x=1");
        })"""
    )
    status, redirected, content_type, problem = fetched
    assert (status, redirected, content_type) == (401, False, "application/problem+json")
    assert problem["code"].startswith("PP-")
    assert problem["login_url"] == f"{demo.origin}/.passproxy/login"
    assert asked == [401, "application/problem+json"]
    assert await window.cookies() == {}
    window.check(_REFUSED)


async def test_streams_without_a_session_are_refused_before_they_begin(demo: Demo, window: Window):
    page = await window.page()
    await page.goto(f"{demo.origin}/.passproxy/health")
    closed = await page.evaluate(
        """() => new Promise(done => {
            const socket = new WebSocket(`ws://${location.host}/ws`);
            socket.onopen = () => done("open");
            socket.onclose = event => done(event.code);
        })"""
    )
    events = await page.evaluate(
        """() => new Promise(done => {
            const source = new EventSource("/events");
            source.onopen = () => done("open");
            source.onerror = () => done(source.readyState === EventSource.CLOSED ? "closed" : "will try again");
        })"""
    )
    assert (closed, events) == (1006, "closed")
    assert await window.cookies() == {}
    window.check(_REFUSED, r"HTTP Authentication failed")
