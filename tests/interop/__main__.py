"""
Logins at identity providers that nobody here wrote.

    python -m tests.interop [keycloak] [oidc-provider] [oidc-provider-strict]

For each provider it goes through its cases: starts `passproxy serve` in front
of the demo application and runs the checks of checks.py. Exit code 0 when all
pass. What is downloaded stays in .interop/.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from passproxy.demo.application import DemoApplication
from tests.interop.checks import CHECKS, LAST, NAMES, NEW_KEY, Check
from tests.interop.installation import installed, log_of
from tests.interop.keycloak import keycloak
from tests.interop.openid_provider import openid_provider, strict_openid_provider
from tests.interop.processes import StartFailed
from tests.interop.provider import Case, OldKey, Provider
from tests.interop.report import Row, report
from tests.interop.visit import Visit

CACHE = Path(__file__).resolve().parents[2] / ".interop"

PROVIDERS: dict[str, Callable[[Path, Path], AbstractAsyncContextManager[Provider]]] = {
    "oidc-provider": openid_provider,
    "oidc-provider-strict": strict_openid_provider,
    "keycloak": keycloak,
}

#: One check is some dozen requests on loopback, and up to three renewals to wait for.
CHECK_SECONDS = 60.0

#: Four to five minutes, and one more with nothing in the cache.
WHOLE_RUN_SECONDS = 720.0

#: How long PassProxy does not look for new SAML metadata once it did (RENEWAL_SECONDS in
#: idp/saml/description.py), its start included. Real keys are not rolled over more often.
NEW_KEY_AFTER_SECONDS = 62.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """An installation that goes on running for the provider's new key."""

    visit: Visit
    row: Row
    where: Path
    since: float


class Run:
    """All cases of one provider, one after the other."""

    def __init__(self, provider: Provider, upstream_url: str, scratch: Path, rows: list[Row]) -> None:
        self._rows = rows
        self._provider = provider
        self._upstream_url = upstream_url
        self._scratch = scratch
        self._waiting: list[Waiting] = []

    async def go(self) -> None:
        async with AsyncExitStack() as stays:
            for number, case in enumerate(self._provider.cases):
                await self._try(case, self._scratch / f"{self._provider.name}-{number}".replace(" ", "-"), stays)
            for old in ("kept", "removed"):
                await self._new_key(old)

    async def _try(self, case: Case, where: Path, stays: AsyncExitStack) -> None:
        row = Row(self._provider.name, case)
        self._rows.append(row)
        async with AsyncExitStack() as ends:
            stack = ends if case.old_key is None else stays
            since = time.monotonic()
            try:
                visit = await stack.enter_async_context(installed(self._provider, case, self._upstream_url, where))
            except StartFailed as error:
                applying = [name for name, check in {**CHECKS, **LAST}.items() if check.applies(case)]
                row.problems |= dict.fromkeys(applying, "PassProxy did not start") | {applying[0]: str(error)}
                return
            for name, check in CHECKS.items():
                if check.applies(case):
                    row.problems[name] = await _problem(check, visit)
            row.logs = self._logs(where)
            if case.old_key is not None:
                self._waiting.append(Waiting(visit, row, where, since))

    async def _new_key(self, old: OldKey) -> None:
        waiting = [one for one in self._waiting if one.visit.case.old_key == old]
        if not waiting:
            return
        wait = max(one.since for one in waiting) + NEW_KEY_AFTER_SECONDS - time.monotonic()
        await asyncio.sleep(max(wait, 0.0))
        await self._provider.new_key(old)
        for one in waiting:
            one.row.problems[NEW_KEY] = await _problem(LAST[NEW_KEY], one.visit)
            one.row.logs = self._logs(one.where)

    def _logs(self, where: Path) -> str:
        return "\n".join(log.read_text("utf-8", "replace")[-4000:] for log in (log_of(where), self._provider.log))


async def _problem(check: Check, visit: Visit) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check.run(visit)
    except (AssertionError, aiohttp.ClientError, TimeoutError, ValueError, KeyError, StartFailed) as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def tried(chosen: list[str], scratch: Path, rows: list[Row]) -> None:
    """Fills `rows`, as far as it comes."""
    async with DemoApplication() as application:
        for name in chosen:
            async with PROVIDERS[name](CACHE, scratch) as provider:
                print(f"{provider.name} is up after {provider.start_seconds:.1f} s", flush=True)
                await Run(provider, application.base_url, scratch, rows).go()


async def main(chosen: list[str]) -> int:
    begun = time.monotonic()
    rows: list[Row] = []
    is_whole = True
    with tempfile.TemporaryDirectory(prefix="passproxy-interop-") as scratch:
        try:
            async with asyncio.timeout(WHOLE_RUN_SECONDS):
                await tried(chosen, Path(scratch), rows)
        except TimeoutError:
            is_whole = False
    failures = report(rows, NAMES, time.monotonic() - begun)
    if not is_whole:
        print(f"not all was tried within {WHOLE_RUN_SECONDS:.0f} s")
    return 1 if failures or not is_whole else 0


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
