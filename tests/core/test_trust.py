"""A trust is a value: the same configuration is the same trust, and any other one is not."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from passproxy.core.trust import Trust

TRUST = Trust("ci", "https://ci.example.com", ("api",), frozenset({"ES256"}))

CHANGED: dict[str, Any] = {
    "name": "other",
    "issuer": "https://ci.example.com/",
    "audiences": ("other",),
    "algorithms": frozenset({"RS256"}),
    "jwks_uri": "https://ci.example.com/jwks",
    "types": ("at+jwt",),
    "takes_id_tokens": True,
    "lifetime_limit_seconds": 60,
    "leeway_seconds": 0,
    "required": {"azp": ("nightly",)},
    "claims": {"login": ("azp",)},
    "paths": ("/api/**",),
    "methods": ("GET",),
    "networks": ("192.0.2.0/24",),
    "passes_on": True,
}


def test_the_same_again_is_the_same():
    assert Trust("ci", "https://ci.example.com", ("api",), frozenset({"ES256"}), required={}, claims={}) == TRUST


@pytest.mark.parametrize("name", [field.name for field in fields(Trust)])
def test_whatever_else_is_said_makes_it_another_one(name):
    assert replace(TRUST, **{name: CHANGED[name]}) != TRUST
