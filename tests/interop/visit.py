"""
What people do with PassProxy in front of an application, and what each must find.

One `Visit` is one installation: a provider, a protocol, an origin. Its checks
are listed in `CHECKS` in the order in which they run; each is independent of
the others but for the session that the first one leaves behind. It starts
nothing: __main__.py does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.fakes.browser import Browser, Front, Page
from tests.interop.provider import ALICE, BOB, Person

#: Everything in it that a careless redirect loses: an escaped slash, a plus, a
#: repeated name, an escaped ampersand. No fragment: keeping one takes a script.
DEEP_LINK = "/whoami?report=2026%2Fq3&name=a+b&name=c%26d"

#: Consent and logout are confirmed on pages of the provider's own: two at most.
_CONFIRMATIONS = 3


@dataclass(slots=True)
class Visit:
    """One browser at one origin; `idp_url` is where the provider's own pages are."""

    origin: str
    idp_url: str
    browser: Browser

    async def log_in(self, person: Person, link: str) -> Page:
        page = await self.browser.open(self.origin + link)
        assert page.url.startswith(self.idp_url), f"not at the provider but at {page.url} ({page.status})"
        page = await self._confirmed(await self.browser.sign_in(page, person.login, person.login))
        assert page.url.startswith(self.origin), f"still at {page.url} ({page.status}): {page.text[:300]}"
        return page

    async def _confirmed(self, page: Page) -> Page:
        for _ in range(_CONFIRMATIONS):
            if not page.url.startswith(self.idp_url) or not page.forms:
                break
            page = await self.browser.submit(page)
        return page

    async def status_of_a_script(self) -> int:
        return (await self.browser.fetch(f"{self.origin}/whoami")).status

    async def closed_before_login(self) -> None:
        page = await self.browser.fetch(f"{self.origin}/whoami")
        assert page.status == 401, page.status
        assert self.browser.cookies.names() == set(), "a refused script was given a cookie"

    async def deep_link_kept(self) -> None:
        page = await self.log_in(ALICE, DEEP_LINK)
        assert page.status == 200, f"{page.status}: {page.text[:300]}"
        assert page.url == self.origin + DEEP_LINK, page.url
        assert page.json()["target"] == DEEP_LINK, page.json()["target"]

    async def identity_asserted(self) -> None:
        given = identity(await self.browser.open(f"{self.origin}/whoami"))
        assert given["x-passproxy-user"] == ALICE.login, given
        assert given["x-passproxy-email"] == ALICE.email, given
        assert sorted(given["x-passproxy-groups"].split(",")) == sorted(ALICE.groups), given

    async def no_second_login(self) -> None:
        page = await self.browser.open(f"{self.origin}/whoami?again")
        assert (page.status, page.hops) == (200, ()), (page.status, page.hops)

    async def not_forgeable(self) -> None:
        forged = {"X-Passproxy-User": "root", "X_Passproxy_Groups": "wheel"}
        given = identity(await self.browser.fetch(f"{self.origin}/whoami", headers=forged))
        assert given["x-passproxy-user"] == ALICE.login, given
        assert "wheel" not in given.get("x-passproxy-groups", ""), given

    async def logged_out(self) -> None:
        await self._confirmed(await self.browser.open(f"{self.origin}/.passproxy/logout"))
        status = await self.status_of_a_script()
        assert status == 401, f"{status} after the logout"

    async def other_person(self) -> None:
        """At the provider a new browser: its own session would name the first person again."""
        self.browser.cookies.clear()
        given = identity(await self.log_in(BOB, "/whoami"))
        assert (given["x-passproxy-user"], given["x-passproxy-email"]) == (BOB.login, BOB.email), given
        assert given.get("x-passproxy-groups", "") == "", given


CHECKS: Mapping[str, Callable[[Visit], Awaitable[None]]] = {
    "closed before": Visit.closed_before_login,
    "deep link": Visit.deep_link_kept,
    "identity": Visit.identity_asserted,
    "one login": Visit.no_second_login,
    "no forgery": Visit.not_forgeable,
    "logout": Visit.logged_out,
    "other person": Visit.other_person,
}


def identity(page: Page) -> dict[str, str]:
    """The identity headers that reached the application, each at most once."""
    assert page.status == 200, f"{page.status} at {page.url}: {page.text[:300]}"
    found: dict[str, str] = {}
    for name, value in page.json()["headers"]:
        normal = name.lower().replace("_", "-")
        if normal.startswith("x-passproxy-"):
            assert normal not in found, f"{name} arrived twice"
            found[normal] = value
    return found


def browser_for(origin: str, listen: str) -> Browser:
    """A browser that reaches the origin as visitors do: over TLS there is a web server in between."""
    if origin.startswith("http:"):
        return Browser()
    added = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    return Browser({origin: Front(f"http://{listen}", added)})
