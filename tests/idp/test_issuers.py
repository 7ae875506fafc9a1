"""Issuers that stay the same keep their keys."""

from __future__ import annotations

from dataclasses import replace

from passproxy.app.service import client_session
from passproxy.core.trust import Trust
from passproxy.core.urls import Origin
from passproxy.idp.issuers import issuers_of

ORIGIN = Origin("https", "app.example.com", 443)
ONE = Trust("one", "https://one.example.com", ("api",), frozenset({"RS256"}), required={"azp": ("a",)})
TWO = replace(ONE, name="two", issuer="https://two.example.com")


async def test_those_that_stay_the_same_are_the_same():
    async with client_session() as http:
        first, second = issuers_of((ONE, TWO), ORIGIN, http, lambda: 0.0)
        again = issuers_of(
            (replace(TWO), replace(ONE, required={"azp": ("b",)})), ORIGIN, http, lambda: 0.0, (first, second)
        )
    assert again[0] is second
    assert again[1] is not first
