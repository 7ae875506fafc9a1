"""
A browser without scripts: navigations, redirects, cookies and forms, for whole logins.

It keeps what a browser keeps and sends what a browser sends (cookies by site,
Origin, Referer, Sec-Fetch-*), records every redirect, and submits forms, the
self-submitting ones of SAML too. It judges nothing: the test looks at the page.

    async with Browser() as browser:
        page = await browser.open("http://127.0.0.1:8123/reports?year=2026")
        page = await browser.sign_in(page, "alice", "alice")
        assert page.url == "http://127.0.0.1:8123/reports?year=2026"
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import quote, urldefrag, urlencode, urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.fakes import html_forms
from tests.fakes.cookie_jar import Context, CookieJar, is_loopback, site

#: What Chromium follows before it shows ERR_TOO_MANY_REDIRECTS.
REDIRECT_LIMIT = 20

ACCEPT_DOCUMENT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class RedirectLoop(AssertionError):
    """More redirects than any browser follows; the message lists them."""


@dataclass(frozen=True, slots=True)
class Front:
    """
    What stands before a server: where it is reached, and what a web server in between adds.

    With `tls_name` it is a web server that itself speaks TLS; its certificate is not looked at.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tls_name: str | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One answer that led elsewhere, by a redirect or by a form that submits itself."""

    status: int
    method: str
    url: str
    location: str


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is shown. `url` is what the address bar says, fragment included."""

    status: int
    url: str
    headers: CIMultiDictProxy[str]
    body: bytes
    hops: tuple[Hop, ...] = ()

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def forms(self) -> tuple[html_forms.Form, ...]:
        if "html" not in self.headers.get("Content-Type", ""):
            return ()
        return html_forms.forms(self.text, self.url)

    @property
    def refresh(self) -> str | None:
        """Where the page goes on by itself, at once."""
        said = self.headers.get("Refresh", "").partition("url=")[2]
        if not said and "html" in self.headers.get("Content-Type", ""):
            said = html_forms.refresh(self.text) or ""
        return urljoin(self.url, said) if said else None

    def form(self, having: str | None = None) -> html_forms.Form:
        """The page's first form, or the first with a field of this name."""
        found = next((form for form in self.forms if having is None or form.has(having)), None)
        assert found is not None, f"no form with {having!r} at {self.url} ({self.status}): {self.text[:500]}"
        return found


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    initiator: str | None
    body: bytes | None = None
    navigation: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    user_activated: bool = True

    @property
    def context(self) -> Context:
        return Context(self.initiator, self.navigation, self.method in ("GET", "HEAD"))


