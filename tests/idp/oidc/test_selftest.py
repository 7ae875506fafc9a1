"""The self-test of ID tokens notices each thing that it is there to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from passproxy.core.errors import BearerRefused, LoginError
from passproxy.idp.oidc import access_token, id_token, selftest

NOW = 1_700_000_000.0


@pytest.mark.parametrize("now", [1000.0, NOW, NOW + 0.5, 2.0**31])
def test_this_installation_refuses_what_it_must(now: float) -> None:
    assert selftest.failures(now) == []


def test_sc_04_an_installation_that_accepts_everything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "verified_claims", lambda *_: {})
    found = selftest.failures(NOW)
    assert len(found) == 8
    assert "an ID token is accepted although it has no algorithm" in found
    assert "an ID token is accepted although it is signed with the public key as a secret" in found


@pytest.mark.parametrize(
    ("check", "failure"),
    [
        ("check_audience", "is for another client"),
        ("check_issuer", "comes from another issuer"),
        ("_check_nonce", "answers another login"),
        ("_check_times", "has expired"),
    ],
)
def test_sc_04_each_check_that_is_gone_is_noticed(check: str, failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_token, check, lambda *_: None)
    assert selftest.failures(NOW) == [f"an ID token is accepted although it {failure}"]


def test_sc_04_signatures_that_nobody_looks_at_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless:
        decode_complete: Callable[..., Any] = staticmethod(
            lambda token, key, algorithms: {"payload": id_token._decoded(token.split(".")[1])}
        )

    monkeypatch.setattr(id_token, "_JWS", Careless())
    assert selftest.failures(NOW) == [
        "an ID token is accepted although it was changed",
        "an ID token is accepted although it is signed by somebody else",
    ]


def test_sc_03_an_installation_that_accepts_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise LoginError("broken")

    monkeypatch.setattr(selftest, "verified_claims", refuse)
    assert selftest.failures(NOW) == ["a genuine ID token is not accepted: LoginError: broken"]


@pytest.mark.parametrize("now", [1000.0, NOW, NOW + 0.5, 2.0**31])
def test_this_installation_refuses_forged_bearer_tokens(now: float) -> None:
    assert selftest.bearer_failures(now) == []


def test_sc_04_an_installation_that_takes_every_bearer_token_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "vouched", lambda *_: None)
    assert len(selftest.bearer_failures(NOW)) == 8


@pytest.mark.parametrize(
    ("check", "failure"),
    [
        ("_check_audience", "is for another audience"),
        ("_check_times", "has expired"),
        ("_check_purpose", "is an ID token"),
    ],
)
def test_sc_04_each_check_of_bearer_tokens_that_is_gone_is_noticed(
    check: str, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_token, check, lambda *_: None)
    assert selftest.bearer_failures(NOW) == [f"a bearer token is accepted although it {failure}"]


def test_sc_03_an_installation_that_takes_no_bearer_token_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BearerRefused("broken")

    monkeypatch.setattr(selftest, "vouched", refuse)
    assert selftest.bearer_failures(NOW) == ["a genuine bearer token is not accepted: BearerRefused: broken"]
