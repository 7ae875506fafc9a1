"""Section 2.12 of the catalogue, with a browser and the demo's provider: where a login may end, and whose it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote, urljoin, urlsplit

import pytest
import pytest_asyncio

from passproxy.demo.idp import DemoIdentityProvider
from tests.attacks.edge import Edge, edge
from tests.fakes.browser import Browser, Page
from tests.fakes.gateway import ORIGIN, demo_idp, get, navigation, protecting, request, saml_at
from tests.fakes.log import Log
from tests.fakes.upstream import Upstream, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.script = ok
    site.upstream.forget()


HOSTILE = [
    *(
        "//evil.example",
        "/\\evil.example",
        "\\/\\/evil",
        "/%09/evil.example",
        "/%0d/evil",
        "/ /evil",
        "/%5cevil.example",
    ),
    *("/\t/evil", "///evil", "////evil", "/.//evil", "/..//evil", "/;//evil", "/%2f/evil.example", "/%2e/%2f/evil"),
    *(
        "http:evil.example",
        "https:/evil.example",
        "https:\\evil",
        "javascript:alert(1)",
        "data:text/html,x",
        "HTTPS://evil",
    ),
    *(
        "https://app.example.com@evil.example/",
        "https://app.example.com.evil.example/",
        "https://evil.example/app.example.com",
    ),
    *("https://app.example.com:443@evil", "https://[::1]", "https://app.example.com%2f@evil", "evil.example", "@evil"),
    *(
        "/\x0bx",
        "/\x00",
        "/\x7f",
        "/\u2028",
        "/\uff0fevil",
        "/\u2044evil",
        "\ufeff/",
        "/x\r\nSet-Cookie: a=b",
        "/x\nX: y",
    ),
    *("/#<script>", "/<script>", '/"', "/" + "a" * 5000),
    *(
        "/.passproxy/logout",
        "/.passproxy/oidc/callback?code=x",
        "/.passproxy/login",
        "/.passproxy/saml/acs",
        "/.passproxy",
    ),
]


async def landed(site: Edge, login: bytes) -> str:
    """Log in from this first request on; where the browser is sent at the end."""
    async with Browser(site.passproxy.front) as browser:
        first = await site.asked(login)
        assert first.status == 302
        for line in first.all(b"set-cookie"):
            browser.cookies.store(f"{ORIGIN}/", line.decode(), _typed(), browser._clock())
        form = await browser.open(first.one(b"location").decode(), come_from=f"{ORIGIN}/")
        page = await browser.sign_in(form, "alice", "alice")
        assert "__Host-passproxy" in browser.cookies.names()
        assert page.hops[-1].status == 303
        return page.hops[-1].location


def _typed():
    from tests.fakes.cookie_jar import Context

    return Context()


@pytest.mark.parametrize("target", ["/x#y", "/#//evil", "/x?y#/../.passproxy/logout"])
async def test_lf_02_a_fragment_stays_behind_our_own_path(site: Edge, target: str):
    location = await landed(site, navigation(f"/.passproxy/login?return_to={quote(target, safe='')}"))
    assert location == f"{ORIGIN}{target}"


@pytest.mark.parametrize("target", HOSTILE)
async def test_lf_02_to_07_a_login_ends_at_home(site: Edge, target: str):
    encoded = quote(target, safe="")
    location = await landed(site, navigation(f"/.passproxy/login?return_to={encoded}"))
    assert location == f"{ORIGIN}/"


@pytest.mark.parametrize(
    "query", ["", "?return_to=/a&return_to=/b", "?return%5fto=/a", "?return_to=%ff", "?rd=//evil", "?return_to"]
)
async def test_lf_02_a_login_that_says_nothing_useful_ends_at_home(site: Edge, query: str):
    assert await landed(site, navigation(f"/.passproxy/login{query}")) == f"{ORIGIN}/"


@pytest.mark.parametrize(
    "target", ["//evil.example/%2e%2e", "/..//evil.example", "/%5cevil.example", "/;//evil.example", "/a/..//evil"]
)
async def test_lf_06_the_first_request_itself_cannot_lead_away(site: Edge, target: str):
    location = await landed(site, navigation(target))
    assert location.startswith(f"{ORIGIN}/")
    assert urlsplit(urljoin("https://x.example/", location)).netloc == "app.example.com"


@pytest.mark.parametrize(
    "target", ["/", "/a?b=c", "/a//b", "/a%2Fb;c?x=//y&return_to=//z", "/?" + "q" * 1500, "/.passproxyish"]
)
async def test_a_login_ends_where_it_began(site: Edge, target: str):
    assert await landed(site, navigation(target)) == ORIGIN + target


@pytest.mark.parametrize("change", ["no login cookie", "another browser's", "doubled", "cut", "of another login"])
async def test_lf_08_and_09_an_answer_to_somebody_elses_login_is_none(site: Edge, log: Log, change: str):
    """Login CSRF: the attacker's own answer, in the browser of the victim."""
    answers: list[str] = []
    async with Browser(site.passproxy.front) as attacker:
        original = attacker._answer

        async def stop(asked, relation):
            if "/oidc/callback" in asked.url:
                answers.append(asked.url)
                return Page(
                    200,
                    asked.url,
                    (await original(type(asked)("GET", f"{ORIGIN}/.passproxy/health", None), None)).headers,
                    b"",
                )
            return await original(asked, relation)

        attacker._answer = stop
        await attacker.sign_in(await attacker.open(f"{ORIGIN}/"), "bob", "bob")
        (name,) = [name for name in attacker.cookies.names() if "-login-" in name]
        value = (
            attacker.cookies.header(f"{ORIGIN}/", _typed(), attacker._clock())
            .partition(f"{name}=")[2]
            .partition(";")[0]
        )
    victim = await site.asked(navigation("/"))
    theirs = victim.one(b"set-cookie").partition(b";")[0].decode()
    cookie = {
        "no login cookie": None,
        "another browser's": theirs,
        "doubled": f"{name}={theirs.partition('=')[2]}; {name}={theirs.partition('=')[2]}",
        "cut": f"{name}={value[:-4]}",
        "of another login": f"{name}={theirs.partition('=')[2]}",
    }[change]
    log.forget()
    target = answers[0].removeprefix(ORIGIN)
    answer = await site.refuses(get(target, "Accept: text/html", cookie=cookie), log, 403)
    assert b"bob" not in answer.body


