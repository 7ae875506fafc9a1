"""What is counted, seen as a Prometheus sees it, after real requests."""

from __future__ import annotations

import asyncio
import time

import pytest

from passproxy.core.counts import LATENCY_BUCKETS_SECONDS
from passproxy.web.metrics import REASONS
from tests.fakes.admin import ADMIN, Admin
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, demo_idp, eventually, get, navigation, oidc_at, protecting, request, saml_at
from tests.fakes.idp_oidc import FakeOp
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import answering
from tests.fakes.websocket import accepting, handshake
from tests.flows.both import signed_in

#: Nobody listens there.
GONE = "http://127.0.0.1:9"


@pytest.fixture
async def passproxy(upstream, tmp_path, log):
    async with protecting(upstream.url, tmp_path, passthrough={"paths": ["/public/**"]}, **ADMIN) as running:
        yield running


@pytest.fixture
def admin(passproxy, log):
    return Admin(log)


async def test_requests_are_counted_by_what_became_of_them(passproxy, admin):
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        await raw.ask(get("/", cookie=passproxy.cookie()))
        await raw.ask(get("/public/x"))
        await raw.ask(get("/.passproxy/health"))
        await raw.ask(get("/api"))
        await raw.ask(navigation("/"))
        await raw.ask(b"nonsense\r\n\r\n")
    expected = {"forwarded": 2, "public": 1, "endpoint": 1, "refused": 1, "login": 1, "malformed": 1, "form_kept": 0}
    for outcome, count in expected.items():
        assert await admin.value("passproxy_requests_total", outcome=outcome) == count, outcome
    for code in ("PP-LOGIN-REQUIRED", "PP-IDP-UNAVAILABLE", "PP-REQUEST-MALFORMED"):
        assert await admin.value("passproxy_errors_total", code=code) == 1, code


async def test_answers_are_counted_by_whose_they_are_and_their_class(upstream, passproxy, admin):
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        upstream.script = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await raw.ask(get("/", cookie=passproxy.cookie()))
        await raw.ask(get("/api"))
    for source, status in (("application", "2xx"), ("application", "4xx"), ("passproxy", "4xx")):
        assert await admin.value("passproxy_responses_total", source=source, status=status) == 1
    assert await admin.value("passproxy_responses_total", source="passproxy", status="5xx") == 0


async def test_the_time_to_an_answer_is_measured_from_the_whole_request_on(upstream, passproxy, admin):
    async with Raw(passproxy.address) as raw:
        await raw.send(request("POST", "/", "Content-Length: 4", cookie=passproxy.cookie()))
        await asyncio.sleep(0.3)
        await raw.send(b"abcd")
        assert (await raw.answer()).status == 200
    total = await admin.value("passproxy_upstream_answer_seconds_sum")
    assert await admin.value("passproxy_upstream_answer_seconds_count") == 1
    assert total is not None
    assert 0 < total < 0.3, "a slow client is not a slow application"
    assert await admin.value("passproxy_upstream_answer_seconds_bucket", le="+Inf") == 1
    for end in LATENCY_BUCKETS_SECONDS:
        assert await admin.value("passproxy_upstream_answer_seconds_bucket", le=str(end)) in (0, 1)


async def test_failures_of_the_application_are_counted_by_their_kind(upstream, passproxy, admin):
    async with Raw(passproxy.address) as raw:
        upstream.script = answering(b"HTTP/1.1 nonsense\r\n\r\n")
        assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 502
        upstream.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", closes=True)
        with pytest.raises(Cut):
            await raw.ask(get("/", cookie=passproxy.cookie()))
    assert await admin.value("passproxy_upstream_errors_total", code="PP-UPSTREAM-MALFORMED") == 1
    assert await admin.value("passproxy_upstream_errors_total", code="PP-UPSTREAM-TIMEOUT") == 0
    assert await admin.value("passproxy_upstream_truncated_total") == 1


async def test_connections_are_counted_while_they_are_open(passproxy, admin):
    before = await admin.value("passproxy_connections")
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=passproxy.cookie()))
        assert (before, await admin.value("passproxy_connections")) == (0, 1)
        assert await admin.value("passproxy_upstream_connections") == 1
        assert await admin.value("passproxy_upstream_connections_idle") == 1
        assert await admin.value("passproxy_upstream_waiting") == 0


async def test_an_upgraded_connection_is_a_tunnel_and_no_connection_any_more(upstream, passproxy, admin):
    upstream.script = accepting
    async with Raw(passproxy.address) as raw:
        await raw.send(handshake(cookie=passproxy.cookie()))
        assert (await raw.answer()).status == 101
        assert await admin.value("passproxy_tunnels") == 1
        assert await admin.value("passproxy_connections") == 0
        assert await admin.value("passproxy_responses_total", source="application", status="1xx") == 1


