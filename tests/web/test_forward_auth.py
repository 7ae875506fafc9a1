"""A web server asks over the wire what becomes of a request, and serves it itself."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway import ORIGIN, PassProxy, get, protecting, request
from tests.fakes.questions import ASK, NAVIGATION, SERVERS, answer, question
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream

#: What only a browser sends, and all of it.
BROWSER = (*NAVIGATION, "Sec-Fetch-Site: none", "Accept-Language: en", "User-Agent: Mozilla/5.0")

TOKEN = "0123456789abcdef0123456789abcdef"

SECTIONS: dict[str, Any] = {
    "access": {
        "rules": [
            {"name": "admin", "path": "/admin/**", "require_any_group": ["admins"]},
            {"name": "inside", "path": "/inside/**", "from": ["10.0.0.0/8"], "action": "allow"},
        ]
    },
    "passthrough": {
        "paths": ["/public/**"],
        "tokens": [{"name": "backup", "hash": f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"}],
        "tokens_in_authorization": True,
    },
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def asked(server: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[PassProxy]:
    async with protecting(upstream.url, tmp_path, forward_auth={"web_server": server}, **SECTIONS) as running:
        yield running


def told(got: Answer) -> dict[str, str]:
    """What is said of somebody."""
    return {n.decode(): v.decode() for n, v in got.fields if n.lower().startswith(b"x-passproxy-")}


async def test_who_is_signed_in_passes_with_what_the_application_would_be_told(server, asked, upstream):
    cookie = asked.cookie(email="alice@example.com")
    got = await answer(asked, question(server, "/reports/2026?x=1", cookie=cookie))
    assert (got.status, got.body, got.one(b"cache-control")) == (200, b"", b"no-store")
    assert upstream.is_untouched
    async with Raw(asked.address) as raw:
        await raw.ask(get("/reports/2026?x=1", cookie=cookie))
    inline = {n.decode(): v.decode() for n, v in upstream.requests[0].fields if n.startswith(b"X-Passproxy-")}
    assert told(got) == inline
    assert inline["X-Passproxy-User"] == "alice"


async def test_what_is_not_known_of_somebody_is_not_said(server, asked):
    got = await answer(asked, question(server, "/", "X-Passproxy-Groups: admins", cookie=asked.cookie(groups=())))
    assert got.status == 200
    assert not got.all(b"x-passproxy-groups")


async def test_the_application_gets_its_own_cookies_and_none_of_ours(server, asked):
    cookie = f"a=1; {asked.cookie()}; __Host-passproxy-who=x; b=2"
    got = await answer(asked, question(server, "/", "Cookie: c=3", cookie=cookie))
    assert got.one(b"cookie") == b"c=3; a=1; b=2"
    got = await answer(asked, question(server, "/", cookie=asked.cookie()))
    assert not got.all(b"cookie")


async def test_authorization_is_handed_on_as_it_came(server, asked):
    got = await answer(asked, question(server, "/", "Authorization: Basic dTpw", cookie=asked.cookie()))
    assert got.one(b"authorization") == b"Basic dTpw"
    twice = question(server, "/", "Authorization: Basic dTpw", "Authorization: Basic dTpw", cookie=asked.cookie())
    assert (await answer(asked, twice)).status == 403


async def test_what_the_application_wants_as_authorization_replaces_what_a_client_sends(server, upstream, tmp_path):
    wanted = {"basic_auth": {"username": "{user}", "password": "p"}}
    settings = {"forward_auth": {"web_server": server}, "upstream": wanted}
    async with protecting(upstream.url, tmp_path, **settings) as passproxy:
        got = await answer(passproxy, question(server, "/", "Authorization: Basic bWU6", cookie=passproxy.cookie()))
    assert got.one(b"authorization") == b"Basic YWxpY2U6cA=="


async def test_the_assertion_is_said_where_it_is_configured(server, upstream, tmp_path):
    async with protecting(upstream.url, tmp_path, forward_auth={"web_server": server}, assertion={}) as passproxy:
        got = await answer(passproxy, question(server, "/", cookie=passproxy.cookie()))
    assert got.one(b"x-passproxy-assertion").count(b".") == 2


async def test_a_window_without_a_session_is_led_to_the_login_and_back(server, asked):
    got = await answer(asked, question(server, "/a%2Fb?x=%26&y", *NAVIGATION))
    assert got.status == (401 if server == "nginx" else 302)
    assert got.one(b"location").decode() == f"{ORIGIN}/.passproxy/login?return_to=%2Fa%252Fb%3Fx%3D%2526%26y"
    assert not got.all(b"set-cookie")


async def test_a_browser_is_asked_for_its_fragment_first(server, asked):
    got = await answer(asked, question(server, "/a", *BROWSER))
    assert got.one(b"location").decode() == f"{ORIGIN}/.passproxy/start?return_to=%2Fa"


async def test_a_script_without_a_session_is_told_where_to_log_in(server, asked):
    got = await answer(asked, question(server, "/api", method="POST"))
    assert (got.status, got.json()["code"]) == (401, "PP-LOGIN-REQUIRED")
    assert got.json()["login_url"] == f"{ORIGIN}/.passproxy/login"


async def test_a_rule_refuses_with_its_code_and_its_name(server, asked, log):
    got = await answer(asked, question(server, "/admin/users", cookie=asked.cookie()))
    assert (got.status, got.json()["code"], got.json()["rule"]) == (403, "PP-ACCESS-RULE", "admin")
    assert told(got) == {}
    fields = log.one("request.refused")
    assert (fields["path"], fields["method"], fields["rule"]) == ("/admin/users", "GET", "admin")


async def test_rules_hold_for_the_clients_address(server, asked):
    got = await answer(asked, question(server, "/inside/x", "X-Forwarded-For: 10.1.2.3"))
    assert got.status == 200
    got = await answer(asked, question(server, "/inside/x", "X-Forwarded-For: 10.1.2.3, 192.0.2.9"))
    assert got.status == 401


async def test_a_public_path_is_open_and_nobody_is_named(server, asked):
    got = await answer(asked, question(server, "/public/logo.png"))
    assert (got.status, told(got)) == (200, {})


async def test_a_token_lets_a_program_in_and_stays_here(server, asked):
    got = await answer(asked, question(server, "/x", f"Authorization: Bearer {TOKEN}", method="DELETE"))
    assert (got.status, told(got)) == (200, {"X-Passproxy-Token": "backup"})
    assert not got.all(b"authorization")
    field = question(server, "/x", f"X-Passproxy-Authorization: Bearer {TOKEN}", "Authorization: Basic dTpw")
    assert (await answer(asked, field)).one(b"authorization") == b"Basic dTpw"


async def test_the_upgrade_of_a_foreign_page_is_refused(server, asked):
    handshake = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    good = question(server, "/ws", *handshake, f"Origin: {ORIGIN}", cookie=asked.cookie())
    assert (await answer(asked, good)).status == 200
    foreign = question(server, "/ws", *handshake, "Origin: https://evil.example", cookie=asked.cookie())
    assert (await answer(asked, foreign)).status == 403
    assert (await answer(asked, question(server, "/ws", *handshake, f"Origin: {ORIGIN}"))).status == 401


async def test_a_connection_answers_one_question_after_the_other(server, asked):
    async with Raw(asked.address) as raw:
        for number in range(3):
            got = await raw.ask(question(server, f"/{number}", cookie=asked.cookie()))
            assert got.status == 200
        assert (await raw.ask(question(server, "/", *NAVIGATION))).status in (302, 401)
        assert (await raw.ask(question(server, "/admin", cookie=asked.cookie()))).status == 403


async def test_questions_are_counted_as_what_becomes_of_their_requests(server, asked):
    counts = asked.service._gateway.counts
    await answer(asked, question(server, "/", cookie=asked.cookie()))
    await answer(asked, question(server, "/public/x"))
    await answer(asked, question(server, "/", *NAVIGATION))
    await answer(asked, question(server, "/admin", cookie=asked.cookie()))
    assert (counts.forwarded, counts.public) == (1, 1)
    assert dict(counts.outcomes) == {"login": 1, "refused": 1}
    await answer(asked, get(ASK))
    await answer(asked, question(server, "/.passproxy/health"))
    assert dict(counts.outcomes) == {"login": 1, "refused": 3}


async def test_the_access_log_has_the_question_and_who_it_was_about(server, upstream, tmp_path, log):
    settings = {"forward_auth": {"web_server": server}, "log": {"access": True}}
    async with protecting(upstream.url, tmp_path, **settings) as passproxy:
        await answer(passproxy, question(server, "/reports", "X-Forwarded-For: 192.0.2.7", cookie=passproxy.cookie()))
    line = log.one("http.access")
    assert (line["path"], line["status"], line["user"], line["client"]) == (ASK, 200, "alice", "192.0.2.7")


async def test_only_reading_asks(server, asked):
    got = await answer(asked, request("POST", ASK, "Content-Length: 0"))
    assert got.status == (403 if server == "nginx" else 405)


async def test_requests_behind_passproxy_go_on_beside_it(server, asked, upstream):
    async with Raw(asked.address) as raw:
        got = await raw.ask(
            get("/inline", "X-Original-URI: /public/x", "X-Forwarded-Uri: /public/x", cookie=asked.cookie())
        )
        assert (got.status, upstream.requests[0].target) == (200, b"/inline")
        assert (await raw.ask(get("/inline", "X-Original-URI: /public/x", "X-Forwarded-Uri: /public/x"))).status == 401
    assert not upstream.requests[0].all(b"x-original-uri")
    assert not upstream.requests[0].all(b"x-forwarded-uri")


async def test_without_the_section_there_is_no_such_page(passproxy):
    for each in SERVERS[:2]:
        got = await answer(passproxy, question(each, "/public/x", cookie=passproxy.cookie()))
        assert (got.status, got.json()["code"]) == (404, "PP-ENDPOINT")


async def test_it_is_turned_on_and_off_by_a_reload(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as passproxy:
        data = question("caddy", "/", cookie=passproxy.cookie())
        assert (await answer(passproxy, data)).status == 404
        passproxy.reload(forward_auth={"web_server": "caddy"})
        assert (await answer(passproxy, data)).status == 200
        passproxy.reload(forward_auth={"web_server": "nginx"})
        assert (await answer(passproxy, data)).status == 403
        passproxy.reload()
        assert (await answer(passproxy, data)).status == 404
