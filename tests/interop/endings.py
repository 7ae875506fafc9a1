"""
What becomes of a session: renewed, ended from either side, and outlived by the provider's key.

Like the checks of visit.py; each logs in for itself where it needs a session.
"""

from __future__ import annotations

import asyncio

from tests.fakes.browser import Page
from tests.interop.provider import ALICE
from tests.interop.visit import Visit, groups, identity
from tests.interop.witness import Witness

#: `session.refresh` of installations whose sessions are renewed: as short as the configuration permits.
REFRESH_SECONDS = 5

#: A session is due in whole seconds.
DUE_SECONDS = REFRESH_SECONDS + 1.1

#: From the provider's refusal to the end (renewal.py), with some room for slow hardware.
REFUSED_SECONDS = 10 + REFRESH_SECONDS + 5


async def renewed(visit: Visit) -> None:
    """
    What changed at the provider arrives without a login, twice: the second time with the refresh token of the first.

    In between another window comes with the cookies from before, and must neither be
    turned away nor spend a refresh token that was used.
    """
    visit.browser.cookies.clear()
    given = identity(await visit.log_in(ALICE, "/whoami"))
    assert groups(given) == set(ALICE.groups), given
    fewer = ALICE.groups[:1]
    try:
        async with visit.copied_browser() as window:
            await visit.provider.set_groups(ALICE.login, fewer)
            await _expect_after_renewal(visit, visit.browser, fewer)
            await _expect(visit, window, fewer)
            await visit.provider.set_groups(ALICE.login, ALICE.groups)
            await _expect_after_renewal(visit, visit.browser, ALICE.groups)
    finally:
        await visit.provider.set_groups(ALICE.login, ALICE.groups)


async def _expect_after_renewal(visit: Visit, browser: Witness, names: tuple[str, ...]) -> None:
    before = {cookie.name: cookie.value for cookie in browser.cookies if cookie.host in visit.origin}
    await asyncio.sleep(DUE_SECONDS)
    await _expect(visit, browser, names)
    after = {cookie.name: cookie.value for cookie in browser.cookies if cookie.host in visit.origin}
    assert before.keys() == after.keys(), f"other cookies than before the renewal: {sorted(after)}"
    # The session and what renews it; who was here last, and that a login finished, has not changed.
    same = {name for name in before if before[name] == after[name] and name.endswith(("passproxy", "passproxy-idp"))}
    assert not same, f"the renewal left {sorted(same)} as they were"


async def _expect(visit: Visit, browser: Witness, names: tuple[str, ...]) -> None:
    page = await browser.open(f"{visit.origin}/whoami")
    visit.assert_at_once(page)
    given = identity(page)
    assert groups(given) == set(names), f"{names} expected: {given}"


async def logged_out(visit: Visit) -> None:
    """
    Started at PassProxy; a copy of the cookies is worth nothing either.

    It ends at the provider too, which then asks for the password again, unless
    that is switched off.
    """
    visit.browser.cookies.clear()
    await visit.log_in(ALICE, "/whoami")
    async with visit.copied_browser() as thief:
        await _assert_logged_in(visit, thief)
        page = await visit.confirmed(await visit.browser.open(visit.case.stand.url("logout")))
        _assert_back(visit, page)
        for browser in (visit.browser, thief):
            status = await visit.status_of_a_script(browser)
            assert status == 401, f"{status} after the logout"
    page = await visit.browser.open(f"{visit.origin}/whoami")
    if visit.case.is_single_logout:
        visit.assert_asked_for_password(page)
    else:
        assert identity(page)["x-passproxy-user"] == ALICE.login
        assert page.hops, "still logged in"


async def _assert_logged_in(visit: Visit, browser: Witness) -> None:
    status = await visit.status_of_a_script(browser)
    assert status == 200, f"{status} with a copy of the cookies"


def _assert_back(visit: Visit, page: Page) -> None:
    # "?incomplete" would say that somebody else is still logged in.
    assert page.url == visit.case.stand.url("logged-out"), f"after the logout at {page.url} ({page.status})"
    assert page.status == 200, page.status


async def ended_at_provider(visit: Visit) -> None:
    """Started there; a copy of the cookies is worth nothing either, and nobody is logged in again silently."""
    visit.browser.cookies.clear()
    await visit.log_in(ALICE, "/whoami")
    async with visit.copied_browser() as thief:
        await _assert_logged_in(visit, thief)
        await visit.provider.end_sessions(visit)
        if visit.case.ending == "renewal":
            await _wait_for_refusal(visit)
        for browser in (visit.browser, thief):
            status = await visit.status_of_a_script(browser)
            assert status == 401, f"{status} after the end of the session at the provider"
    visit.assert_asked_for_password(await visit.browser.open(f"{visit.origin}/whoami"))


async def _wait_for_refusal(visit: Visit) -> None:
    assert await visit.status_of_a_script() == 200, "something else than a renewal ended the session"
    for _ in range(REFUSED_SECONDS):
        await asyncio.sleep(1)
        if await visit.status_of_a_script() != 200:
            return


async def new_key(visit: Visit) -> None:
    """With the provider's new key: the session from before goes on, and the first login succeeds."""
    page = await visit.browser.open(f"{visit.origin}/whoami")
    visit.assert_at_once(page)
    visit.browser.cookies.clear()
    given = identity(await visit.log_in(ALICE, "/whoami"))
    assert given["x-passproxy-user"] == ALICE.login, given
