"""Whole logins whose answer comes as a form from another site, and what the callback does not accept then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.browser import Browser, Page
from tests.fakes.gateway import ORIGIN, PassProxy, protecting
from tests.fakes.idp_oidc import FakeOp
from tests.fakes.upstream import Upstream

CALLBACK = f"{ORIGIN}/.passproxy/oidc/callback"


@pytest.fixture
async def op(request: pytest.FixtureRequest) -> AsyncIterator[FakeOp]:
    """With a parameter that is true, one that offers pushed requests: PassProxy asks as soon as it starts."""
    async with FakeOp() as running:
        if getattr(request, "param", False):
            running.discovery["pushed_authorization_request_endpoint"] = f"{running.issuer}/par"
        yield running


@pytest.fixture
async def passproxy(op: FakeOp, upstream: Upstream, tmp_path: Path) -> AsyncIterator[PassProxy]:
    settings = {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}
    async with protecting(upstream.url, tmp_path, oidc={**settings, "response_mode": "form_post"}) as running:
        yield running


@pytest.fixture
async def browser(passproxy: PassProxy) -> AsyncIterator[Browser]:
    async with Browser(passproxy.front) as running:
        yield running


@pytest.mark.parametrize("op", [False, True], indirect=True, ids=["sent", "pushed"])
async def test_a_login_lands_and_only_the_login_cookie_crosses_sites(browser, op, upstream):
    lines: list[str] = []
    store = browser.cookies.store
    browser.cookies.store = lambda url, line, *rest: (lines.append(line), store(url, line, *rest))[1]
    page = await browser.open(f"{ORIGIN}/reports?year=2026")
    assert (page.status, page.url) == (200, f"{ORIGIN}/reports?year=2026")
    assert any(hop.method == "POST" and hop.url == CALLBACK for hop in page.hops)
    assert upstream.requests[-1].one(b"x-passproxy-user") == b"alice"
    (login,) = [line for line in lines if "passproxy-login-" in line and "Max-Age=0" not in line]
    assert {"SameSite=None", "Secure", "HttpOnly"} <= {part.strip() for part in login.split(";")}
    (session,) = [line for line in lines if line.startswith("__Host-passproxy=")]
    assert "SameSite=Lax" in session


async def test_an_answer_in_the_address_is_not_accepted(browser, op, upstream):
    """OIDC-26: only the configured mode."""
    first = await browser.once(f"{ORIGIN}/.passproxy/login")
    fields = op.answer(first.headers["Location"])
    page = await browser.open(f"{CALLBACK}?code={fields['code']}&state={fields['state']}", come_from=op.issuer)
    assert page.status == 405
    assert op.asked["token"] == 0
    assert upstream.requests == []


async def test_a_form_without_the_login_cookie_is_no_login(browser, passproxy, op, upstream):
    first = await browser.once(f"{ORIGIN}/.passproxy/login")
    fields = op.answer(first.headers["Location"])
    async with Browser(passproxy.front) as victim:
        page = await posted(victim, op, fields)
    assert page.status in (400, 403)
    assert op.asked["token"] == 0
    assert upstream.requests == []


@pytest.mark.parametrize("op", [True], indirect=True)
async def test_a_request_that_the_provider_does_not_take_is_explained_at_once(browser, op, upstream):
    op.client_secret = "another"
    page = await browser.open(f"{ORIGIN}/")
    assert page.url.startswith(f"{ORIGIN}/.passproxy/login?")
    assert "PP-OIDC-CLIENT" in page.text
    assert not any("passproxy" in name for name in browser.cookies.names())
    assert upstream.requests == []


async def posted(browser: Browser, op: FakeOp, fields: dict[str, str]) -> Page:
    """As a form on the provider's site sends it."""
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    headers: dict[str, Any] = {"Content-Type": "application/x-www-form-urlencoded"}
    return await browser.fetch(CALLBACK, page=op.issuer, method="POST", body=body, headers=headers)
