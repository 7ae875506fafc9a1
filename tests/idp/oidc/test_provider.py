"""The adapter as a whole, against a provider on a loopback socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from passproxy.core.errors import CallbackMalformed, IdpUnavailable, LoginError, LoginUnknown
from passproxy.idp import fetch
from passproxy.idp.base import Callback, IdentityProvider
from passproxy.idp.oidc import kept, overage, pauses, provider
from passproxy.idp.oidc.errors import (
    AccessDenied,
    AnswerAmbiguous,
    ClaimsRefused,
    ClientRefused,
    DiscoveryRefused,
    GroupsRefused,
    IssuerRefused,
    KeysRefused,
    NonceRefused,
    ProviderRefused,
    PushRefused,
    SignatureRefused,
    UserinfoRefused,
)
from tests.fakes.idp_oidc import DROP, SigningKey, ec_private_key, left_half, rsa_private_key, signed
from tests.idp.contract import LoginContract
from tests.idp.oidc.scenario import NOW, OidcScenario, oidc_scenario


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[OidcScenario]:
    async with oidc_scenario(tmp_path) as scenario:
        yield scenario


def answering(body: bytes, status: int = 200, content_type: str = "application/json") -> Any:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type=content_type)

    return handler


async def unreachable(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


def query(redirect: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(redirect).query, strict_parsing=True).items()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task does; nothing there could tell us."""
    while not condition():  # noqa: ASYNC110 - the fake provider counts, it does not notify
        await asyncio.sleep(0.01)