async def test_lf_09_a_doubled_login_cookie_is_refused_even_when_one_is_right(site: Edge, log: Log):
    """A sibling domain can plant a second cookie of the same name where there is no prefix; two are none."""
    first = await site.asked(navigation("/"))
    pair = first.one(b"set-cookie").partition(b";")[0].decode()
    name = pair.partition("=")[0]
    state = first.one(b"location").decode().partition("state=")[2].partition("&")[0]
    twice = get(f"/.passproxy/oidc/callback?state={state}&code=x", cookie=f"{pair}; {name}=planted")
    await site.refuses(twice, log, 403)


async def test_lf_13_a_form_without_a_session_is_neither_kept_nor_sent_again(site: Edge, log: Log):
    form = (
        "Content-Type: application/x-www-form-urlencoded",
        "Accept: text/html",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
    )
    answer = await site.refuses(request("POST", "/transfer", *form, body=b"amount=1"), log, 401)
    assert not answer.all(b"set-cookie")
    await landed(site, navigation("/"))
    assert all(seen.head.startswith(b"GET ") for seen in site.upstream.requests)


async def test_lf_14_redirects_never_keep_a_method(site: Edge):
    async with Browser(site.passproxy.front) as browser:
        page = await browser.sign_in(await browser.open(f"{ORIGIN}/x"), "alice", "alice")
        assert {hop.status for hop in page.hops} <= {302, 303}


@pytest.mark.parametrize(
    "path", ["/.passproxy/logged-out", "/.passproxy/nothing", "/.passproxy/oidc/callback", "/.passproxy/logout"]
)
async def test_lf_15_and_xss_our_own_pages_load_nothing_and_cannot_be_framed(site: Edge, path: str):
    got = await site.asked(navigation(path, "Sec-Fetch-Site: cross-site"))
    policy = got.one(b"content-security-policy")
    for part in (b"default-src 'none'", b"frame-ancestors 'none'", b"base-uri 'none'", b"form-action "):
        assert part in policy
    assert b"unsafe" not in policy
    assert got.one(b"x-frame-options") == b"DENY"
    assert got.one(b"x-content-type-options") == b"nosniff"
    assert got.one(b"content-type") == b"text/html; charset=utf-8"
    assert b"<script" not in got.body


