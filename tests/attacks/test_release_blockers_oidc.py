"""The two of the catalogue's release blockers that are about OpenID Connect, one test each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from passproxy.idp.oidc.errors import AlgorithmRefused, AudienceRefused
from tests.fakes.idp_oidc import base64url
from tests.idp.oidc.scenario import OidcScenario, oidc_scenario


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[OidcScenario]:
    async with oidc_scenario(tmp_path) as scenario:
        yield scenario


@pytest.mark.parametrize("announced", [["RS256", "none"], ["none"]])
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize("signature", ["", "eA", "AAAA"])
async def test_release_blocker_04_a_provider_that_lists_none_cannot_make_us_accept_it(
    scenario, announced, algorithm, signature
):
    """Which algorithms may sign is decided here, never by the provider's own document."""
    scenario.op.discovery["id_token_signing_alg_values_supported"] = announced
    scenario.op.forge = lambda header, claims: ".".join(
        [
            base64url(json.dumps({**header, "alg": algorithm}).encode()),
            base64url(json.dumps(claims).encode()),
            signature,
        ]
    )
    with pytest.raises(AlgorithmRefused):
        await scenario.login()


@pytest.mark.parametrize(
    ("aud", "azp"),
    [
        ("other", "app"),
        ([], "app"),
        ("", "app"),
        (["other"], "app"),
        (["other", "third"], "app"),
        (None, "app"),
        (["app", "other"], "app"),
        ("app", "other"),
    ],
)
async def test_release_blocker_05_the_authorized_party_never_stands_in_for_the_audience(scenario, aud, azp):
    """A token for another client stays one, even when it names us as the party that it was issued to."""
    scenario.op.claims.update(aud=aud, azp=azp)
    with pytest.raises(AudienceRefused):
        await scenario.login()
