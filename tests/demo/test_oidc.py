"""The code flow against the demo identity provider, step by step, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest

from passproxy.demo.idp import DemoIdentityProvider
from tests.demo.clock import Clock
from tests.demo.conftest import ORIGIN

CALLBACK = f"{ORIGIN}/.passproxy/oidc/callback"
LOGGED_OUT = f"{ORIGIN}/.passproxy/logged-out"
VERIFIER = "v" * 43
ALICE = {"username": "alice", "password": "alice"}


def challenge(verifier: str = VERIFIER) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def wanted(**changes: str | None) -> dict[str, str]:
    """A correct authorization request, with changes; None leaves a parameter out."""
    request = {
        "client_id": DemoIdentityProvider.client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid profile email groups",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": challenge(),
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in request.items() if value is not None}


async def asked(
    http: aiohttp.ClientSession,
    idp: DemoIdentityProvider,
    request: Mapping[str, str],
    form: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], str]:
    """Status, fields of the redirect (if it is one to the callback), and page of the authorization endpoint."""
    async with http.request(
        "GET" if form is None else "POST",
        idp.issuer + "/oidc/authorize",
        params=request,
        data=form,
        allow_redirects=False,
    ) as response:
        location = response.headers.get("Location", "")
        if location:
            assert location.startswith(CALLBACK + "?")
        return response.status, fields_of(location), await response.text()


def fields_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=bool(url)).items()}


async def code_for(http: aiohttp.ClientSession, idp: DemoIdentityProvider, **changes: str | None) -> str:
    _, fields, _ = await asked(http, idp, wanted(**changes), ALICE)
    return fields["code"]


async def redeemed(
    http: aiohttp.ClientSession,
    idp: DemoIdentityProvider,
    code: str,
    *,
    basic: str | None = None,
    **changes: str,
) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    if basic is None:
        form |= {"client_id": idp.client_id, "client_secret": idp.client_secret}
    headers = {"Authorization": "Basic " + base64.b64encode(basic.encode()).decode()} if basic else {}
    async with http.post(idp.issuer + "/oidc/token", data=form | changes, headers=headers) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()


async def verified(http: aiohttp.ClientSession, idp: DemoIdentityProvider, id_token: str) -> dict[str, Any]:
    async with http.get(idp.issuer + "/oidc/jwks.json") as response:
        keys = jwt.PyJWKSet.from_dict(await response.json())
    key = keys[jwt.get_unverified_header(id_token)["kid"]]
    claims: dict[str, Any] = jwt.decode(id_token, key, algorithms=["RS256"], audience=idp.client_id, issuer=idp.issuer)
    return claims


async def test_discovery_names_the_issuer_and_its_endpoints(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    async with http.get(idp.issuer + "/.well-known/openid-configuration") as response:
        document = await response.json()
    assert document["issuer"] == idp.issuer
    assert document["code_challenge_methods_supported"] == ["S256"]
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint"):
        assert document[name].startswith(idp.issuer + "/oidc/")


async def test_a_whole_login_says_who_alice_is(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    status, _, page = await asked(http, idp, wanted())
    assert status == 200
    assert 'name="username"' in page
    assert 'name="password"' in page
    status, fields, _ = await asked(http, idp, wanted(), ALICE)
    assert status == 303
    assert fields["state"] == "the-state"
    assert fields["iss"] == idp.issuer
    status, tokens = await redeemed(http, idp, fields["code"])
    assert status == 200
    claims = await verified(http, idp, tokens["id_token"])
    assert claims["nonce"] == "the-nonce"
    assert claims["preferred_username"] == "alice"
    assert claims["name"] == "Alice Archer"
    assert claims["email"] == "alice@example.com"
    assert claims["email_verified"] is True
    assert claims["groups"] == ["engineering", "ops"]
    assert claims["sub"] != "alice"
    left_half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert base64.urlsafe_b64decode(claims["at_hash"] + "==") == left_half


async def test_claims_follow_the_scopes(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    _, tokens = await redeemed(http, idp, await code_for(http, idp, scope="openid email unknown"))
    claims = await verified(http, idp, tokens["id_token"])
    assert claims["email"] == "alice@example.com"
    assert not claims.keys() & {"name", "groups"}
    assert tokens["scope"] == "email openid"


async def test_basic_client_authentication_is_form_decoded(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    """RFC 6749 2.3.1."""
    basic = f"{idp.client_id.replace('-', '%2D')}:{idp.client_secret}"
    status, _ = await redeemed(http, idp, await code_for(http, idp), basic=basic)
    assert status == 200


async def test_userinfo_answers_to_the_access_token_alone(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider, clock: Clock
) -> None:
    _, tokens = await redeemed(http, idp, await code_for(http, idp))
    url, bearer = idp.issuer + "/oidc/userinfo", {"Authorization": f"Bearer {tokens['access_token']}"}
    async with http.get(url, headers=bearer) as response:
        assert (await response.json())["groups"] == ["engineering", "ops"]
    async with http.get(url) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="demo"'
    clock.advance(301)
    async with http.get(url, headers=bearer) as response:
        assert response.status == 401
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_id": "somebody"}, id="another client"),
        pytest.param({"client_id": None}, id="no client"),
        pytest.param({"redirect_uri": CALLBACK + "/"}, id="a longer redirect URI"),
        pytest.param({"redirect_uri": CALLBACK.upper()}, id="a redirect URI in capitals"),
        pytest.param({"redirect_uri": "https://evil.example/"}, id="a foreign redirect URI"),
        pytest.param({"redirect_uri": None}, id="no redirect URI"),
    ],
)
async def test_a_request_that_is_not_ours_goes_nowhere(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider, changes: dict[str, str | None]
) -> None:
    for form in (None, ALICE):
        status, fields, page = await asked(http, idp, wanted(**changes), form)
        assert status == 400
        assert not fields
        assert "evil" not in page
        assert "<form" not in page


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"response_type": "id_token"}, "unsupported_response_type", id="implicit flow"),
        pytest.param({"code_challenge": None}, "invalid_request", id="no PKCE"),
        pytest.param({"code_challenge_method": "plain"}, "invalid_request", id="PKCE in the plain"),
        pytest.param({"code_challenge_method": None}, "invalid_request", id="PKCE without a method"),
        pytest.param({"code_challenge": "short"}, "invalid_request", id="a short challenge"),
        pytest.param({"state": None}, "invalid_request", id="no state"),
        pytest.param({"nonce": None}, "invalid_request", id="no nonce"),
        pytest.param({"scope": "profile"}, "invalid_scope", id="not OpenID"),
        pytest.param({"max_age": "-1"}, "invalid_request", id="a negative age"),
        pytest.param({"request": "e30.e30."}, "invalid_request", id="a request object"),
        pytest.param({"prompt": "none"}, "login_required", id="silently, with nobody signed in"),
    ],
)
async def test_a_wrong_request_is_answered_with_an_error(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider, changes: dict[str, str | None], error: str
) -> None:
    status, fields, _ = await asked(http, idp, wanted(**changes))
    assert status == 303
    assert fields["error"] == error
    assert fields.get("state") == wanted(**changes).get("state")
    assert "code" not in fields


async def test_a_repeated_parameter_is_refused(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    pairs = [*wanted().items(), ("redirect_uri", "https://evil.example/")]
    async with http.get(idp.issuer + "/oidc/authorize", params=pairs, allow_redirects=False) as response:
        assert response.status == 400
    pairs = [("code", "a"), ("code", "b"), ("client_id", idp.client_id), ("client_secret", idp.client_secret)]
    async with http.post(idp.issuer + "/oidc/token", data=pairs) as response:
        assert response.status == 400
        assert (await response.json())["error"] == "invalid_request"


async def test_a_code_is_good_once(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    code = await code_for(http, idp)
    assert (await redeemed(http, idp, code))[0] == 200
    status, answer = await redeemed(http, idp, code)
    assert status == 400
    assert answer["error"] == "invalid_grant"


async def test_a_wrong_verifier_spends_the_code(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    code = await code_for(http, idp)
    for verifier in ("w" * 43, VERIFIER):
        status, answer = await redeemed(http, idp, code, code_verifier=verifier)
        assert status == 400
        assert answer["error"] == "invalid_grant"


async def test_an_old_code_is_refused(http: aiohttp.ClientSession, idp: DemoIdentityProvider, clock: Clock) -> None:
    code = await code_for(http, idp)
    clock.advance(61)
    assert (await redeemed(http, idp, code))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "somebody"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"redirect_uri": CALLBACK + "?"}, 400, "invalid_grant"),
        ({"code_verifier": ""}, 400, "invalid_grant"),
        ({"code": "guessed"}, 400, "invalid_grant"),
    ],
)
async def test_a_wrong_token_request_is_refused(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider, changes: dict[str, str], status: int, error: str
) -> None:
    code = await code_for(http, idp)
    answer = await redeemed(http, idp, **{"code": code, **changes})
    assert answer[0] == status
    assert answer[1]["error"] == error


async def test_two_ways_of_client_authentication_are_one_too_many(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    basic = f"{idp.client_id}:{idp.client_secret}"
    code = await code_for(http, idp)
    status, answer = await redeemed(http, idp, code, basic=basic, client_secret=idp.client_secret)
    assert (status, answer["error"]) == (400, "invalid_request")


async def test_a_broken_basic_header_is_a_wrong_client(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    for value in ("Basic !!!", "Basic YQ==", "Bearer x"):
        async with http.post(idp.issuer + "/oidc/token", headers={"Authorization": value}) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic")


async def test_a_wrong_password_shows_the_form_again(http: aiohttp.ClientSession, idp: DemoIdentityProvider) -> None:
    for form in ({"username": "alice", "password": "bob"}, {"username": '"><b>', "password": "x"}, {}):
        status, fields, page = await asked(http, idp, wanted(), form)
        assert status == 403
        assert not fields
        assert 'role="alert"' in page
        assert "<b>" not in page
    assert (await asked(http, idp, wanted(), ALICE))[0] == 303


async def test_a_second_login_in_the_same_browser_is_silent(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider, clock: Clock
) -> None:
    await code_for(http, idp)
    assert (await asked(http, idp, wanted()))[0] == 303
    assert (await asked(http, idp, wanted(prompt="none")))[0] == 303
    assert (await asked(http, idp, wanted(prompt="login")))[0] == 200
    clock.advance(10)
    assert (await asked(http, idp, wanted(max_age="5")))[0] == 200
    assert (await asked(http, idp, wanted(max_age="60")))[0] == 303
    clock.advance(8 * 3600)
    assert (await asked(http, idp, wanted()))[0] == 200


async def test_twenty_tabs_log_in_at_the_same_time_each_with_its_own_state(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    requests = [wanted(state=f"tab-{number}", nonce=f"nonce-{number}") for number in range(20)]
    opened = await asyncio.gather(*(asked(http, idp, request) for request in requests))
    assert {status for status, _, _ in opened} == {200}
    answers = await asyncio.gather(*(asked(http, idp, request, ALICE) for request in reversed(requests)))
    for number, (_, fields, _) in enumerate(reversed(answers)):
        assert fields["state"] == f"tab-{number}"
        _, tokens = await redeemed(http, idp, fields["code"])
        assert jwt.decode(tokens["id_token"], options={"verify_signature": False})["nonce"] == f"nonce-{number}"


async def test_the_form_is_not_accepted_from_another_site(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    async with http.post(
        idp.issuer + "/oidc/authorize",
        params=wanted(),
        data=ALICE,
        headers={"Sec-Fetch-Site": "cross-site"},
        allow_redirects=False,
    ) as response:
        assert response.status == 400
        assert "Set-Cookie" not in response.headers


async def test_logout_forgets_the_browser_and_returns_to_the_registered_address_only(
    http: aiohttp.ClientSession, idp: DemoIdentityProvider
) -> None:
    url = idp.issuer + "/oidc/logout"
    await code_for(http, idp)
    back = {"post_logout_redirect_uri": LOGGED_OUT, "state": "s"}
    async with http.get(url, params=back, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"] == LOGGED_OUT + "?state=s"
    assert (await asked(http, idp, wanted()))[0] == 200
    await code_for(http, idp)
    async with http.post(url, data={"post_logout_redirect_uri": "https://evil.example/"}) as response:
        assert response.status == 200
        assert "Signed out" in await response.text()
    assert (await asked(http, idp, wanted()))[0] == 200
