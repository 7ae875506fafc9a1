"""Rules as a visitor, an application and an administrator meet them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.gateway import get, protecting
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream

ACCESS = {
    "roles": {"administrator": ["platform-eng"], "viewer": ["staff"]},
    "rules": [
        {"name": '<b>"admins" & friends</b>', "path": "/admin/**", "require_any_group": ["platform-eng"]},
        {"name": "trial", "path": "/reports/**", "require_any_role": ["administrator"], "report_only": True},
        {"name": "gone", "path": "/old/**", "action": "deny"},
    ],
}


async def asked(address: str, data: bytes) -> Answer:
    async with Raw(address) as raw:
        return await raw.ask(data)


@pytest.fixture
def site(upstream: Upstream, tmp_path: Path) -> Callable[..., object]:
    return lambda **more: protecting(upstream.url, tmp_path, access=ACCESS, **more)


async def test_the_page_names_the_rule_and_the_log_what_is_missing(site, upstream: Upstream, log: Log) -> None:
    async with site() as passproxy:
        page = await asked(passproxy.address, get("/admin/x", "Accept: text/html", cookie=passproxy.cookie()))
        assert page.status == 403
        assert b"PP-ACCESS-RULE" in page.body
        assert b"&lt;b&gt;&#34;admins&#34; &amp; friends&lt;/b&gt;" in page.body
        assert b"platform-eng" not in page.body
        event = log.one("request.refused")
        assert event["rule"] == '<b>"admins" & friends</b>'
        assert str(event["detail"]).endswith(": in none of the groups platform-eng")
        assert event["path"] == "/admin/x"
    assert upstream.requests == []


async def test_a_program_gets_the_rule_as_a_member_of_the_problem(site) -> None:
    async with site() as passproxy:
        answer = await asked(passproxy.address, get("/old/x", cookie=passproxy.cookie()))
        assert answer.one(b"content-type") == b"application/problem+json"
        assert answer.json()["rule"] == "gone"
        assert answer.json()["code"] == "PP-ACCESS-RULE"


async def test_whoever_is_not_signed_in_is_not_told_the_rule(site, log: Log) -> None:
    async with site() as passproxy:
        for accept in ("text/html", "application/json"):
            log.forget()
            answer = await asked(passproxy.address, get("/old/x", f"Accept: {accept}"))
            assert answer.status == 403
            assert b"gone" not in answer.body
            assert log.one("request.refused")["detail"] == "gone: action deny"


async def test_the_connection_goes_on_after_a_refusal(site) -> None:
    async with site() as passproxy, Raw(passproxy.address) as raw:
        cookie = passproxy.cookie()
        assert (await raw.ask(get("/admin/x", cookie=cookie))).status == 403
        assert (await raw.ask(get("/fine", cookie=cookie))).status == 200


async def test_a_rule_that_only_reports_lets_through_and_is_logged(site, upstream: Upstream, log: Log) -> None:
    async with site() as passproxy:
        answer = await asked(passproxy.address, get("/reports/q1?secret=1", cookie=passproxy.cookie()))
        assert answer.status == 200
        event = log.one("access.report_only")
        assert (event["rule"], event["verdict"], event["instead"]) == ("trial", "deny", "allow")
        assert event["detail"] == "none of the roles administrator"
        assert event["path"] == "/reports/q1"
        assert not log.tells("secret")
        assert upstream.request_lines == [b"GET /reports/q1?secret=1 HTTP/1.1"]
        log.forget()
        await asked(passproxy.address, get("/other", cookie=passproxy.cookie()))
        assert log.events == []


async def test_roles_are_sent_and_nobody_else_can_send_them(site, upstream: Upstream) -> None:
    async with site() as passproxy:
        for groups, roles in (
            (("staff", "platform-eng"), [b"administrator,viewer"]),
            (("staff",), [b"viewer"]),
            (("ops",), []),
        ):
            upstream.forget()
            forged = ("X-Passproxy-Roles: administrator", "X_Passproxy_Roles: administrator")
            await asked(passproxy.address, get("/", *forged, cookie=passproxy.cookie(groups=groups)))
            (seen,) = upstream.requests
            assert [value for name, value in seen.fields if name.lower() == b"x-passproxy-roles"] == roles
            assert not [name for name, _ in seen.fields if name.lower() == b"x_passproxy_roles"]


async def test_a_script_is_told_its_roles(site) -> None:
    async with site() as passproxy:
        cookie = passproxy.cookie(groups=("staff", "ops"))
        told = (await asked(passproxy.address, get("/.passproxy/userinfo", cookie=cookie))).json()
        assert (told["groups"], told["roles"]) == (["staff", "ops"], ["viewer"])


async def test_roles_are_separated_as_groups_are(site, upstream: Upstream) -> None:
    async with site(headers={"list_separator": "|"}) as passproxy:
        await asked(passproxy.address, get("/", cookie=passproxy.cookie(groups=("staff", "platform-eng"))))
        assert upstream.requests[0].one(b"x-passproxy-roles") == b"administrator|viewer"


async def test_an_address_is_believed_only_from_a_trusted_proxy(upstream: Upstream, tmp_path: Path) -> None:
    rules = [{"name": "inside", "path": "/metrics", "action": "allow", "from": ["10.0.0.0/8"]}]
    claim = "X-Forwarded-For: 10.0.0.1"
    async with protecting(upstream.url, tmp_path, access={"rules": rules}) as passproxy:
        assert (await asked(passproxy.address, get("/metrics", claim))).status == 200
        assert (await asked(passproxy.address, get("/metrics", "X-Forwarded-For: 10.0.0.1, 9.9.9.9"))).status == 401
        assert (await asked(passproxy.address, get("/metrics"))).status == 401
    more = {"access": {"rules": rules}, "trusted_proxies": ["192.0.2.1"]}
    async with protecting(upstream.url, tmp_path, **more) as passproxy:
        assert (await asked(passproxy.address, get("/metrics", claim))).status == 401


async def test_everything_is_public_where_the_default_says_so(upstream: Upstream, tmp_path: Path) -> None:
    access = {"default": "allow", "rules": [{"name": "account", "path": "/account/**"}]}
    async with protecting(upstream.url, tmp_path, access=access) as passproxy:
        assert (await asked(passproxy.address, get("/any/thing"))).status == 200
        assert (await asked(passproxy.address, get("/account/x"))).status == 401
        assert (await asked(passproxy.address, get("/Account/x"))).status == 401
        assert (await asked(passproxy.address, get("/x/..%2faccount"))).status == 400
        upstream.forget()
        await asked(passproxy.address, get("/any/thing", cookie=passproxy.cookie()))
        assert upstream.requests[0].one(b"x-passproxy-user") == b"alice"
