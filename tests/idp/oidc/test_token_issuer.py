"""The keys of an issuer: read at the start, once an hour, and once in a minute because of a token."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from passproxy.app.service import client_session
from passproxy.core.errors import IdpUnavailable
from passproxy.core.trust import Trust
from passproxy.core.urls import Origin
from passproxy.idp.oidc import token_issuer as module
from passproxy.idp.oidc.errors import DiscoveryRefused, KeysRefused
from passproxy.idp.oidc.jwks import ALGORITHMS
from passproxy.idp.oidc.token_issuer import COOL_DOWN_SECONDS, JwtIssuer
from tests.fakes.gateway import eventually
from tests.fakes.idp_oidc import DROP, FakeOp, SigningKey, ec_private_key

ORIGIN = Origin("https", "app.example.com", 443)


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def op() -> AsyncIterator[FakeOp]:
    async with FakeOp() as provider:
        yield provider


@contextlib.asynccontextmanager
async def issuer_of(op: FakeOp, clock: Clock | None = None, jwks_uri: str | None = None) -> AsyncIterator[JwtIssuer]:
    async with client_session() as http:
        yield JwtIssuer(Trust("ci", op.issuer, ("api",), ALGORITHMS, jwks_uri), ORIGIN, http, clock or Clock())


@contextlib.asynccontextmanager
async def running(op: FakeOp, clock: Clock | None = None) -> AsyncIterator[JwtIssuer]:
    async with issuer_of(op, clock) as issuer, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(issuer.run())
        await eventually(lambda: issuer.keys is not None, "the keys are there")
        try:
            yield issuer
        finally:
            task.cancel()


async def test_keys_are_found_by_the_description_of_an_issuer_where_nobody_can_log_in(op):
    op.discovery.update(authorization_endpoint=DROP, token_endpoint=DROP)
    async with issuer_of(op) as issuer:
        assert (await issuer.refresh()).names() == ("key-1",)
        assert issuer.standing().signing_keys == 1


async def test_or_where_the_configuration_says(op):
    async with issuer_of(op, jwks_uri=f"{op.issuer}/jwks") as issuer:
        assert await issuer.refresh() == issuer.keys
    assert op.asked["discovery"] == 0


async def test_ssrf_the_description_of_another_issuer_or_of_an_inner_address_is_none(op):
    for overlay in ({"issuer": "https://other.example.com"}, {"jwks_uri": "http://10.0.0.1/jwks"}, {"jwks_uri": DROP}):
        op.discovery = dict(overlay)
        async with issuer_of(op) as issuer:
            with pytest.raises(DiscoveryRefused):
                await issuer.refresh()


async def test_the_same_keys_stay_the_same_object(op):
    async with issuer_of(op) as issuer:
        await issuer.refresh()
        before = issuer.keys
        await issuer.refresh()
        assert issuer.keys is before
        op.signing_key = SigningKey(ec_private_key(), "key-2", "ES256")
        await issuer.refresh()
        assert issuer.keys is not before


@pytest.mark.parametrize(("status", "kind"), [(500, IdpUnavailable), (404, KeysRefused)])
async def test_a_failure_takes_nothing_away(op, status, kind):
    async def broken(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with issuer_of(op) as issuer:
        await issuer.refresh()
        before = issuer.keys
        op.instead["jwks"] = broken
        with pytest.raises(kind):
            await issuer.refresh()
        assert issuer.keys is before


async def test_oidc_14_however_many_wait_one_look_is_made_in_a_minute(op):
    clock = Clock()
    async with running(op, clock) as issuer:
        assert issuer.may_have_newer_keys()
        await asyncio.gather(*(issuer.newer_keys() for _ in range(50)))
        assert op.asked["jwks"] == 2
        assert not issuer.may_have_newer_keys()
        await issuer.newer_keys()
        clock.now += COOL_DOWN_SECONDS - 1
        await issuer.newer_keys()
        assert op.asked["jwks"] == 2
        clock.now += 1
        assert issuer.may_have_newer_keys()
        await issuer.newer_keys()
        assert op.asked["jwks"] == 3


async def test_a_clock_that_was_set_back_does_not_stop_the_looks(op):
    clock = Clock()
    async with running(op, clock) as issuer:
        await issuer.newer_keys()
        clock.now -= 86400
        assert issuer.may_have_newer_keys()


async def test_a_look_that_fails_lets_those_go_on_who_wait(op):
    async def broken(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with running(op) as issuer:
        op.instead["jwks"] = broken
        await issuer.newer_keys()
        assert issuer.keys is not None
        assert issuer.standing().failures == 1
        assert not issuer.may_have_newer_keys()


async def test_nobody_waits_longer_than_the_limit(op, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=503)

    async with running(op) as issuer:
        op.instead["jwks"] = slow
        await issuer.newer_keys()
        assert issuer.may_have_newer_keys()
        monkeypatch.setattr(module, "WAITING_LIMIT", 0)
        assert not issuer.may_have_newer_keys()
        release.set()
