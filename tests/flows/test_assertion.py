"""The signed assertion as the application gets it, verified with what the application would use."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from passproxy.trusted import AssertionRefused, Settings, Verifier
from passproxy.trusted.enrolment import enrolled
from passproxy.trusted.keys import KeySet
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, PassProxy, get, protecting, request
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream
from tests.fakes.websocket import accepting, handshake
from tests.flows.both import *  # noqa: F403 - fixtures
from tests.trusted.contract import Served, assertion_violations, violations

HEADER = b"x-passproxy-assertion"
CHALLENGE = "c" * 43


@pytest.fixture
async def signing(upstream: Upstream, tmp_path: Path) -> AsyncIterator[PassProxy]:
    public = {"paths": ["/public"]}
    async with protecting(upstream.url, tmp_path, assertion={}, passthrough=public) as running:
        yield running


async def asked(passproxy: PassProxy, wire: bytes) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(wire)


async def fetching(passproxy: PassProxy, *paths: str) -> Callable[[str], bytes]:
    """What an application can fetch without a login."""
    found = {f"{ORIGIN}{path}": (await asked(passproxy, get(path))).body for path in paths}
    return lambda url: found[url]


async def trusting(passproxy: PassProxy) -> tuple[Settings, Verifier]:
    fetch = await fetching(passproxy, "/.passproxy/jwks.json", f"/.passproxy/trust.json?challenge={CHALLENGE}")
    settings = enrolled(ORIGIN, fetch, now=time.time(), challenge=CHALLENGE)
    return settings, Verifier(settings, KeySet(settings.jwks_url, fetch=fetch))


async def test_the_application_enrols_and_knows_who_is_there(signing, upstream):
    _, verifier = await trusting(signing)
    cookie = signing.cookie("alice", ("ops",), email="alice@example.com")
    assert (await asked(signing, get("/", cookie=cookie))).status == 200
    identity = verifier.verify(upstream.requests[-1].one(HEADER))
    assert (identity.issuer, identity.subject, identity.user) == (ORIGIN, "sub-alice", "alice")
    assert (identity.email, identity.groups) == ("alice@example.com", ("ops",))


async def test_a_whole_login_ends_with_an_assertion(provider, upstream, tmp_path):
    async with (
        protecting(upstream.url, tmp_path, assertion={"audience": "wiki"}, **provider) as passproxy,
        Browser(passproxy.front) as browser,
    ):
        settings, verifier = await trusting(passproxy)
        assert settings.audiences == ("wiki",)
        page = await browser.sign_in(await browser.open(f"{ORIGIN}/"), "alice", "alice")
        assert page.status == 200
        identity = verifier.verify(upstream.requests[-1].one(HEADER))
        assert identity.user == "alice"
        assert identity.groups == ("engineering", "ops")


async def test_a_websocket_has_one_too(signing, upstream):
    _, verifier = await trusting(signing)
    upstream.script = accepting
    async with Raw(signing.address) as raw:
        await raw.send(handshake(cookie=signing.cookie()))
        await raw.head()
    assert verifier.verify(upstream.requests[-1].one(HEADER)).user == "alice"


SPELLINGS = ("X-Passproxy-Assertion", "x_passproxy_assertion", "X.Passproxy.Assertion", "X-PASSPROXY--ASSERTION")


@pytest.mark.parametrize("name", SPELLINGS)
async def test_hdr_03_what_a_client_sends_under_its_name_is_removed(signing, upstream, name):
    forged = f"{name}: forged"
    await asked(signing, get("/", forged, cookie=signing.cookie()))
    await asked(signing, get("/public", forged))
    with_session, public = upstream.requests
    assert b"forged" not in with_session.head + public.head
    assert len(with_session.all(HEADER)) == 1
    assert public.all(HEADER) == []


@pytest.mark.parametrize("name", ["X-Who", "x-who", "X_Who", "x.who"])
async def test_hdr_03_under_a_name_of_its_own_as_well(upstream, tmp_path, name):
    async with protecting(
        upstream.url, tmp_path, assertion={"header": "X-Who"}, passthrough={"paths": ["/public"]}
    ) as passproxy:
        await asked(passproxy, get("/", f"{name}: forged", cookie=passproxy.cookie()))
        await asked(passproxy, get("/public", f"{name}: forged"))
    with_session, public = upstream.requests
    assert b"forged" not in with_session.head + public.head
    assert len(with_session.all(b"x-who")) == 1


async def test_a_session_has_one_for_many_requests_and_another_has_another(signing, upstream):
    cookie = signing.cookie()
    for each in (cookie, cookie, signing.cookie()):
        await asked(signing, get("/", cookie=each))
    first, second, other = (seen.one(HEADER) for seen in upstream.requests)
    assert first == second != other


async def test_new_keys_are_published_with_a_reload_and_old_assertions_verify(signing, upstream, tmp_path):
    from passproxy.keyfile import rotate

    await asked(signing, get("/", cookie=signing.cookie()))
    before = upstream.requests[-1].one(HEADER)
    rotate(tmp_path / "keys.json", now=time.time(), delay_seconds=-1, lifetime_seconds=3600)
    signing.reload()
    _, verifier = await trusting(signing)
    await asked(signing, get("/", cookie=signing.cookie()))
    after = upstream.requests[-1].one(HEADER)
    assert verifier.verify(before).user == verifier.verify(after).user == "alice"


async def test_an_application_of_another_domain_refuses_it(signing, upstream, tmp_path):
    await asked(signing, get("/", cookie=signing.cookie()))
    _, verifier = await trusting(signing)
    token = upstream.requests[-1].one(HEADER)
    assert verifier.verify(token)
    other = tmp_path / "other"
    other.mkdir()
    async with protecting(upstream.url, other, assertion={}) as passproxy:
        _, foreign = await trusting(passproxy)
        with pytest.raises(AssertionRefused):
            foreign.verify(token)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?", 200),
        (f"?challenge={CHALLENGE}", 200),
        ("?challenge=", 400),
        ("?challenge=short", 400),
        (f"?challenge={CHALLENGE}&challenge={CHALLENGE}", 400),
        (f"?challenge={CHALLENGE}&x=1", 400),
        (f"?x=1&challenge={CHALLENGE}", 400),
        (f"?Challenge={CHALLENGE}", 400),
        (f"?challenge={CHALLENGE[:-2]}%41", 400),
    ],
)
async def test_the_description_is_asked_for_in_one_way(signing, query, status):
    answer = await asked(signing, get(f"/.passproxy/trust.json{query}"))
    assert answer.status == status
    if status == 200:
        kept = b"no-store" if CHALLENGE in query else b"public, max-age=300"
        assert (answer.one(b"cache-control"), "proof" in answer.json()) == (kept, CHALLENGE in query)


async def test_keys_and_description_are_for_everybody_and_read_only(signing):
    for path in ("/.passproxy/jwks.json", "/.passproxy/trust.json"):
        answer = await asked(signing, get(path))
        assert (answer.status, answer.one(b"content-type")) == (200, b"application/json")
        assert answer.all(b"set-cookie") == []
        assert (await asked(signing, request("POST", path))).status == 405
        assert (await asked(signing, request("HEAD", path))).body == b""


async def test_it_keeps_the_contract_that_applications_rely_on(signing, upstream):
    def ask(method: str, target: str) -> Served:
        connection = http.client.HTTPConnection(signing.address, timeout=10)
        try:
            connection.request(method, target, headers={"Host": ORIGIN.removeprefix("https://")})
            answer = connection.getresponse()
            return Served(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    assert await asyncio.to_thread(violations, ask, ORIGIN, now=time.time()) == []
    await asked(signing, get("/", cookie=signing.cookie("alice", ("ops",), email="alice@example.com")))
    token = upstream.requests[-1].one(HEADER)
    assert await asyncio.to_thread(assertion_violations, token, ask, ORIGIN, now=time.time()) == []


async def test_without_the_section_nothing_is_signed_or_published(passproxy, browser, upstream):
    page = await browser.sign_in(await browser.open(f"{ORIGIN}/"), "alice", "alice")
    assert page.status == 200
    assert upstream.requests[-1].all(HEADER) == []
    for path in ("jwks.json", "trust.json"):
        assert (await asked(passproxy, get(f"/.passproxy/{path}"))).status == 404
