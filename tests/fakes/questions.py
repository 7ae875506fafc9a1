"""What web servers ask about the requests that they serve themselves (forward authentication)."""

from __future__ import annotations

from tests.fakes.gateway import PassProxy, get
from tests.fakes.raw import Answer, Raw

ASK = "/.passproxy/auth"

SERVERS = ("nginx", "caddy", "haproxy", "traefik")

NAVIGATION = ("Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


def question(server: str, target: str, *lines: str, method: str = "GET", cookie: str | None = None) -> bytes:
    """What this web server sends before it serves a request."""
    if server == "nginx":
        return get(ASK, f"X-Original-Method: {method}", f"X-Original-URI: {target}", *lines, cookie=cookie)
    told = (
        f"X-Forwarded-Method: {method}",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: app.example.com",
        f"X-Forwarded-Uri: {target}",
    )
    return get(ASK, *told, *lines, cookie=cookie, host="passproxy:8123" if server == "traefik" else "app.example.com")


async def answer(passproxy: PassProxy, data: bytes) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(data)
