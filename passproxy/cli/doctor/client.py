"""
Whether the provider takes what the client proves itself with, found out without a login.

An invented code is presented at the token endpoint, by the code that redeems
real ones. A provider judges the client first (RFC 6749, 4.1.3): it refuses
either the client or the code, and says which.
"""

from __future__ import annotations

import secrets

from passproxy.cli.doctor.report import Finding, failed, ok, quoted, unknown
from passproxy.core.errors import LoginError
from passproxy.core.settings import OidcSettings
from passproxy.idp.base import Callback, IdentityProvider, Proof
from passproxy.idp.oidc.errors import ClientRefused, CodeRefused

CHECK = "client"


async def client(settings: OidcSettings, provider: IdentityProvider, now: float) -> list[Finding]:
    """About a client with a secret or a key; there is nothing to find out about a public one."""
    if settings.client_secret is None and settings.private_key_file is None:
        return []
    means = "secret" if settings.client_secret is not None else "private key"
    invented = Callback({"code": secrets.token_urlsafe(24), "iss": settings.issuer})
    try:
        await provider.finish(invented, Proof(secrets.token_bytes(32)), now)
    except CodeRefused:
        return [ok(CHECK, f"The provider takes the client's {means}: of an invented login it refuses only the code.")]
    except ClientRefused as error:
        text = f"The provider does not take the client's {means}: {quoted(error.detail).rstrip('.')}."
        return [
            failed(CHECK, text, f"Compare client_id and the {means} with the registration; passproxy metadata FILE.")
        ]
    except LoginError as error:
        return [
            unknown(CHECK, f"Whether the client's {means} is right cannot be told: {quoted(error.detail).rstrip('.')}.")
        ]
    return [
        failed(CHECK, "The provider gave tokens for an invented code.", "It must not be used: anybody could sign in.")
    ]
