"""
Reading a document from an identity provider, within bounds.

No redirects, no proxies from the environment, no compression bombs, a limit on
size and one on time. What the document means is the adapter's business; that
the URL is https (or loopback) was settled when it was configured or read.
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


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


async def fetch(
    http: aiohttp.ClientSession,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    limit_bytes: int = DOCUMENT_LIMIT_BYTES,
) -> Answer:
    """
    GET a document, or POST a form when there is one.

    Any status below 300 or from 400 on is an answer, for the caller to judge.

    Raises:
        IdpUnavailable: no answer in time, a redirect, or more than `limit_bytes`.
    """
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            http.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers={"Accept-Encoding": "identity", **(headers or {})},
                allow_redirects=False,
            ) as response,
        ):
            if 300 <= response.status < 400:
                raise IdpUnavailable(f"{url} answers with a redirect ({response.status}), which is not followed")
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > limit_bytes:
                    raise IdpUnavailable(f"{url} answers with more than {limit_bytes} bytes")
            return Answer(response.status, response.content_type, bytes(body))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        raise IdpUnavailable(f"{url}: {reason}") from error
