"""The identity provider's HTTP side: its names, its cookie, its pages."""

from __future__ import annotations

import aiohttp
import pytest

from passproxy.demo.idp import DemoIdentityProvider
from tests.demo.conftest import ORIGIN
from tests.demo.test_saml import ALICE, REQUEST, packed


async def test_names_of_other_sites_that_point_here_are_refused(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    """DNS rebinding."""
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""):
        async with http.get(idp.base_url + "/", headers={"Host": host}) as response:
            assert response.status == 421
    for host in ("localhost:1234", "idp.localhost", "[::1]:80", "127.0.0.1"):
        async with http.get(idp.base_url + "/", headers={"Host": host}) as response:
            assert response.status == 200


async def test_the_cookie_stays_below_the_identity_providers_path_and_out_of_scripts(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    url, query = idp.issuer + "/saml/sso", {"SAMLRequest": packed(REQUEST)}
    async with http.post(url, params=query, data=ALICE) as response:
        (cookie,) = response.headers.getall("Set-Cookie")
    assert cookie.startswith("demo_idp=")
    for attribute in ("Path=/idp", "HttpOnly", "SameSite=Lax"):
        assert attribute in cookie


async def test_pages_load_nothing_and_cannot_be_framed(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    for path in ("/", "/idp", "/idp/oidc/logout", "/idp/saml/sso"):
        async with http.get(idp.base_url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert response.headers["Cache-Control"] == "no-store"
            assert 'lang="en"' in await response.text()


async def test_signing_out_on_its_own_page_asks_for_the_password_again(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    await (await http.post(idp.issuer + "/saml/sso", params={"SAMLRequest": packed(REQUEST)}, data=ALICE)).read()
    async with http.post(idp.issuer + "/oidc/logout") as response:
        assert response.status == 200
    async with http.get(idp.base_url + "/") as response:
        assert "Nobody is signed in" in await response.text()


async def test_a_form_that_is_too_large_is_refused(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    async with http.post(idp.issuer + "/oidc/token", data={"code": "x" * 20_000}) as response:
        assert response.status == 413


def test_the_address_is_known_from_the_start_on() -> None:
    idp = DemoIdentityProvider(ORIGIN)
    with pytest.raises(RuntimeError, match="not been started"):
        _ = idp.issuer
