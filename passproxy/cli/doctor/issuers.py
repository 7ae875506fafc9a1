"""Issuers of bearer tokens: whether their keys can be read, by the code that verifies with them."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from passproxy.app.service import client_session
from passproxy.cli.doctor.probe import reason, within
from passproxy.cli.doctor.report import Finding, failed, ok, quoted
from passproxy.core.access import trusts_of
from passproxy.core.errors import LoginError
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin
from passproxy.idp.issuers import issuers_of
from passproxy.idp.oidc.token_issuer import JwtIssuer


async def issuers(settings: Settings, origin: Origin, clock: Callable[[], float]) -> list[Finding]:
    """About each issuer; nothing where there is none."""
    findings = []
    async with client_session() as http:
        for issuer in issuers_of(trusts_of(settings), origin, http, clock):
            findings += await within("issuers", _keys_of(issuer))
    return findings


async def _keys_of(issuer: JwtIssuer) -> list[Finding]:
    name = quoted(issuer.trust.name)
    try:
        keys = await issuer.refresh()
    except LoginError as error:
        if isinstance(error.__cause__, (aiohttp.ClientError, OSError)):
            text = f"The keys of the issuer {name} cannot be reached: {reason(error.__cause__)}."
            return [failed("issuers", text, "Can this machine reach it, and is the address right?")]
        text = f"What the issuer {name} publishes cannot be used: {quoted(error.detail).rstrip('.')}."
        return [failed("issuers", text, "Compare with its description; bearer.issuers can name jwks_uri.")]
    count = len(keys.keys)
    return [
        ok("issuers", f"The issuer {name} publishes {count} key{'s' if count > 1 else ''} to verify its tokens with.")
    ]
