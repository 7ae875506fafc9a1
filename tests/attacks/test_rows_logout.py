"""The way out: whoever did not ask here ends nothing, and nobody is led elsewhere (attack catalogue 2.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.attacks.acs import AcsSite, acs_site
from tests.fakes.gateway import ORIGIN, get, request

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "query",
    ["return_to=//evil.example", "post_logout_redirect_uri=https://evil.example/", "rd=/%5cevil", "return_to=/x"],
)
async def test_slo_10_a_logout_leads_to_our_own_page_whatever_it_is_asked(
    site: AcsSite, method: str, query: str
) -> None:
    session = await site.signed_in()
    target = f"/.passproxy/logout?{query}"
    same = ("Sec-Fetch-Site: same-origin", f"Origin: {ORIGIN}", "Accept: text/html")
    body = query.encode() if method == "POST" else b""
    answer = await site.asked(request(method, target, *same, cookie=session, body=body))
    assert answer.status == 303
    assert answer.one(b"location") == b"/.passproxy/logged-out"
    assert (await site.asked(get("/", cookie=session))).status == 401


@pytest.mark.parametrize(
    "lines",
    [
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site", "Origin: https://evil.example.com"),
        ("Sec-Fetch-Site: cross-site", f"Origin: {ORIGIN}"),
        ("Origin: null",),
        ("Origin: https://app.example.com.evil.example",),
        ("Origin: http://app.example.com",),
        (f"Referer: {ORIGIN}/",),
        (),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_slo_10_another_site_gets_a_question_and_ends_nothing(
    site: AcsSite, method: str, lines: tuple[str, ...]
) -> None:
    session = await site.signed_in()
    answer = await site.asked(request(method, "/.passproxy/logout?return_to=//evil.example", *lines, cookie=session))
    assert (answer.status, answer.all(b"set-cookie"), answer.all(b"location")) == (200, [], [])
    assert b"evil" not in answer.body
    assert (await site.asked(get("/", cookie=session))).status == 200
