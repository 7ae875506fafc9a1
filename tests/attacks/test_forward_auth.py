"""
Forward authentication under attack: what is answered with 2xx is what the web server lets through.

The published holes of this mode are all of one kind: something is judged that is not what is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from passproxy.core.errors import ConfigError
from tests.attacks.test_paths import PROTECTED
from tests.fakes.gateway import NO_IDP, PassProxy, get, protecting, request, settings_of
from tests.fakes.questions import ASK, NAVIGATION, SERVERS, answer, question
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream

SECTIONS: dict[str, Any] = {
    "access": {"rules": [{"name": "admin", "path": "/admin/**", "require_any_group": ["admins"]}]},
    "passthrough": {"paths": ["/public/**", {"path": "/hook", "methods": ["POST"]}]},
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def asked(server: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[PassProxy]:
    async with protecting(upstream.url, tmp_path, forward_auth={"web_server": server}, **SECTIONS) as running:
        yield running


def tells_nothing(got: Answer) -> bool:
    """Not a word that a web server would hand on to the application."""
    names = {name.lower() for name, _ in got.fields}
    return not any(name.startswith(b"x-passproxy-") or name in (b"cookie", b"authorization") for name in names)


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-Uri: /public/x",
        "X-Original-URI: /public/x",
        "X-Original-URL: /public/x",
        "X-Rewrite-URL: /public/x",
        "X-Forwarded-Prefix: /public",
        "X_Forwarded_Uri: /public/x",
        "X_Original_URI: /public/x",
        "X.Original.URI: /public/x",
    ],
)
async def test_hdr_11_a_path_of_the_clients_own_is_never_the_one_that_is_judged(server, asked, line):
    """A web server's own field beside it comes once; where the client's has its name, there are two, or another one wins."""
    got = await answer(asked, question(server, "/secret", line))
    assert got.status in (401, 403)
    assert tells_nothing(got)
    # And where the web server forgot its own, only the name that is configured would be one.
    alone = await answer(asked, get(ASK, line, "X-Forwarded-Method: GET", "X-Forwarded-Proto: https"))
    assert alone.status == 403


@pytest.mark.parametrize("trusted", [[], ["192.0.2.1"]])
async def test_hdr_11_nobody_but_a_trusted_peer_is_answered(server, upstream, tmp_path, log, trusted):
    sections = {**SECTIONS, "trusted_proxies": trusted, "forward_auth": {"web_server": server}}
    async with protecting(upstream.url, tmp_path, **sections) as passproxy:
        for target in ("/public/x", "/reports"):
            spoofed = question(server, target, "X-Forwarded-For: 192.0.2.1", cookie=passproxy.cookie())
            got = await answer(passproxy, spoofed)
            assert got.status == (403 if server == "nginx" else 404)
            assert got.json()["code"] == "PP-ENDPOINT"
            assert tells_nothing(got)
    assert "trusted_proxies" in str(log.named("request.refused")[0]["detail"])


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "0.0.0.0/0.0.0.0", "10.0.0.1/0", "::/0"])
def test_hdr_11_trusting_everybody_is_no_configuration_of_it(everybody):
    configuration = {
        "domain": "app.example.com",
        "upstream": {"url": "http://127.0.0.1:3000"},
        "trusted_proxies": ["127.0.0.1", everybody],
        **NO_IDP,
    }
    assert settings_of(configuration)
    with pytest.raises(ConfigError, match="cannot be everybody"):
        settings_of({**configuration, "forward_auth": {"web_server": "traefik"}})


async def test_hdr_11_at_the_other_end_of_a_unix_socket_is_who_may_write_to_it(server, upstream, tmp_path):
    path = tmp_path / "app.sock"
    sections = {"listen": f"unix:{path}", "trusted_proxies": [], "forward_auth": {"web_server": server}}
    async with protecting(upstream.url, tmp_path, **sections) as passproxy:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(question(server, "/", cookie=passproxy.cookie()))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize(
    "target",
    [
        "/.passproxy/health",
        "/.passproxy/auth",
        "/.passproxy/userinfo",
        "/.passproxy/login?return_to=/x",
        "/.passproxy/../reports",
        "/.passproxy",
        "/.passproxy/",
    ],
)
async def test_path_02_a_page_of_ours_is_nothing_that_a_web_server_may_serve(server, asked, target):
    for cookie in (None, asked.cookie()):
        got = await answer(asked, question(server, target, cookie=cookie))
        assert (got.status, got.json()["code"]) == (403, "PP-FORWARD-AUTH")
        assert tells_nothing(got)


@pytest.mark.parametrize(
    "target",
    [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/public//x",
        "/public/%252e%252e/admin",
        "/public/..\\admin",
    ],
)
async def test_path_03_what_can_be_read_in_two_ways_is_never_public(server, asked, target):
    got = await answer(asked, question(server, target, *NAVIGATION))
    assert got.status in (400, 403)
    assert tells_nothing(got)


@pytest.mark.parametrize(
    "target", ["/x/../admin/a", "/ADMIN/a", "/%61dmin/a", "//admin/a", "/x%2f..%2fadmin/a", "/admin;v=1/a"]
)
async def test_path_04_a_rule_holds_for_every_reading_of_what_the_web_server_serves(server, asked, target):
    got = await answer(asked, question(server, target, cookie=asked.cookie()))
    assert (got.status, got.json()["code"]) == (403, "PP-ACCESS-RULE")
    assert tells_nothing(got)


@pytest.mark.parametrize("query", ["?/public/x", "?next=/public/x", "?a=/../public/x"])
async def test_path_01_a_public_path_in_the_query_opens_nothing(server, asked, query):
    assert (await answer(asked, question(server, f"/secret{query}"))).status == 401


async def test_path_18_a_path_that_is_public_for_one_method_is_not_for_others(server, asked):
    assert (await answer(asked, question(server, "/hook", method="POST"))).status == 200
    for method in ("GET", "PUT", "DELETE"):
        assert (await answer(asked, question(server, "/hook", method=method))).status == 401
    for method in ("TRACE", "CONNECT", "BREW", "post"):
        assert (await answer(asked, question(server, "/hook", method=method))).status in (400, 403, 405)


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X_HTTP_Method"])
async def test_hdr_15_a_method_override_does_not_pass_where_nobody_was_asked_for(server, asked, name):
    """Behind PassProxy the line would not arrive. Here the web server would send it."""
    got = await answer(asked, question(server, "/public/x", f"{name}: DELETE"))
    assert (got.status, got.json()["code"]) == (403, "PP-FORWARD-AUTH")
    assert (await answer(asked, question(server, "/x", f"{name}: DELETE", cookie=asked.cookie()))).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "app.example.com, evil.example", "app.example.com:1", "app.example.com@evil"]
)
async def test_hdr_12_another_host_is_refused_whatever_the_session(server, asked, host):
    if server == "nginx":
        lines = ("X-Original-Method: GET", "X-Original-URI: /")
        data = request("GET", ASK, *lines, host=host, cookie=asked.cookie())
    else:
        lines = (
            "X-Forwarded-Method: GET",
            "X-Forwarded-Uri: /",
            "X-Forwarded-Proto: https",
            f"X-Forwarded-Host: {host}",
        )
        data = get(ASK, *lines, cookie=asked.cookie())
    got = await answer(asked, data)
    assert got.status in (403, 421)
    assert tells_nothing(got)


@pytest.mark.parametrize("how", ["a space", "a second line", "a fragment", "an authority", "nothing"])
async def test_hdr_11_a_target_that_is_no_target_is_refused(server, asked, how):
    target = {
        "a space": "/public/x HTTP/1.1",
        "a fragment": "/public/x#/../../secret",
        "an authority": "http://a/public/x",
    }
    if how == "nothing":
        data = get(ASK, cookie=asked.cookie())
    elif how == "a second line":
        name = "X-Original-URI" if server == "nginx" else "X-Forwarded-Uri"
        data = question(server, "/public/x", f"{name}: /secret", cookie=asked.cookie())
    else:
        data = question(server, target[how], cookie=asked.cookie())
    got = await answer(asked, data)
    assert got.status in (400, 403)
    assert tells_nothing(got)


@pytest.mark.parametrize("agent", ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0"])
async def test_hdr_14_no_program_is_let_through_by_its_name(server, asked, agent):
    assert (await answer(asked, question(server, "/secret", f"User-Agent: {agent}"))).status == 401


async def test_hdr_04_what_a_client_says_of_itself_is_in_no_answer(server, asked):
    lines = (
        "X-Passproxy-Groups: admins",
        "X_Passproxy_Groups: admins",
        "Remote-User: mallory",
        "X-Passproxy-Email: m@x",
    )
    for cookie in (asked.cookie(groups=()), None):
        got = await answer(asked, question(server, "/public/x", *lines, cookie=cookie))
        assert got.status == 200
        assert b"admins" not in got.head
        assert b"mallory" not in got.head
        assert b"m@x" not in got.head


async def test_hdr_11_a_question_over_a_connection_never_answers_the_next_one(server, asked):
    """Two questions in one packet: each has its own answer."""
    async with Raw(asked.address) as raw:
        await raw.send(question(server, "/public/x") + question(server, "/secret") + question(server, "/public/y"))
        assert [(await raw.answer()).status for _ in range(3)] == [200, 401, 200]


@pytest.mark.parametrize("target", [*PROTECTED, "/", "/public/x", "/a%2Fb", "/x//y", "/admin", "/reports;v=1?q=/../"])
async def test_path_24_yes_is_said_about_nothing_that_would_not_be_forwarded(asked, server, upstream, target):
    """The same target behind PassProxy and in a question: forwarded where it is allowed, and nowhere else."""
    for cookie in (None, asked.cookie()):
        upstream.forget()
        behind = await answer(asked, get(target, cookie=cookie))
        got = await answer(asked, question(server, target, cookie=cookie))
        assert (got.status == 200) == bool(upstream.requests), (behind.status, got.status)
