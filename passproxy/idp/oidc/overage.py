"""
Groups that did not fit into the ID token, fetched from where it says that they are (Core 5.6.2).

Entra ID does this above some 200 groups. The address comes from the token, so
it is followed only where the configuration permits, and the access token goes
nowhere else. The list is read whole, within bounds, or the login is refused: a
part of the groups could be the part that a rule needs, or that it denies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import aiohttp

from passproxy.core.errors import IdpUnavailable
from passproxy.core.identity import ALIASES
from passproxy.idp import fetch
from passproxy.idp.oidc.errors import GroupsRefused, quoted
from passproxy.idp.oidc.json_object import JsonRefused, json_object

#: Microsoft Graph puts 100 to 999 groups on a page; more pages hold more than any session does.
PAGE_LIMIT = 20

#: Beyond what Entra ID lets anybody be a member of (some 2000, nested ones included).
GROUP_LIMIT = 10_000

PAGE_LIMIT_BYTES = 1024 * 1024

# No query and no escapes: what was compared is what is asked for.
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9\-._~:/@\[\]]{1,1000}\Z")

_NEXT_QUERY = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%]{1,4096}\Z")

# Graph's actions are asked by POST; only groups that are meant for access, no distribution lists.
_ACTIONS = ("/getMemberObjects", "/getMemberGroups")
_ACTION_BODY = '{"securityEnabledOnly":true}'


def group_source(claims: Mapping[str, Any], further: Mapping[str, Any]) -> tuple[str, str] | None:
    """The name of a group claim that the ID token only refers to, and the address that it gives; else None."""
    names, sources = claims.get("_claim_names"), claims.get("_claim_sources")
    if not isinstance(names, dict) or not isinstance(sources, dict):
        return None
    for name in ALIASES["groups"]:
        if claims.get(name) or further.get(name):
            # The first name that has groups is the one that counts.
            return None
        source = names.get(name)
        described = sources.get(source) if isinstance(source, str) else None
        if isinstance(described, dict) and isinstance(described.get("endpoint"), str):
            return name, described["endpoint"]
    return None


def is_permitted(endpoint: str, permitted: tuple[str, ...]) -> bool:
    """Whether it is one of these addresses, or below one of those that end with a slash."""
    if not _ENDPOINT.match(endpoint) or any(segment in (".", "..") for segment in endpoint.split("/")):
        return False
    return any(endpoint == one or (one.endswith("/") and endpoint.startswith(one)) for one in permitted)


async def groups_at(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    endpoint: str,
    access_token: str,
) -> list[str]:
    """
    All groups, from all pages.

    Raises:
        GroupsRefused: the list could not be read whole, in time and within bounds.
    """
    try:
        async with asyncio.timeout(fetch.TIMEOUT_SECONDS):
            return await _all_pages(http, endpoint, access_token)
    except TimeoutError:
        raise GroupsRefused(f"{endpoint} did not answer with all groups in time") from None
    except IdpUnavailable as error:
        raise GroupsRefused(error.detail) from None


async def _all_pages(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    endpoint: str,
    access_token: str,
) -> list[str]:
    headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
    form = _ACTION_BODY if endpoint.endswith(_ACTIONS) else None
    more = {"Content-Type": "application/json"} if form is not None else {}
    groups: list[str] = []
    url = endpoint
    for _ in range(PAGE_LIMIT):
        answer = await fetch.fetch(http, url, form=form, headers={**headers, **more}, limit_bytes=PAGE_LIMIT_BYTES)
        found, following = page_from(answer, endpoint)
        groups += found
        if len(groups) > GROUP_LIMIT:
            raise GroupsRefused(f"{endpoint} lists more than {GROUP_LIMIT} groups")
        if following is None:
            return groups
        url, form, more = following, None, {}
    raise GroupsRefused(f"{endpoint} has more than {PAGE_LIMIT} pages")


def page_from(answer: fetch.Answer, endpoint: str) -> tuple[list[str], str | None]:
    """The groups on one page, and where the next page is, which must be the same address with a query."""
    if answer.status != 200 or answer.content_type.lower() != "application/json":
        raise GroupsRefused(f"{endpoint} answers {answer.status} with {quoted(answer.content_type)}")
    try:
        members = json_object(answer.body)
    except JsonRefused as error:
        raise GroupsRefused(f"{endpoint}: {error}") from None
    groups, following = members.get("value"), members.get("@odata.nextLink")
    if not isinstance(groups, list) or not all(isinstance(one, str) and one for one in groups):
        raise GroupsRefused(f"{endpoint}: value is not a list of group ids")
    if following is None:
        return groups, None
    address, _, query = following.partition("?") if isinstance(following, str) else ("", "", "")
    if address != endpoint or not _NEXT_QUERY.match(query):
        raise GroupsRefused(f"{endpoint}: the next page would be elsewhere")
    return groups, following
