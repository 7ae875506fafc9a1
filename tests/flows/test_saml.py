"""Whole logins by SAML: browser, PassProxy, the demo's provider, and back."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tests.fakes.gateway import ORIGIN, saml_at
from tests.flows.login import LoginFlow


class TestSaml(LoginFlow):
    settings = staticmethod(saml_at)
    callback = "saml/acs"

    async def test_relay_state_is_short_and_tells_nothing(self, browser):
        page = await browser.open(f"{ORIGIN}/reset?token=very-secret")
        (relay_state,) = parse_qs(urlsplit(page.url).query)["RelayState"]
        assert len(relay_state) <= 80
        assert "very-secret" not in page.url

    async def test_metadata_is_published(self, browser):
        page = await browser.fetch(f"{ORIGIN}/.passproxy/saml/metadata")
        assert page.status == 200
        assert f"{ORIGIN}/.passproxy/saml/acs" in page.text
