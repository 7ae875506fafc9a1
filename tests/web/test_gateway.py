"""Each decision performed, each outcome logged once, and nothing of an attacker kept."""

from __future__ import annotations

import asyncio

import pytest

from passproxy.core.decision import Decider
from passproxy.core.forwarded import Forwarded
from passproxy.core.http1 import NameTable
from tests.fakes.gateway import alive, demo_idp, get, navigation, oidc_at, protecting, request
from tests.fakes.raw import Raw


async def test_a_session_is_forwarded_and_logs_nothing(upstream, passproxy, log):
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 200
    assert log.events == []


async def test_a_refusal_tells_the_page_what_the_log_calls_it(passproxy, log):
    async with Raw(passproxy.address) as raw:
        problem = (await raw.ask(get("/api"))).json()
    fields = log.one("request.refused")
    assert (problem["code"], problem["request_id"]) == (fields["code"], fields["request_id"])
    assert problem["login_url"] == "https://app.example.com/.passproxy/login"


async def test_a_refusal_is_a_page_for_browsers_and_a_problem_for_programs(passproxy):
    async with Raw(passproxy.address) as raw:
        page = await raw.ask(request("POST", "/", "Accept: text/html,*/*"))
        problem = await raw.ask(request("POST", "/", "Accept: application/json"))
    assert (page.status, page.one(b"content-type")) == (401, b"text/html; charset=utf-8")
    assert (problem.status, problem.one(b"content-type")) == (401, b"application/problem+json")


async def test_a_bad_cookie_is_cleared_and_its_reason_logged_without_it(upstream, tmp_path, log):
    async with demo_idp() as idp, protecting(upstream.url, tmp_path, **oidc_at(idp)) as passproxy:
        cookie = passproxy.cookie(seconds=-5)
        async with Raw(passproxy.address) as raw:
            got = await raw.ask(navigation("/", cookie=cookie))
            assert got.status == 302
            assert [line for line in got.all(b"set-cookie") if line.startswith(b"__Host-passproxy=;")]
            assert log.one("session.rejected")["reason"] == "expired"
            log.forget()
            got = await raw.ask(get("/", cookie=cookie))
            assert (got.status, len(got.all(b"set-cookie"))) == (401, 1)
            assert "expired" in str(log.one("request.refused")["session"])
    assert not log.tells(cookie.partition("=")[2])


async def test_the_host_toward_the_application_can_be_its_own(upstream, tmp_path):
    async with (
        protecting(upstream.url, tmp_path, upstream={"preserve_host": False}) as passproxy,
        Raw(passproxy.address) as raw,
    ):
        await raw.ask(get("/", cookie=passproxy.cookie()))
    assert upstream.requests[0].one(b"host") == f"127.0.0.1:{upstream.port}".encode()


async def test_names_that_an_attacker_invents_are_not_kept_for_ever(passproxy):
    """DOS-19: a table of spellings is bounded in bytes, not only in number."""
    async with Raw(passproxy.address) as raw:
        for number in range(40):
            name = f"X-{number}-" + "a" * 20_000
            assert (await raw.ask(get("/public/x", f"{name}: 1"))).status == 200
    kept = sum(len(name) for table in alive(NameTable) for name in table.known)
    assert kept < 200_000


async def test_addresses_that_an_attacker_invents_are_not_kept_for_ever_either(passproxy):
    """A web server in front appends to what the client sent, so this reaches us from a trusted peer."""
    async with Raw(passproxy.address) as raw:
        for number in range(40):
            line = f"X-Forwarded-For: {number}, {'9' * 20_000}, 203.0.113.9"
            assert (await raw.ask(get("/public/x", line))).status == 200
    kept = sum(len(value) for table in alive(Forwarded) for _, value in table._lines)
    assert kept < 200_000


async def test_a_client_that_leaves_while_the_application_is_being_reached_costs_nothing(upstream, passproxy, log):
    for _ in range(5):
        async with Raw(passproxy.address) as raw:
            await raw.send(get("/", cookie=passproxy.cookie()))
            raw.reset()
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/next", cookie=passproxy.cookie()))).body == b"/next"
    assert not log.named("request.failed")


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_what_nobody_expected_is_a_500_and_never_a_permission(upstream, passproxy, log, accept):
    """The one part that is made to fail here is the clock of the composition root."""
    deciders = {decider: decider._site for decider in alive(Decider)}
    for decider in deciders:
        decider._site = None  # any attribute error will do
    try:
        async with Raw(passproxy.address) as raw:
            got = await raw.ask(get("/", f"Accept: {accept}", cookie=passproxy.cookie()))
    finally:
        for decider, site in deciders.items():
            decider._site = site
    assert got.status == 500
    assert b"AttributeError" not in got.body
    assert b"Traceback" not in got.body
    assert upstream.is_untouched
    assert log.named("request.failed")


async def test_many_clients_at_once_each_get_their_own_answer(upstream, passproxy):
    async def client(number: int) -> None:
        cookie = passproxy.cookie(f"user{number}")
        async with Raw(passproxy.address) as raw:
            for turn in range(5):
                target = f"/{number}/{turn}"
                assert (await raw.ask(get(target, cookie=cookie))).body == target.encode()

    await asyncio.gather(*(client(number) for number in range(40)))
    told = {(seen.target.split(b"/")[1], seen.one(b"x-passproxy-user")) for seen in upstream.requests}
    assert told == {(b"%d" % number, b"user%d" % number) for number in range(40)}
