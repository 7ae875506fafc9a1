"""
How a session at the provider ends: we send the browser there, and what else we say to it.

RP-Initiated Logout 1.0 for the browser; the refresh token is handed back as well (RFC 7009), since
it might outlive the session. Nothing here fails: our own session has ended already, and a provider
that does not answer is only logged.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

import aiohttp
from authlib.common.urls import add_params_to_uri

from passproxy.core.errors import LoginError
from passproxy.idp.fetch import fetch
from passproxy.idp.oidc.client import Client
from passproxy.idp.oidc.discovery import ProviderMetadata

#: People wait for their logout: no longer than this for a token that ends by itself some day.
REVOCATION_SECONDS = 2.0

#: What servers take as a request line: 8 KiB with most. Longer than this, the hint stays behind,
#: and the provider asks whether to log out.
URL_LIMIT_CHARACTERS = 6000

_log = logging.getLogger(__name__)


def end_session_url(metadata: ProviderMetadata, client: Client, return_url: str, id_token: str | None) -> str | None:
    """Where the browser ends its session at the provider, and comes back from; None where it offers no way."""
    if metadata.end_session_endpoint is None:
        return None
    asked: Mapping[str, str] = {
        "client_id": client.client_id,
        "post_logout_redirect_uri": return_url,
    }
    if id_token is not None:
        url: str = add_params_to_uri(metadata.end_session_endpoint, [("id_token_hint", id_token), *asked.items()])
        if len(url) <= URL_LIMIT_CHARACTERS:
            return url
        _log.info("idp.logout_without_hint the ID token is too long for an address")
    bare: str = add_params_to_uri(metadata.end_session_endpoint, list(asked.items()))
    return bare


async def revoke(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    metadata: ProviderMetadata,
    client: Client,
    refresh_token: str,
    now: float,
) -> None:
    """Hand the refresh token back, where the provider takes it."""
    if metadata.revocation_endpoint is None:
        return
    headers, credentials = client.credentials(metadata, now, secrets.token_urlsafe(16))
    form = {"token": refresh_token, "token_type_hint": "refresh_token", **credentials}
    try:
        async with asyncio.timeout(REVOCATION_SECONDS):
            answer = await fetch(http, metadata.revocation_endpoint, form=urlencode(form), headers=headers)
        if answer.status >= 300:
            _log.info("idp.token_not_revoked the revocation endpoint answers %d", answer.status)
    except (LoginError, TimeoutError) as error:
        _log.info("idp.token_not_revoked %s", getattr(error, "detail", "no answer in time"))
