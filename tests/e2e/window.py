"""
A browser profile (Chromium's "context") that is watched.

Whatever a page complains about, and whatever it loads from elsewhere, is noted;
a test says at the end what it had expected (`Window.check`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, WebError

#: Beside the tests' own results; ignored by git through a file of its own.
ARTIFACTS = Path(__file__).parent.parent.parent / ".e2e"

#: A phone and a small laptop.
SIZES = ((390, 844), (1280, 800))
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def artifact(name: str) -> Path:
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / ".gitignore").write_text("*\n")
    return ARTIFACTS / name


@dataclass  # no slots: Playwright keeps a wrapper of each handler on its instance
class Window:
    """`hosts` are those that pages may talk to."""

    context: BrowserContext
    hosts: frozenset[str]
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.on("console", self._console)
        self.context.on("weberror", self._error)
        self.context.on("request", self._request)

    def check(self, *expected: str) -> None:
        """No complaint but those that match one of these expressions, and nothing from elsewhere."""
        left = [text for text in self.complaints if not any(re.search(each, text) for each in expected)]
        assert left == [], left
        assert self.foreign == [], self.foreign

    async def page(self) -> Page:
        return await self.context.new_page()

    async def cookies(self) -> dict[str, dict[str, object]]:
        return {str(cookie.get("name")): dict(cookie) for cookie in await self.context.cookies()}

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type} at {message.location.get('url')}: {message.text}")

    def _error(self, error: WebError) -> None:
        self.complaints.append(f"exception: {error.error}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in self.hosts:
            self.foreign.append(request.url)


async def sign_in(page: Page, name: str, password: str | None = None) -> None:
    """Fill in the demo provider's form, and wait until its answer has led somewhere."""
    await page.get_by_label("User name").fill(name)
    await page.get_by_label("Password", exact=True).fill(password or name)
    async with page.expect_navigation():
        await page.get_by_role("button", name="Sign in").click()


async def log_in(page: Page, url: str, name: str) -> None:
    """From a visitor's address to that address."""
    await page.goto(url)
    await sign_in(page, name)
    await page.wait_for_url(url)


async def screenshots(page: Page, protocol: str, name: str) -> None:
    """One for each size and scheme; none may scroll sideways. Both protocols show the same pages, so one is enough."""
    if protocol != "oidc":
        return
    for width, height in SIZES:
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=artifact(f"{name}-{width}x{height}-{scheme}.png"), full_page=True)
        overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{name} is {overflow} pixels too wide at {width}"
