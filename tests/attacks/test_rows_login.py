"""
The way in, in a browser: rows of attack catalogue 2.7 and 2.12 on targets, planted sessions, cookies and caches.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from passproxy.core.session import Sessions
from tests.attacks.acs import AcsSite, acs_site, claims
from tests.fakes import idp_saml as idp
from tests.fakes.browser import Browser, Page
from tests.fakes.cookie_jar import Context, CookieJar
from tests.fakes.gateway import ORIGIN, demo_idp, get, navigation, oidc_at, protecting, request, saml_at
from tests.fakes.idp_oidc import FakeOp
from tests.fakes.raw import Answer
from tests.fakes.upstream import Upstream, answering, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: AcsSite) -> None:
    site.upstream.script = ok
    site.upstream.forget()


SCHEMES = [
    *("http:evil.example", "http:/evil.example", "https:/evil.example", "https:\\evil.example", "https:///evil.example"),
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "vbscript:x"),
    *("data:text/html,<script>alert(1)</script>", "HTTPS://evil.example/", "blob:https://app.example.com/x"),
    *("file:///etc/passwd", "mailto:a@example.com", "view-source:https://app.example.com/", "://evil.example", ":/x"),
]  # fmt: skip

AUTHORITIES = [
    *("https://app.example.com@evil.example/", "https://app.example.com.evil.example/", "//app.example.com@evil.example"),
    *("https://evil.example/app.example.com", "https://evil-app.example.com", "https://app.example.com:443@evil.example"),
    *("https://[::1]", "https://[::ffff:127.0.0.1]/", "https://app.example.com%2f@evil.example", "https://app.example.com./"),
    *("https://app。example。com", "https://app.example.com\\@evil.example", "https://app.example.com#@evil.example"),
    *("https://app.example.com?@evil.example", "https://user:password@app.example.com/", "https://app.example.com:8443/"),
    *("http://app.example.com/", "https://app.example.com", "https://APP.EXAMPLE.COM/", "https://example.com/", "app.example.com/"),
]  # fmt: skip


@pytest.mark.parametrize("target", SCHEMES, ids=lambda target: f"LF-03 {target!a}")
async def test_a_scheme_leads_home(site: AcsSite, target: str) -> None:
    assert await landed(site, target) == f"{ORIGIN}/"


@pytest.mark.parametrize("target", AUTHORITIES, ids=lambda target: f"LF-04 {target!a}")
async def test_an_authority_leads_home_even_where_it_is_our_own(site: AcsSite, target: str) -> None:
    assert await landed(site, target) == f"{ORIGIN}/"


async def landed(site: AcsSite, target: str) -> str:
    begun = await site.begun(f"/.passproxy/login?return_to={quote(target, safe='')}")
    answer = await site.asked(site.posted(begun, idp.answer(begun.facts())))
    assert answer.status == 303
    return answer.one(b"location").decode()


async def test_lf_03_lf_04_a_plain_path_does_not_lead_home(site: AcsSite) -> None:
    assert await landed(site, "/app?next=https://evil.example/") == f"{ORIGIN}/app?next=https://evil.example/"


async def test_lf_10_no_other_host_can_plant_a_session_and_beside_ours_it_counts_for_nothing(site: AcsSite) -> None:
    name, planted = site.passproxy.names.session, site.passproxy.token("mallory")
    assert name.startswith("__Host-")
    jar, now = CookieJar(), time.time()
    for line in (
        f"{name}={planted}; Domain=example.com; Path=/; Secure",
        f"{name}={planted}; Path=/; Secure",
        f"{name}={planted}; Domain=app.example.com; Path=/; Secure",
        f"{name.lower()}={planted}; Domain=example.com; Path=/; Secure",
    ):
        jar.store("https://evil.example.com/", line, Context(), now)
    assert name not in jar.header(f"{ORIGIN}/", Context(), now)
    # A browser without the prefix would send both; then neither is a session.
    for cookies in (f"{name}={planted}; {site.cookie}", f"{site.cookie}; {name}={planted}"):
        answer = await site.asked(get("/", cookie=cookies))
        assert answer.status == 401
        assert any(value.startswith(f"{name}=;".encode()) for value in answer.all(b"set-cookie"))
    assert site.upstream.is_untouched


async def test_lf_10_a_login_replaces_a_planted_session_and_does_not_prolong_it(site: AcsSite) -> None:
    planted = site.passproxy.cookie("mallory", seconds=600)
    own = await site.signed_in(planted, name_id="victim@example.com")
    assert (await site.seen(own)).one(b"x-passproxy-user") == b"victim@example.com"
    assert claims(own)["sid"] != claims(planted)["sid"]
    assert claims(planted)["exp"] < claims(own)["exp"]
    assert (await site.seen(planted)).one(b"x-passproxy-user") == b"mallory"


@pytest.mark.parametrize("settings", [oidc_at, saml_at], ids=["LF-11 OpenID Connect", "LF-11 SAML"])
async def test_without_cookies_there_is_a_page_and_no_loop(site: AcsSite, tmp_path: Path, settings) -> None:
    """Also once the provider asks for nothing any more: `Browser` raises after twenty redirects, as browsers do."""
    async with (
        demo_idp() as provider,
        protecting(site.upstream.url, tmp_path, **settings(provider)) as passproxy,
        Browser(passproxy.front) as browser,
    ):
        store = browser.cookies.store
        browser.cookies.store = lambda url, *rest: not url.startswith(ORIGIN) and store(url, *rest)
        page = await browser.sign_in(await browser.open(f"{ORIGIN}/deep"), "alice", "alice")
        for _ in range(10):
            assert (page.status, page.url.startswith(ORIGIN)) == (403, True)
            assert "PP-LOGIN-UNKNOWN" in page.text
            assert "blocking cookies" in page.text
            page = await browser.open(f"{ORIGIN}/deep")
        assert browser.cookies.named(passproxy.names.session) is None
    assert site.upstream.is_untouched


async def test_lf_20_what_is_ours_is_never_stored_and_what_is_the_applications_is_as_it_was(site: AcsSite) -> None:
    for answer in [*(await ours(site)).values()]:
        assert answer.all(b"cache-control") == [b"no-store"], answer.head
        assert answer.all(b"expires") == answer.all(b"etag") == answer.all(b"strict-transport-security") == []
    for lines in (b"", b'Cache-Control: public, max-age=60\r\nVary: Accept\r\nETag: "x"\r\n', b"Expires: 0\r\n"):
        site.upstream.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n")
        answer = await site.asked(get("/page", cookie=site.cookie))
        kept = [(name, value) for name, value in answer.fields if name not in (b"Content-Length", b"Connection")]
        assert kept == [(n, v.strip()) for n, _, v in (line.partition(b":") for line in lines.split(b"\r\n")[:-1])]


async def test_lf_20_behind_a_logout_the_way_back_leads_nowhere(site: AcsSite) -> None:
    session = await site.signed_in()
    assert (await site.asked(get("/page", cookie=session))).status == 200
    gone = await site.asked(navigation("/.passproxy/logout", "Sec-Fetch-Site: same-origin", cookie=session))
    assert gone.all(b"cache-control") == [b"no-store"]
    site.upstream.forget()
    assert (await site.asked(get("/page", cookie=session))).status == 401
    assert (await site.asked(navigation("/page", cookie=session))).status == 302
    assert site.upstream.is_untouched


async def ours(site: AcsSite) -> dict[str, Answer]:
    """An answer of each kind that PassProxy itself writes."""
    begun = await site.begun()
    post = site.posted(begun, idp.answer(begun.facts()))
    session = await site.signed_in()
    expired = site.passproxy.cookie(seconds=-5)
    same = "Sec-Fetch-Site: same-origin"
    requests = {
        "login": navigation("/x"),
        "login page": navigation("/.passproxy/login?return_to=/x"),
        "login over an old session": navigation("/x", cookie=expired),
        "callback": post,
        "callback again": post,
        "callback of nobody": request("POST", "/.passproxy/saml/acs"),
        "without a session": get("/x"),
        "with an old session": get("/x", cookie=expired),
        "with two sessions": get("/x", cookie=f"{session}; {session}"),
        "userinfo": get("/.passproxy/userinfo", cookie=session),
        "metadata": get("/.passproxy/saml/metadata"),
        "health": get("/.passproxy/health"),
        "nothing": navigation("/.passproxy/nothing"),
        "no request": get("/x", "a b: c"),
        "another host": get("/x", host="other.example.com"),
        "logout of another site": navigation("/.passproxy/logout", "Sec-Fetch-Site: cross-site", cookie=session),
        "logout": navigation("/.passproxy/logout", same, cookie=session),
        "logged out": navigation("/.passproxy/logged-out"),
    }  # fmt: skip
    return {what: await site.asked(bytes_of) for what, bytes_of in requests.items()}


async def test_ck_14_no_answer_with_a_cookie_of_ours_can_be_stored(site: AcsSite) -> None:
    answers = await ours(site)
    setting = {what for what, answer in answers.items() if answer.all(b"set-cookie")}
    assert {
        "login",
        "login over an old session",
        "callback",
        "with an old session",
        "with two sessions",
        "logout",
    } <= setting
    assert {what for what, answer in answers.items() if answer.all(b"cache-control") != [b"no-store"]} == set()


async def test_ck_14_nor_an_answer_of_the_application_that_a_renewed_session_goes_along_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Sessions.known
    monkeypatch.setattr(Sessions, "known", lambda self, session: known(self, session)._replace(due_at=1.0))
    public = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: public, max-age=3600\r\nExpires: x\r\n\r\n"
    async with FakeOp() as op, Upstream(answering(public)) as upstream:
        op.rotates = True
        async with (
            protecting(upstream.url, tmp_path, **oidc_with(op)) as passproxy,
            Browser(passproxy.front) as browser,
        ):
            page = await browser.open(f"{ORIGIN}/a.css")
            assert (page.status, page.headers.getall("Cache-Control")) == (200, ["no-store"])
            assert passproxy.names.session in str(page.headers.getall("Set-Cookie"))


def oidc_with(op: FakeOp, **more: str) -> dict[str, dict[str, str | None]]:
    return {"oidc": {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret, **more}}


def by_form(op: FakeOp) -> dict[str, dict[str, str | None]]:
    return oidc_with(op, response_mode="form_post")


@pytest.mark.parametrize(
    ("make", "settings", "same_site"),
    [
        pytest.param(FakeOp, oidc_with, "lax", id="LF-21 OpenID Connect by redirect"),
        pytest.param(FakeOp, by_form, "none", id="LF-21 OpenID Connect by form"),
        pytest.param(demo_idp, saml_at, "none", id="LF-21 SAML"),
    ],
)
async def test_a_foreign_form_brings_the_login_cookie_alone_and_that_is_enough(
    site: AcsSite, tmp_path: Path, make, settings, same_site: str
) -> None:
    """Twice, since the second time there is a session cookie that could come along."""
    brought: list[set[str]] = []
    async with (
        make() as provider,
        protecting(site.upstream.url, tmp_path, **settings(provider)) as passproxy,
        Browser(passproxy.front) as browser,
    ):
        original, session = browser._answer, passproxy.names.session

        async def noting(asked, relation) -> Page:
            if "/saml/acs" in asked.url or "/oidc/callback" in asked.url:
                jar = browser.cookies.header(asked.url, asked.context, time.time())
                brought.append({pair.partition("=")[0] for pair in jar.split("; ")})
                (login,) = [cookie for cookie in browser.cookies if "-login-" in cookie.name]
                assert (login.same_site, login.secure, login.http_only) == (same_site, True, True)
            return await original(asked, relation)

        browser._answer = noting
        for path in ("/one", "/.passproxy/login?return_to=/two"):
            page = await browser.open(ORIGIN + path)
            if page.status == 200 and not page.url.startswith(ORIGIN):
                page = await browser.sign_in(page, "alice", "alice")
            assert (page.status, page.url) == (200, f"{ORIGIN}/{path[-3:]}")
        cookie = browser.cookies.named(session)
        assert cookie is not None
        assert (cookie.same_site, cookie.secure, cookie.http_only) == ("lax", True, True)
    first, second = brought
    assert [name for name in first if "-login-" not in name] == []
    assert len([name for name in second if "-login-" in name]) == 1
    assert (session in second) == (same_site == "lax")
