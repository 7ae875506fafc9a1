"""
Section 2.9 of the catalogue once more, with rules that somebody with a session does not meet.

The table of tests/data/policy_cases.yaml goes over the wire, and so do the hostile targets: whatever of
them any program could read as the administration's is refused, and the rest arrives as it was sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.attacks.edge import Edge, edge
from tests.attacks.test_rows_path import from_file, is_writable, named
from tests.core import test_routing
from tests.core.policy_cases import Case, cases, configurations
from tests.fakes.gateway import demo_idp, get, oidc_at, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream
from tests.fakes.websocket import accepting, handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = {"rules": [{"name": "admin", "path": "/admin/**", "require_any_group": ["board"]}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge"), access=ADMIN) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.forget()


def could_be_the_admins(path: bytes) -> bool:
    """For any three readers in a row, written independently of what is tested."""
    found = {reading.lower().rstrip(b"/") for reading in test_routing.readings(path)}
    return any((reading + b"/").startswith(b"/admin/") for reading in found)


@pytest.mark.parametrize("target", named([row for row in from_file() if is_writable(row[1])]))
async def test_a_target_that_could_be_the_admins_is_refused_and_others_arrive(
    site: Edge, log: Log, target: bytes
) -> None:
    if could_be_the_admins(target.partition(b"?")[0]):
        await site.refuses(get(target, cookie=site.cookie), log, 403, 400)
    async with site.raw() as raw:
        answer = await raw.ask(get(target, cookie=site.passproxy.cookie(groups=("board",))))
        assert answer.status in (200, 400)
        if answer.status == 200:
            assert site.upstream.request_lines == [b"GET " + target + b" HTTP/1.1"]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, id=f"{row} {target}")
        for row, target in [
            ("PATH-02", "/x/../admin"),
            ("PATH-03", "/x/%2e%2e/admin"),
            ("PATH-04", "/x%2f..%2fadmin"),
            ("PATH-05", "/x/%252e%252e/admin"),
            ("PATH-06", "/x\\..\\admin"),
            ("PATH-07", "/x/..;/admin"),
            ("PATH-07", "/;/admin"),
            ("PATH-09", "/admin%3f/public/"),
            ("PATH-10", "//admin"),
            ("PATH-11", "/ADMIN"),
            ("PATH-12", "/admin%00/x"),
            ("PATH-13", "/%61dmin"),
            ("PATH-14", "/x/%c0%ae%c0%ae/admin"),
            ("PATH-14", "/x/%ef%bc%8e%ef%bc%8e/admin"),
            ("PATH-15", "https://app.example.com/%61dmin"),
            ("PATH-25", "/admin?x=1;y=%26"),
        ]
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PROPFIND"])
async def test_no_spelling_gets_around_a_rule(site: Edge, log: Log, target: str, method: str) -> None:
    body = b"x" if method == "POST" else b""
    await site.refuses(request(method, target, cookie=site.cookie, body=body), log, 403)


@pytest.mark.parametrize("target", ["/admin/socket", "/x/..%2fadmin", "/ADMIN"])
async def test_ws_01_a_rule_refuses_a_handshake_before_the_upgrade(site: Edge, log: Log, target: str) -> None:
    site.upstream.script = accepting
    async with site.raw() as raw:
        await raw.send(handshake(target=target, cookie=site.cookie) + get("/x", cookie=site.cookie))
        answer = await raw.answer()
        assert answer.status == 403
        assert await raw.is_closed()
    assert site.upstream.is_untouched
    assert [event["rule"] for event in log.named("request.refused")] == ["admin"]
    board = site.passproxy.cookie(groups=("board",))
    async with site.raw() as raw:
        await raw.send(handshake(target="/admin/socket", cookie=board))
        assert (await raw.answer()).status == 101


async def test_path_18_a_method_override_is_judged_as_the_method_that_it_becomes(tmp_path: Path, log: Log) -> None:
    rules = [{"name": "deleting", "path": "/**", "methods": ["DELETE"], "require_any_group": ["board"]}]
    async with edge(tmp_path, access={"rules": rules}) as site:
        posted = request("POST", "/x", "X-HTTP-Method-Override: DELETE", cookie=site.cookie, body=b"x")
        await site.refuses(posted, log, 403)
        other = request("POST", "/x", "X-HTTP-Method-Override: PUT", cookie=site.cookie, body=b"x")
        assert (await site.asked(other)).status == 200


async def test_path_22_a_path_with_too_many_readings_is_refused(site: Edge, log: Log) -> None:
    target = "/a;b/c%3bd%2fe%5cf%3fg%23h/../i//j%0a%2561%00k."
    async with site.raw() as raw:
        answer = await raw.ask(get(target, cookie=site.cookie))
        assert (answer.status, b"PP-REQUEST-READINGS" in answer.body) == (400, True)
    assert [event["code"] for event in log.named("http.reject")] == ["PP-REQUEST-READINGS"]


def asked_as(case: Case, cookie: str) -> bytes:
    forwarded = f"X-Forwarded-For: {case.peer or 'unknown'}"
    return request(
        case.method,
        case.target.encode("latin-1"),
        "Accept: text/html",
        forwarded,
        cookie=cookie if case.is_signed_in else None,
    )


@pytest.mark.parametrize("configuration", configurations())
async def test_the_table_holds_on_the_wire(configuration: str, tmp_path: Path) -> None:
    # Behind a proxy that names no client the client is that proxy; so an unknown one does not come here.
    wanted = [case for case in cases() if case.configuration == configuration and case.peer]
    assert wanted
    async with (
        demo_idp() as idp,
        Upstream() as upstream,
        protecting(upstream.url, tmp_path, **oidc_at(idp), **configurations()[configuration]) as passproxy,
    ):
        for case in wanted:
            upstream.forget()
            cookie = passproxy.cookie(groups=case.groups, **{"user": "somebody", **case.attributes})
            async with Raw(passproxy.address) as raw:
                answer = await raw.ask(asked_as(case, cookie))
            check(case, answer, upstream)


def check(case: Case, answer: Answer, upstream: Upstream) -> None:
    if case.verdict == "allow":
        assert answer.status == 200, case
        assert upstream.request_lines == [f"{case.method} {case.target} HTTP/1.1".encode("latin-1")], case
        return
    assert upstream.is_untouched or upstream.requests == [], case
    if case.verdict == "login":
        assert answer.status == (302 if case.method in ("GET", "HEAD") else 401), case
    elif case.method != "HEAD":
        code = case.rule if case.rule.startswith("PP-") else "PP-ACCESS-RULE"
        assert code.encode() in answer.body, case
        assert answer.status in (403, 400), case
        if code == "PP-ACCESS-RULE":
            assert (f"<dd>{case.rule}</dd>".encode() in answer.body) is case.is_signed_in, case
