"""The self-test of our own tokens notices each thing that it is there to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from passproxy.core.errors import TokenInvalid
from passproxy.core.selftest import failures
from passproxy.core.tokens import KeyRing
from tests.core.given import NOW


@pytest.mark.parametrize("now", [0.0, NOW, NOW + 0.5, 2**31])
def test_this_installation_refuses_what_it_must(now: float) -> None:
    assert failures(now) == []


def test_sc_04_a_library_that_accepts_everything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyRing, "unseal", lambda *_: {})
    found = failures(NOW)
    assert len(found) == 6
    assert "a session is accepted although it has no algorithm" in found
    assert "a session is accepted although it has expired" in found


def test_sc_04_a_library_that_forgot_the_time_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine: Callable[..., Any] = KeyRing.unseal

    def timeless(ring: KeyRing, purpose: Any, token: bytes, now: float) -> Any:
        return genuine(ring, purpose, token, min(now, NOW))

    monkeypatch.setattr(KeyRing, "unseal", timeless)
    assert failures(NOW) == ["a session is accepted although it has expired"]


def test_sc_03_a_library_that_accepts_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TokenInvalid("broken")

    monkeypatch.setattr(KeyRing, "unseal", refuse)
    assert failures(NOW) == ["a genuine session is not accepted: TokenInvalid"]
