"""Whole logins by either protocol: fixtures for the tests that ask the same of both. Import all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from passproxy.demo.idp import DemoIdentityProvider
from tests.fakes.browser import Browser, Page
from tests.fakes.gateway import ORIGIN, PassProxy, demo_idp, oidc_at, protecting, saml_at
from tests.fakes.upstream import Upstream

__all__ = ["browser", "idp", "passproxy", "provider"]


@pytest.fixture
async def idp() -> AsyncIterator[DemoIdentityProvider]:
    async with demo_idp() as running:
        yield running


@pytest.fixture(params=[oidc_at, saml_at], ids=["oidc", "saml"])
def provider(request: pytest.FixtureRequest, idp: DemoIdentityProvider) -> dict[str, Any]:
    return request.param(idp)


@pytest.fixture
async def passproxy(provider: dict[str, Any], upstream: Upstream, tmp_path: Path) -> AsyncIterator[PassProxy]:
    async with protecting(upstream.url, tmp_path, **provider) as running:
        yield running


@pytest.fixture
async def browser(passproxy: PassProxy) -> AsyncIterator[Browser]:
    async with Browser(passproxy.front) as running:
        yield running


async def signed_in(browser: Browser, url: str = f"{ORIGIN}/", user: str = "alice") -> Page:
    """The provider may remember who this is, and ask nothing."""
    page = await browser.open(url)
    asks = any(form.has("password") for form in page.forms)
    return await browser.sign_in(page, user, user) if asks else page
