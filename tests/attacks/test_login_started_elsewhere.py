"""
A login that somebody else starts (OpenID Connect Core 1.0, 4): by a link, with whatever stands in it.

It is an ordinary login, or none: it ends on this site, and asks the provider for nothing more.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from passproxy.demo.idp import DemoIdentityProvider
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN
from tests.fakes.log import Log
from tests.fakes.upstream import Upstream
from tests.flows.both import *  # noqa: F403 - fixtures, which pytest finds by their names
from tests.flows.both import signed_in

LOGIN = f"{ORIGIN}/.passproxy/login"


@pytest.mark.parametrize(
    ("asked", "lands"),
    [
        ("target_link_uri=https%3A%2F%2Fapp.example.com%2Fd%3Fx%3D1", f"{ORIGIN}/d?x=1"),
        ("target_link_uri=%2Fd", f"{ORIGIN}/d"),
        ("target_link_uri=https%3A%2F%2Fevil.example%2F", f"{ORIGIN}/"),
        ("target_link_uri=https%3A%2F%2Fapp.example.com.evil.example%2F", f"{ORIGIN}/"),
        ("target_link_uri=https%3A%2F%2Fapp.example.com%40evil.example%2F", f"{ORIGIN}/"),
        ("target_link_uri=https%3A%2F%2Fapp.example.com%2F%2Fevil.example%2F", f"{ORIGIN}/"),
        ("target_link_uri=%2F.passproxy%2Flogout", f"{ORIGIN}/"),
        ("scope=admin&prompt=none&acr_values=x&target_link_uri=%2Fd", f"{ORIGIN}/d"),
    ],
)
async def test_oidc_37_a_login_started_elsewhere_ends_here_and_asks_for_nothing_more(
    browser: Browser, asked: str, lands: str
):
    plain = await browser.once(LOGIN)
    other = await browser.once(f"{LOGIN}?{asked}", come_from="https://portal.example/")
    assert other.status == 302
    parameters = [set(re.findall(r"[?&]([a-z_A-Z]+)=", page.headers["Location"])) for page in (plain, other)]
    assert parameters[0] == parameters[1]
    assert "admin" not in other.headers["Location"]
    page = await signed_in(browser, f"{LOGIN}?{asked}")
    assert (page.status, page.url) == (200, lands)


async def test_oidc_37_a_login_started_by_an_issuer_that_is_not_ours_is_none(
    browser: Browser, upstream: Upstream, log: Log
):
    page = await browser.open(f"{LOGIN}?iss=https%3A%2F%2Fevil.example&target_link_uri=%2F")
    assert (page.status, page.headers.getall("Set-Cookie", [])) == (400, [])
    assert log.one("auth.reject")["code"] == "PP-CALLBACK-MALFORMED"
    assert upstream.is_untouched


async def test_oidc_37_a_login_started_by_our_issuer_is_one(
    browser: Browser, provider: dict[str, Any], idp: DemoIdentityProvider
):
    page = await browser.open(f"{LOGIN}?iss={quote(idp.issuer, safe='')}")
    assert page.status == (200 if "oidc" in provider else 400)
