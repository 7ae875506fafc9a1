"""
The attack catalogue against the OpenID Connect adapter as a whole.

Each row is played by a provider on a loopback socket that is hostile in one
respect. The expected end is always the same: a refusal with a code of its own,
no identity, and the next honest login works. What is pure has finer tables
beside its module's tests.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from passproxy.core.errors import CallbackMalformed, IdpUnavailable, LoginError
from passproxy.core.identity import AttributeRules, identity_from
from passproxy.core.urls import fields
from passproxy.idp import fetch
from passproxy.idp.base import Callback
from passproxy.idp.oidc import errors, kept
from tests.fakes.idp_oidc import DROP, FakeOp, SigningKey, base64url, left_half, rsa_private_key, signed
from tests.idp.oidc.scenario import NOW, OidcScenario, oidc_scenario, signed_with_hmac

Change = Callable[[FakeOp], None]


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[OidcScenario]:
    async with oidc_scenario(tmp_path) as scenario:
        yield scenario


def claims(**overlay: Any) -> Change:
    return lambda op: op.claims.update(overlay)


def header(**overlay: Any) -> Change:
    return lambda op: op.header.update(overlay)


def forged(make: Callable[[FakeOp, dict[str, Any], dict[str, Any]], str]) -> Change:
    def change(op: FakeOp) -> None:
        op.forge = lambda head, said: make(op, head, said)

    return change


def hmac_with(secret: Callable[[FakeOp], bytes]) -> Change:
    return forged(lambda op, head, said: signed_with_hmac(head, said, secret(op)))


def public_key(encoding: Encoding) -> bytes:
    return rsa_private_key().public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def unsigned(op: FakeOp, head: dict[str, Any], said: dict[str, Any]) -> str:
    return f"{base64url(json.dumps({**head, 'alg': 'none'}).encode())}.{base64url(json.dumps(said).encode())}."


def announcing_none(op: FakeOp) -> None:
    op.discovery["id_token_signing_alg_values_supported"] = ["RS256", "none"]
    forged(unsigned)(op)


def signed_by_header_key(op: FakeOp, head: dict[str, Any], said: dict[str, Any]) -> str:
    attacker = SigningKey(rsa_private_key(2), "attacker")
    jwk = attacker.jwk()
    certificate = base64.b64encode(b"not even a certificate").decode()
    return signed(
        {**head, "kid": "attacker", "jwk": jwk, "jku": "https://evil.example/", "x5c": [certificate]}, said, attacker
    )


def encrypted(op: FakeOp, head: dict[str, Any], said: dict[str, Any]) -> str:
    parts = [
        json.dumps({"alg": "RSA1_5", "enc": "A128CBC-HS256", "zip": "DEF"}).encode(),
        b"k" * 256,
        b"i" * 16,
        b"c",
        b"t" * 16,
    ]
    return ".".join(map(base64url, parts))


def token_answer(body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> Change:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={"Content-Type": content_type, **headers})

    return lambda op: op.instead.update(token=handler)


def userinfo_jwt(make: Callable[[FakeOp, dict[str, Any], dict[str, Any]], str], **overlay: Any) -> Change:
    """Userinfo comes as a JWT."""

    def change(op: FakeOp) -> None:
        op.userinfo.update(overlay)
        op.userinfo_forge = lambda head, said: make(op, head, said)

    return change


def signed_by_the_provider(op: FakeOp, head: dict[str, Any], said: dict[str, Any]) -> str:
    return signed(head, said, op.signing_key)


def duplicate_claim(op: FakeOp, head: dict[str, Any], said: dict[str, Any]) -> str:
    payload = json.dumps(said)[:-1] + ',"sub":"admin"}'
    return signed(head, payload.encode(), op.signing_key)


def raw_claims(**overlay: Any) -> Change:
    """Claims that json.dumps writes as escapes, lone surrogates too."""
    return forged(lambda op, head, said: signed(head, json.dumps({**said, **overlay}).encode(), op.signing_key))


REFUSED = [
    ("OIDC-01 alg none", forged(unsigned), errors.AlgorithmRefused),
    ("OIDC-01 alg none, and discovery lists it", announcing_none, errors.AlgorithmRefused),
    ("OIDC-02 HMAC with the client secret", hmac_with(lambda op: (op.client_secret or "").encode()), errors.AlgorithmRefused),
    ("OIDC-02 HMAC with the public key as PEM", hmac_with(lambda _: public_key(Encoding.PEM)), errors.AlgorithmRefused),
    ("OIDC-02 HMAC with the public key as DER", hmac_with(lambda _: public_key(Encoding.DER)), errors.AlgorithmRefused),
    ("OIDC-02 HMAC with the public key as JWK", hmac_with(lambda op: json.dumps(op.signing_key.jwk()).encode()), errors.AlgorithmRefused),
    ("OIDC-03 other issuer", claims(iss="https://other.example"), errors.IssuerRefused),
    ("OIDC-03 list of issuers", forged(lambda op, h, c: signed(h, {**c, "iss": [op.issuer]}, op.signing_key)), errors.IssuerRefused),
    ("OIDC-03 issuer with a slash", forged(lambda op, h, c: signed(h, {**c, "iss": op.issuer + "/"}, op.signing_key)), errors.IssuerRefused),
    ("OIDC-03 no issuer", claims(iss=DROP), errors.IssuerRefused),
    ("OIDC-04 other audience", claims(aud="other"), errors.AudienceRefused),
    ("OIDC-04 other audience, azp ours", claims(aud="other", azp="app"), errors.AudienceRefused),
    ("OIDC-04 empty list of audiences", claims(aud=[], azp="app"), errors.AudienceRefused),
    ("OIDC-04 empty audience", claims(aud="", azp="app"), errors.AudienceRefused),
    ("OIDC-04 no audience", claims(aud=DROP), errors.AudienceRefused),
    ("OIDC-05 one audience too many", claims(aud=["app", "evil"]), errors.AudienceRefused),
    ("OIDC-05 one audience too many, azp ours", claims(aud=["app", "evil"], azp="app"), errors.AudienceRefused),
    ("OIDC-05 azp is another", claims(aud=["app", "evil"], azp="evil"), errors.AudienceRefused),
    ("OIDC-06 no sub", claims(sub=DROP), errors.ClaimsRefused),
    ("OIDC-06 empty sub", claims(sub=""), errors.ClaimsRefused),
    ("OIDC-06 sub null", claims(sub=None), errors.ClaimsRefused),
    ("OIDC-06 sub 0", claims(sub=0), errors.ClaimsRefused),
    ("OIDC-06 sub list", claims(sub=[]), errors.ClaimsRefused),
    ("OIDC-06 no exp", claims(exp=DROP), errors.ClaimsRefused),
    ("OIDC-06 no iat", claims(iat=DROP), errors.ClaimsRefused),
    ("OIDC-07 no nonce", claims(nonce=DROP), errors.NonceRefused),
    ("OIDC-07 other nonce", claims(nonce="x" * 43), errors.NonceRefused),
    ("OIDC-07 list of nonces", forged(lambda op, h, c: signed(h, {**c, "nonce": [c["nonce"]]}, op.signing_key)), errors.NonceRefused),
    ("OIDC-07 nonce switched off by the token", claims(nonce=DROP, nonce_supported=False), errors.NonceRefused),
    ("OIDC-08 other key, same kid", forged(lambda op, h, c: signed(h, c, SigningKey(rsa_private_key(2)))), errors.SignatureRefused),
    ("OIDC-08 empty signature", forged(lambda op, h, c: signed(h, c, op.signing_key).rpartition(".")[0] + "."), errors.SignatureRefused),
    ("OIDC-09 keys in the header", forged(signed_by_header_key), errors.SignatureRefused),
    ("OIDC-09 kid is a path", header(kid="../../x"), errors.SignatureRefused),
    ("OIDC-09 kid is a number", header(kid=7), errors.IdTokenMalformed),
    ("OIDC-10 crit", header(crit=["x"]), errors.IdTokenMalformed),
    ("OIDC-10 b64", header(crit=["b64"], b64=False), errors.IdTokenMalformed),
    ("OIDC-11 access token", header(typ="at+jwt"), errors.IdTokenMalformed),
    ("OIDC-11 logout token", claims(events={"http://schemas.openid.net/event/backchannel-logout": {}}), errors.IdTokenMalformed),
    ("OIDC-12 expired", claims(exp=NOW - 60), errors.TimeRefused),
    ("OIDC-12 from the future", claims(iat=NOW + 600), errors.TimeRefused),
    ("OIDC-12 ten years old", claims(iat=NOW - 10 * 365 * 86400), errors.TimeRefused),
    ("OIDC-12 valid until 2200", claims(exp=7_258_118_400), errors.TimeRefused),
    ("OIDC-12 exp is a text", claims(exp=str(NOW + 300)), errors.ClaimsRefused),
    ("OIDC-12 exp is 1e300", claims(exp=1e300), errors.ClaimsRefused),
    ("OIDC-13 kid unknown", header(kid="unknown"), errors.SignatureRefused),
    ("OIDC-13 the key is for encryption", lambda op: setattr(op, "published", [op.signing_key.jwk(use="enc")]), errors.KeysRefused),
    ("OIDC-13 the key has 1024 bits", lambda op: setattr(op, "signing_key", SigningKey(rsa_private_key(1, 1024))), errors.KeysRefused),
    ("OIDC-13 the only key is a shared secret", lambda op: setattr(op, "published", [{"kty": "oct", "k": "AAAA"}]), errors.KeysRefused),
    ("OIDC-22 userinfo of somebody else", lambda op: (op.claims.update(groups=DROP), op.userinfo.update(sub="other")), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo of somebody else", userinfo_jwt(signed_by_the_provider, sub="other"), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo of nobody", userinfo_jwt(signed_by_the_provider, sub=DROP), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo without an issuer", userinfo_jwt(signed_by_the_provider, iss=DROP), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo of another issuer", userinfo_jwt(signed_by_the_provider, iss="https://other.example"), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo without an audience", userinfo_jwt(signed_by_the_provider, aud=DROP), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo for another client", userinfo_jwt(signed_by_the_provider, aud="other", azp="app"), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo that has expired", userinfo_jwt(signed_by_the_provider, exp=NOW - 61), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo from the future", userinfo_jwt(signed_by_the_provider, iat=NOW + 61), errors.UserinfoRefused),
    ("OIDC-22 signed userinfo that is a logout token", userinfo_jwt(signed_by_the_provider, events={}), errors.UserinfoRefused),
    ("OIDC-22 unsigned userinfo", userinfo_jwt(unsigned), errors.UserinfoRefused),
    ("OIDC-22 userinfo with the client secret as key", userinfo_jwt(lambda op, h, c: signed_with_hmac(h, c, op.client_secret or "")), errors.UserinfoRefused),
    ("OIDC-22 userinfo signed by another key", userinfo_jwt(lambda op, h, c: signed(h, c, SigningKey(rsa_private_key(2)))), errors.UserinfoRefused),
    ("OIDC-22 userinfo signed by a key that it brings", userinfo_jwt(signed_by_header_key), errors.UserinfoRefused),
    ("OIDC-22 encrypted userinfo", userinfo_jwt(encrypted), errors.UserinfoRefused),
    ("OIDC-22 userinfo that is an access token", userinfo_jwt(lambda op, h, c: signed({**h, "typ": "at+jwt"}, c, op.signing_key)), errors.UserinfoRefused),
    ("OIDC-22 userinfo that calls itself signed", userinfo_jwt(lambda op, h, c: json.dumps(c)), errors.UserinfoRefused),
    ("OIDC-23 c_hash of another code", claims(c_hash=left_half("another")), errors.ClaimsRefused),
    ("OIDC-23 c_hash is null", claims(c_hash=None), errors.ClaimsRefused),
    ("OIDC-23 at_hash without an access token", lambda op: op.token_response.update(access_token=DROP), errors.ClaimsRefused),
    ("OIDC-23 at_hash of another token", claims(at_hash=left_half("another")), errors.ClaimsRefused),
    ("OIDC-30 groups are an object", claims(groups={"admins": True}), errors.GroupsRefused),
    ("OIDC-30 groups are lists of lists", claims(groups=[["admins"]]), errors.GroupsRefused),
    ("OIDC-30 overage", lambda op: (op.claims.update(groups=DROP, _claim_names={"groups": "src1"}), op.userinfo.update(groups=DROP)), errors.GroupsRefused),
    ("OIDC-30 overage at an address of the token's own", lambda op: op.refer_to_groups("http://169.254.169.254/latest"), errors.GroupsRefused),
    ("OIDC-31 lone surrogate in the name", raw_claims(name="ad\udcffmin"), errors.IdTokenMalformed),
    ("OIDC-32 repeated member", forged(duplicate_claim), errors.IdTokenMalformed),
    ("OIDC-33 page instead of tokens", token_answer(b"<html>", "text/html"), errors.TokenEndpointRefused),
    ("OIDC-33 no ID token", lambda op: op.token_response.update(id_token=DROP), errors.TokenEndpointRefused),
    ("OIDC-33 token type mac", lambda op: op.token_response.update(token_type="mac"), errors.TokenEndpointRefused),
    ("OIDC-33 error with status 200", lambda op: op.token_response.update(error="invalid_request"), errors.TokenEndpointRefused),
    ("OIDC-33 redirect", token_answer(b"", status=302, Location="http://169.254.169.254/"), IdpUnavailable),
    ("OIDC-33 two megabytes", token_answer(b'{"id_token":"' + b"a" * 2_000_000 + b'"}'), IdpUnavailable),
    ("OIDC-33 gzip bomb", token_answer(gzip.compress(bytes(50_000_000)), **{"Content-Encoding": "gzip"}), IdpUnavailable),
    ("OIDC-34 encrypted ID token", forged(encrypted), errors.IdTokenMalformed),
    ("OIDC-34 compressed payload", header(zip="DEF"), errors.IdTokenMalformed),
    ("OIDC-43 self-issued", claims(iss="https://self-issued.me", sub_jwk={"kty": "RSA"}), errors.IssuerRefused),
    ("OIDC-44 access token as ID token", lambda op: op.token_response.update(id_token="opaque-access-token"), errors.IdTokenMalformed),
    ("SSRF-17 ten thousand keys", lambda op: setattr(op, "published", [{"kty": "oct"}] * 10_000), errors.KeysRefused),
]  # fmt: skip


@pytest.mark.parametrize(("change", "refusal"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
async def test_a_hostile_answer_is_refused_and_the_next_login_works(scenario, change, refusal):
    honest_key = scenario.op.signing_key
    change(scenario.op)
    if scenario.op.userinfo_forge is not None:
        # In auto, a failure would cost the further claims and not the login.
        scenario.configure(use_userinfo="always")
    with pytest.raises(refusal):
        await scenario.login(1)
    op = scenario.op
    for overlay in (op.claims, op.header, op.token_response, op.userinfo, op.instead, op.discovery):
        overlay.clear()
    op.forge, op.userinfo_forge, op.published, op.signing_key = None, None, None, honest_key
    scenario.clock.now += kept.RETRY_SECONDS
    assert (await scenario.login(2)).subject == scenario.subject


async def test_oidc_07_the_nonce_of_an_earlier_login_is_refused(scenario):
    earlier = await scenario.begin(1)
    scenario.op.claims["nonce"] = earlier.proof.derive("nonce")
    with pytest.raises(errors.NonceRefused):
        await scenario.login(2)


async def test_oidc_14_a_flood_of_unknown_keys_is_one_reading(scenario):
    await scenario.login(1)
    scenario.op.header["kid"] = "unknown"
    results = await asyncio.gather(*(scenario.login(number) for number in range(2, 60)), return_exceptions=True)
    assert {type(result) for result in results} == {errors.SignatureRefused}
    assert scenario.op.asked["jwks"] == 2


async def test_oidc_16_a_code_that_was_used_is_not_a_second_login(scenario):
    started = await scenario.begin()
    callback = Callback(scenario.op.answer(started.redirect))
    await scenario.finish(callback, started)
    with pytest.raises(errors.CodeRefused):
        await scenario.finish(callback, started)


async def test_oidc_17_18_a_code_from_another_browser_is_refused(scenario):
    """The proof is the browser's; whoever has only state and code has not the verifier."""
    mine, victim = await scenario.begin(1), await scenario.begin(2)
    callback = Callback({**scenario.op.answer(victim.redirect), "state": mine.login_id})
    with pytest.raises(errors.CodeRefused):
        await scenario.finish(callback, mine)


