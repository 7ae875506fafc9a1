"""The provider is told that a session ended, as far as it wants to know, and never keeps anybody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from passproxy.idp.base import Proof
from passproxy.idp.oidc import endings
from passproxy.idp.oidc.endings import URL_LIMIT_CHARACTERS
from tests.fakes.idp_oidc import DROP
from tests.idp.oidc.scenario import NOW, OidcScenario, oidc_scenario

PROOF = Proof(b"s" * 32)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[OidcScenario]:
    async with oidc_scenario(tmp_path) as scenario:
        scenario.op.rotates = True
        yield scenario


async def departed(scenario: OidcScenario, kept: bytes) -> dict[str, str]:
    departure = await scenario.provider.end(kept, "logout-1", PROOF, NOW)
    assert departure is not None
    assert departure.url.startswith(f"{scenario.issuer}/end?")
    assert departure.fields == {}
    return {name: values[0] for name, values in parse_qs(urlsplit(departure.url).query).items()}


async def test_the_browser_is_sent_to_the_end_of_the_session_with_the_id_token_as_it_came(scenario):
    tokens = []
    original = scenario.op.id_token
    scenario.op.id_token = lambda **bound: tokens.append(original(**bound)) or tokens[-1]
    said = await scenario.login()
    assert await departed(scenario, said.kept) == {
        "id_token_hint": tokens[0],
        "client_id": "app",
        "post_logout_redirect_uri": "https://app.example.com/.passproxy/logged-out",
    }


async def test_the_refresh_token_is_handed_back(scenario):
    said = await scenario.login()
    await departed(scenario, said.kept)
    assert len(scenario.op.revoked) == 1


async def test_without_anything_kept_there_is_no_hint_and_the_logout_goes_on(scenario):
    await scenario.login()
    assert "id_token_hint" not in await departed(scenario, b"")
    assert scenario.op.revoked == []


async def test_a_hint_that_makes_the_address_too_long_stays_behind(scenario, monkeypatch):
    said = await scenario.login()
    monkeypatch.setattr(endings, "URL_LIMIT_CHARACTERS", 300)
    assert "id_token_hint" not in await departed(scenario, said.kept)
    assert URL_LIMIT_CHARACTERS < 8192


async def test_where_the_provider_has_no_such_endpoint_only_we_log_out(scenario):
    scenario.op.discovery.update(end_session_endpoint=DROP, revocation_endpoint=DROP)
    scenario.configure()
    said = await scenario.login()
    assert await scenario.provider.end(said.kept, "logout-1", PROOF, NOW) is None
    scenario.configure()
    assert await scenario.provider.end(said.kept, "logout-1", PROOF, NOW) is None


@pytest.mark.parametrize("failure", ["hangs", "refuses", "away"])
async def test_a_provider_that_does_not_take_the_token_keeps_nobody_waiting(scenario, monkeypatch, failure, caplog):
    async def answer(request: web.Request) -> web.StreamResponse:
        if failure == "hangs":
            await asyncio.sleep(5)
        return web.Response(status=400)

    monkeypatch.setattr(endings, "REVOCATION_SECONDS", 0.1)
    said = await scenario.login()
    scenario.op.instead["revoke"] = answer
    if failure == "away":
        await scenario.op.close()
    caplog.set_level("INFO")
    await departed(scenario, said.kept)
    assert "idp.token_not_revoked" in caplog.text
