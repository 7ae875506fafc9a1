"""
Section 2.9 of the catalogue: what is public is public by its raw bytes, and what is ambiguous never is.

Each path three times: without a session it is refused or sent to the login and the
application sees nothing; with one it is forwarded as the very bytes that arrived;
and on a passthrough it is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import get, navigation, request
from tests.fakes.log import Log

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.forget()


#: Paths that are not public, whatever an application makes of them.
PROTECTED = [
    "/admin?x=/public/",
    "/admin?/health",
    "/admin?/public/x",
    "/?/health",
    "/public/../admin",
    "/public/./../admin",
    "/public/x/../../admin",
    "/public/..",
    "/public/.",
    "/public/x/.",
    "/public/./x",
    "/public/%2e%2e/admin",
    "/public/.%2e/admin",
    "/public/%2E%2E%2fadmin",
    "/public/%2e",
    "/public/x%2e%2e/../admin",
    "/public%2f..%2fadmin",
    "/public%2fadmin",
    "/public/x%2Fy",
    "/public%2F",
    "/public/%252e%252e/admin",
    "/%2570ublic/",
    "/public/%25",
    "/public/%252f",
    "/public\\..\\admin",
    "/public/..\\admin",
    "/public/..%5cadmin",
    "/public/%5c../admin",
    "/public/x%5Cy",
    "/public/..;/admin",
    "/public;x=1/../admin",
    "/admin;/public/",
    "/public/%2e%2e%3bx/admin",
    "/admin%3bx=/public/",
    "/public/;/x",
    "/public/x;y",
    "/;/public/x",
    "/health;x",
    "/public;/x",
    "/public/x%3By",
    "/public/%23/../admin",
    "/public/%23",
    "/health%23",
    "/admin%3f/public/",
    "/public%3f/../admin",
    "/public/x%3f",
    "/health%3F",
    "//public/../admin",
    "//admin",
    "/public//../admin",
    "///health",
    "//health",
    "/public//x",
    "/public/x//",
    "//public/x",
    "/health//",
    "/healthz",
    "/health/../admin",
    "/health.json",
    "/health%20",
    "/health/",
    "/HEALTH",
    "/Health",
    "/health.",
    "/healt",
    "/health%0a",
    "/health%09",
    "/publicadmin",
    "/public%00/../admin",
    "/public/%00",
    "/public/x%0d%0aX:%20y",
    "/publi",
    "/PUBLIC/x",
    "/public/x%7f",
    "/%70ublic/x",
    "/p%75blic/../admin",
    "/%68ealth",
    "/healt%68",
    "/%2fpublic/x",
    "/%2e/public/x",
    "/./public/x",
    "/x/../public/x",
    "/../public/x",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%e0%80%ae/",
    "/public/%ef%bc%8e%ef%bc%8e/admin",
    "/public/%c0%afx",
    "/public/%ef%bc%8fx",
    "/public/%ff",
    "/public/%e2%80%a4%e2%80%a4/x",
    "/public/%ef%bc%bcx",
    "/public/%ef%bc%85x",
    "/public/%",
    "/public/%2",
    "/public/%zz",
    "/public/%u002e%u002e/admin",
    "/public/%%32%65/x",
    "/admin",
    "/",
    "/admin/public/",
    "/xpublic/y",
    "/hook/",
    "/hook/x",
]

#: What no request line can hold.
UNHEARD_OF = [
    b"/public#/../admin",
    b"/admin#/public/",
    b"/public?#/admin",
    b"/public/\xc0\xae\xc0\xae/admin",
    b"/public/\xef\xbc\x8e/",
    b"/public/\x7f",
    b"/public/\x01",
    b'/public/"x"',
    b"/public/<x>",
    b"/public/{x}",
    b"/public/^x",
    b"/public/`x",
    b"*",
    b"foo",
    b"@evil.example/",
    b":80@evil/",
    b".evil.example/",
    b"app.example.com/public/x",
    b"http:/public/x",
    b"http:///public/x",
    b"http://app.example.com@evil.example/health",
    b"http://user@app.example.com/health",
    b"http://app.example.com\\/health",
    b"http://app.example.com#/health",
    b"ftp://app.example.com/health",
    b"file:///etc/passwd",
    b"https://app.example.com:443:80/health",
    b"",
]


@pytest.mark.parametrize("path", PROTECTED)
async def test_without_a_session_it_is_refused_or_sent_to_the_login(site: Edge, log: Log, path: str):
    answer = await site.refuses(navigation(path), log, 302, 400)
    if answer.status == 302:
        assert answer.one(b"location").startswith(b"http://127.0.0.1:")
        assert b"/oidc/authorize?" in answer.one(b"location")


@pytest.mark.parametrize("path", PROTECTED)
async def test_with_a_session_it_is_forwarded_as_it_came(site: Edge, path: str):
    async with site.raw() as raw:
        assert (await raw.ask(get(path, cookie=site.cookie))).status == 200
        assert site.upstream.request_lines == [b"GET " + path.encode() + b" HTTP/1.1"]
        await site.canary(raw)


@pytest.mark.parametrize("path", PROTECTED)
async def test_no_passthrough_covers_it_for_programs_either(site: Edge, log: Log, path: str):
    await site.refuses(get(path), log, 401, 400)
    await site.refuses(request("POST", path, body=b"x"), log, 401, 400)
    await site.refuses(request("HEAD", path), log, 401, 400)


@pytest.mark.parametrize("cookie", [False, True])
@pytest.mark.parametrize("target", UNHEARD_OF)
async def test_a_target_that_is_none_is_refused_with_and_without_a_session(
    site: Edge, log: Log, target: bytes, cookie: bool
):
    await site.refuses(navigation(target, cookie=site.cookie if cookie else None), log, 400, 421)


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/public",
        "/public/",
        "/public/x",
        "/public/a/b.css?v=1",
        "/public/x?../admin",
        "/public/caf%C3%A9",
        "/public/%41",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_public_passes_as_it_came_and_without_identity(site: Edge, path: str, method: str):
    async with site.raw() as raw:
        assert (await raw.ask(request(method, path))).status == 200
        (seen,) = site.upstream.requests
        assert seen.request_line == f"{method} {path} HTTP/1.1".encode()
        assert not [name for name, _ in seen.fields if name.lower().startswith(b"x-passproxy")]
        await site.canary(raw)


async def test_path_15_an_absolute_form_is_judged_by_the_same_path_and_host(site: Edge, log: Log):
    assert (await site.asked(get("https://app.example.com/health"))).status == 200
    assert site.upstream.request_lines == [b"GET /health HTTP/1.1"]
    site.upstream.forget()
    await site.refuses(get("http://app.example.com/admin"), log, 401)
    await site.refuses(get("http://app.example.com/public/../admin"), log, 400)
    await site.refuses(get("http://app.example.com?/health"), log, 401, 400)
    for other in (
        "http://evil.example/health",
        "http://app.example.com:99999/health",
        "http://app.example.com./health",
    ):
        await site.refuses(get(other), log, 421, 400)
        await site.refuses(get(other, cookie=site.cookie), log, 421, 400)
    await site.refuses(get("http://app.example.com/health", host="evil.example"), log, 421)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
async def test_path_18_other_methods_are_not_public(site: Edge, log: Log, method: str):
    await site.refuses(request(method, "/public/x"), log, 401)
    if method != "POST":
        await site.refuses(request(method, "/hook"), log, 401)


async def test_path_18_a_path_may_be_public_for_one_method_alone(site: Edge, log: Log):
    assert (await site.asked(request("POST", "/hook", body=b"x"))).status == 200
    site.upstream.forget()
    await site.refuses(get("/hook"), log, 401)


async def test_path_20_a_preflight_is_not_public(site: Edge, log: Log):
    lines = ("Origin: https://evil.example", "Access-Control-Request-Method: DELETE")
    await site.refuses(request("OPTIONS", "/admin", *lines), log, 401)


async def test_path_22_long_paths_are_decided_like_short_ones(site: Edge, log: Log):
    await site.refuses(get("/a" * 8000), log, 401)
    await site.refuses(get("/public" + "/.." * 5000), log, 400)
    assert (await site.asked(get("/public" + "/a" * 8000))).status == 200


@pytest.mark.parametrize(
    "query", ["&".join(f"a{n}=1" for n in range(3000)), "a;b;c", "a=%26&=&&", "a=1?b=2/../?", "%ff%00"]
)
async def test_path_25_a_query_is_forwarded_and_never_read(site: Edge, query: str):
    for cookie in (None, site.cookie):
        assert (await site.asked(get(f"/public/x?{query}", cookie=cookie))).status == 200
    assert {seen.target for seen in site.upstream.requests} == {f"/public/x?{query}".encode()}


@pytest.mark.parametrize(
    "path",
    [
        "/.passproxy",
        "/.passproxy/",
        "/.passproxy/x",
        "/.passproxy/health/",
        "/.passproxy/../admin",
        "/.passproxy//health",
        "/.passproxy/%68ealth",
    ],
)
async def test_what_is_below_our_prefix_is_never_forwarded(site: Edge, log: Log, path: str):
    for cookie in (None, site.cookie):
        await site.refuses(get(path, cookie=cookie), log, 404)
