"""What becomes of a session after the login: large, small, refused, ended, and remembered as ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from passproxy.core.session import Sessions
from passproxy.idp import renewal
from tests.fakes.browser import Browser, Page
from tests.fakes.cookie_jar import Context
from tests.fakes.gateway import ORIGIN, PassProxy, get, protecting, request, until
from tests.fakes.idp_oidc import DROP, FakeOp
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream

#: As directories name them: alike in length, and in nothing else.
GUIDS = tuple(str(uuid.uuid5(uuid.NAMESPACE_DNS, str(number))) for number in range(2000))


@pytest.fixture
async def op() -> AsyncIterator[FakeOp]:
    async with FakeOp() as op:
        op.userinfo["groups"] = DROP
        yield op


@contextlib.asynccontextmanager
async def site(op: FakeOp, upstream: Upstream, folder: Path, **sections: Any) -> AsyncIterator[PassProxy]:
    provider = {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}
    os.makedirs(folder, exist_ok=True)
    async with protecting(upstream.url, folder, oidc=provider, **sections) as passproxy:
        yield passproxy


async def asked(passproxy: PassProxy, cookie: str, *lines: str) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(get("/", *lines, cookie=cookie))


def session_of(browser: Browser, passproxy: PassProxy) -> str:
    """The value of the session cookie, or of its first part."""
    cookie = browser.cookies.named(passproxy.names.session)
    assert cookie is not None
    return cookie.value


async def signed_in(browser: Browser, path: str = "/") -> Page:
    return await browser.open(ORIGIN + path)


async def test_of_two_thousand_groups_only_those_that_are_named_are_kept(op, upstream, tmp_path):
    op.claims["groups"] = list(GUIDS)
    named = list(GUIDS[100:103])
    async with (
        site(op, upstream, tmp_path, identity={"groups": {"include": [f"^{one}$" for one in named]}}) as passproxy,
        Browser(passproxy.front) as browser,
    ):
        assert (await signed_in(browser)).status == 200
        assert upstream.requests[-1].one(b"x-passproxy-groups").decode().split(",") == named
        session = session_of(browser, passproxy)
        assert len(session) < 1536
    async with (
        site(op, upstream, tmp_path / "2", access={"require_any_group": named}) as passproxy,
        Browser(passproxy.front) as browser,
    ):
        assert (await signed_in(browser)).status == 200
        assert upstream.requests[-1].one(b"x-passproxy-groups").decode().split(",") == named
        assert len(session_of(browser, passproxy)) < 1536


async def test_a_session_that_is_too_large_for_one_cookie_takes_several_and_shrinks_again(op, upstream, tmp_path):
    op.claims["groups"] = list(GUIDS[:200])
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        names = browser.cookies.names()
        assert f"{passproxy.names.session}-2" in names
        await browser.open(f"{ORIGIN}/again")
        assert upstream.requests[-1].one(b"x-passproxy-groups").count(b",") == 199
        assert not upstream.requests[-1].all(b"cookie")
        op.claims["groups"] = ["staff"]
        await browser.open(f"{ORIGIN}/.passproxy/login?return_to=/small")
        assert upstream.requests[-1].one(b"x-passproxy-groups") == b"staff"
        assert f"{passproxy.names.session}-2" not in browser.cookies.names()


async def test_ck_06_a_part_that_is_missing_is_no_session(op, upstream, tmp_path, log: Log):
    op.claims["groups"] = list(GUIDS[:200])
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        name = passproxy.names.session
        first = session_of(browser, passproxy)
        before = upstream.received_bytes
        for cookie in (f"{name}={first}", f"{name}={first}; {name}-2=x", f"{name}=9{first[1:]}"):
            log.forget()
            answer = await asked(passproxy, cookie)
            assert answer.status == 401
            assert any(value.startswith(f"{name}=;".encode()) for value in answer.all(b"set-cookie"))
            assert "rejected" in str(log.one("request.refused")["session"])
        assert upstream.received_bytes == before


async def test_more_than_fits_the_cookies_is_a_page_that_names_the_reason(op, upstream, tmp_path, log: Log):
    op.claims["groups"] = list(GUIDS)
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        page = await signed_in(browser)
        assert page.status == 403
        assert "PP-IDENTITY-SIZE" in page.text
        assert "groups (2000)" in str(log.one("auth.reject")["detail"])
        assert passproxy.names.session not in browser.cookies.names()
        assert upstream.requests == []


def cookie_header(browser: Browser) -> str:
    return browser.cookies.header(f"{ORIGIN}/", Context(None, True, True), time.time())


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are due as soon as they have begun."""
    monkeypatch.setattr(Sessions, "known", lambda self, session: _known(self, session)._replace(due_at=1.0))


_known = Sessions.known


