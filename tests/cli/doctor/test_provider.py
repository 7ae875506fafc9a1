"""The provider's part against the demo's provider and a fake one, as they should be and broken in one way each."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from passproxy.cli.doctor.provider import provider, transport
from passproxy.demo.assertions import key_pair
from passproxy.demo.idp import DemoIdentityProvider
from tests.cli.doctor.given import origin_at, results, settings, text_of
from tests.fakes.gateway import ORIGIN, demo_idp, oidc_at, saml_at
from tests.fakes.idp_oidc import FakeOp
from tests.fakes.tls import certified

DAY = 86400
BOTH = pytest.mark.parametrize("section", [oidc_at, saml_at], ids=["oidc", "saml"])


async def examined(ahead: float = 0, **sections):
    configured = settings(**sections)
    return await provider(configured, origin_at(configured), lambda: time.time() + ahead)


def changed(section, idp, **more):
    """The provider's section with further keys."""
    ((name, keys),) = section(idp).items()
    return {name: {**keys, **more}}


@BOTH
async def test_a_provider_that_knows_us_is_fine_in_every_way(section, tmp_path):
    async with demo_idp() as idp:
        found = await examined(**section(idp), state_dir=str(tmp_path))
    assert set(results(found).values()) == {"ok"}
    assert {"provider", "clock", "login"} <= results(found).keys()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("section", "has_state"),
    [(oidc_at, True), (saml_at, True), (oidc_at, False)],
    ids=["oidc, a volume", "saml, a volume", "oidc, nothing to write to"],
)
async def test_a_container_without_a_folder_for_temporary_files_is_fine(section, has_state, tmp_path, monkeypatch):
    state = tmp_path / "state"
    if has_state:
        state.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no" / "tmp"))
    async with demo_idp() as idp:
        found = await examined(**section(idp), state_dir=str(state))
    assert set(results(found).values()) == {"ok"}
    assert {"provider", "login"} <= results(found).keys()
    assert not has_state or list(state.iterdir()) == []


async def test_an_unknown_client_is_found():
    async with demo_idp() as idp:
        found = await examined(**changed(oidc_at, idp, client_id="wrong"))
    assert results(found) == {"provider": "ok", "clock": "ok", "login": "failed", "client": "failed"}
    assert "client wrong" in text_of(found, "login")


async def test_an_unknown_service_provider_is_found():
    async with demo_idp() as idp:
        found = await examined(**changed(saml_at, idp, entity_id="urn:other"))
    assert results(found)["login"] == "failed"
    assert "entity id urn:other" in text_of(found, "login")


@BOTH
async def test_a_redirect_uri_that_is_not_registered_is_found(section):
    async with demo_idp() as idp:
        more = {"entity_id": f"{ORIGIN}/.passproxy/saml/metadata"} if section is saml_at else {}
        found = await examined(domain="other.example.com", **changed(section, idp, **more))
    assert results(found)["login"] == "failed"
    assert "Register exactly this address at the provider: https://other.example.com/.passproxy/" in text_of(
        found, "login"
    )


@BOTH
@pytest.mark.parametrize(("ahead", "result"), [(-120, "failed"), (120, "failed"), (45, "warning"), (5, "ok")])
async def test_a_clock_that_is_off_is_found(section, ahead, result):
    async with demo_idp() as idp:
        found = await examined(ahead, **section(idp))
    assert results(found)["clock"] == result
    if result != "ok":
        assert ("ahead of" if ahead > 0 else "behind") in text_of(found, "clock")


@BOTH
async def test_what_is_forgiven_decides_when_a_clock_fails(section):
    async with demo_idp() as idp:
        assert results(await examined(120, **changed(section, idp, clock_skew="3m")))["clock"] == "warning"
        assert results(await examined(20, **changed(section, idp, clock_skew="10s")))["clock"] == "failed"


@pytest.mark.parametrize(("days", "result"), [(60, "ok"), (20, "warning"), (-2, "warning")])
async def test_the_end_of_the_signing_certificate_is_watched(days, result):
    # It is valid from a day before the time that is given.
    pair = key_pair("idp", time.time() - 400 * DAY, days=401 + days)
    async with DemoIdentityProvider(ORIGIN, keys=pair) as idp:
        found = await examined(**saml_at(idp))
    assert results(found)["signing"] == result


@BOTH
async def test_a_provider_that_is_down_is_found_without_a_login(section):
    async with demo_idp() as idp:
        gone = section(idp)
    found = await examined(**gone)
    assert results(found) == {"provider": "failed", "clock": "unknown"}
    assert "nothing listens there" in text_of(found, "provider")


