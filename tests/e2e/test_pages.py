"""PassProxy's own pages in a real browser: on a phone and a laptop, light and dark, with nothing from elsewhere."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Demo
from tests.e2e.window import Window, screenshots

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def forge_answer(page: Page, demo: Demo) -> None:
    """What an attacker would have this browser send: an answer to a login that it never began."""
    if demo.protocol == "oidc":
        await page.goto(f"{demo.origin}/.passproxy/oidc/callback?code=forged&state={'A' * 22}")
        return
    await page.goto(f"{demo.origin}/.passproxy/health")
    async with page.expect_navigation():
        await page.evaluate(
            """() => {
                const form = document.createElement("form");
                form.method = "post";
                form.action = "/.passproxy/saml/acs";
                for (const [name, value] of [["SAMLResponse", btoa("<forged/>")], ["RelayState", "A".repeat(22)]]) {
                    const field = document.createElement("input");
                    [field.name, field.value] = [name, value];
                    form.append(field);
                }
                document.body.append(form);
                form.submit();
            }"""
        )


async def check_page(page: Page) -> None:
    """What a screen reader and a keyboard need of each page."""
    assert await page.locator("html").get_attribute("lang") == "en"
    assert await page.title()
    await expect(page.get_by_role("main")).to_have_count(1)
    await expect(page.get_by_role("heading", level=1)).to_have_count(1)
    targets = await page.evaluate(
        "[...document.querySelectorAll('main a, main button')].map(e => Math.round(e.getBoundingClientRect().height))"
    )
    assert all(height >= 44 for height in targets), f"heights of what can be pressed: {targets}"


async def test_an_address_that_does_not_exist(demo: Demo, window: Window):
    page = await window.page()
    answer = await page.goto(f"{demo.origin}/.passproxy/nothing")
    assert answer is not None
    assert answer.status == 404
    await check_page(page)
    await screenshots(page, demo.protocol, "nothing")
    window.check(r"status of 404")


async def test_a_forged_answer_of_the_provider(demo: Demo, window: Window):
    page = await window.page()
    await forge_answer(page, demo)
    await expect(page.locator(".facts")).to_contain_text("PP-LOGIN-UNKNOWN")
    assert await window.cookies() == {}
    await check_page(page)
    await screenshots(page, demo.protocol, "forged")
    # The text page from which the form is sent names no icon, so the browser asks for one.
    window.check(r"status of 403", r"favicon\.ico.* status of 401")


async def test_an_error_page_needs_nothing_and_lets_nothing_in(demo: Demo, window: Window):
    page = await window.page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    answer = await page.goto(f"{demo.origin}/.passproxy/<script>alert(1)</script>?x=<b>y</b>")
    assert answer is not None
    assert "alert(1)" not in await page.content()
    headers = await answer.all_headers()
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    background = await page.evaluate("getComputedStyle(document.querySelector('main')).borderRadius")
    assert background != "0px", "the style of the page was not applied"
    assert [url for url in requests if not url.startswith(f"{demo.origin}/.passproxy/")] == []
    window.check(r"status of 40\d")


async def test_the_provider_s_form(demo: Demo, window: Window):
    page = await window.page()
    await page.goto(f"{demo.origin}/")
    await check_page(page)
    await screenshots(page, demo.protocol, "sign-in")
    window.check()
