"""The issuers whose bearer tokens are taken, each with its keys; those that stay the same keep theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import aiohttp

from passproxy.core.issuers import Trust
from passproxy.core.urls import Origin
from passproxy.idp.oidc.token_issuer import JwtIssuer

__all__ = ["JwtIssuer", "issuers_of"]


def issuers_of(
    trusts: Iterable[Trust],
    origin: Origin,
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    clock: Callable[[], float],
    before: Iterable[JwtIssuer] = (),
) -> tuple[JwtIssuer, ...]:
    """One for each trust, from `before` where it is there. The origin must be that of `before`."""
    known = list(before)
    return tuple(
        next((one for one in known if one.trust == trust), None) or JwtIssuer(trust, origin, http, clock)
        for trust in trusts
    )
