"""Alice leaves a session of the application, bob signs in on the same browser: real cookies, real storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.site import Site, site
from tests.e2e.window import Window, log_in, screenshots

pytestmark = pytest.mark.asyncio(loop_scope="session")

_CLEANUP = r"""cleanup:
  cookies: [JSESSIONID, 'app\..+']
  storage_keys: [oidc.user]
  clear_site_data: [cache]
"""


@pytest_asyncio.fixture(loop_scope="session", scope="module", params=["oidc", "saml"])
async def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp(f"cleanup-{request.param}")
    async with site(request.param, folder, extra=_CLEANUP) as running:
        yield running


async def arrived(page: Any, origin: str, path: str) -> dict[str, list[str]]:
    """The head of a request to a path, as the application tells it."""
    told = await page.evaluate("async path => (await fetch(path)).json()", path)
    found: dict[str, list[str]] = {}
    for name, value in told["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found


async def test_bob_s_requests_carry_nothing_that_alice_left(installation: Site, window: Window):
    origin = installation.origin
    page = await window.page()
    await log_in(page, f"{origin}/", "alice")
    for path in ("/", "/whoami"):
        for name in ("JSESSIONID", "app.x"):
            cookie: Any = {"name": name, "value": f"alice-{len(path)}", "domain": "127.0.0.1", "path": path}
            await window.context.add_cookies([cookie | {"httpOnly": True}])
    await page.evaluate(
        "for (const kept of [localStorage, sessionStorage]) { kept.setItem('oidc.user', 'alice'); kept.setItem('mine', '1') }"
    )
    left = await window.context.cookies()
    # Her sessions end by themselves, here and at the provider; what the application set stays.
    await window.context.clear_cookies()
    await window.context.add_cookies([each for each in left if each.get("name") in ("JSESSIONID", "app.x")])  # type: ignore[misc]
    await log_in(page, f"{origin}/reports?year=2026", "bob")
    assert (await page.evaluate("[localStorage, sessionStorage].map(kept => kept.getItem('oidc.user'))")) == [None] * 2
    assert (await page.evaluate("[localStorage, sessionStorage].map(kept => kept.getItem('mine'))")) == ["1"] * 2
    remaining = {(each.get("name"), each.get("path")) for each in await window.context.cookies()}
    assert not {("JSESSIONID", "/"), ("app.x", "/")} & remaining
    for _ in range(2):
        head = await arrived(page, origin, "/whoami")
        assert head["x-passproxy-user"] == ["bob"]
        assert "cookie" not in head
    await page.goto(f"{origin}/whoami")
    assert {each.get("name") for each in await window.context.cookies()} & {"JSESSIONID", "app.x"} == set()
    window.check()


async def test_the_page_in_between_works_on_a_phone_and_without_scripts(installation: Site, window: Window):
    page = await window.page()
    await log_in(page, f"{installation.origin}/", "alice")
    await window.context.clear_cookies(name="passproxy-clean")
    answer = await window.context.request.get(f"{installation.origin}/.passproxy/clean?return_to=/reports")
    assert answer.ok
    assert '<meta http-equiv="refresh" content="0; url=/reports">' in await answer.text()
    assert answer.headers["clear-site-data"] == '"cache"'
    # On a page of its own, and without its script, which would leave it at once.
    page = await window.page()
    await page.set_content((await answer.text()).partition("<script>")[0])
    await screenshots(page, installation.protocol, "clean")
    window.check()