class Browser:
    """
    One browser profile; use as a context manager.

    Args:
        fronts: by origin, where that origin really is: lets a test speak to
            `https://app.example.com` through a stand-in for its web server.
        trusts_loopback: as in `CookieJar`.
        clock: what the cookies' lifetimes are measured with.
    """

    def __init__(
        self,
        fronts: Mapping[str, Front] | None = None,
        *,
        trusts_loopback: bool = True,
        clock: Callable[[], float] = time.time,
        timeout_seconds: float = 20.0,
    ) -> None:
        self.cookies = CookieJar(trusts_loopback=trusts_loopback)
        self._fronts = dict(fronts or {})
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._http is not None
        await self._http.close()

    async def open(self, url: str, *, come_from: Page | str | None = None) -> Page:
        """Navigate, as if typed, or as a link on the page `come_from`; follow to what is shown at the end."""
        return await self._shown(_Request("GET", url, _address(come_from)))

    async def submit(
        self, page: Page, form: html_forms.Form | None = None, *, button: str | None = None, **values: str
    ) -> Page:
        """Fill in a form of the page (the first one) and press a button (its first one)."""
        return await self._shown(_submission(page.url, (form or page.form()).filled(values), button))

    async def sign_in(self, page: Page, username: str, password: str) -> Page:
        """Submit the page's login form."""
        form = next((form for form in page.forms if any(each.type == "password" for each in form.fields)), None)
        assert form is not None, f"no login form at {page.url} ({page.status}): {page.text[:500]}"
        return await self.submit(page, form.signed_in(username, password))

    async def fetch(
        self,
        url: str,
        *,
        page: Page | str | None = None,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Page:
        """A request by a script of the page (by default of the same origin), redirects followed."""
        initiator = _address(page) or url
        return await self._followed(
            _Request(method, url, initiator, body, navigation=False, headers=headers or {}, user_activated=False)
        )

    async def once(self, url: str, *, come_from: Page | str | None = None) -> Page:
        """Navigate, but stop at the first answer even if it is a redirect."""
        return await self._answer(_Request("GET", url, _address(come_from)), "none" if come_from is None else None)

    async def _shown(self, request: _Request) -> Page:
        """Follow redirects and self-submitting forms until there is something to look at."""
        hops: tuple[Hop, ...] = ()
        while True:
            page = await self._followed(request, hops)
            if (target := page.refresh) is not None:
                hops = (*page.hops, Hop(page.status, request.method, page.url, target))
                _check_length(hops)
                request = _Request("GET", target, page.url, user_activated=False)
                continue
            found = page.forms
            if len(found) != 1 or not found[0].is_hidden or not html_forms.submits_itself(page.text):
                return page
            hops = (*page.hops, Hop(page.status, found[0].method.upper(), page.url, found[0].action))
            _check_length(hops)
            request = _submission(page.url, found[0], None, user_activated=False)

    async def _followed(self, request: _Request, hops: tuple[Hop, ...] = ()) -> Page:
        worst = None
        while True:
            worst = _worse(worst, _relation(request.initiator, request.url))
            page = await self._answer(request, worst)
            if page.status not in (301, 302, 303, 307, 308) or "Location" not in page.headers:
                return Page(page.status, page.url, page.headers, page.body, hops)
            target = _resolved(page.url, page.headers["Location"])
            hops = (*hops, Hop(page.status, request.method, page.url, target))
            _check_length(hops)
            keeps = page.status in (307, 308) or request.method in ("GET", "HEAD")
            request = _Request(
                request.method if keeps else "GET",
                target,
                request.initiator,
                request.body if keeps else None,
                request.navigation,
                request.headers if keeps else {},
                request.user_activated,
            )

    async def _answer(self, request: _Request, relation: str | None) -> Page:
        assert self._http is not None, "use the browser as a context manager"
        url, fragment = urldefrag(request.url)
        now = self._clock()
        real, front = self._reached(url)
        headers = CIMultiDict(_request_headers(request, relation or _relation(request.initiator, url)))
        if cookies := self.cookies.header(url, request.context, now):
            headers["Cookie"] = cookies
        headers.update(front.headers)
        async with self._http.request(
            request.method,
            URL(real, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            ssl=front.tls_name is None,
            server_hostname=front.tls_name,
        ) as response:
            body = await response.read()
        for line in response.headers.getall("Set-Cookie", ()):
            self.cookies.store(url, line, request.context, now)
        return Page(response.status, f"{url}#{fragment}" if fragment else url, response.headers, body)

    def _reached(self, url: str) -> tuple[str, Front]:
        origin = _origin(url)
        if origin not in self._fronts:
            return url, Front(origin)
        front = self._fronts[origin]
        host = {"Host": urlsplit(url).netloc, **front.headers}
        return front.url + url[len(origin) :], replace(front, headers=host)


def _address(page: Page | str | None) -> str | None:
    return page.url if isinstance(page, Page) else page


def _submission(address: str, form: html_forms.Form, button: str | None, *, user_activated: bool = True) -> _Request:
    encoded = urlencode(form.data(button))
    if form.method == "post":
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return _Request("POST", form.action, address, encoded.encode(), headers=headers, user_activated=user_activated)
    url = urlsplit(form.action)._replace(query=encoded, fragment="").geturl()
    return _Request("GET", url, address, user_activated=user_activated)


def _resolved(base: str, location: str) -> str:
    """A redirect's target; a fragment survives a redirect that has none (Fetch, 4.4)."""
    target = urljoin(base, quote(location.strip(), safe="!#$%&'()*+,/:;=?@[]~-._|^\"{}<>`\\"))
    fragment = urldefrag(base).fragment
    return target if not fragment or "#" in target else f"{target}#{fragment}"


def _check_length(hops: tuple[Hop, ...]) -> None:
    if len(hops) > REDIRECT_LIMIT:
        raise RedirectLoop("\n".join(f"{hop.status} {hop.method} {hop.url} -> {hop.location}" for hop in hops))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


_RELATIONS = ("none", "same-origin", "same-site", "cross-site")


def _relation(initiator: str | None, url: str) -> str:
    """Sec-Fetch-Site of one step."""
    if initiator is None:
        return "none"
    if _origin(initiator) == _origin(url):
        return "same-origin"
    return "same-site" if site(initiator) == site(url) else "cross-site"


def _worse(one: str | None, other: str) -> str:
    # Fetch Metadata 2.3: every URL of a redirect chain counts, the farthest decides.
    return other if one is None else max(one, other, key=_RELATIONS.index)


def _request_headers(request: _Request, relation: str) -> dict[str, str]:
    headers = {
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
        "Accept": ACCEPT_DOCUMENT if request.navigation else "*/*",
        "Accept-Language": "en",
    }
    parts = urlsplit(request.url)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        headers["Sec-Fetch-Site"] = relation
        headers["Sec-Fetch-Mode"] = "navigate" if request.navigation else "cors"
        headers["Sec-Fetch-Dest"] = "document" if request.navigation else "empty"
        if request.navigation and request.user_activated:
            headers["Sec-Fetch-User"] = "?1"
    if request.navigation:
        headers["Upgrade-Insecure-Requests"] = "1"
    if request.initiator is not None:
        same = relation == "same-origin"
        headers["Referer"] = urldefrag(request.initiator).url if same else _origin(request.initiator) + "/"
        if request.method not in ("GET", "HEAD") or (not request.navigation and not same):
            headers["Origin"] = _origin(request.initiator)
    return {**headers, **request.headers}
