"""
Codes of somebody else, secrets that pass the browser, and a provider whose certificate nobody vouches for.

Rows OIDC-18, OIDC-42 and SSRF-05 of the attack catalogue, in whole logins.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.attacks.edge import Edge
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, PassProxy, navigation, protecting
from tests.fakes.idp_oidc import DROP, FakeOp
from tests.fakes.log import Log
from tests.fakes.upstream import Upstream

CALLBACK = f"{ORIGIN}/.passproxy/oidc/callback"


@pytest.fixture
async def op() -> AsyncIterator[FakeOp]:
    async with FakeOp() as op:
        op.userinfo["groups"] = DROP
        yield op


@pytest.fixture
async def passproxy(op: FakeOp, upstream: Upstream, tmp_path: Path) -> AsyncIterator[PassProxy]:
    provider = {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}
    async with protecting(upstream.url, tmp_path, oidc=provider) as running:
        yield running


async def started(browser: Browser) -> str:
    """Where a browser that begins a login is sent."""
    return (await browser.once(f"{ORIGIN}/.passproxy/login")).headers["Location"]


async def test_oidc_18_the_code_of_a_victim_is_worth_nothing_in_the_attackers_login(
    op: FakeOp, passproxy: PassProxy, upstream: Upstream, log: Log
):
    async with Browser(passproxy.front) as victim, Browser(passproxy.front) as attacker:
        stolen = op.answer(await started(victim))["code"]
        mine = op.answer(await started(attacker))
        log.forget()
        page = await attacker.open(f"{CALLBACK}?code={stolen}&state={mine['state']}", come_from=op.issuer)
        assert page.status == 403
        assert passproxy.names.session not in attacker.cookies.names()
        assert log.one("auth.reject")["code"] == "PP-OIDC-CODE"
    assert op.asked["token"] == 1, "the provider refused it: it was made for another verifier"
    assert upstream.requests == []


async def test_oidc_18_a_provider_that_ignores_the_verifier_does_not_help(
    op: FakeOp, passproxy: PassProxy, upstream: Upstream, log: Log
):
    async with Browser(passproxy.front) as victim, Browser(passproxy.front) as attacker:
        theirs = await started(victim)
        nonce = theirs.partition("nonce=")[2].partition("&")[0]
        mine = op.answer(await started(attacker))
        op.token_response = {"id_token": op.id_token(nonce=nonce)}
        log.forget()
        page = await attacker.open(f"{CALLBACK}?code={mine['code']}&state={mine['state']}", come_from=op.issuer)
        assert page.status == 403
        assert log.one("auth.reject")["code"] == "PP-OIDC-NONCE"
        assert passproxy.names.session not in attacker.cookies.names()
    assert upstream.requests == []


async def test_oidc_42_nothing_secret_passes_the_browser(op: FakeOp, passproxy: PassProxy, log: Log):
    async with Browser(passproxy.front) as browser:
        lines: list[str] = []
        store = browser.cookies.store
        browser.cookies.store = lambda url, line, *rest: (lines.append(line), store(url, line, *rest))[1]
        page = await browser.open(f"{ORIGIN}/x?token=private")
        assert page.status == 200
        first = await browser.once(f"{ORIGIN}/.passproxy/login")
        answer = op.answer(first.headers["Location"])
        callback = await browser.once(f"{CALLBACK}?code={answer['code']}&state={answer['state']}")
    assert callback.status == 303
    assert callback.headers["Referrer-Policy"] == first.headers["Referrer-Policy"] == "no-referrer"
    secrets = {op.client_secret, *(form["code_verifier"] for form, _ in op.token_requests)}
    assert len(secrets) == 3, "the client's secret, and a verifier for each login"
    addresses = [hop.location for hop in page.hops] + [first.headers["Location"], callback.headers["Location"]]
    for secret in secrets:
        assert not any(secret in text for text in (*addresses, *lines)), "in an address or a cookie"
        assert not log.tells(secret)
    assert "private" not in first.headers["Location"]


@pytest.fixture
async def self_signed(tmp_path: Path, op: FakeOp) -> AsyncIterator[str]:
    """An issuer on this machine whose certificate nobody signed; it would answer everything."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "tls.pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls.pem")
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(op.discovery)

    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield f"https://localhost:{port}/"
    await runner.cleanup()
    assert asked == [], "something was asked over a connection that nobody vouches for"


@pytest.mark.parametrize("variable", ["PYTHONHTTPSVERIFY", "SSL_NO_VERIFY", "NODE_TLS_REJECT_UNAUTHORIZED"])
@pytest.mark.parametrize("protocol", ["oidc", "saml"])
async def test_ssrf_05_a_provider_without_a_certificate_that_holds_is_not_believed(
    self_signed: str,
    protocol: str,
    variable: str,
    upstream: Upstream,
    tmp_path: Path,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
):
    """Nor does any variable of the environment make it so."""
    monkeypatch.setenv(variable, "0")
    oidc = {"issuer": self_signed, "client_id": "app", "client_secret": "s3cret-of-the-client"}
    provider = {"oidc": oidc} if protocol == "oidc" else {"saml": {"metadata_url": f"{self_signed}metadata"}}
    async with protecting(upstream.url, tmp_path, **provider) as passproxy:
        log.forget()
        answer = await Edge(upstream, passproxy).asked(navigation("/"))
        assert answer.status == 503
        assert not answer.all(b"location")
        assert log.named("auth.reject")[0]["code"] == "PP-IDP-UNAVAILABLE"
    assert upstream.is_untouched
