"""
What people do with PassProxy in front of an application, and what each must find.

One `Visit` is one installation with one browser. Its checks are listed in
checks.py; here are those that concern the login. It starts nothing: __main__.py does.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakes.browser import Page
from tests.fakes.html_forms import Field, Form
from tests.interop.provider import ALICE, BOB, Case, Person, Provider
from tests.interop.witness import Witness, witness_for

#: Everything in it that a careless redirect loses: an escaped slash, a plus, a
#: repeated name, an escaped ampersand. No fragment: keeping one takes a script.
DEEP_LINK = "/whoami?report=2026%2Fq3&name=a+b&name=c%26d"

#: Consent and logout are confirmed on pages of the provider's own: two at most.
_CONFIRMATIONS = 3

# A button may stand outside of its form, as on oidc-provider's page for the logout.
_LOGOUT_BUTTON = re.compile(r'<button[^>]* type="submit" form="[^"]+" value="yes" name="logout">')


@dataclass(slots=True)
class Visit:
    """One browser at one installation, which `file` configures."""

    provider: Provider
    case: Case
    browser: Witness
    file: Path

    @property
    def origin(self) -> str:
        return self.case.stand.origin

    async def log_in(self, person: Person, link: str) -> Page:
        page = await self.browser.open(self.origin + link)
        self.assert_asked_for_password(page)
        page = await self.confirmed(await self.browser.sign_in(page, person.login, person.login))
        assert page.url.startswith(self.origin), f"still at {_bare(page.url)} ({page.status}): {page.text[:300]}"
        return page

    def assert_asked_for_password(self, page: Page) -> None:
        assert page.url.startswith(self.provider.base_url), (
            f"not at the provider but at {_bare(page.url)} ({page.status})"
        )
        is_asked = any(field.type == "password" for form in page.forms for field in form.fields)
        assert is_asked, f"not asked for a password at {_bare(page.url)} ({page.status}): {page.text[:300]}"

    def assert_at_once(self, page: Page) -> None:
        """Shown to whoever is logged in already, without a detour."""
        ways = [f"{hop.status} to {_bare(hop.location)}" for hop in page.hops]
        assert (page.status, ways) == (200, []), f"{page.status} after {ways or 'no redirect'}"

    async def confirmed(self, page: Page) -> Page:
        """Say yes for as long as the provider asks."""
        for _ in range(_CONFIRMATIONS):
            if not page.url.startswith(self.provider.base_url) or not page.forms:
                break
            page = await self.browser.submit(page, _with_outer_button(page))
        return page

    async def status_of_a_script(self, browser: Witness | None = None) -> int:
        return (await (browser or self.browser).fetch(f"{self.origin}/whoami")).status

    @asynccontextmanager
    async def copied_browser(self) -> AsyncIterator[Witness]:
        """Another browser with the same cookies."""
        async with witness_for(self.case.stand) as other:
            yield other.take_cookies_of(self.browser)

    async def closed_before_login(self) -> None:
        page = await self.browser.fetch(f"{self.origin}/whoami")
        assert page.status == 401, page.status
        assert self.browser.cookies.names() == set(), "a refused script was given a cookie"

    async def deep_link_kept(self) -> None:
        page = await self.log_in(ALICE, DEEP_LINK)
        assert page.status == 200, f"{page.status}: {page.text[:300]}"
        assert page.url == self.origin + DEEP_LINK, page.url
        assert page.json()["target"] == DEEP_LINK, page.json()["target"]

    async def went_as_meant(self) -> None:
        await self.case.as_meant(self)

    async def identity_asserted(self) -> None:
        given = identity(await self.browser.open(f"{self.origin}/whoami"))
        assert given["x-passproxy-user"] == ALICE.login, given
        assert given["x-passproxy-email"] == ALICE.email, given
        assert groups(given) == set(ALICE.groups), given

    async def no_second_login(self) -> None:
        page = await self.browser.open(f"{self.origin}/whoami?again")
        self.assert_at_once(page)

    async def not_forgeable(self) -> None:
        forged = {"X-Passproxy-User": "root", "X_Passproxy_Groups": "wheel"}
        given = identity(await self.browser.fetch(f"{self.origin}/whoami", headers=forged))
        assert given["x-passproxy-user"] == ALICE.login, given
        assert "wheel" not in groups(given), given

    async def started_at_provider(self) -> None:
        """A login that PassProxy did not ask for leads in where the configuration says so, and nowhere else."""
        assert self.case.start_url is not None
        self.browser.cookies.clear()
        page = await self.browser.open(self.case.start_url)
        self.assert_asked_for_password(page)
        page = await self.confirmed(await self.browser.sign_in(page, ALICE.login, ALICE.login))
        status = await self.status_of_a_script()
        if self.case.section.get("allow_idp_initiated", False):
            assert (page.status, page.url, status) == (200, f"{self.origin}/", 200), (
                page.status,
                _bare(page.url),
                status,
            )
        else:
            # The refusal is a page of PassProxy's own: it did get the answer.
            at = _bare(page.url)
            assert (page.status, at, status) == (400, self.case.stand.url("saml/acs"), 401), (page.status, at, status)

    async def other_person(self) -> None:
        """At the provider a new browser: its own session would name the first person again."""
        self.browser.cookies.clear()
        given = identity(await self.log_in(BOB, "/whoami"))
        assert (given["x-passproxy-user"], given["x-passproxy-email"]) == (BOB.login, BOB.email), given
        assert groups(given) == set(), given


def identity(page: Page) -> dict[str, str]:
    """The identity headers that reached the application, each at most once."""
    assert page.status == 200, f"{page.status} at {_bare(page.url)}: {page.text[:300]}"
    found: dict[str, str] = {}
    for name, value in page.json()["headers"]:
        normal = name.lower().replace("_", "-")
        if normal.startswith("x-passproxy-"):
            assert normal not in found, f"{name} arrived twice"
            found[normal] = value
    return found


def _bare(url: str) -> str:
    # What is in a query may be worth something for a minute.
    return url.partition("?")[0]


def groups(given: dict[str, str]) -> set[str]:
    return {name for name in given.get("x-passproxy-groups", "").split(",") if name}


def _with_outer_button(page: Page) -> Form:
    form = page.form()
    if not _LOGOUT_BUTTON.search(page.text):
        return form
    return replace(form, fields=(*form.fields, Field("logout", "yes", "hidden")))
