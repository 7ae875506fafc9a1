"""One Chromium for all tests, one profile for each; the demo, once for each protocol."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.e2e.measured import LINES
from tests.e2e.processes import PASSPROXY, child, free_port
from tests.e2e.window import Window

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"

#: A name that no resolver knows, and that is another site than the provider's address.
DOMAIN = "app.example.test"

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {DOMAIN} 127.0.0.1",
)

#: With everything in it that a careless redirect loses.
DEEP_LINK = "/reports/2026/q3?sort=name&filter=open&note=a%2Fb+c%26d&name=Caf%C3%A9"

#: Opened at once, as a browser does that restores its last windows.
TABS = 20

#: Long enough for twenty tabs on two shared cores.
_TIMEOUT_MILLISECONDS = 30_000

expect.set_options(timeout=_TIMEOUT_MILLISECONDS / 2)


@dataclass(frozen=True, slots=True)
class Demo:
    """What `passproxy demo` says on its first page of output."""

    protocol: str
    origin: str
    idp: str


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LINES:
        terminalreporter.section("measured")
        for line in LINES:
            terminalreporter.line(line)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        await browser.close()


async def opened(chromium: Browser) -> Window:
    """A fresh profile; whoever asked closes its context."""
    context = await chromium.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(_TIMEOUT_MILLISECONDS)
    return Window(context, frozenset({"127.0.0.1", DOMAIN}))


@pytest_asyncio.fixture(loop_scope="session")
async def window(chromium: Browser) -> AsyncIterator[Window]:
    fresh = await opened(chromium)
    yield fresh
    await fresh.context.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session", params=["oidc", "saml"])
async def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    port, protocol = free_port(), request.param
    log = tmp_path_factory.mktemp("demo") / f"{protocol}.log"
    command = [PASSPROXY, "demo", "--protocol", protocol, "--port", str(port)]
    async with child(command, log, lambda said: "Ctrl-C" in said) as running:
        origin = re.search(r"Open\s+(http://\S+)/\n", running.said)
        idp = re.search(r"identity provider\s+(http://\S+)\n", running.said)
        assert origin is not None, running.said
        assert idp is not None, running.said
        yield Demo(protocol, origin[1], idp[1])
