"""
Logins at identity providers that nobody here wrote.

    python -m tests.interop [keycloak] [oidc-provider]

For each provider, protocol and kind of origin it starts `passproxy serve` in
front of the demo application and runs the checks of visit.py. Exit code 0 when
all pass. What is downloaded stays in .interop/.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml

from passproxy.demo.application import DemoApplication
from tests.interop.keycloak import keycloak
from tests.interop.openid_provider import openid_provider
from tests.interop.processes import Ready, StartFailed, free_port, server
from tests.interop.provider import Provider
from tests.interop.visit import CHECKS, Visit, browser_for

CACHE = Path(__file__).resolve().parents[2] / ".interop"

PROVIDERS = {"oidc-provider": openid_provider, "keycloak": keycloak}

#: PassProxy starts in about a second; it may have to wait for metadata.
START_SECONDS = 30.0

#: One check is at most a dozen requests on loopback.
CHECK_SECONDS = 45.0

#: With nothing in the cache, about two minutes.
WHOLE_RUN_SECONDS = 840.0


@dataclass(frozen=True, slots=True)
class Stand:
    """Where PassProxy stands: its origin, and the address that it listens on."""

    name: str
    origin: str
    listen: str


@dataclass(frozen=True, slots=True)
class Row:
    """The checks of one installation; a problem is empty when the check passed."""

    provider: str
    protocol: str
    stand: str
    problems: Mapping[str, str]


def stands() -> tuple[Stand, ...]:
    """
    A trial on loopback, and an installation behind a web server with TLS.

    Only in the second one is the provider another site, and do the cookies have
    their prefix, Secure and SameSite=None.
    """
    trial, behind = (f"127.0.0.1:{free_port()}" for _ in range(2))
    return (
        Stand("trial", f"http://{trial}", trial),
        Stand("behind TLS", "https://app.example.com", behind),
    )


async def visited(provider: Provider, protocol: str, stand: Stand, upstream_url: str, scratch: Path) -> Row:
    where = scratch / f"{provider.name}-{protocol}-{stand.name}".replace(" ", "-")
    where.mkdir()
    try:
        async with (
            passproxy(provider.sections[protocol], protocol, stand, upstream_url, where),
            browser_for(stand.origin, stand.listen) as browser,
        ):
            visit = Visit(stand.origin, provider.base_url, browser)
            problems = {name: await _problem(name, visit) for name in CHECKS}
    except StartFailed as error:
        problems = dict.fromkeys(CHECKS, "PassProxy did not start") | {next(iter(CHECKS)): str(error)}
    if any(problems.values()):
        problems = {**problems, "its log": (where / "passproxy.log").read_text("utf-8", "replace")[-4000:]}
    return Row(provider.name, protocol, stand.name, problems)


async def _problem(name: str, visit: Visit) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await CHECKS[name](visit)
    except (AssertionError, aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@contextlib.asynccontextmanager
async def passproxy(
    section: Mapping[str, Any], protocol: str, stand: Stand, upstream_url: str, where: Path
) -> AsyncIterator[None]:
    authority = urlsplit(stand.origin).netloc
    settings = {
        "domain": urlsplit(stand.origin).hostname,
        **({"origin": stand.origin} if stand.origin.startswith("http:") else {}),
        "listen": stand.listen,
        "upstream": {"url": upstream_url},
        protocol: dict(section),
        "state_dir": str(where / "state"),
    }
    (where / "state").mkdir(mode=0o700)
    file = where / "passproxy.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    file.chmod(0o600)
    command = [sys.executable, "-m", "passproxy", "serve", str(file)]
    ready = Ready(f"http://{stand.listen}/.passproxy/health", {"Host": authority}, START_SECONDS)
    async with server(command, ready, where / "passproxy.log"):
        yield


async def rows(chosen: list[str], scratch: Path) -> list[Row]:
    found = []
    async with DemoApplication() as application:
        for name in chosen:
            places = stands()
            running: AbstractAsyncContextManager[Provider] = PROVIDERS[name](
                CACHE, scratch, [place.origin for place in places]
            )
            async with running as provider:
                print(f"{provider.name} is up after {provider.start_seconds:.1f} s", flush=True)
                for protocol in provider.sections:
                    for stand in places:
                        found.append(await visited(provider, protocol, stand, application.base_url, scratch))
    return found


def report(found: list[Row], seconds: float) -> int:
    """Print the table and what failed; the number of failures."""
    print()
    print(f"{'':42}" + "  ".join(CHECKS))
    for row in found:
        marks = "  ".join(f"{'FAIL' if row.problems[name] else 'pass':{len(name)}}" for name in CHECKS)
        print(f"{row.provider:24}{row.protocol:6}{row.stand:12}{marks}")
    for row in found:
        for name, problem in row.problems.items():
            if problem:
                print(f"\n{row.provider}, {row.protocol}, {row.stand}: {name}\n    " + problem.replace("\n", "\n    "))
    results = [bool(row.problems[name]) for row in found for name in CHECKS]
    print(f"\n{results.count(False)} passed, {results.count(True)} failed in {seconds:.0f} s")
    return results.count(True)


async def main(chosen: list[str]) -> int:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="passproxy-interop-") as scratch:
        async with asyncio.timeout(WHOLE_RUN_SECONDS):
            found = await rows(chosen, Path(scratch))
    return 1 if report(found, time.monotonic() - begun) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description="Logins at providers by others.")
    parser.add_argument("provider", nargs="*", help=f"of {', '.join(PROVIDERS)}; all of them unless named")
    wanted = parser.parse_args().provider or list(PROVIDERS)
    if unknown := set(wanted) - set(PROVIDERS):
        parser.error(f"no such provider: {', '.join(sorted(unknown))}")
    try:
        sys.exit(asyncio.run(main(wanted)))
    except StartFailed as error:
        sys.exit(f"0 passed, 1 failed: {error}")
