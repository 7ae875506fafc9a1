"""
Reading a document from an identity provider, within bounds.

No redirects, no compression, a limit on size and one on time. What the document
means is the adapter's business; that the URL is https (or loopback) was settled
when it was configured or read. That no proxy, netrc or cookie of the environment
takes part is a property of the client session, which is built in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from passproxy.core.errors import IdpUnavailable

#: From connecting to the last byte. Users wait for some of these calls.
TIMEOUT_SECONDS = 10.0

#: Federation metadata of one AD FS is below 100 KiB, a key set below 20 KiB.
DOCUMENT_LIMIT_BYTES = 5 * 1024 * 1024

_REASON_LIMIT_CHARACTERS = 300

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


async def fetch(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    url: str,
    *,
    form: str | None = None,
    headers: Mapping[str, str] | None = None,
    limit_bytes: int = DOCUMENT_LIMIT_BYTES,
) -> Answer:
    """
    GET a document, or POST a form (already encoded) when there is one.

    Any status below 300 or from 400 on is an answer, for the caller to judge.

    Raises:
        IdpUnavailable: no answer in time, a redirect, or more than `limit_bytes`.
    """
    sent = {"Accept-Encoding": "identity", **({"Content-Type": _FORM} if form is not None else {}), **(headers or {})}
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            http.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers=sent,
                allow_redirects=False,
                auto_decompress=False,
            ) as response,
        ):
            _check_head(url, response, limit_bytes)
            return Answer(response.status, response.content_type, await _body(url, response, limit_bytes))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise IdpUnavailable(f"{url}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    # The message may quote what the server sent, line ends and escape sequences included.
    return f"{type(error).__name__} {str(error)[:_REASON_LIMIT_CHARACTERS]!a}"


def _check_head(url: str, response: aiohttp.ClientResponse, limit_bytes: int) -> None:
    if 300 <= response.status < 400:
        raise IdpUnavailable(f"{url} answers with a redirect ({response.status}), which is not followed")
    # Decoded it could be a thousand times as large, before anybody counts (SSRF-04).
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise IdpUnavailable(f"{url} answers compressed, which was not asked for")
    if (response.content_length or 0) > limit_bytes:
        raise IdpUnavailable(f"{url} announces more than {limit_bytes} bytes")


async def _body(url: str, response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            raise IdpUnavailable(f"{url} answers with more than {limit_bytes} bytes")
    return bytes(body)


async def fetched(
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    url: str,
    refused: type[IdpUnavailable],
) -> bytes:
    """
    A document that is there, or why it is not.

    Raises:
        IdpUnavailable: as `fetch`, or it is said to be out of order.
        refused: any other answer than 200.
    """
    answer = await fetch(http, url)
    if answer.status != 200:
        error = IdpUnavailable if answer.status >= 500 else refused
        raise error(f"{url} answers {answer.status}")
    return answer.body
