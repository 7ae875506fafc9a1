"""PassProxy, configured and started for one case, and a browser in front of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.interop.endings import REFRESH_SECONDS
from tests.interop.processes import Ready, StartFailed, server
from tests.interop.provider import Case, Provider
from tests.interop.visit import Visit
from tests.interop.witness import witness_for

#: PassProxy starts in about a second; it may have to wait for metadata.
START_SECONDS = 30.0


@contextlib.asynccontextmanager
async def installed(provider: Provider, case: Case, upstream_url: str, where: Path) -> AsyncIterator[Visit]:
    """
    PassProxy as this case wants it, known to the provider; its configuration, state and log are below `where`.

    Raises:
        StartFailed: it did not start, or the provider refuses it.
    """
    (where / "state").mkdir(mode=0o700, parents=True)
    file = where / "passproxy.yaml"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(_settings(case, upstream_url, where), sort_keys=False), "utf-8")
    command = [sys.executable, "-m", "passproxy", "serve", str(file)]
    stand = case.stand
    host = {"Host": urlsplit(stand.origin).netloc}
    ready = Ready(f"http://{stand.listen}/.passproxy/health", host, START_SECONDS)
    async with server(command, ready, log_of(where)), witness_for(stand) as browser:
        await provider.introduce(case, await _metadata(case))
        yield Visit(provider, case, browser, file)


def log_of(where: Path) -> Path:
    return where / "passproxy.log"


def _settings(case: Case, upstream_url: str, where: Path) -> dict[str, Any]:
    origin = case.stand.origin
    return {
        "domain": urlsplit(origin).hostname,
        **({"origin": origin} if origin.startswith("http:") else {}),
        "listen": case.stand.listen,
        "upstream": {"url": upstream_url},
        case.protocol: dict(case.section),
        **({"session": {"refresh": f"{REFRESH_SECONDS}s"}} if case.is_renewed or case.ending == "renewal" else {}),
        "state_dir": str(where / "state"),
    }


async def _metadata(case: Case) -> bytes | None:
    """As an administrator saves it, to import it at the provider."""
    if case.protocol != "saml":
        return None
    async with witness_for(case.stand) as browser:
        page = await browser.fetch(case.stand.url("saml/metadata"))
    if page.status != 200:
        raise StartFailed(f"PassProxy answers {page.status} where its metadata should be")
    return page.body
