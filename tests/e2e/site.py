"""One installation of PassProxy for a test: `passproxy serve` with a file, before the demo's other two parts."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.processes import PASSPROXY, Child, child, free_port, is_listening
from tests.e2e.tap import Tap, tapped

_BACKSTAGE = Path(__file__).with_name("backstage.py")


@dataclass(frozen=True, slots=True)
class Site:
    """`port` is PassProxy's own; `origin` is what browsers call it."""

    protocol: str
    origin: str
    port: int
    issuer: str
    passproxy: Child
    tap: Tap | None


@contextlib.asynccontextmanager
async def site(
    protocol: str, folder: Path, *, origin: str | None = None, is_tapped: bool = False, extra: str = ""
) -> AsyncIterator[Site]:
    """Start everything; `extra` are further lines of the configuration."""
    port = free_port()
    origin = origin or f"http://127.0.0.1:{port}"
    async with contextlib.AsyncExitStack() as stack:
        behind = await stack.enter_async_context(
            child(
                [sys.executable, str(_BACKSTAGE), origin], folder / "backstage.log", lambda said: said.endswith("}\n")
            )
        )
        facts = json.loads(behind.said)
        upstream, tap = facts["application"], None
        if is_tapped:
            parts = urlsplit(upstream)
            tap = await stack.enter_async_context(tapped(str(parts.hostname), int(parts.port or 0)))
            upstream = f"http://127.0.0.1:{tap.port}"
        file = folder / "site.yaml"
        file.write_text(_configuration(protocol, origin, port, upstream, facts, folder) + extra, "utf-8")
        passproxy = await stack.enter_async_context(
            child([PASSPROXY, "serve", str(file)], folder / "passproxy.log", lambda said: "server.ready" in said)
        )
        assert is_listening(port)
        yield Site(protocol, origin, port, facts["issuer"], passproxy, tap)


def _configuration(protocol: str, origin: str, port: int, upstream: str, facts: dict[str, str], folder: Path) -> str:
    secret = folder / "client_secret"
    secret.write_text(facts["client_secret"], "utf-8")
    provider = {
        "saml": f"saml:\n  metadata_url: {facts['metadata_url']}\n",
        "oidc": f"oidc:\n  issuer: {facts['issuer']}\n  client_id: {facts['client_id']}\n  client_secret_file: {secret}\n",
    }[protocol]
    return (
        f"domain: {urlsplit(origin).hostname}\norigin: {origin}\nlisten: 127.0.0.1:{port}\n"
        f"upstream:\n  url: {upstream}\n{provider}state_dir: {folder / 'state'}\n"
    )
