"""
The attack catalogue against what lasts longer than a login: renewals, logouts, keys, ways to authenticate.

At the adapter, with a provider on a loopback socket that is hostile in one respect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from passproxy.core.errors import IdpUnavailable, LoginError, RenewalRefused
from passproxy.core.identity import Authentication
from passproxy.idp.base import Message
from passproxy.idp.oidc.errors import (
    AuthenticationOld,
    AuthenticationWeak,
    ClaimsRefused,
    FrontchannelRefused,
    GroupsRefused,
    LogoutTokenRefused,
)
from tests.fakes.idp_oidc import DROP, SigningKey, rsa_private_key
from tests.idp.oidc.scenario import NOW, OidcScenario, oidc_scenario

BACKCHANNEL, FRONTCHANNEL = "oidc/backchannel-logout", "oidc/frontchannel-logout"


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[OidcScenario]:
    async with oidc_scenario(tmp_path) as scenario:
        scenario.op.rotates = True
        yield scenario


async def told(scenario: OidcScenario, **fields: str) -> Any:
    message = Message(BACKCHANNEL, "POST", b"", fields)
    return await scenario.provider.notified(message, None, scenario.now())


async def framed(scenario: OidcScenario, **fields: str) -> Any:
    return await scenario.provider.notified(Message(FRONTCHANNEL, "GET", b"", fields), None, scenario.now())


async def renewed(scenario: OidcScenario, said: Authentication) -> Authentication:
    return await scenario.provider.renew(said.kept, said.subject, scenario.now())


# Back-channel and front-channel logout.


async def test_a_logout_token_names_the_session_of_a_login(scenario):
    said = await scenario.login()
    notice = await told(scenario, logout_token=scenario.op.logout_token())
    assert notice.handles == ("sid:sid-1",)
    assert set(notice.handles) <= set(said.handles)
    assert notice.departure is None


async def test_oidc_35_a_logout_token_is_good_once(scenario):
    token = scenario.op.logout_token()
    await told(scenario, logout_token=token)
    for _ in range(2):
        with pytest.raises(LogoutTokenRefused):
            await told(scenario, logout_token=token)
    with pytest.raises(LogoutTokenRefused):
        await told(scenario, logout_token=scenario.op.logout_token(jti=DROP))


@pytest.mark.parametrize("fields", [{}, {"logout_token": ""}, {"token": "x"}, {"logout_token": "x" * 300_000}])
async def test_oidc_35_something_else_than_a_logout_token_ends_nothing(scenario, fields):
    with pytest.raises(LogoutTokenRefused):
        await told(scenario, **fields)


async def test_oidc_14_a_thousand_unknown_keys_are_one_question(scenario):
    await scenario.login()
    before = scenario.op.asked["jwks"]
    for number in range(1000):
        with pytest.raises(LogoutTokenRefused):
            await told(scenario, logout_token=scenario.op.logout_token({"kid": f"unknown-{number}"}))
    assert scenario.op.asked["jwks"] == before + 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sid": "sid-1"},
        {"iss": "https://evil.example", "sid": "sid-1"},
        {"iss": "ISSUER"},
        {"iss": "ISSUER", "sid": ""},
        {"iss": "ISSUER/", "sid": "sid-1"},
        {"iss": "ISSUER", "sub": "248289761001"},
    ],
)
async def test_oidc_36_a_frame_that_does_not_name_issuer_and_session_ends_nothing(scenario, fields):
    filled = {name: value.replace("ISSUER", scenario.issuer) for name, value in fields.items()}
    with pytest.raises(FrontchannelRefused):
        await framed(scenario, **filled)


async def test_oidc_36_a_frame_ends_the_named_session_and_never_all_of_a_subject(scenario):
    notice = await framed(scenario, iss=scenario.issuer, sid="sid-1", sub="248289761001")
    assert notice.handles == ("sid:sid-1",)
    assert notice.framed_by == scenario.issuer


# Renewals.


async def test_a_renewal_says_what_the_provider_says_now_with_a_new_refresh_token(scenario):
    said = await scenario.login()
    assert said.is_renewable
    scenario.op.claims["groups"] = ["staff"]
    again = await renewed(scenario, said)
    assert again.attributes["groups"] == ("staff",)
    assert (again.subject, again.issuer) == (said.subject, said.issuer)
    assert again.is_renewable
    assert again.kept != said.kept
    with pytest.raises(RenewalRefused):
        await renewed(scenario, said)  # the first one was good once
    assert (await renewed(scenario, again)).is_renewable


async def test_a_provider_that_gives_no_new_refresh_token_means_the_old_one(scenario):
    said = await scenario.login()
    first = scenario.op.token_response = {"refresh_token": DROP}
    again = await renewed(scenario, said)
    assert first
    assert again.is_renewable
    form = scenario.op.token_requests[-1][0]
    assert form["grant_type"] == "refresh_token"
    with pytest.raises(RenewalRefused):
        await renewed(scenario, again)
    assert scenario.op.token_requests[-1][0]["refresh_token"] == form["refresh_token"]


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "somebody-else"},
        {"iss": "https://other.example"},
        {"aud": "another"},
        {"sub": DROP},
        {"iat": NOW - 10**6},
    ],
)
async def test_oidc_38_a_renewal_about_somebody_else_or_from_elsewhere_is_none(scenario, claims):
    said = await scenario.login()
    scenario.op.claims.update(claims)
    with pytest.raises(LoginError):
        await renewed(scenario, said)


async def test_oidc_38_without_an_id_token_the_userinfo_must_be_about_the_same_subject(scenario):
    said = await scenario.login()
    scenario.op.token_response["id_token"] = DROP
    scenario.op.userinfo["groups"] = ["moved"]
    again = await renewed(scenario, said)
    assert again.attributes["groups"] == ("moved",)
    assert not again.keeps_identity
    scenario.op.userinfo["sub"] = "somebody-else"
    with pytest.raises(LoginError):
        await renewed(scenario, again)


async def test_a_provider_that_only_confirms_leaves_the_identity_as_it_is(scenario):
    said = await scenario.login()
    scenario.op.token_response["id_token"] = DROP

    async def away(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    scenario.op.instead["userinfo"] = away
    again = await renewed(scenario, said)
    assert again.keeps_identity
    assert again.is_renewable


async def test_at_a_renewal_too_groups_that_are_only_referred_to_are_never_guessed(scenario):
    said = await scenario.login()
    scenario.op.refer_to_groups()
    with pytest.raises(GroupsRefused):
        await renewed(scenario, said)


@pytest.mark.parametrize(("status", "kind"), [(503, IdpUnavailable), (429, IdpUnavailable), (401, LoginError)])
async def test_a_provider_that_has_no_time_has_not_said_no(scenario, status, kind):
    async def busy(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "temporarily_unavailable"}, status=status)

    said = await scenario.login()
    scenario.op.instead["token"] = busy
    with pytest.raises(kind) as refusal:
        await renewed(scenario, said)
    assert not isinstance(refusal.value, RenewalRefused)


@pytest.mark.parametrize("kept", [b"", b"x", b"\x01x", b"\x02abc"])
async def test_nothing_kept_is_nothing_to_renew_with_and_asks_nobody(scenario, kept):
    with pytest.raises(RenewalRefused):
        await scenario.provider.renew(kept, "s", NOW)
    assert scenario.op.asked["token"] == 0


# Keys.


@pytest.mark.parametrize("moment", ["login", "renewal", "logout"])
async def test_oidc_39_new_keys_are_found_when_they_are_first_used(scenario, moment):
    said = await scenario.login()
    scenario.op.signing_key = SigningKey(rsa_private_key(2), "key-2")
    before = scenario.op.asked["jwks"]
    if moment == "login":
        await scenario.login(2)
    elif moment == "renewal":
        await renewed(scenario, said)
    else:
        await told(scenario, logout_token=scenario.op.logout_token())
    assert scenario.op.asked["jwks"] == before + 1


async def test_oidc_39_keys_that_are_published_before_they_sign_need_no_look(scenario):
    new = SigningKey(rsa_private_key(2), "key-2")
    scenario.op.published = [scenario.op.signing_key.jwk(), new.jwk()]
    await scenario.login()
    before = scenario.op.asked["jwks"]
    scenario.op.signing_key = new
    await scenario.login(2)
    assert scenario.op.asked["jwks"] == before


# How and when somebody authenticated.


@pytest.mark.parametrize("acr", [DROP, "0", "", ["phr"], None, "phr "])
async def test_oidc_40_a_weaker_authentication_than_asked_for_is_none(scenario, acr):
    scenario.configure(acr_values=["phr", "phrh"])
    scenario.op.claims["acr"] = "phrh"
    await scenario.login()
    assert "acr_values=phr+phrh" in (await scenario.begin(2)).redirect.replace("%20", "+")
    scenario.op.claims["acr"] = acr
    with pytest.raises(AuthenticationWeak):
        await scenario.login(3)


async def test_oidc_40_an_old_authentication_or_one_without_a_time_is_none(scenario):
    scenario.configure(max_age=600)
    scenario.op.claims["auth_time"] = NOW - 600
    await scenario.login()
    assert "max_age=600" in (await scenario.begin(2)).redirect
    scenario.op.claims["auth_time"] = NOW - 661
    with pytest.raises(AuthenticationOld):
        await scenario.login(3)
    scenario.op.claims["auth_time"] = DROP
    with pytest.raises(ClaimsRefused):
        await scenario.login(4)


async def test_oidc_01_neither_the_description_nor_a_token_adds_an_algorithm(scenario):
    scenario.configure(signing_algorithms=["ES256"])
    scenario.op.discovery["id_token_signing_alg_values_supported"] = ["RS256", "none"]
    with pytest.raises(LoginError) as refusal:
        await scenario.login()
    assert refusal.value.code == "PP-OIDC-ALGORITHM"
