"""
`oidc-provider` for Node.js: certified by the OpenID Foundation, strict, claims only from userinfo.

What it serves is in op/server.mjs; its packages are locked with their hashes in
op/package-lock.json and installed once below the checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.interop.processes import Ready, free_port, run, server
from tests.interop.provider import Provider

CLIENT_ID = "passproxy"
CLIENT_SECRET = "known-to-this-machine-alone"

INSTALL_SECONDS = 120.0
START_SECONDS = 30.0

_SOURCE = Path(__file__).parent / "op"
_FILES = ("package.json", "package-lock.json", "server.mjs")


@contextlib.asynccontextmanager
async def openid_provider(cache: Path, scratch: Path, origins: Sequence[str]) -> AsyncIterator[Provider]:
    """The provider with one client: PassProxy at any of these origins."""
    home = _installed(cache)
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    client = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [f"{origin}/.passproxy/oidc/callback" for origin in origins],
        "post_logout_redirect_uris": [f"{origin}/.passproxy/logged-out" for origin in origins],
    }
    command = ["node", str(home / "server.mjs"), str(port), json.dumps(client)]
    ready = Ready(f"{base_url}/.well-known/openid-configuration", {}, START_SECONDS)
    async with server(command, ready, scratch / "openid-provider.log") as seconds:
        yield Provider(
            name=f"oidc-provider {_version()}",
            base_url=base_url,
            start_seconds=seconds,
            sections={"oidc": {"issuer": base_url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}},
        )


def _version() -> str:
    packages = json.loads((_SOURCE / "package-lock.json").read_text("utf-8"))["packages"]
    return str(packages["node_modules/oidc-provider"]["version"])


def _installed(cache: Path) -> Path:
    """The server beside its packages; both are made anew when any of its files has changed."""
    files = [_SOURCE / name for name in _FILES]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    home = cache / f"op-{digest}"
    installed = home / "installed"
    if not installed.exists():
        print(f"Installing oidc-provider {_version()} into {cache.name}/ (once) ...", flush=True)
        home.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy(path, home)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=home, within_seconds=INSTALL_SECONDS)
        installed.touch()
    return home