async def test_oidc_19_every_request_has_a_challenge_of_its_own(scenario):
    seen = set()
    for number in range(1, 6):
        query = parse_qs(urlsplit((await scenario.begin(number)).redirect).query)
        assert query["code_challenge_method"] == ["S256"]
        assert len(query["code_challenge"][0]) == 43
        seen.add(query["code_challenge"][0])
    assert len(seen) == 5


async def test_oidc_19_a_provider_that_offers_only_plain_still_gets_s256(scenario):
    scenario.op.discovery["code_challenge_methods_supported"] = ["plain"]
    assert "code_challenge_method=S256" in (await scenario.begin()).redirect


@pytest.mark.parametrize("iss", [DROP, "https://evil.example", ""])
async def test_oidc_20_mix_up(scenario, iss):
    scenario.op.discovery["authorization_response_iss_parameter_supported"] = True
    scenario.op.answer_fields["iss"] = iss
    with pytest.raises(errors.IssuerRefused):
        await scenario.login()
    assert scenario.op.token_requests == []


@pytest.mark.parametrize(
    "overlay",
    [
        pytest.param({"issuer": "https://evil.example"}, id="OIDC-21 other issuer"),
        pytest.param({"jwks_uri": "http://idp.example/jwks"}, id="OIDC-21 keys over plain http"),
        pytest.param({"token_endpoint": "file:///etc/passwd"}, id="SSRF-01 a file"),
        pytest.param({"jwks_uri": "https://10.0.0.1/"}, id="SSRF-03 a private address"),
        pytest.param({"userinfo_endpoint": "https://169.254.169.254/"}, id="SSRF-03 a link-local address"),
        pytest.param(
            {"pushed_authorization_request_endpoint": "https://[fd00::1]/"}, id="SSRF-03 a unique local address"
        ),
        pytest.param({"authorization_endpoint": "javascript:alert(1)"}, id="SSRF-10 a script"),
        pytest.param({"authorization_endpoint": "https://app.example.com/logout"}, id="SSRF-10 ourselves"),
        pytest.param({"authorization_endpoint": "https://a.example/\r\nX: y"}, id="SSRF-10 a line end"),
    ],
)
async def test_a_hostile_description_is_refused_and_the_last_good_one_stays(scenario, overlay):
    scenario.op.discovery.update(overlay)
    with pytest.raises(errors.DiscoveryRefused):
        await scenario.begin()
    scenario.op.discovery.clear()
    scenario.clock.now += kept.RETRY_SECONDS
    await scenario.login(1)
    scenario.op.discovery.update(overlay)
    with pytest.raises(errors.DiscoveryRefused):
        await scenario.provider._metadata.refresh()
    assert (await scenario.login(2)).subject == scenario.subject