async def test_a_provider_under_another_name_is_explained_by_its_code():
    async with FakeOp() as op:
        op.discovery["issuer"] = "https://evil.example.com"
        found = await examined(oidc={"issuer": op.issuer, "client_id": "app"})
    assert results(found)["provider"] == "failed"
    assert "passproxy explain PP-OIDC-" in text_of(found, "provider")


@asynccontextmanager
async def op_answering(handler):
    async with FakeOp(client_secret=None) as op:
        op.instead["authorize"] = handler
        yield {"oidc": {"issuer": op.issuer, "client_id": "app"}}


async def test_a_provider_that_signs_in_at_once_is_fine_and_nothing_is_redeemed():
    async with FakeOp() as op:
        found = await examined(oidc={"issuer": op.issuer, "client_id": "app", "client_secret": "s3cret"})
        assert (results(found)["login"], results(found)["client"]) == ("ok", "ok")
        # Only the invented code was presented, never the one that the provider gave.
        (presented,) = [form["code"] for form, _ in op.token_requests]
        assert presented not in op._grants


async def test_an_error_that_is_sent_back_to_us_is_shown():
    async def refuse(request: web.Request) -> web.StreamResponse:
        back = f"{request.query['redirect_uri']}?error=invalid_scope&error_description=Invalid+scopes&state=x"
        raise web.HTTPFound(back)

    async with op_answering(refuse) as section:
        found = await examined(**section)
    assert results(found)["login"] == "failed"
    assert "invalid_scope Invalid scopes" in text_of(found, "login")


async def test_a_pushed_request_that_is_refused_says_what_to_register():
    async def push(request: web.Request) -> web.StreamResponse:
        said = {"error": "invalid_request", "error_description": "redirect_uri is not registered"}
        return web.json_response(said, status=400)

    async with FakeOp(client_secret=None) as op:
        op.discovery["pushed_authorization_request_endpoint"] = f"{op.issuer}/par"
        op.instead["par"] = push
        found = await examined(oidc={"issuer": op.issuer, "client_id": "app"})
    assert results(found)["login"] == "failed"
    assert f"Register exactly this address at the provider: {ORIGIN}/.passproxy/oidc/callback" in text_of(
        found, "login"
    )


@pytest.mark.parametrize("secure", [False, True])
async def test_redirects_are_followed_with_their_cookies(secure):
    """On loopback with Secure ones too, as browsers do (Keycloak sets them over plain HTTP)."""

    async def first(request: web.Request) -> web.StreamResponse:
        if request.cookies.get("seen") == "1":
            return web.Response(text="<form><input type=password></form>", content_type="text/html")
        answer = web.HTTPFound(str(request.rel_url))
        answer.set_cookie("seen", "1", secure=secure)
        raise answer

    async with op_answering(first) as section:
        assert results(await examined(**section))["login"] == "ok"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("http://192.0.2.1/login", "neither https nor loopback"),
        ("ftp://sso.example.com/", "neither https nor loopback"),
        (".", "more than 10 redirects"),
    ],
)
async def test_redirects_end_somewhere_and_lead_nowhere_that_is_not_permitted(where, said):
    async def away(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(str(request.rel_url) if where == "." else where)

    async with op_answering(away) as section:
        found = await examined(**section)
    assert results(found)["login"] == "failed"
    assert said in text_of(found, "login")


async def test_a_page_without_an_end_is_read_to_a_limit():
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/html"})
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"<p>more</p>" * 6000)
        except ConnectionError:
            return answer

    async with op_answering(endless) as section:
        assert results(await examined(**section))["login"] == "unknown"


async def test_a_date_that_a_cache_has_kept_says_nothing_of_a_clock():
    async def old(request: web.Request) -> web.StreamResponse:
        stale = {"Date": "Mon, 01 Jan 2024 00:00:00 GMT", "Age": "60"}
        return web.Response(text="<form><input type=password></form>", content_type="text/html", headers=stale)

    async with op_answering(old) as section:
        assert results(await examined(**section))["clock"] == "ok"


@pytest.mark.parametrize(("days", "result"), [(60, "ok"), (5, "warning"), (-1, "failed")])
async def test_the_end_of_a_tls_certificate_is_watched(tmp_path, monkeypatch, days, result):

    made = certified(tmp_path, days, since=-10)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=made.server())
    async with server:
        port = server.sockets[0].getsockname()[1]
        (found,) = await transport("provider TLS", "127.0.0.1", port, time.time())
    assert found.result == result
    if result == "failed":
        assert "certificate has expired" in found.text


async def test_a_tls_certificate_of_nobody_is_refused(tmp_path):

    made = certified(tmp_path, 60)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=made.server())
    async with server:
        port = server.sockets[0].getsockname()[1]
        (found,) = await transport("provider TLS", "127.0.0.1", port, time.time())
    assert found.result == "failed"
    assert "not accepted" in found.text