@pytest.mark.parametrize("site_header", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_lf_16_another_site_logs_nobody_out(site: Edge, site_header: str, method: str):
    lines = (f"Sec-Fetch-Site: {site_header}", "Accept: text/html", "Origin: https://evil.example")
    got = await site.asked(request(method, "/.passproxy/logout", *lines, cookie=site.cookie))
    assert (got.status, got.all(b"set-cookie")) == (200, [])
    got = await site.asked(request(method, "/.passproxy/logout", *lines[1:], cookie=site.cookie))
    assert (got.status, got.all(b"set-cookie")) == (200, [])


async def test_lf_18_a_link_that_is_too_long_costs_the_link_and_not_the_login(site: Edge):
    assert await landed(site, navigation("/x?" + "q" * 8000)) == f"{ORIGIN}/"


async def test_lf_19_the_deep_link_leaks_to_nobody(site: Edge):
    got = await site.asked(navigation("/reset?token=very-secret"))
    assert got.one(b"referrer-policy") == b"no-referrer"
    assert b"very-secret" not in got.head


async def test_ck_11_programs_and_pictures_make_no_login_cookies_and_a_hundred_tabs_keep_them_small(site: Edge):
    for lines in (
        ("X-Requested-With: XMLHttpRequest", "Accept: text/html"),
        ("Accept: */*",),
        ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", "Accept: text/html"),
        ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Accept: text/html"),
    ):
        got = await site.asked(get("/x", *lines))
        assert (got.status, got.all(b"set-cookie")) == (401, [])
    jar: dict[str, str] = {}
    for number in range(100):
        cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
        got = await site.asked(navigation(f"/tab/{number}?{'x' * 100}", cookie=cookie or None))
        assert got.status == 302
        for line in got.all(b"set-cookie"):
            name, _, value = line.decode().partition(";")[0].partition("=")
            if "Max-Age=0" in line.decode():
                del jar[name]
            else:
                jar[name] = value
        assert sum(len(name) + len(value) + 3 for name, value in jar.items()) <= 4096
    assert jar


@pytest.mark.parametrize(
    "query",
    [
        "?error=x&error_description=<svg/onload=alert(1)>&error_uri=javascript:alert(1)&state={s}",
        "?error=access_denied&error_description=%3Csvg/onload=alert(1)%3E&state={s}",
        "?error=%7B%7B7*7%7D%7D&state={s}",
        "?code=%3Cscript%3E&state=%3Cscript%3Ealert(1)%3C/script%3E",
    ],
)
async def test_xss_01_nothing_of_an_answer_is_shown(site: Edge, log: Log, query: str):
    first = await site.asked(navigation("/"))
    pair = first.one(b"set-cookie").partition(b";")[0].decode()
    state = first.one(b"location").decode().partition("state=")[2].partition("&")[0]
    target = "/.passproxy/oidc/callback" + query.replace("{s}", state)
    answer = await site.refuses(navigation(target, cookie=pair), log, 400, 403)
    for text in (b"alert(1)", b"svg/onload", b"javascript:", b"<script", b"7*7"):
        assert text not in answer.body.partition(b"</style>")[2]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "{{7*7}}", '"><img src=x>'])
async def test_xss_03_nothing_of_a_request_is_shown(site: Edge, text: str):
    lines = [f"{name}: {text}" for name in ("Referer", "User-Agent", "Accept-Language", "X-Request-ID")]
    quoted = quote(text, safe="")
    for got in (
        await site.asked(navigation(f"/.passproxy/{quoted}", *lines)),
        await site.asked(navigation("/", *lines, host=text)),
        await site.asked(navigation(f"/{text}", *lines)),
        await site.asked(get("/", f"{text}: x")),
    ):
        assert got.status >= 400
        shown = got.body.partition(b"</style>")[2] or got.body
        assert text.encode() not in shown
        assert quoted.encode() not in shown


async def test_log_01_a_path_forges_no_line(site: Edge, log: Log):
    await site.asked(
        request(
            "POST", '/%0a{"level":"info","event":"auth.ok"}'.replace('"', "%22").replace("{", "%7b").replace("}", "%7d")
        )
    )
    fields = log.one("request.refused")
    assert "\n" not in str(fields["path"])
    assert str(fields["path"]).startswith("/%0a")


async def test_lf_01_relay_state_is_never_a_url(log: Log, tmp_path_factory: pytest.TempPathFactory):
    async with demo_idp() as idp, Upstream() as upstream:
        await _relay_state(idp, upstream, log, tmp_path_factory)


async def _relay_state(
    idp: DemoIdentityProvider, upstream: Upstream, log: Log, folders: pytest.TempPathFactory
) -> None:
    async with protecting(upstream.url, folders.mktemp("saml"), **saml_at(idp)) as passproxy:
        for relay_state in ("https://evil.example/", "", "//evil.example", "x" * 22, "x" * 200_000):
            async with Browser(passproxy.front) as browser:
                form = await browser.open(f"{ORIGIN}/")
                original = browser._answer

                async def changing(asked, relation, relay_state=relay_state, original=original):
                    if asked.url.endswith("/saml/acs"):
                        head, _, _ = asked.body.partition(b"RelayState=")
                        body = head + b"RelayState=" + quote(relay_state, safe="").encode()
                        asked = type(asked)(asked.method, asked.url, asked.initiator, body, headers=asked.headers)
                    return await original(asked, relation)

                browser._answer = changing
                page = await browser.sign_in(form, "alice", "alice")
                assert page.status in (400, 403), (relay_state[:30], page.status)
                assert "__Host-passproxy" not in browser.cookies.names()
                assert "evil" not in page.text
    assert upstream.is_untouched
    # The page of an unknown login asks once more, in case that its browser is signed in.
    rejected = [fields["path"] for fields in log.named("auth.reject")]
    assert rejected.count("/.passproxy/saml/acs") == 5
    assert set(rejected) <= {"/.passproxy/saml/acs", "/.passproxy/resume"}
