"""
With forward authentication: can a visitor ask in the web server's place?

Whoever can is told their own headers, the assertion among them. So the question is
asked over the public address, with every field that a web server could have forgotten to remove.
"""

from __future__ import annotations

import json

import aiohttp

from passproxy.cli.doctor.probe import beginning, reason
from passproxy.cli.doctor.report import Finding, failed, ok
from passproxy.core.errors import EndpointUnknown, ForwardedTargetRefused
from passproxy.core.forwarded_target import ENDPOINT
from passproxy.core.routing import PREFIX
from passproxy.core.urls import Origin

_BODY_LIMIT_BYTES = 64 * 1024

#: What PassProxy says where it was not asked: there is no such page, or the fields were removed.
_NOT_ASKED = {EndpointUnknown.code, ForwardedTargetRefused.code}


async def questions(http: aiohttp.ClientSession, origin: Origin) -> list[Finding]:
    """Whether the public address answers what only the web server may ask."""
    host = str(origin).partition("://")[2]
    fields = {
        "X-Original-Method": "GET",
        "X-Original-URI": "/",
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Uri": "/",
        "X-Forwarded-Host": host,
        "X-Forwarded-Proto": origin.scheme,
    }
    url = origin.url(PREFIX + ENDPOINT)
    try:
        async with http.get(url, headers=fields, allow_redirects=False) as answer:
            is_answered = answer.status == 200 or PREFIX in answer.headers.get("Location", "")
            code = _code(await beginning(answer, _BODY_LIMIT_BYTES))
    except (aiohttp.ClientError, OSError) as error:
        return [failed("questions", f"{url}: {reason(error)}.", "Does the web server lead to PassProxy?")]
    if is_answered or (code is not None and code not in _NOT_ASKED):
        text = f"{url} answers visitors, who may ask there in the web server's place."
        return [failed("questions", text, "Hide it as the file for your web server does: docs/forward-auth.md.")]
    return [ok("questions", "No visitor can ask in the web server's place.")]


def _code(body: bytes) -> str | None:
    """Of a problem of PassProxy's; None where somebody else answered."""
    try:
        problem = json.loads(body)
    except ValueError:
        return None
    code = problem.get("code") if isinstance(problem, dict) else None
    return code if isinstance(code, str) and code.startswith("PP-") else None
