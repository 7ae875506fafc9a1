"""What needs scripts, storage and windows of a real browser: fragments, forms that are kept, small windows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import DEEP_LINK, Demo
from tests.e2e.test_pages import check_page
from tests.e2e.window import Window, log_in, screenshots, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")

#: An application's page with a form, its lines as a text area sends them.
FORM = """(action) => {
    document.body.innerHTML = `<form method="post" action="${action}">
        <input name="title" value="Käse & <Brot>"><textarea name="text"></textarea><button>Save</button></form>`;
    document.querySelector("textarea").value = 'two\\nlines "quoted" + 100%';
}"""
SENT = "title=K%C3%A4se+%26+%3CBrot%3E&text=two%0D%0Alines+%22quoted%22+%2B+100%25"


async def lose_session(window: Window) -> None:
    """As when its time is over."""
    await window.context.clear_cookies(name="passproxy")


@pytest.mark.parametrize("fragment", ["#/x?y=1", "#section-2", "#", "#/a%20b/ü"])
async def test_the_very_address_is_shown_after_the_login(demo: Demo, window: Window, fragment: str):
    page = await window.page()
    wanted = f"{demo.origin}/d{fragment}"
    await page.goto(wanted)
    await sign_in(page, "alice")
    await page.wait_for_url(f"{demo.origin}/d**")
    # An empty fragment is no fragment, and browsers escape what is not ASCII.
    shown = wanted.removesuffix("#").replace("ü", "%C3%BC")
    assert await page.evaluate("location.href") == shown
    window.check()


async def test_without_scripts_path_and_query_survive(demo: Demo, chromium: Browser):
    context = await chromium.new_context(java_script_enabled=False)
    try:
        page = await context.new_page()
        await page.goto(demo.origin + DEEP_LINK + "#lost")
        await page.wait_for_url(f"{demo.idp}/**")
        await page.get_by_label("User name").fill("alice")
        await page.get_by_label("Password", exact=True).fill("alice")
        await page.get_by_role("button", name="Sign in").click()
        if demo.protocol == "saml":  # its form submits itself by a script
            await page.get_by_role("button").click()
        await page.wait_for_url(demo.origin + DEEP_LINK + "**")
        await expect(page.locator(".target")).to_have_text(DEEP_LINK)
    finally:
        await context.close()


async def expired_form(demo: Demo, window: Window) -> Page:
    """Where somebody is who saved a form after the session had ended."""
    page = await window.page()
    await log_in(page, f"{demo.origin}/edit", "alice")
    await lose_session(window)
    await page.evaluate(FORM, "/whoami?id=4")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Save").click()
    return page


async def test_a_form_that_met_an_expired_session_is_not_lost(demo: Demo, window: Window):
    page = await expired_form(demo, window)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your session has ended")
    await expect(page.locator("#kept")).to_be_visible()
    await check_page(page)
    await screenshots(page, demo.protocol, "form-kept")
    await page.get_by_role("link", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Send the form now?")
    await check_page(page)
    await screenshots(page, demo.protocol, "form-confirm")
    async with page.expect_request("**/whoami?id=4") as sent, page.expect_navigation():
        await page.get_by_role("button", name="Send it").click()
    assert (await sent.value).post_data == SENT
    told = json.loads(await page.evaluate("document.body.innerText"))
    assert (told["method"], told["target"]) == ("POST", "/whoami?id=4")
    headers = {name.lower(): value for name, value in told["headers"]}
    assert (headers["origin"], headers["x-passproxy-user"]) == (demo.origin, "alice")
    # Once: nothing is left in the window.
    await page.goto(f"{demo.origin}/.passproxy/restore")
    await expect(page.get_by_role("heading", level=1)).to_have_text("No form is waiting")
    await check_page(page)
    window.check(r"status of 40[14]")


async def test_a_form_can_be_discarded(demo: Demo, window: Window):
    page = await expired_form(demo, window)
    await page.get_by_role("link", name="Sign in").click()
    await page.get_by_role("link", name="Discard it").click()
    await page.wait_for_url(f"{demo.origin}/")
    await page.goto(f"{demo.origin}/.passproxy/restore")
    await expect(page.get_by_role("heading", level=1)).to_have_text("No form is waiting")
    window.check(r"status of 40[14]")


async def test_a_form_of_alice_is_not_sent_as_bob(demo: Demo, window: Window):
    page = await expired_form(demo, window)
    # The provider forgets alice as well.
    await window.context.clear_cookies()
    await page.get_by_role("link", name="Sign in").click()
    await sign_in(page, "bob")
    await expect(page.locator(".facts")).to_contain_text("PP-FORM-OTHER")
    await check_page(page)
    await screenshots(page, demo.protocol, "form-other")
    # Nothing is lost: alice may come back.
    await window.context.clear_cookies()
    await page.goto(f"{demo.origin}/.passproxy/restore")
    await sign_in(page, "alice")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Send the form now?")
    window.check(r"status of 40\d")


POPUP = """async () => {
    const answer = await fetch("/whoami", { headers: { Accept: "application/json" } });
    if (answer.status !== 401) return answer.status;
    const { popup_url } = await answer.json();
    const told = new Promise((resolve) => {
        addEventListener("message", (event) => {
            if (event.origin === location.origin && event.data.type === "passproxy:login") resolve("message");
        });
        window.heard = new Promise((also) => { new BroadcastChannel("passproxy").onmessage = () => also(true); });
    });
    open(popup_url, "passproxy", "popup,width=480,height=640");
    await told;
    await window.heard;
    return (await fetch("/whoami")).status;
}"""


async def test_a_login_that_leads_nowhere_ends_on_a_page(demo: Demo, window: Window):
    """As behind a web server that drops the session's cookie, which is the usual way to get there."""
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "alice")
    for _ in range(2):
        await lose_session(window)
        await page.goto(f"{demo.origin}/")
        await page.wait_for_url(f"{demo.origin}/")  # the provider remembers alice
        await expect(page.get_by_role("region", name="You", exact=True)).to_be_visible()
    await lose_session(window)
    await page.goto(f"{demo.origin}/")
    await expect(page.locator(".facts")).to_contain_text("PP-LOOP-COOKIE")
    await check_page(page)
    await screenshots(page, demo.protocol, "loop")
    window.check(r"status of 508")


async def test_a_small_window_signs_in_and_the_page_goes_on(demo: Demo, window: Window):
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "alice")
    await lose_session(window)
    async with page.expect_popup() as opened:
        status = await page.evaluate(POPUP)
    assert status == 200
    popup = await opened.value
    if not popup.is_closed():
        await popup.wait_for_event("close")
    assert page.url == f"{demo.origin}/"
    window.check(r"status of 401")


async def test_the_snippet_of_the_readme_signs_in_and_asks_again(demo: Demo, window: Window):
    (snippet,) = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
    page = await window.page()
    await log_in(page, f"{demo.origin}/", "alice")
    await lose_session(window)
    asking = f"async () => {{ {snippet}; const answer = await fetchSignedIn('/whoami'); return answer.status; }}"
    async with page.expect_popup():
        assert await page.evaluate(asking) == 200
    window.check(r"status of 401")
