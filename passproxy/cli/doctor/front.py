"""
The web server's part: does the public address lead here, with everything that PassProxy needs to know?

Asked over the public address, as a browser on this machine would. What only
PassProxy itself can see is answered by it, to whoever has its keys (web/seen.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aiohttp

from passproxy.app.building import keys_file_of
from passproxy.app.service import client_session
from passproxy.cli.doctor.probe import beginning, reason, within
from passproxy.cli.doctor.provider import transport
from passproxy.cli.doctor.questions import questions
from passproxy.cli.doctor.report import Finding, failed, ok, unknown, warning
from passproxy.core.cookies import COOKIE_LIMIT_BYTES
from passproxy.core.errors import ConfigError, EndpointUnknown, HostUnknown
from passproxy.core.routing import PREFIX
from passproxy.core.settings import Settings
from passproxy.core.tokens import KeyRing
from passproxy.core.urls import Origin
from passproxy.keyfile import obtained_keys
from passproxy.web.seen import ENDPOINT, LARGEST_ANSWER_BYTES, question

#: A session, the logins under way, and as much of the application's own; etc/nginx/ has room for it.
LARGEST_COOKIES_BYTES = 3 * COOKIE_LIMIT_BYTES

_BODY_LIMIT_BYTES = 64 * 1024

_BUFFERS_IN = "nginx: `large_client_header_buffers 1 28k` as in etc/nginx/passproxy.conf."
_BUFFERS_OUT = (
    "nginx: `proxy_buffer_size 32k` as in etc/nginx/passproxy.conf; else logins of many-group users end in 502."
)


async def front(settings: Settings, origin: Origin, clock: Callable[[], float], is_running: bool) -> list[Finding]:
    """Everything about the way from the public address to PassProxy."""
    findings = []
    if origin.is_secure:
        findings += await within("public TLS", transport("public TLS", origin.host.strip("[]"), origin.port, clock()))
    # Heads as large as ours may be.
    async with client_session(max_field_size=2 * COOKIE_LIMIT_BYTES) as http:
        reached = await within("public URL", _reached(http, origin, is_running))
        findings += reached
        if any(each.result != "ok" for each in reached):
            return findings
        findings += await within("large cookies", _large_cookies(http, origin))
        if settings.forward_auth is not None:
            findings += await within("questions", questions(http, origin))
        return findings + await within("forwarding", _seen(http, settings, origin, clock))


async def _get(http: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, bytes]:
    async with http.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status, await beginning(answer, _BODY_LIMIT_BYTES)


async def _reached(http: aiohttp.ClientSession, origin: Origin, is_running: bool) -> list[Finding]:
    url, host_status = origin.url(f"{PREFIX}health"), 0
    try:
        status, body = await _get(http, url)
        if status == 200:
            # Health answers whatever the Host; this does not.
            host_status, _ = await _get(http, origin.url(PREFIX + ENDPOINT))
    except (aiohttp.ClientError, OSError) as error:
        hint = "Does the name lead to the web server, and may this machine connect to it?"
        return [failed("public URL", f"{url}: {reason(error)}.", hint)]
    if (status, body) == (200, b"ok\n") and host_status == EndpointUnknown.status:
        return [ok("public URL", f"{origin} leads to PassProxy.")]
    if HostUnknown.status in (status, host_status):
        text = f"The web server leads to PassProxy, but does not pass on the Host {str(origin).partition('://')[2]}."
        return [
            failed("public URL", text, "nginx: `proxy_set_header Host $host;` (with `:$server_port` off port 443).")
        ]
    hint = "nginx: `proxy_pass` must lead to the address in `listen`, for every path."
    if not is_running:
        hint = "PassProxy is not running here: start it first."
    return [failed("public URL", f"{url} does not answer like PassProxy (status {status}).", hint)]


async def _large_cookies(http: aiohttp.ClientSession, origin: Origin) -> list[Finding]:
    size = f"{LARGEST_COOKIES_BYTES // 1024} KiB"
    cookie = "passproxy-doctor=" + "-" * (LARGEST_COOKIES_BYTES - len("passproxy-doctor="))
    try:
        status, _ = await _get(http, origin.url(f"{PREFIX}health"), Cookie=cookie)
    except (aiohttp.ClientError, OSError) as error:
        return [failed("large cookies", f"A request with {size} of cookies is cut off: {reason(error)}.", _BUFFERS_IN)]
    if status == 200:
        return [ok("large cookies", f"A request with {size} of cookies passes.")]
    return [failed("large cookies", f"A request with {size} of cookies is refused (status {status}).", _BUFFERS_IN)]


async def _seen(
    http: aiohttp.ClientSession, settings: Settings, origin: Origin, clock: Callable[[], float]
) -> list[Finding]:
    try:
        keys = obtained_keys(keys_file_of(settings), may_create=False, now=clock())
    except ConfigError:
        text = f"{keys_file_of(settings)} does not exist or cannot be read, so PassProxy cannot be asked."
        return [unknown("forwarding", text, "Run it as root or as the service.")]
    query = question(KeyRing(keys, str(origin), clock), clock())
    url, size = f"{origin.url(PREFIX + ENDPOINT)}?{query}", f"{LARGEST_ANSWER_BYTES // 1024} KiB"
    try:
        status, body = await _get(http, url)
    except (aiohttp.ClientError, OSError) as error:
        return [failed("large answers", f"An answer with {size} of headers is cut off: {reason(error)}.", _BUFFERS_OUT)]
    if status == 404:
        text = "The PassProxy that answers at the public address has other keys than this configuration."
        return [
            failed(
                "forwarding", text, "Reload it if keys were rotated; instances of one domain share session.keys_file."
            )
        ]
    if status != 200:
        text = f"An answer with {size} of headers does not pass (status {status})."
        return [failed("large answers", text, _BUFFERS_OUT)]
    return [ok("large answers", f"An answer with {size} of headers passes."), _address(origin, json.loads(body))]


def _address(origin: Origin, facts: dict[str, Any]) -> Finding:
    client, forwarded = str(facts["client"]), [each.strip() for each in str(facts["forwarded_for"]).split(",")]
    if forwarded == [""]:
        if not origin.is_secure:
            return ok("forwarding", f"Nothing is in front of PassProxy; it sees the address {client}.")
        text = f"The web server does not say who the client is: PassProxy sees {client} for everybody."
        return warning("forwarding", text, "nginx: `proxy_set_header X-Forwarded-For $remote_addr;`")
    if client not in forwarded:
        text = f"X-Forwarded-For of the web server at {client} is not believed: everybody seems to be at that address."
        return warning("forwarding", text, f"Add {client} to trusted_proxies, if that is your web server.")
    return ok("forwarding", f"The client's address arrives: PassProxy sees {client}.")
