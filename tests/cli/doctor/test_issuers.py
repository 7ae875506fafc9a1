"""The issuers' part: keys that are there, that are unusable, and that cannot be reached."""

from __future__ import annotations

import time

import pytest

from passproxy.cli.doctor.issuers import issuers
from tests.cli.doctor.given import origin_at, results, settings, text_of
from tests.fakes.idp_oidc import FakeOp


async def examined(*entries):
    configured = settings(
        bearer={"issuers": [{"name": f"ci-{n}", "audience": "a", **e} for n, e in enumerate(entries)]}
    )
    return await issuers(configured, origin_at(configured), time.time)


async def test_without_issuers_there_is_nothing_to_say():
    assert await examined() == []


async def test_keys_that_can_be_read_are_counted():
    async with FakeOp() as op:
        found = await examined({"issuer": op.issuer})
    assert results(found) == {"issuers": "ok"}
    assert "ci-0 publishes 1 key " in text_of(found, "issuers")


@pytest.mark.parametrize(("published", "word"), [([], "usable"), ([{"kty": "oct", "k": "AAAA"}], "usable")])
async def test_keys_that_are_none_fail(published, word):
    async with FakeOp() as op:
        op.published = published
        found = await examined({"issuer": op.issuer})
    assert results(found) == {"issuers": "failed"}
    assert word in text_of(found, "issuers")


async def test_an_issuer_that_cannot_be_reached_fails_and_the_others_are_asked_all_the_same():
    async with FakeOp() as op:
        found = await examined({"issuer": "http://127.0.0.1:9/"}, {"issuer": op.issuer})
    assert [finding.result for finding in found] == ["failed", "ok"]
    assert "cannot be reached" in text_of(found, "issuers")
