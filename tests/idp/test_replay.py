"""What was used once is not used again, however the clocks jump, within a bounded memory."""

from __future__ import annotations

import asyncio
import time

import pytest

from passproxy.core.errors import LoginError
from passproxy.idp.replay import ReplayCache
from passproxy.idp.saml import errors
from passproxy.idp.saml.errors import SamlRefused, SignatureRefused, refusal
from passproxy.idp.saml.instant import seconds
from passproxy.idp.saml.selftest import failures

NOW = 1_700_000_000.0


def test_an_assertion_is_used_once() -> None:
    cache = ReplayCache()
    assert cache.spend("idp", "_a", NOW + 300, NOW, 0.0)
    assert not cache.spend("idp", "_a", NOW + 300, NOW + 299, 299.0)


def test_the_same_id_of_another_issuer_is_another_assertion() -> None:
    cache = ReplayCache()
    assert cache.spend("ab", "c", NOW + 300, NOW, 0.0)
    assert cache.spend("a", "bc", NOW + 300, NOW, 0.0)


def test_clk_02_a_clock_that_jumps_ahead_and_back_revives_nothing() -> None:
    cache = ReplayCache()
    cache.spend("idp", "_a", NOW + 300, NOW, 0.0)
    assert cache.spend("idp", "_b", NOW + 90_000, NOW + 86_400, 100.0)
    assert not cache.spend("idp", "_a", NOW + 300, NOW + 101, 101.0)


def test_clk_02_a_clock_that_jumps_back_keeps_what_was_used() -> None:
    cache = ReplayCache()
    cache.spend("idp", "_a", NOW + 300, NOW, 0.0)
    assert cache.spend("idp", "_b", NOW, NOW - 3600, 1000.0)
    assert not cache.spend("idp", "_a", NOW + 300, NOW - 3600, 1001.0)


def test_what_no_clock_holds_usable_is_forgotten() -> None:
    cache = ReplayCache(limit=2)
    cache.spend("idp", "_a", NOW + 300, NOW, 0.0)
    cache.spend("idp", "_b", NOW + 300, NOW, 0.0)
    assert cache.is_full()
    assert cache.spend("idp", "_c", NOW + 700, NOW + 301, 301.0)
    assert not cache.is_full()


def test_a_full_memory_refuses_rather_than_forgets() -> None:
    cache = ReplayCache(limit=2)
    cache.spend("idp", "_a", NOW + 300, NOW, 0.0)
    cache.spend("idp", "_b", NOW + 300, NOW, 0.0)
    assert not cache.spend("idp", "_c", NOW + 300, NOW, 0.0)
    assert not cache.spend("idp", "_a", NOW + 300, NOW, 0.0)


@pytest.mark.parametrize(
    ("text", "epoch"),
    [("1970-01-01T00:00:00Z", 0), ("2038-01-19T03:14:08Z", 2**31), ("2024-02-29T12:00:00.999999999Z", 1709208000)],
)
def test_times_are_read(text: str, epoch: int) -> None:
    assert seconds(text) == epoch


@pytest.mark.parametrize("text", ["", "2023-02-29T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-1-1T0:0:0Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|day"):
        seconds(text)


def test_every_refusal_has_its_own_code_and_speaks() -> None:
    classes = [
        thing
        for thing in vars(errors).values()
        if isinstance(thing, type) and issubclass(thing, LoginError) and thing.__module__ == errors.__name__
    ]
    codes = [thing.code for thing in classes]
    assert len(set(codes)) == len(codes)
    assert all(thing.code.startswith("PP-SAML") and thing.sentence and thing.hint for thing in classes)


def test_a_code_becomes_its_class_again_and_an_unknown_one_stays_a_refusal() -> None:
    assert type(refusal("PP-SAML-SIGNATURE", "why")) is SignatureRefused
    assert refusal("PP-SAML-SIGNATURE", "why").detail == "why"
    assert type(refusal("PP-NEW", "")) is SamlRefused


@pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")
async def test_sc_04_this_installation_refuses_what_it_must() -> None:
    assert await asyncio.to_thread(failures, time.time()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")
def test_sc_03_an_installation_that_accepts_nothing_is_found() -> None:
    assert failures(0.0)[0].startswith("a genuine response is not accepted")
