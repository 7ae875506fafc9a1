"""What a whole login must do, whatever the protocol; each protocol's test class inherits it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from passproxy.demo.idp import DemoIdentityProvider
from tests.fakes.browser import Browser, Page
from tests.fakes.gateway import ORIGIN, PassProxy, demo_idp, eventually, get, protecting
from tests.fakes.log import Log
from tests.fakes.raw import Raw
from tests.fakes.upstream import Upstream

DEEP = f"{ORIGIN}/reports/2026%2Fq1?sort=name&x=%C3%A4&&y"


class LoginFlow:
    """`settings` makes the provider's section of the configuration."""

    settings: Callable[[DemoIdentityProvider], dict[str, Any]]
    callback: str

    @pytest.fixture
    async def idp(self) -> AsyncIterator[DemoIdentityProvider]:
        async with demo_idp() as running:
            yield running

    @pytest.fixture
    async def passproxy(
        self, idp: DemoIdentityProvider, upstream: Upstream, tmp_path: Path
    ) -> AsyncIterator[PassProxy]:
        async with protecting(upstream.url, tmp_path, **type(self).settings(idp)) as running:
            yield running

    @pytest.fixture
    async def browser(self, passproxy: PassProxy) -> AsyncIterator[Browser]:
        async with Browser(passproxy.front) as running:
            yield running

    async def signed_in(self, browser: Browser, url: str = f"{ORIGIN}/", user: str = "alice") -> Page:
        return await browser.sign_in(await browser.open(url), user, user)

    async def test_a_visitor_lands_on_the_very_url_that_was_asked_for(self, browser, upstream, log: Log):
        page = await self.signed_in(browser, DEEP)
        assert (page.status, page.url) == (200, DEEP)
        assert upstream.request_lines == [b"GET /reports/2026%2Fq1?sort=name&x=%C3%A4&&y HTTP/1.1"]
        assert len(page.hops) <= 3
        fields = log.one("auth.login")
        assert fields["user"] == "alice"

    async def test_the_application_is_told_who_it_is(self, browser, upstream):
        await self.signed_in(browser)
        seen = upstream.requests[-1]
        assert seen.one(b"x-passproxy-user") == b"alice"
        assert seen.one(b"x-passproxy-email") == b"alice@example.com"
        assert seen.one(b"x-passproxy-groups") == b"engineering,ops"
        assert seen.one(b"x-passproxy-name") == b"Alice Archer"
        assert not seen.all(b"cookie")

    async def test_somebody_without_groups_is_told_to_have_none(self, browser, upstream):
        await self.signed_in(browser, user="bob")
        assert upstream.requests[-1].one(b"x-passproxy-user") == b"bob"
        assert not upstream.requests[-1].all(b"x-passproxy-groups")

    async def test_the_second_page_needs_no_redirect_and_no_login_cookie_stays(self, browser, passproxy):
        await self.signed_in(browser)
        page = await browser.open(f"{ORIGIN}/next")
        assert (page.status, page.hops) == (200, ())
        mine = {name for name in browser.cookies.names() if "passproxy" in name and name.startswith("__Host-")}
        assert mine <= {"__Host-passproxy", "__Host-passproxy-idp", "__Host-passproxy-who", "__Host-passproxy-loop"}

    async def test_the_session_cookie_has_every_protection_and_never_leaves_again(self, browser, log: Log):
        lines: list[str] = []
        store = browser.cookies.store
        browser.cookies.store = lambda url, line, *rest: (lines.append(line), store(url, line, *rest))[1]
        await self.signed_in(browser)
        (session,) = [line for line in lines if line.startswith("__Host-passproxy=")]
        attributes = {part.strip().lower() for part in session.split(";")[1:]}
        assert {"path=/", "secure", "httponly", "samesite=lax"} <= attributes
        assert not any(part.startswith("domain") for part in attributes)
        (pending,) = [line for line in lines if line.startswith("__Host-passproxy-login-") and "Max-Age=0" not in line]
        assert "SameSite=None" in pending or self.callback == "oidc/callback"
        assert int(pending.partition("Max-Age=")[2].partition(";")[0]) <= 900
        for secret in (session, pending):
            assert not log.tells(secret.partition("=")[2].partition(";")[0])

    async def test_a_wrong_password_is_no_login_and_the_right_one_then_is(self, browser, upstream):
        page = await browser.open(DEEP)
        page = await browser.sign_in(page, "alice", "wrong")
        assert page.status == 403
        assert upstream.requests == []
        page = await browser.sign_in(page, "alice", "alice")
        assert (page.status, page.url) == (200, DEEP)

    async def test_twenty_logins_of_one_browser_at_once_all_land(self, browser):
        urls = [f"{ORIGIN}/tab/{number}?n={number}" for number in range(20)]
        forms = await asyncio.gather(*(browser.open(url) for url in urls))
        pages = await asyncio.gather(*(browser.sign_in(form, "alice", "alice") for form in forms))
        assert [(page.status, page.url) for page in pages] == [(200, url) for url in urls]

    async def test_tabs_finish_in_any_order(self, browser):
        one, two = await browser.open(f"{ORIGIN}/one"), await browser.open(f"{ORIGIN}/two")
        assert (await browser.sign_in(two, "bob", "bob")).url == f"{ORIGIN}/two"
        assert (await browser.sign_in(one, "alice", "alice")).url == f"{ORIGIN}/one"

    async def test_a_script_gets_401_and_no_cookie(self, browser, upstream):
        page = await browser.fetch(f"{ORIGIN}/api", page=f"{ORIGIN}/")
        assert page.status == 401
        assert page.headers["Content-Type"] == "application/problem+json"
        assert page.json()["login_url"] == f"{ORIGIN}/.passproxy/login"
        assert page.json()["code"] == "PP-LOGIN-REQUIRED"
        assert "Set-Cookie" not in page.headers
        assert upstream.is_untouched

    async def test_userinfo_tells_the_identity_and_no_token(self, browser):
        await self.signed_in(browser)
        page = await browser.fetch(f"{ORIGIN}/.passproxy/userinfo", page=f"{ORIGIN}/")
        told = page.json()
        assert (told["user"], told["email"], told["groups"]) == ("alice", "alice@example.com", ["engineering", "ops"])
        assert told["expires_at"] > told["issued_at"]
        assert "eyJ" not in page.text
        assert page.headers["Cache-Control"] == "no-store"

    async def test_userinfo_without_a_session_is_401(self, browser):
        assert (await browser.fetch(f"{ORIGIN}/.passproxy/userinfo", page=f"{ORIGIN}/")).status == 401

    async def test_logout_ends_the_session(self, browser, upstream, log: Log):
        page = await self.signed_in(browser)
        log.forget()
        page = await browser.open(f"{ORIGIN}/.passproxy/logout", come_from=page)
        assert page.url.startswith(f"{ORIGIN}/.passproxy/logged-out") or "127.0.0.1" in page.url
        assert "__Host-passproxy" not in browser.cookies.names()
        assert log.named("auth.logout")[0]["user"] == "alice"
        count = len(upstream.requests)
        assert (await browser.fetch(f"{ORIGIN}/api", page=f"{ORIGIN}/")).status == 401
        assert len(upstream.requests) == count

    async def test_a_link_on_another_site_logs_nobody_out(self, browser):
        await self.signed_in(browser)
        page = await browser.open(f"{ORIGIN}/.passproxy/logout", come_from="https://evil.example/")
        assert (page.status, page.form().method) == (200, "post")
        assert "__Host-passproxy" in browser.cookies.names()
        await browser.submit(page)
        assert "__Host-passproxy" not in browser.cookies.names()

    async def test_a_provider_that_is_down_at_the_start_hurts_new_logins_and_nothing_else(
        self, upstream, tmp_path, log: Log
    ):
        async with demo_idp() as idp:
            port, secret = int(idp.base_url.rpartition(":")[2]), idp.client_secret
            settings = type(self).settings(idp)
        async with protecting(upstream.url, tmp_path, **settings) as passproxy, Browser(passproxy.front) as browser:
            page = await browser.open(DEEP)
            assert page.status == 503
            assert int(page.headers["Retry-After"]) > 0
            assert log.named("auth.reject")[0]["code"] == "PP-IDP-UNAVAILABLE"
            async with Raw(passproxy.address) as raw:
                assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 200
            async with demo_idp(port, secret), asyncio.timeout(15):
                while page.status == 503:
                    await asyncio.sleep(0.2)
                    page = await browser.open(DEEP)
                page = await browser.sign_in(page, "alice", "alice")
                assert (page.status, page.url) == (200, DEEP)

    async def test_a_session_outlives_its_provider(self, browser, idp):
        await self.signed_in(browser)
        await idp.stop()
        assert (await browser.open(f"{ORIGIN}/still-here")).status == 200

    async def test_an_answer_is_taken_once(self, browser, passproxy, upstream, log: Log):
        """Reloading the callback, or stealing it from the browser's history, gives no second session."""
        await self.signed_in(browser)
        before = len(upstream.requests)
        answers = list(self.brought)
        assert answers, "the callback was recorded"
        async with Browser(passproxy.front) as thief:
            page = await self.replay(thief, answers[-1])
            assert page.status in (400, 403)
            assert "__Host-passproxy" not in thief.cookies.names()
        assert len(upstream.requests) == before
        await eventually(lambda: bool(log.named("auth.reject")), "the refusal is logged")

    @pytest.fixture(autouse=True)
    def record(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keep what a browser brings to the callback."""
        self.brought: list[Any] = []
        original = Browser._answer

        async def recording(browser: Browser, request: Any, relation: str | None) -> Page:
            if f"/.passproxy/{self.callback}" in request.url:
                self.brought.append(request)
            return await original(browser, request, relation)

        monkeypatch.setattr(Browser, "_answer", recording)

    async def replay(self, browser: Browser, request: Any) -> Page:
        return await browser._answer(request, "cross-site")