@pytest.mark.parametrize(
    "query",
    [
        b"code=a&code=b&state=s",
        b"state=a&state=b",
        b"iss=a&iss=b",
        b"%63ode=a&code=b",
        b"code=%ff",
        b"code=%zz",
        b"code",
    ],
)
def test_oidc_24_a_query_that_can_be_read_in_two_ways_never_becomes_an_answer(query):
    with pytest.raises(CallbackMalformed):
        fields(query)


@pytest.mark.parametrize("extra", [{}, {"code": "abc"}])
async def test_oidc_25_an_error_never_shows_the_providers_words(scenario, extra):
    started = await scenario.begin()
    with pytest.raises(LoginError) as found:
        await scenario.finish_with(
            started, error="<b>", error_description="<script>", error_uri="javascript:x", **extra
        )
    assert "<" not in found.value.title + found.value.sentence + found.value.hint
    assert scenario.op.asked["token"] == 0


@pytest.mark.parametrize("fields", [{"id_token": "a.b.c"}, {"access_token": "x"}, {"response": "a.b.c"}])
async def test_oidc_26_44_tokens_in_the_front_channel_are_no_login(scenario, fields):
    started = await scenario.begin()
    with pytest.raises(CallbackMalformed):
        await scenario.finish_with(started, **fields)


