"""
The userinfo endpoint: further claims about somebody whom the ID token named.

Never an identity by itself: its answer is an addition to a verified ID token,
and only if it is about the same subject (OpenID Connect Core 5.3.2). Whether to
ask is decided by `is_needed`; what happens when it fails is the caller's choice,
except for a foreign subject, which is refused always.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import aiohttp

from passproxy.core.errors import LoginError
from passproxy.core.identity import ALIASES
from passproxy.idp.fetch import Answer, fetch
from passproxy.idp.oidc.errors import UserinfoRefused, quoted
from passproxy.idp.oidc.json_object import JsonRefused, json_object

USERINFO_LIMIT_BYTES = 1024 * 1024

#: What most configurations use. One of these missing is reason enough to ask;
#: any of the names by which the claim is known will do.
_WANTED = ("login", "email", "name", "groups")


class SubjectForeign(UserinfoRefused):
    """The answer is about somebody else. Never ignored: somebody's claims would be mixed into another's."""


def is_needed(mode: Literal["auto", "always", "never"], claims: Mapping[str, Any]) -> bool:
    """Whether to ask: in `auto` when login name, e-mail, name or groups are not in the ID token."""
    if mode == "auto":
        return not all(any(claims.get(name) for name in ALIASES[wanted]) for wanted in _WANTED)
    return mode == "always"


async def userinfo(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    url: str,
    access_token: str,
    subject: str,
    verify: Callable[[str], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """
    What the provider has to add about `subject`; `verify` judges it when it is signed.

    Raises:
        SubjectForeign: it answers about somebody else.
        LoginError: it does not answer, or not as it should.
    """
    answer = await fetch(
        http,
        url,
        headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json, application/jwt;q=0.9"},
        limit_bytes=USERINFO_LIMIT_BYTES,
    )
    if answer.status == 200 and answer.content_type.lower() == "application/jwt":
        return _about(subject, await _signed(answer.body, verify))
    return claims_from(answer, subject)


async def _signed(body: bytes, verify: Callable[[str], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    try:
        # Whatever is not ASCII is refused there, as is everything unsigned.
        return await verify(body.decode("latin-1"))
    except LoginError as error:
        raise UserinfoRefused(f"signed userinfo: {error.code} {error.detail}") from None


def claims_from(answer: Answer, subject: str) -> dict[str, Any]:
    """The claims in the endpoint's answer, if it is plain JSON about `subject`."""
    if answer.status != 200:
        raise UserinfoRefused(f"the userinfo endpoint answers {answer.status}")
    if answer.content_type.lower() != "application/json":
        raise UserinfoRefused(f"the userinfo endpoint answers with {quoted(answer.content_type)}")
    try:
        claims = json_object(answer.body)
    except JsonRefused as error:
        raise UserinfoRefused(f"userinfo: {error}") from None
    return _about(subject, claims)


def _about(subject: str, claims: dict[str, Any]) -> dict[str, Any]:
    found = claims.get("sub")
    if not isinstance(found, str):
        raise UserinfoRefused("userinfo without a subject")
    if found != subject:
        raise SubjectForeign(f"userinfo is about {quoted(found)}, the ID token about {quoted(subject)}")
    return claims