def configure_key(scenario: OidcScenario, directory: Path, private: Any, **keys: Any) -> None:
    """The client has a private key instead of a secret, and the provider its public half."""
    (directory / "client.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    scenario.op.client_secret, scenario.op.client_key = None, private.public_key()
    scenario.configure(private_key_file=str(directory / "client.pem"), **keys)


class TestOidc(LoginContract):
    @pytest.fixture
    async def scenario(self, tmp_path: Path) -> AsyncIterator[OidcScenario]:
        async with oidc_scenario(tmp_path) as scenario:
            yield scenario


class TestStart:
    async def test_the_request_is_complete(self, scenario):
        started = await scenario.begin()
        assert started.redirect.startswith(f"{scenario.issuer}/authorize?")
        sent = query(started.redirect)
        assert sent.pop("nonce") == started.proof.derive("nonce")
        assert len(sent.pop("code_challenge")) == 43
        assert sent == {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": "https://app.example.com/.passproxy/oidc/callback",
            "scope": "openid profile email groups",
            "state": "login-1",
            "code_challenge_method": "S256",
        }

    async def test_no_secret_is_in_it(self, scenario):
        started = await scenario.begin()
        assert started.proof.derive("code verifier") not in started.redirect
        assert scenario.op.client_secret not in started.redirect

    async def test_two_logins_have_nothing_in_common(self, scenario):
        first, second = query((await scenario.begin(1)).redirect), query((await scenario.begin(2)).redirect)
        for name in ("state", "nonce", "code_challenge"):
            assert first[name] != second[name]

    async def test_a_query_of_the_endpoint_is_kept(self, scenario):
        scenario.op.discovery["authorization_endpoint"] = f"{scenario.issuer}/authorize?p=b2c_1_login"
        assert query((await scenario.begin()).redirect)["p"] == "b2c_1_login"

    async def test_default_scopes_that_the_provider_does_not_know_are_not_asked_for(self, scenario):
        scenario.op.discovery["scopes_supported"] = ["openid", "email", "profile", "offline_access"]
        assert query((await scenario.begin()).redirect)["scope"] == "openid profile email"

    async def test_configured_scopes_are_asked_for_as_they_are(self, scenario):
        scenario.op.discovery["scopes_supported"] = ["openid"]
        scenario.configure(scopes=["email", "team:read"])
        assert query((await scenario.begin()).redirect)["scope"] == "openid email team:read"

    async def test_it_is_an_identity_provider(self, scenario):
        neutral: IdentityProvider = scenario.provider
        assert (neutral.callback_method, neutral.callback_path, neutral.login_id_field) == (
            "GET",
            "oidc/callback",
            "state",
        )
        assert neutral.documents() == {}

    async def test_the_form_is_asked_for_when_it_is_configured(self, scenario):
        scenario.configure(response_mode="form_post")
        assert query((await scenario.begin()).redirect)["response_mode"] == "form_post"
        assert scenario.provider.callback_method == "POST"
        assert (await scenario.login(2)).subject == scenario.subject


class TestPushedRequests:
    """RFC 9126."""

    @pytest.fixture
    def offering(self, scenario) -> OidcScenario:
        scenario.op.discovery["pushed_authorization_request_endpoint"] = f"{scenario.issuer}/par"
        return scenario

    async def test_the_browser_carries_a_reference_and_nothing_else(self, offering):
        started = await offering.begin()
        sent = query(started.redirect)
        assert set(sent) == {"client_id", "request_uri"}
        (form,) = offering.op.push_requests
        assert (form["state"], form["nonce"]) == (started.login_id, started.proof.derive("nonce"))
        assert form["code_challenge_method"] == "S256"
        assert started.proof.derive("code verifier") not in form.values()
        callback = Callback(offering.op.answer(started.redirect))
        assert (await offering.finish(callback, started)).subject == offering.subject

    async def test_the_client_proves_itself_there_as_well(self, offering, tmp_path):
        configure_key(offering, tmp_path, ec_private_key(), response_mode="form_post")
        assert (await offering.login()).subject == offering.subject
        assert offering.op.push_requests[0]["response_mode"] == "form_post"
        assert len({claims["jti"] for _, claims in offering.op.client_assertions}) == 2

    async def test_a_client_that_is_not_accepted_there_has_its_own_explanation(self, offering):
        offering.configure(client_secret="wrong")
        with pytest.raises(ClientRefused):
            await offering.begin()

    @pytest.mark.parametrize("keys", [{}, {"pushed_authorization_requests": "always"}])
    async def test_nothing_goes_past_the_browser_because_pushing_failed(self, offering, keys):
        offering.configure(**keys)
        offering.op.instead["par"] = unreachable
        with pytest.raises(IdpUnavailable):
            await offering.begin()
        offering.op.instead["par"] = answering(b'{"error":"invalid_request"}', 400)
        with pytest.raises(PushRefused):
            await offering.begin()

    async def test_never_means_never(self, offering):
        offering.configure(pushed_authorization_requests="never")
        assert "state" in query((await offering.begin()).redirect)
        assert offering.op.asked["par"] == 0

    async def test_a_provider_that_insists_and_a_configuration_that_forbids_do_not_fit(self, offering):
        offering.op.discovery["require_pushed_authorization_requests"] = True
        assert "request_uri" in query((await offering.begin()).redirect)
        offering.configure(pushed_authorization_requests="never")
        with pytest.raises(PushRefused):
            await offering.begin()

    async def test_what_is_not_offered_cannot_be_insisted_on(self, scenario):
        scenario.configure(pushed_authorization_requests="always")
        with pytest.raises(PushRefused):
            await scenario.begin()

    async def test_a_flood_of_visits_is_no_flood_at_the_provider(self, offering, monkeypatch):
        monkeypatch.setattr(provider, "PUSHES_AT_ONCE", 3)
        offering.configure()
        await offering.begin()
        offering.op.asked.clear()
        begun = await asyncio.gather(*(offering.begin(number) for number in range(40)), return_exceptions=True)
        refused = [one for one in begun if isinstance(one, IdpUnavailable)]
        assert (len(refused), offering.op.asked["par"]) == (37, 3)
        assert "request_uri" in query((await offering.begin()).redirect)


class TestDescription:
    async def test_it_is_read_once_for_many_logins(self, scenario):
        await asyncio.gather(*(scenario.begin(number) for number in range(1, 50)))
        assert scenario.op.asked["discovery"] == 1
        assert scenario.op.asked["jwks"] == 0

    async def test_while_it_was_never_obtained_logins_are_refused_and_the_provider_is_not_flooded(self, scenario):
        scenario.op.instead["discovery"] = unreachable
        for _ in range(5):
            with pytest.raises(IdpUnavailable):
                await scenario.begin()
        assert scenario.op.asked["discovery"] == 1
        del scenario.op.instead["discovery"]
        scenario.clock.now += kept.RETRY_SECONDS
        assert (await scenario.login()).subject == scenario.subject

    async def test_the_copy_on_disk_serves_while_the_provider_is_down(self, scenario):
        await scenario.begin()
        scenario.op.instead["discovery"] = unreachable
        scenario.configure()
        assert (await scenario.login()).subject == scenario.subject
        assert scenario.op.asked["discovery"] == 1

    async def test_a_copy_of_another_issuer_is_not_used(self, scenario):
        scenario.last_good.store(json.dumps({**scenario.op.description(), "issuer": "https://other.example"}).encode())
        scenario.configure()
        await scenario.begin()
        assert scenario.op.asked["discovery"] == 1

    async def test_a_bad_document_is_refused_and_not_stored(self, scenario):
        scenario.op.discovery["issuer"] = "https://other.example"
        with pytest.raises(DiscoveryRefused):
            await scenario.begin()
        assert scenario.last_good.load() is None

    async def test_a_state_directory_that_is_full_does_not_stop_logins(self, scenario, tmp_path, caplog):
        (tmp_path / "discovery").mkdir()
        assert (await scenario.login()).subject == scenario.subject
        assert "idp.last_good_failed" in caplog.text

    @pytest.mark.parametrize(
        ("status", "refusal"), [(404, DiscoveryRefused), (302, IdpUnavailable), (500, IdpUnavailable)]
    )
    async def test_a_document_that_is_not_there(self, scenario, status, refusal):
        scenario.op.instead["discovery"] = answering(b"{}", status)
        with pytest.raises(refusal) as found:
            await scenario.begin()
        assert type(found.value) is refusal

    async def test_keys_that_are_not_there(self, scenario):
        scenario.op.instead["jwks"] = answering(b"{}", 404)
        with pytest.raises(KeysRefused):
            await scenario.login()
        assert scenario.op.asked["token"] == 0


class TestRun:
    async def test_it_reads_everything_before_the_first_login(self, scenario):
        task = asyncio.ensure_future(scenario.provider.run())
        async with asyncio.timeout(5):
            await until(lambda: scenario.op.asked["jwks"] > 0)
        await asyncio.sleep(0.05)
        assert (await scenario.login()).subject == scenario.subject
        assert (scenario.op.asked["discovery"], scenario.op.asked["jwks"]) == (1, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_it_survives_failures_and_recovers(self, scenario, monkeypatch, caplog):
        monkeypatch.setattr(pauses, "FIRST_RETRY_SECONDS", 0.001)
        scenario.op.instead["discovery"] = unreachable
        task = asyncio.ensure_future(scenario.provider.run())
        async with asyncio.timeout(5):
            await until(lambda: scenario.op.asked["discovery"] >= 3)
            del scenario.op.instead["discovery"]
            await until(lambda: scenario.op.asked["jwks"] > 0)
        task.cancel()
        assert "idp.refresh_failed code=PP-IDP-UNAVAILABLE attempt=1" in caplog.text

    async def test_a_description_that_stays_the_same_is_not_written_again(self, scenario, tmp_path):
        await scenario.begin()
        (tmp_path / "discovery").unlink()
        task = asyncio.ensure_future(scenario.provider.run())
        async with asyncio.timeout(5):
            await until(lambda: scenario.op.asked["jwks"] >= 1)
        task.cancel()
        assert not (tmp_path / "discovery").exists()

    async def test_a_bad_document_later_changes_nothing(self, scenario):
        """OIDC-21: the last good description stays."""
        await scenario.login()
        scenario.op.discovery["token_endpoint"] = "http://evil.example/token"
        task = asyncio.ensure_future(scenario.provider.run())
        async with asyncio.timeout(5):
            await until(lambda: scenario.op.asked["discovery"] >= 2)
        task.cancel()
        assert (await scenario.login(2)).subject == scenario.subject


class TestKeys:
    async def test_a_key_that_changed_before_signing_costs_one_reading(self, scenario):
        await scenario.login(1)
        scenario.op.signing_key = SigningKey(rsa_private_key(2), "key-2")
        assert (await scenario.login(2)).subject == scenario.subject
        assert scenario.op.asked["jwks"] == 2

    async def test_a_key_that_changed_under_the_same_name_or_none_costs_one_reading(self, scenario):
        for kid in ("key-1", None):
            await scenario.login(1)
            scenario.op.signing_key = SigningKey(rsa_private_key(3 if kid else 4), kid)
            scenario.clock.now += kept.COOL_DOWN_SECONDS
            assert (await scenario.login(2)).subject == scenario.subject

    async def test_a_key_that_changed_right_after_the_first_reading_is_found(self, scenario):
        """Conformance: signing-key-rotation-just-before-signing. The first reading is no reason to wait."""
        started = await scenario.begin()
        with pytest.raises(LoginError):
            await scenario.finish_with(started, code="unknown")
        assert scenario.op.asked["jwks"] == 1
        scenario.op.signing_key = SigningKey(ec_private_key(2), "key-2", "ES256")
        callback = Callback(scenario.op.answer(started.redirect))
        assert (await scenario.finish(callback, started)).subject == scenario.subject

    async def test_tokens_with_invented_key_ids_cause_one_reading_each_half_minute(self, scenario):
        await scenario.login(1)
        scenario.op.header["kid"] = "invented"
        for number in range(2, 12):
            with pytest.raises(SignatureRefused):
                await scenario.login(number)
        assert scenario.op.asked["jwks"] == 2
        scenario.clock.now += kept.COOL_DOWN_SECONDS
        with pytest.raises(SignatureRefused):
            await scenario.login(12)
        assert scenario.op.asked["jwks"] == 3

    async def test_known_keys_serve_while_the_key_set_is_out_of_reach(self, scenario):
        await scenario.login(1)
        scenario.op.instead["jwks"] = unreachable
        scenario.op.header["kid"] = "invented"
        with pytest.raises(SignatureRefused):
            await scenario.login(2)
        scenario.op.header.clear()
        assert (await scenario.login(3)).subject == scenario.subject

    async def test_a_change_is_logged_with_the_names_of_the_keys(self, scenario, caplog):
        caplog.set_level(logging.INFO)
        await scenario.login()
        assert "idp.keys_changed keys='key-1'" in caplog.text


class TestClientAuthentication:
    async def test_a_secret_goes_into_basic(self, scenario):
        await scenario.login()
        ((form, headers),) = scenario.op.token_requests
        assert headers["Authorization"].startswith("Basic ")
        assert "client_secret" not in form
        assert form["code_verifier"] != ""

    @pytest.mark.parametrize("methods", [["client_secret_post"], ["private_key_jwt", "client_secret_post"]])
    async def test_or_into_the_form_when_only_that_is_offered(self, scenario, methods):
        scenario.op.discovery["token_endpoint_auth_methods_supported"] = methods
        assert (await scenario.login()).subject == scenario.subject
        ((form, headers),) = scenario.op.token_requests
        assert form["client_secret"] == scenario.op.client_secret
        assert "Authorization" not in headers

    async def test_basic_goes_before_the_form(self, scenario):
        scenario.op.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post", "client_secret_basic"]
        await scenario.login()
        assert "client_secret" not in scenario.op.token_requests[0][0]

    async def test_colons_and_foreign_letters_survive_basic(self, scenario):
        scenario.op.client_id, scenario.op.client_secret = "app:ä +%/", "s:é &="
        scenario.configure()
        assert (await scenario.login()).subject == scenario.subject

    async def test_without_a_secret_the_client_only_names_itself(self, scenario):
        scenario.op.client_secret = None
        scenario.configure()
        assert (await scenario.login()).subject == scenario.subject
        ((form, headers),) = scenario.op.token_requests
        assert form["client_id"] == "app"
        assert "client_secret" not in form
        assert "Authorization" not in headers

    @pytest.mark.parametrize("private", [rsa_private_key(), ec_private_key()], ids=["RSA", "EC"])
    async def test_a_private_key_proves_it_with_a_new_assertion_each_time(self, scenario, tmp_path, private):
        configure_key(scenario, tmp_path, private)
        for number in (1, 2):
            assert (await scenario.login(number)).subject == scenario.subject
        (_, first), (_, second) = scenario.op.client_assertions
        assert first["jti"] != second["jti"]
        for form, headers in scenario.op.token_requests:
            assert "Authorization" not in headers
            assert "client_secret" not in form

    async def test_a_key_that_is_not_registered_has_its_own_explanation(self, scenario, tmp_path):
        configure_key(scenario, tmp_path, ec_private_key())
        scenario.op.client_key = ec_private_key(2).public_key()
        scenario.op.instead["token"] = answering(b'{"error":"invalid_client"}', 401)
        with pytest.raises(ClientRefused):
            await scenario.login()

    async def test_a_wrong_secret_has_its_own_explanation(self, scenario):
        scenario.configure(client_secret="wrong")
        with pytest.raises(ClientRefused):
            await scenario.login()


class TestCallback:
    @pytest.mark.parametrize(
        ("error", "refusal"),
        [
            ("access_denied", AccessDenied),
            ("invalid_scope", ProviderRefused),
            ("login_required", ProviderRefused),
            ("<script>", ProviderRefused),
            ("", ProviderRefused),
            ("server_error", IdpUnavailable),
            ("temporarily_unavailable", IdpUnavailable),
        ],
    )
    async def test_an_error_is_explained_and_nobody_is_asked(self, scenario, error, refusal):
        started = await scenario.begin()
        with pytest.raises(refusal) as found:
            await scenario.finish_with(started, error=error, error_description="<script>\n\x1b[0m")
        assert scenario.op.asked["token"] == 0
        for text in (found.value.sentence, found.value.hint, found.value.title):
            assert "<" not in text
        assert "\n" not in found.value.detail

    async def test_an_error_and_a_code_together_are_refused(self, scenario):
        started = await scenario.begin()
        with pytest.raises(AnswerAmbiguous):
            await scenario.finish_with(started, code="abc", error="access_denied")
        assert scenario.op.asked["token"] == 0

    async def test_unknown_fields_and_tokens_of_the_front_channel_are_not_looked_at(self, scenario):
        started = await scenario.begin()
        scenario.op.answer_fields = {"session_state": "x", "id_token": "a.b.c", "access_token": "y", "hd": "z"}
        callback = Callback(scenario.op.answer(started.redirect))
        assert (await scenario.finish(callback, started)).subject == scenario.subject

    @pytest.mark.parametrize("fields", [{"id_token": "a.b.c"}, {"access_token": "x", "token_type": "bearer"}, {}])
    async def test_tokens_of_the_front_channel_replace_no_code(self, scenario, fields):
        started = await scenario.begin()
        with pytest.raises(CallbackMalformed):
            await scenario.finish_with(started, **fields)

    async def test_an_answer_that_names_its_issuer_is_accepted(self, scenario):
        scenario.op.discovery["authorization_response_iss_parameter_supported"] = True
        assert (await scenario.login()).subject == scenario.subject

    @pytest.mark.parametrize("iss", ["https://evil.example", "", DROP])
    async def test_an_answer_of_another_issuer_is_refused_before_the_code_is_sent(self, scenario, iss):
        scenario.op.discovery["authorization_response_iss_parameter_supported"] = True
        scenario.op.answer_fields["iss"] = iss
        with pytest.raises(IssuerRefused):
            await scenario.login()
        assert scenario.op.asked["token"] == 0

    async def test_an_issuer_that_was_not_announced_counts_too(self, scenario):
        scenario.op.answer_fields["iss"] = scenario.issuer + "/"
        with pytest.raises(IssuerRefused):
            await scenario.login()

    async def test_a_code_is_sent_once_whatever_comes_back(self, scenario):
        async def gone(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        for handler in (gone, unreachable, answering(b"", 500), answering(b"{}", 200)):
            scenario.op.asked.clear()
            scenario.op.instead["token"] = handler
            with pytest.raises(LoginError):
                await scenario.login()
            assert scenario.op.asked["token"] == 1

    async def test_a_code_of_another_login_is_refused(self, scenario):
        """OIDC-18: the code verifier belongs to the login that the code was made for."""
        mine, theirs = await scenario.begin(1), await scenario.begin(2)
        fields = scenario.op.answer(theirs.redirect)
        with pytest.raises(LoginError):
            await scenario.finish_with(mine, code=fields["code"])

    async def test_without_pkce_at_the_provider_the_nonce_still_tells_logins_apart(self, scenario):
        """OIDC-18, at a provider that ignores the code challenge."""
        mine, theirs = await scenario.begin(1), await scenario.begin(2)
        nonce = theirs.proof.derive("nonce")
        body = {"access_token": "x", "token_type": "Bearer", "id_token": scenario.op.id_token(nonce=nonce)}
        scenario.op.instead["token"] = answering(json.dumps(body).encode())
        with pytest.raises(NonceRefused):
            await scenario.finish_with(mine, code="abc")


class TestAuthentication:
    async def test_who_it_is(self, scenario):
        said = await scenario.login()
        assert (said.issuer, said.subject, said.expires_at) == (scenario.issuer, "248289761001", None)
        assert said.attributes["email"] == ("alice@example.com",)
        assert said.attributes["name"] == ("Alice Liddell",)
        assert "nonce" not in said.attributes

    @pytest.mark.parametrize(("auth_time", "expected"), [(DROP, NOW), (NOW - 500, NOW - 500), (0, NOW)])
    async def test_when_it_was(self, scenario, auth_time, expected):
        scenario.op.claims["auth_time"] = auth_time
        assert (await scenario.login()).authenticated_at == expected

    async def test_an_unverified_address_is_not_passed_on_unless_configured(self, scenario):
        scenario.op.claims["email_verified"] = False
        assert "email" not in (await scenario.login(1)).attributes
        scenario.configure(allow_unverified_email=True)
        assert (await scenario.login(2)).attributes["email"] == ("alice@example.com",)

    async def test_a_token_made_for_another_code_is_refused(self, scenario):
        started = await scenario.begin()
        fields = scenario.op.answer(started.redirect)
        scenario.op.claims["c_hash"] = left_half(fields["code"])
        assert await scenario.finish_with(started, code=fields["code"])
        with pytest.raises(ClaimsRefused):
            await scenario.login(2)

    async def test_clock_skew_is_configurable(self, scenario):
        scenario.op.claims["exp"] = NOW - 100
        with pytest.raises(LoginError):
            await scenario.login(1)
        scenario.configure(clock_skew=120)
        assert await scenario.login(2)


class TestUserinfo:
    async def test_it_is_not_asked_when_everything_is_there(self, scenario):
        await scenario.login()
        assert scenario.op.asked["userinfo"] == 0

    @pytest.mark.parametrize("missing", ["preferred_username", "email", "name", "groups"])
    async def test_it_is_asked_for_what_is_missing(self, scenario, missing):
        scenario.op.claims[missing] = DROP
        assert (await scenario.login()).attributes[missing]
        assert scenario.op.userinfo_headers[0]["Authorization"].startswith("Bearer ")

    async def test_it_is_never_asked_when_the_configuration_says_so(self, scenario):
        scenario.configure(use_userinfo="never")
        scenario.op.claims["groups"] = DROP
        assert "groups" not in (await scenario.login()).attributes
        assert scenario.op.asked["userinfo"] == 0

    async def test_no_endpoint_is_no_reason_to_refuse_unless_always(self, scenario):
        scenario.op.discovery["userinfo_endpoint"] = DROP
        scenario.op.claims["groups"] = DROP
        assert await scenario.login(1)
        scenario.configure(use_userinfo="always")
        with pytest.raises(UserinfoRefused):
            await scenario.login(2)

    @pytest.mark.parametrize(
        "handler",
        [
            pytest.param(unreachable, id="an error"),
            pytest.param(answering(b"{}"), id="no subject"),
            pytest.param(answering(b"[]"), id="a list"),
            pytest.param(answering(b"a.b.c", content_type="application/jwt"), id="a signed answer"),
            pytest.param(answering(b"<html>", content_type="text/html"), id="a page"),
        ],
    )
    async def test_in_auto_a_failure_costs_the_missing_claims_and_in_always_the_login(self, scenario, handler, caplog):
        scenario.op.claims["groups"] = DROP
        scenario.op.instead["userinfo"] = handler
        said = await scenario.login(1)
        assert "groups" not in said.attributes
        assert "idp.userinfo_failed" in caplog.text
        scenario.configure(use_userinfo="always")
        with pytest.raises(LoginError):
            await scenario.login(2)

    @pytest.mark.parametrize("mode", ["auto", "always"])
    async def test_a_foreign_subject_ends_the_login_always(self, scenario, mode):
        scenario.configure(use_userinfo=mode)
        scenario.op.claims["groups"] = DROP
        scenario.op.userinfo["sub"] = "somebody-else"
        with pytest.raises(UserinfoRefused):
            await scenario.login()

    async def test_a_signed_answer_is_verified_and_used(self, scenario):
        scenario.op.claims["groups"] = DROP
        scenario.op.userinfo_forge = lambda header, claims: signed(header, claims, scenario.op.signing_key)
        said = await scenario.login()
        assert said.attributes["groups"] == ("staff", "platform-eng")
        assert "aud" not in said.attributes

    async def test_a_signed_answer_by_a_new_key_costs_one_reading(self, scenario):
        scenario.configure(use_userinfo="always")
        await scenario.login(1)
        new = SigningKey(ec_private_key(2), "key-2", "ES256")
        scenario.op.published = [scenario.op.signing_key.jwk(), new.jwk()]
        scenario.op.userinfo_forge = lambda header, claims: signed({"alg": "ES256", "kid": "key-2"}, claims, new)
        assert await scenario.login(2)
        assert scenario.op.asked["jwks"] == 2

    async def test_without_an_access_token_it_cannot_be_asked(self, scenario):
        scenario.op.claims.update(groups=DROP, at_hash=DROP)
        scenario.op.token_response["access_token"] = DROP
        assert await scenario.login(1)
        scenario.configure(use_userinfo="always")
        with pytest.raises(UserinfoRefused):
            await scenario.login(2)


class TestGroupsElsewhere:
    """Entra ID's overage: too many groups for the ID token."""

    @pytest.fixture
    def referring(self, scenario) -> OidcScenario:
        scenario.op.refer_to_groups()
        scenario.configure(group_overage_endpoints=[f"{scenario.issuer}/graph/users/"])
        return scenario

    async def test_all_pages_are_read_with_the_access_token(self, referring):
        referring.op.group_pages = [["g-1"], [], ["g-2", "g-3"]]
        assert (await referring.login()).attributes["groups"] == ("g-1", "g-2", "g-3")
        methods = [method for method, _, _ in referring.op.group_requests]
        assert methods == ["POST", "GET", "GET"]
        assert json.loads(referring.op.group_requests[0][2]) == {"securityEnabledOnly": True}
        assert all(authorization.startswith("Bearer ") for _, authorization, _ in referring.op.group_requests)

    async def test_what_is_no_action_is_asked_by_get(self, referring):
        referring.op.refer_to_groups("/graph/users/1/groups")
        assert (await referring.login()).attributes["groups"] == ("g-1", "g-2")
        assert [method for method, _, _ in referring.op.group_requests] == ["GET"]

    @pytest.mark.parametrize("permitted", [[], ["https://graph.microsoft.com/v1.0/users/"]])
    async def test_without_permission_nobody_is_asked_and_the_login_is_refused(self, referring, permitted, caplog):
        referring.configure(group_overage_endpoints=permitted)
        with pytest.raises(GroupsRefused):
            await referring.login()
        assert referring.op.asked["graph"] == 0
        assert "idp.groups_elsewhere" in caplog.text

    async def test_groups_that_came_after_all_are_not_asked_for(self, referring):
        referring.op.userinfo.clear()
        assert (await referring.login()).attributes["groups"] == ("staff", "platform-eng")
        assert referring.op.asked["graph"] == 0

    async def test_without_an_access_token_they_cannot_be_asked_for(self, referring):
        referring.op.claims["at_hash"] = DROP
        referring.op.token_response["access_token"] = DROP
        with pytest.raises(GroupsRefused):
            await referring.login()

    @pytest.mark.parametrize("handler", [unreachable, answering(b"{}"), answering(b"", 302), answering(b"{}", 403)])
    async def test_a_failure_refuses_the_login(self, referring, handler):
        referring.op.instead["graph"] = handler
        with pytest.raises(GroupsRefused):
            await referring.login()

    async def test_there_are_bounds(self, referring, monkeypatch):
        for limits in ({"PAGE_LIMIT": 2}, {"GROUP_LIMIT": 2}):
            referring.op.group_pages = [["a"], ["b"], ["c"]]
            for name, value in limits.items():
                monkeypatch.setattr(overage, name, value)
            with pytest.raises(GroupsRefused):
                await referring.login()
            monkeypatch.undo()

    async def test_a_slow_list_is_given_up(self, referring, monkeypatch):
        async def slow(_: web.Request) -> web.StreamResponse:
            await asyncio.sleep(0.3)
            return web.json_response({"value": []})

        started = await referring.begin()
        callback = Callback(referring.op.answer(started.redirect))
        referring.op.instead["graph"] = slow
        monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.1)
        with pytest.raises(GroupsRefused):
            await referring.finish(callback, started)

    async def test_an_empty_list_is_no_list(self, referring):
        referring.op.group_pages = [[]]
        with pytest.raises(GroupsRefused):
            await referring.login()


async def test_nothing_secret_is_logged(scenario, caplog):
    """OIDC-42: no verifier, secret, code or token in any line, whatever the level."""
    caplog.set_level(logging.DEBUG)
    started = await scenario.begin()
    callback = Callback(scenario.op.answer(started.redirect))
    scenario.op.claims["groups"] = DROP
    await scenario.finish(callback, started)
    with pytest.raises(LoginError):
        await scenario.finish(callback, started)
    secrets = [callback.fields["code"], scenario.op.client_secret, started.proof.derive("code verifier")]
    secrets.append(scenario.op.userinfo_headers[0]["Authorization"].removeprefix("Bearer "))
    for secret in secrets:
        assert secret not in caplog.text


async def test_no_assertion_reference_or_pushed_value_is_logged(scenario, tmp_path, caplog):
    """OIDC-42, with everything that goes past the browser."""
    caplog.set_level(logging.DEBUG)
    scenario.op.discovery["pushed_authorization_request_endpoint"] = f"{scenario.issuer}/par"
    configure_key(scenario, tmp_path, ec_private_key(), group_overage_endpoints=[f"{scenario.issuer}/graph/"])
    scenario.op.refer_to_groups()
    started = await scenario.begin()
    callback = Callback(scenario.op.answer(started.redirect))
    scenario.op.instead["graph"] = answering(b"{}", 403)
    with pytest.raises(GroupsRefused) as refusal:
        await scenario.finish(callback, started)
    secrets = [form["client_assertion"] for form, _ in scenario.op.token_requests]
    secrets += [scenario.op.push_requests[0][name] for name in ("client_assertion", "nonce", "state", "code_challenge")]
    secrets += [query(started.redirect)["request_uri"], callback.fields["code"]]
    for secret in secrets:
        assert secret not in caplog.text + refusal.value.detail


async def test_an_answer_that_nobody_asked_for_is_none(scenario):
    assert not scenario.provider.accepts_unsolicited
    with pytest.raises(LoginUnknown):
        await scenario.provider.finish_unsolicited(Callback({"code": "c", "state": ""}), NOW)