async def test_sessions_that_are_none_are_counted_by_reason(passproxy, admin):
    expired, other = passproxy.cookie(seconds=-5), passproxy.names.session + "=nonsense"
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/", cookie=expired))
        await raw.ask(get("/public/x", cookie=expired))
        await raw.ask(get("/", cookie=other))
        await raw.ask(get("/", cookie=f"{expired}; {expired}"))
    for reason, count in {"expired": 2, "invalid": 1, "cookies": 1, "revoked": 0}.items():
        assert await admin.value("passproxy_sessions_refused_total", reason=reason) == count, reason


@pytest.mark.parametrize("provider", [oidc_at, saml_at], ids=["oidc", "saml"])
async def test_logins_are_counted_and_the_provider_is_described(upstream, tmp_path, log, provider):
    async with demo_idp() as idp, protecting(upstream.url, tmp_path, **ADMIN, **provider(idp)) as passproxy:
        admin = Admin(log)
        async with Browser(passproxy.front) as browser:
            page = await signed_in(browser)
            assert page.status == 200
            await browser.open(f"{ORIGIN}/.passproxy/logout", come_from=page)
        callback = "/.passproxy/oidc/callback" if provider is oidc_at else "/.passproxy/saml/acs"
        async with Raw(passproxy.address) as raw:
            if provider is oidc_at:
                await raw.ask(navigation(callback + "?code=x&state=" + "A" * 22))
            else:
                form = "Content-Type: application/x-www-form-urlencoded"
                await raw.ask(request("POST", callback, form, body=b"SAMLResponse=AAAA&RelayState=" + b"A" * 22))
        assert await admin.value("passproxy_logins_total", result="success") == 1
        assert await admin.value("passproxy_logins_total", result="PP-LOGIN-UNKNOWN") == 1
        assert await admin.value("passproxy_revocations") == 1
        assert await admin.value("passproxy_session_keys") == 1
        assert await admin.value("passproxy_idp_known") == 1
        assert await admin.value("passproxy_idp_signing_keys") == 1
        expires = await admin.value("passproxy_idp_certificate_expires_timestamp_seconds")
        assert (expires is None) == (provider is oidc_at)


async def test_a_provider_that_cannot_be_reached_is_counted(passproxy, admin, log):
    await eventually(lambda: "idp.refresh_failed" in log._caplog.text, "the first attempt")
    assert (await admin.value("passproxy_idp_failures", code="PP-IDP-UNAVAILABLE") or 0) >= 1
    assert await admin.value("passproxy_idp_known") == 0


async def test_bearer_tokens_and_the_keys_of_their_issuers_are_counted(upstream, tmp_path, log):
    async with FakeOp() as op:
        issuers = [
            {"name": name, "audience": "api", "issuer": url} for name, url in (("ci", op.issuer), ("gone", GONE))
        ]
        async with protecting(upstream.url, tmp_path, bearer={"issuers": issuers}, **ADMIN) as passproxy:
            admin = Admin(log)
            await eventually(lambda: "bearer.refresh_failed" in log._caplog.text, "the first attempt")
            await eventually(lambda: passproxy.service._built.issuers[0].keys is not None, "the keys")
            async with Raw(passproxy.address) as raw:
                await raw.ask(get("/", f"Authorization: Bearer {op.access_token(aud='api')}"))
                await raw.ask(get("/", f"Authorization: Bearer {op.access_token(aud='other')}"))
            assert await admin.value("passproxy_bearer_tokens_total", issuer="ci") == 1
            assert await admin.value("passproxy_requests_total", outcome="forwarded") == 1
            assert await admin.value("passproxy_requests_total", outcome="refused") == 1
            assert await admin.value("passproxy_issuer_keys", issuer="ci") == 1
            assert (await admin.value("passproxy_issuer_keys_age_seconds", issuer="ci") or 0) < 60
            assert await admin.value("passproxy_issuer_keys", issuer="gone") == 0
            assert await admin.value("passproxy_issuer_keys_age_seconds", issuer="gone") is None
            assert (await admin.value("passproxy_issuer_failures", issuer="gone", code="PP-IDP-UNAVAILABLE") or 0) >= 1


async def test_info_03_no_label_is_of_a_request_or_a_person(passproxy, admin):
    async with Raw(passproxy.address) as raw:
        await raw.ask(get("/who/knows", "X: alice", cookie=passproxy.cookie(user="alice-the-user")))
        await raw.ask(request("PROPFIND", "/who/knows", cookie="a=b"))
    text = await admin.text()
    for said in ("alice", "knows", "PROPFIND", "127.0.0.1", "app.example.com"):
        assert said not in text


def test_every_reason_that_has_a_label_is_one_that_the_source_gives():
    """Otherwise it would be counted as `invalid`, and nobody would know."""
    from tests.test_conditions import SOURCES

    for reason in REASONS:
        assert f'"{reason}"' in SOURCES


async def test_the_process_is_described(admin):
    started = await admin.value("process_start_time_seconds")
    assert started is not None
    assert abs(time.time() - started) < 60
    assert (await admin.value("process_resident_memory_bytes") or 0) > 10 * 1024**2
    assert (await admin.value("process_open_fds") or 0) > 3
