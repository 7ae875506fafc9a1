"""Whole logins by OpenID Connect: browser, PassProxy, the demo's provider, and back."""

from __future__ import annotations

import pytest

from tests.fakes.gateway import ORIGIN, oidc_at
from tests.flows.login import LoginFlow


class TestOidc(LoginFlow):
    settings = staticmethod(oidc_at)
    callback = "oidc/callback"

    async def test_the_request_tells_the_provider_nothing_of_the_deep_link(self, browser):
        page = await browser.open(f"{ORIGIN}/reset?token=very-secret")
        assert all("very-secret" not in hop.location for hop in page.hops if not hop.location.startswith(ORIGIN))
        assert "code_challenge_method=S256" in page.url
        assert "nonce=" in page.url

    @pytest.mark.parametrize("field", ["state", "code"])
    async def test_an_answer_that_was_changed_on_its_way_is_refused(self, browser, upstream, field, log):
        form = await browser.open(f"{ORIGIN}/")
        original = browser._answer

        async def changing(request, relation):
            if "/oidc/callback" in request.url:
                head, _, tail = request.url.partition(f"{field}=")
                request = type(request)(request.method, f"{head}{field}={'x' * 22}{tail[22:]}", request.initiator)
            return await original(request, relation)

        browser._answer = changing
        page = await browser.sign_in(form, "alice", "alice")
        assert page.status in (400, 403)
        assert upstream.requests == []
        assert "__Host-passproxy" not in browser.cookies.names()
        log.one("auth.reject")

    async def test_a_repeated_answer_of_somebody_who_is_in_just_goes_on(self, browser, upstream):
        """The back button: the answer was used, the session is there."""
        page = await self.signed_in(browser, f"{ORIGIN}/deep?x=1")
        (answer,) = {hop.url for hop in page.hops if "/oidc/callback?" in hop.url}
        again = await browser.open(answer)
        assert again.status == 200
        assert again.url.startswith(ORIGIN)
        assert "/.passproxy/" not in again.url
        browser.cookies.clear()
        assert (await browser.open(answer)).status == 403

    async def test_an_application_can_hand_its_fragment_to_the_login(self, browser, upstream):
        form = await browser.open(f"{ORIGIN}/.passproxy/login?return_to=%2Fd%3Fx%3D1%23%2Fpanel%2F7")
        page = await browser.sign_in(form, "alice", "alice")
        assert (page.status, page.url) == (200, f"{ORIGIN}/d?x=1#/panel/7")
