"""
Sessions that should be over: whose groups do not do, who logged out, who began too early, who stays too long.

Rows LF-22, JWT-14, JWT-19 and JWT-20 of the attack catalogue, and CLK-02 for sessions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from passproxy.core.errors import TokenInvalid
from passproxy.core.session import SessionRules, Sessions
from tests.core.given import ALICE, NOW, RING, SAID_OF_ALICE
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN
from tests.fakes.idp_oidc import DROP, FakeOp
from tests.fakes.log import Log
from tests.flows.test_sessions import asked, session_of, signed_in, site

LIFETIME = 24 * 3600
DAY = 86400


@pytest.fixture
async def op() -> AsyncIterator[FakeOp]:
    async with FakeOp() as op:
        op.userinfo["groups"] = DROP
        yield op


async def test_lf_22_groups_are_judged_at_the_login_and_on_each_request(op, upstream, tmp_path, log: Log):
    async with site(op, upstream, tmp_path, access={"require_any_group": ["board"]}) as passproxy:
        async with Browser(passproxy.front) as browser:
            page = await signed_in(browser)
            assert (page.status, "PP-ACCESS-GROUP" in page.text) == (403, True)
            assert passproxy.names.session not in browser.cookies.names()
            assert log.one("request.refused")["code"] == "PP-ACCESS-GROUP"
        # A session from before the configuration was tightened.
        log.forget()
        answer = await asked(passproxy, passproxy.cookie(groups=("staff",)))
        assert answer.status == 403
        assert log.one("request.refused")["code"] == "PP-ACCESS-GROUP"
        assert upstream.requests == []
        assert (await asked(passproxy, passproxy.cookie(groups=("board",)))).status == 200


async def test_jwt_20_after_a_logout_a_copy_of_the_cookie_is_worth_nothing(op, upstream, tmp_path):
    async with site(op, upstream, tmp_path) as passproxy, Browser(passproxy.front) as browser:
        await signed_in(browser)
        name = passproxy.names.session
        copy = f"{name}={session_of(browser, passproxy)}"
        assert (await asked(passproxy, copy)).status == 200
        page = await browser.open(f"{ORIGIN}/.passproxy/logout")
        assert page.url.startswith(f"{ORIGIN}/.passproxy/logged-out") or not page.url.startswith(ORIGIN)
        assert not {one for one in browser.cookies.names() if one.startswith(name) and "-login-" not in one}
        assert (await asked(passproxy, copy)).status == 401


async def test_jwt_20_what_ended_at_one_instance_is_over_at_the_others_and_after_a_restart(op, upstream, tmp_path):
    shared = {"revocation": {"store": f"file:{tmp_path / 'revoked'}"}}
    async with site(op, upstream, tmp_path / "one", **shared) as one:
        keys = {"session": {"keys_file": str(tmp_path / "one" / "keys.json")}}
        async with site(op, upstream, tmp_path / "two", **shared, **keys) as two, Browser(one.front) as browser:
            await signed_in(browser)
            copy = f"{one.names.session}={session_of(browser, one)}"
            other = one.cookie("bob")
            assert (await asked(two, copy)).status == 200
            await browser.open(f"{ORIGIN}/.passproxy/logout")
            assert (await asked(one, copy)).status == 401
            end = time.monotonic() + 10
            while (await asked(two, copy)).status != 401:
                assert time.monotonic() < end, "the other instance never refused"
                await asyncio.sleep(0.05)
            assert (await asked(two, other)).status == 200
        async with site(op, upstream, tmp_path / "three", **shared, **keys) as three:
            assert (await asked(three, copy)).status == 401


async def test_jwt_14_everybody_is_logged_out_by_a_line_of_configuration(op, upstream, tmp_path):
    async with site(op, upstream, tmp_path, session={"not_before": "2100-01-01T00:00:00Z"}) as passproxy:
        assert (await asked(passproxy, passproxy.cookie())).status == 401
    async with site(op, upstream, tmp_path, session={"not_before": "2020-01-01T00:00:00+01:00"}) as passproxy:
        assert (await asked(passproxy, passproxy.cookie())).status == 200


def test_jwt_19_activity_every_hour_for_a_month_moves_no_end():
    store = Sessions(RING, LIFETIME, lambda session: b"", SessionRules(refresh_seconds=60))
    session = store.begin(ALICE, SAID_OF_ALICE, NOW)
    for now in range(NOW + 60, NOW + 30 * DAY, 3600):
        session = store.renewed(session, ALICE, SAID_OF_ALICE, now)
        assert (session.issued_at, session.expires_at) == (NOW, NOW + LIFETIME)
        token = store.seal(session).encode()
        if now < NOW + LIFETIME:
            assert store.session(token, now).id == session.id
        else:
            with pytest.raises(TokenInvalid):
                store.open(token, now)


JUMPS = {
    "CLK-02 an hour on": (3600, True),
    "CLK-02 its lifetime on": (LIFETIME, False),
    "CLK-02 twenty years on": (20 * 365 * DAY, False),
    "CLK-02 a minute back": (-59, True),
    "CLK-02 an hour back": (-3600, False),
    "CLK-02 in 1970": (-NOW, False),
}


@pytest.mark.parametrize(("jump", "is_one"), JUMPS.values(), ids=JUMPS)
def test_a_session_is_judged_by_the_clock_as_it_is_now(jump: int, is_one: bool):
    store = Sessions(RING, LIFETIME, lambda session: b"")
    token = store.seal(store.begin(ALICE, SAID_OF_ALICE, NOW)).encode()
    if jump > 0:
        store.open(token, NOW)  # remembered, and judged again all the same
    if is_one:
        store.open(token, NOW + jump)
    else:
        with pytest.raises(TokenInvalid):
            store.open(token, NOW + jump)