async def test_oidc_27_the_redirect_uri_is_the_configured_one(scenario):
    query = parse_qs(urlsplit((await scenario.begin()).redirect).query)
    assert query["redirect_uri"] == ["https://app.example.com/.passproxy/oidc/callback"]
    await scenario.login(2)
    assert scenario.op.token_requests[0][0]["redirect_uri"] == query["redirect_uri"][0]


@pytest.mark.parametrize("flag", [False, "false"])
async def test_oidc_29_an_unverified_address_is_nobodys(scenario, flag):
    scenario.op.claims.update(email="victim@example.com", email_verified=flag)
    identity = identity_from(await scenario.login(), AttributeRules())
    assert "email" not in identity.attributes
    assert (identity.issuer, identity.subject) == (scenario.issuer, scenario.subject)


@pytest.mark.parametrize(("groups", "expected"), [("users admins", ("users admins",)), ("users,admins", ()), ([], ())])
async def test_oidc_30_a_text_is_one_group(scenario, groups, expected):
    scenario.op.claims["groups"] = groups
    scenario.op.userinfo["groups"] = DROP
    assert identity_from(await scenario.login(), AttributeRules()).groups == expected


async def test_oidc_33_a_drop_at_a_time_ends_in_time(scenario, monkeypatch):
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" ")
            await asyncio.sleep(0.01)
        return response

    started = await scenario.begin()
    scenario.op.instead["token"] = drip
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(IdpUnavailable):
        await scenario.finish_with(started, code="abc")
    assert time.monotonic() - began < 2


async def test_ssrf_12_a_copy_that_somebody_else_wrote_is_not_used(scenario, tmp_path):
    await scenario.begin()
    stored = (tmp_path / "discovery").read_bytes()
    (tmp_path / "discovery").write_bytes(stored.replace(b"/token", b"/t0ken"))
    scenario.configure()
    await scenario.begin()
    assert scenario.op.asked["discovery"] == 2


async def test_ssrf_14_a_proxy_of_the_environment_is_not_used(scenario, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await scenario.login()).subject == scenario.subject