async def test_fifty_requests_at_the_moment_of_a_renewal_are_one_question_and_nobody_is_logged_out(
    op, upstream, tmp_path, hurried
):
    op.rotates = True
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        cookie, before = cookie_header(browser), op.asked["token"]
        op.claims["groups"] = ["staff", "board"]
        answers = await asyncio.gather(*(asked(passproxy, cookie) for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert op.asked["token"] == before + 1
        assert upstream.requests[-1].one(b"x-passproxy-groups") == b"staff,board"
        name = passproxy.names.session.encode()
        for answer in answers:
            cookies = answer.all(b"set-cookie")
            assert [value.partition(b"=")[0] for value in cookies] == [name, name + b"-idp"]
            assert answer.all(b"cache-control") == [b"no-store"]


async def test_groups_that_changed_at_one_instance_are_gone_at_another_and_the_browser_keeps_what_it_got(
    op, upstream, tmp_path, hurried
):
    op.rotates, op.claims["groups"] = True, ["staff", "board"]
    listed = {"revocation": {"store": f"file:{tmp_path / 'ended'}"}}
    keys = {"session": {"keys_file": str(tmp_path / "one" / "keys.json")}}
    async with (
        site(op, upstream, tmp_path / "one", **listed) as one,
        site(op, upstream, tmp_path / "two", **listed, **keys) as other,
        Browser(one.front) as browser,
    ):
        await signed_in(browser)
        before = cookie_header(browser)
        op.claims["groups"] = ["staff"]
        # A token says to the second when it was confirmed.
        await asyncio.sleep(1.1)
        await signed_in(browser)
        assert upstream.requests[-1].one(b"x-passproxy-groups") == b"staff"

        async def is_refused() -> bool:
            return (await asked(other, before)).status == 401

        await until(is_refused, "the other instance has read it")
        assert (await asked(other, before)).all(b"set-cookie") == [], "what it would expire is newer by now"
        assert (await asked(other, cookie_header(browser))).status == 200
        assert upstream.requests[-1].one(b"x-passproxy-groups") == b"staff"


async def test_who_is_removed_at_the_provider_is_sent_to_the_login_after_the_grace(
    op, upstream, tmp_path, hurried, monkeypatch
):
    monkeypatch.setattr(renewal, "GRACE_SECONDS", 0.2)
    op.rotates = True
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        cookie = cookie_header(browser)
        op.token_response = {"error": "invalid_grant"}
        assert (await asked(passproxy, cookie)).status == 200
        await asyncio.sleep(0.3)
        answer = await asked(passproxy, cookie)
        assert answer.status == 401
        assert len([one for one in answer.all(b"set-cookie") if b"Max-Age=0" in one]) == 2


async def test_while_the_provider_is_away_sessions_go_on(op, upstream, tmp_path, hurried):
    op.rotates = True
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        await op.close()
        for _ in range(3):
            assert (await asked(passproxy, cookie_header(browser))).status == 200


async def test_a_logout_reaches_the_provider_and_comes_back(op, upstream, tmp_path):
    op.rotates = True
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        page = await browser.open(f"{ORIGIN}/.passproxy/logout")
        assert page.url.startswith(f"{ORIGIN}/.passproxy/logged-out")
        assert "You are signed out" in page.text
        assert op.logged_out[0]["id_token_hint"].count(".") == 2
        assert len(op.revoked) == 1


async def test_oidc_35_what_the_provider_ends_is_over_within_a_request(op, upstream, tmp_path, log: Log):
    op.rotates = True
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        cookie = cookie_header(browser)
        op.session_id = "sid-2"
        async with Browser(passproxy.front) as other:
            await signed_in(other)
            assert (await posted(passproxy, logout_token=op.logout_token(sid="sid-1"))).status == 200
            assert (await asked(passproxy, cookie)).status == 401
            assert (await asked(passproxy, cookie_header(other))).status == 200
            log.forget()
            refused = await posted(passproxy, logout_token=op.logout_token(nonce="n"))
            assert (refused.status, refused.all(b"cache-control")) == (400, [b"no-store"])
            assert log.one("auth.reject")["code"] == "PP-OIDC-LOGOUT-TOKEN"
            assert (await asked(passproxy, cookie_header(other))).status == 200


async def posted(passproxy: PassProxy, **fields: str) -> Answer:
    async with Raw(passproxy.address) as raw:
        form = urlencode(fields).encode()
        line = "Content-Type: application/x-www-form-urlencoded"
        return await raw.ask(request("POST", "/.passproxy/oidc/backchannel-logout", line, body=form))


async def test_oidc_36_a_frame_of_the_provider_ends_the_session_that_it_names(op, upstream, tmp_path):
    op.rotates = True
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        cookie = cookie_header(browser)
        where = "/.passproxy/oidc/frontchannel-logout"
        async with Raw(passproxy.address) as raw:
            assert (await raw.ask(get(f"{where}?sid=sid-1"))).status == 400
        assert (await asked(passproxy, cookie)).status == 200
        async with Raw(passproxy.address) as raw:
            answer = await raw.ask(get(f"{where}?{urlencode({'iss': op.issuer, 'sid': 'sid-1'})}"))
        assert answer.status == 200
        assert f"frame-ancestors {op.issuer}".encode() in answer.one(b"content-security-policy")
        assert not answer.all(b"x-frame-options")
        assert (await asked(passproxy, cookie)).status == 401


async def test_without_a_list_of_ended_sessions_the_provider_is_told_so(op, upstream, tmp_path):
    op.rotates = True
    async with site(op, upstream, tmp_path, revocation={"store": "none"}) as passproxy:
        answer = await posted(passproxy, logout_token=op.logout_token())
        assert answer.status == 501
