"""
A code or a refresh token becomes tokens (RFC 6749 4.1.3 and 6, OpenID Connect Core 3.1.3 and 12).

Sends it with the client's credentials to the token endpoint and reads what
comes back. That the code belongs to this browser was checked before; what the
ID token says is judged afterwards. Neither is ever sent twice from here,
whatever happens: the second use may revoke what the first one got.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from authlib.oauth2.rfc6749.parameters import prepare_token_request

from passproxy.core.errors import IdpUnavailable, LoginError
from passproxy.idp.fetch import Answer, fetch
from passproxy.idp.oidc.client import Client
from passproxy.idp.oidc.discovery import ProviderMetadata
from passproxy.idp.oidc.errors import ClientRefused, CodeRefused, TokenEndpointRefused, quoted
from passproxy.idp.oidc.json_object import JsonRefused, json_object

#: An ID token with a few thousand groups, twice, with room to spare.
TOKEN_RESPONSE_LIMIT_BYTES = 1024 * 1024

# The provider has no time for us, or its front end cannot find it.
_BUSY = frozenset({429, 502, 503, 504})

_BEARER_TOKEN = re.compile(r"[!-~]{1,65536}\Z")


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    """Not yet judged. `access_token` is fit for a header, or None; after a refresh there may be no ID token."""

    id_token: str | None
    access_token: str | None
    refresh_token: str | None = None


async def redeem(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    metadata: ProviderMetadata,
    client: Client,
    code: str,
    code_verifier: str,
    now: float,
) -> Tokens:
    """
    Exchange the code.

    Raises:
        IdpUnavailable: the token endpoint did not answer, or has no time.
        CodeRefused, ClientRefused, TokenEndpointRefused: it refused, or answered something else.
    """
    form = {"redirect_uri": client.redirect_uri, "code": code, "code_verifier": code_verifier}
    tokens = tokens_from(await _asked(http, metadata, client, "authorization_code", form, now))
    if tokens.id_token is None:
        raise TokenEndpointRefused("the token response has no id_token; is the scope openid granted?")
    return tokens


async def refreshed(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    metadata: ProviderMetadata,
    client: Client,
    refresh_token: str,
    now: float,
) -> Tokens:
    """
    Exchange a refresh token. Where none comes back, the old one goes on (RFC 6749 6).

    Raises:
        IdpUnavailable: the token endpoint did not answer, or has no time.
        CodeRefused: the token is not good (any more).
        ClientRefused, TokenEndpointRefused: it refused, or answered something else.
    """
    form = {"refresh_token": refresh_token}
    tokens = tokens_from(await _asked(http, metadata, client, "refresh_token", form, now))
    return tokens if tokens.refresh_token is not None else replace(tokens, refresh_token=refresh_token)


async def _asked(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    metadata: ProviderMetadata,
    client: Client,
    grant_type: str,
    form: Mapping[str, str],
    now: float,
) -> Answer:
    headers, credentials = client.credentials(metadata, now, secrets.token_urlsafe(16))
    return await fetch(
        http,
        metadata.token_endpoint,
        form=prepare_token_request(grant_type, **form, **credentials),
        headers={"Accept": "application/json", **headers},
        limit_bytes=TOKEN_RESPONSE_LIMIT_BYTES,
    )


def tokens_from(answer: Answer) -> Tokens:
    """
    The tokens in the token endpoint's answer.

    Raises:
        LoginError: it is an error, or not the answer that the standard asks for.
    """
    if answer.status != 200:
        raise _refusal(answer)
    members = _members(answer)
    if "error" in members:
        raise _refusal(answer)
    token_type, id_token, access_token = map(members.get, ("token_type", "id_token", "access_token"))
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise TokenEndpointRefused(f"token_type is {quoted(token_type)}")
    if id_token is not None and not (isinstance(id_token, str) and id_token):
        raise TokenEndpointRefused("the id_token is not one")
    if access_token is not None and not (isinstance(access_token, str) and _BEARER_TOKEN.match(access_token)):
        raise TokenEndpointRefused("the access token is not one")
    refresh_token = members.get("refresh_token")
    if refresh_token is not None and not (isinstance(refresh_token, str) and _BEARER_TOKEN.match(refresh_token)):
        raise TokenEndpointRefused("the refresh token is not one")
    return Tokens(id_token, access_token, refresh_token)


def _members(answer: Answer) -> Mapping[str, Any]:
    if answer.content_type.lower() != "application/json":
        raise TokenEndpointRefused(f"the token endpoint answers {answer.status} with {quoted(answer.content_type)}")
    try:
        return json_object(answer.body)
    except JsonRefused as error:
        raise TokenEndpointRefused(f"token response: {error}") from None


def _refusal(answer: Answer) -> LoginError:
    return refusal(answer, "the token endpoint", {"invalid_grant": CodeRefused}, TokenEndpointRefused)


def refusal(
    answer: Answer, endpoint: str, by_error: Mapping[str, type[LoginError]], otherwise: type[LoginError]
) -> LoginError:
    """What an answer that is an error says (RFC 6749 5.2); `by_error` are the codes that this endpoint has of its own."""
    try:
        members: Mapping[str, Any] = json_object(answer.body)
    except JsonRefused:
        members = {}
    error, description = members.get("error"), members.get("error_description")
    detail = f"{endpoint} answers {answer.status}: {quoted(error)}, {quoted(description)}"
    if answer.status in _BUSY:
        return IdpUnavailable(detail)
    if isinstance(error, str) and error in by_error:
        return by_error[error](detail)
    if answer.status == 401 or error in ("invalid_client", "unauthorized_client"):
        return ClientRefused(detail)
    return otherwise(detail)
