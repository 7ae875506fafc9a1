"""
The authorization request goes to the provider itself; the browser carries a reference (RFC 9126).

So nobody on the way can read or change what was asked for, and the provider
knows who asks before anybody types a password. Decides whether to push, pushes,
and judges the reference that comes back. What is asked for is the caller's.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlencode

import aiohttp

from passproxy.idp.fetch import Answer, fetch
from passproxy.idp.oidc.client import Client
from passproxy.idp.oidc.discovery import ProviderMetadata
from passproxy.idp.oidc.errors import PushRefused, quoted
from passproxy.idp.oidc.json_object import JsonRefused, json_object
from passproxy.idp.oidc.token_endpoint import refusal

#: A reference and a lifetime.
PUSH_RESPONSE_LIMIT_BYTES = 64 * 1024

# An absolute URI (RFC 3986) of the length that a redirect has room for. What it
# means is the provider's secret; nothing here ever fetches it.
_REQUEST_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,31}:[A-Za-z0-9\-._~:/?@!$&'()*+,;=%]{1,1000}\Z")


def push_endpoint(mode: Literal["auto", "always", "never"], metadata: ProviderMetadata) -> str | None:
    """
    Where to push requests, or None when they go through the browser.

    Raises:
        PushRefused: the configuration or the provider insists on what the other one does not do.
    """
    endpoint = metadata.pushed_authorization_request_endpoint
    is_required = mode == "always" or metadata.requires_pushed_requests
    if is_required and endpoint is None:
        raise PushRefused("requests must be pushed, but the provider names no endpoint for them")
    if mode == "never" and metadata.requires_pushed_requests:
        raise PushRefused("the provider takes pushed requests only, oidc.pushed_authorization_requests is never")
    return None if mode == "never" else endpoint


async def pushed(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    endpoint: str,
    metadata: ProviderMetadata,
    client: Client,
    request: Mapping[str, str],
    now: float,
) -> str:
    """
    The reference under which the provider keeps the request.

    Raises:
        IdpUnavailable: the endpoint did not answer, or has no time.
        ClientRefused, PushRefused: it refused, or answered something else.
    """
    headers, credentials = client.credentials(metadata, now, secrets.token_urlsafe(16))
    answer = await fetch(
        http,
        endpoint,
        form=urlencode({**request, **credentials}),
        headers={"Accept": "application/json", **headers},
        limit_bytes=PUSH_RESPONSE_LIMIT_BYTES,
    )
    return request_uri_from(answer)


def request_uri_from(answer: Answer) -> str:
    """The reference in the endpoint's answer."""
    # RFC 9126 2.2 says 201; not everybody does.
    if answer.status not in (200, 201):
        raise refusal(answer, "the endpoint for pushed requests", {}, PushRefused)
    if answer.content_type.lower() != "application/json":
        raise PushRefused(f"the endpoint for pushed requests answers with {quoted(answer.content_type)}")
    try:
        members = json_object(answer.body)
    except JsonRefused as error:
        raise PushRefused(f"answer to a pushed request: {error}") from None
    if "error" in members:
        raise refusal(answer, "the endpoint for pushed requests", {}, PushRefused)
    request_uri, seconds = members.get("request_uri"), members.get("expires_in")
    if not isinstance(request_uri, str) or not _REQUEST_URI.match(request_uri):
        raise PushRefused(f"request_uri is {'missing' if request_uri is None else 'not a plain URI'}")
    if type(seconds) is not int or seconds <= 0:
        raise PushRefused("expires_in is not a positive number of seconds")
    return request_uri
