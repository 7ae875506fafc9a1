"""
The issuers whose bearer tokens are taken, each with its keys; those that stay the same keep theirs.

What verifies is imported only where there are some: a process without them has no memory for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import aiohttp

from passproxy.core.trust import Trust
from passproxy.core.urls import Origin

if TYPE_CHECKING:  # and for those who name its type
    from passproxy.idp.oidc.token_issuer import JwtIssuer as JwtIssuer


def issuers_of(
    trusts: Iterable[Trust],
    origin: Origin,
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    clock: Callable[[], float],
    before: Iterable[JwtIssuer] = (),
) -> tuple[JwtIssuer, ...]:
    """One for each trust, from `before` where it is there. The origin must be that of `before`."""
    return tuple(_issuer(trust, origin, http, clock, before) for trust in trusts)


def _issuer(
    trust: Trust,
    origin: Origin,
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    clock: Callable[[], float],
    before: Iterable[JwtIssuer],
) -> JwtIssuer:
    from passproxy.idp.oidc.token_issuer import JwtIssuer

    return next((one for one in before if one.trust == trust), None) or JwtIssuer(trust, origin, http, clock)
