"""
`oidc-provider` for Node.js: certified by the OpenID Foundation, strict, claims only from userinfo.

Once as it comes, and once with what it can demand: pushed requests only, and
refresh tokens that are good for one use. What it serves is in op/server.mjs;
its packages are locked with their hashes in op/package-lock.json and installed
once below the checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from tests.interop import client_keys, meant
from tests.interop.processes import Ready, StartFailed, free_port, run, server
from tests.interop.provider import Case, Ending, OldKey, Stand
from tests.interop.stands import behind_tls, trial
from tests.interop.visit import Visit

_SECRET = "known-to-this-machine-alone"

INSTALL_SECONDS = 120.0
START_SECONDS = 30.0

_SOURCE = Path(__file__).parent / "op"
_FILES = ("package.json", "package-lock.json", "server.mjs")


class OpenIdProvider:
    """The running server: `Provider`. Its clients are known to it from the start."""

    def __init__(self, name: str, base_url: str, start_seconds: float, log: Path, cases: Sequence[Case]) -> None:
        self.name = name
        self.base_url = base_url
        self.start_seconds = start_seconds
        self.log = log
        self.cases = cases

    async def introduce(self, case: Case, metadata: bytes | None) -> None:
        """Nothing is left to do."""

    async def end_sessions(self, visit: Visit) -> None:
        page = await visit.confirmed(await visit.browser.open(f"{self.base_url}/session/end"))
        assert page.url.startswith(f"{self.base_url}/session/end/success"), f"{page.url} ({page.status})"

    async def set_groups(self, login: str, groups: Sequence[str]) -> None:
        url = f"{self.base_url}/people/{login}/groups"
        async with aiohttp.ClientSession() as http, http.put(url, data=json.dumps(list(groups))) as response:
            if response.status != 204:
                raise StartFailed(f"the groups of {login} were not changed: {response.status}")

    async def new_key(self, old: OldKey) -> None:
        raise NotImplementedError("its keys are fixed when it starts")


@contextlib.asynccontextmanager
async def openid_provider(cache: Path, scratch: Path) -> AsyncIterator[OpenIdProvider]:
    """As it comes: it offers what it can do and demands nothing of it."""
    key = client_keys.jwk(scratch)
    keyed = {"private_key_file": str(key.file)}
    posted = {"response_mode": "form_post", "pushed_authorization_requests": "never"}
    cases = (
        _case("PAR offered", trial(), meant.oidc(), "server", is_renewed=True),
        _case("PAR offered", behind_tls("offered"), meant.oidc()),
        _case("form_post", trial(), meant.oidc(is_pushed=False, is_form_post=True), "server", posted),
        _case("form_post", behind_tls("posted"), meant.oidc(is_pushed=False, is_form_post=True), section=posted),
        _case("private_key_jwt", trial(), meant.oidc(also=_proof("private_key_jwt")), section=keyed, key=key),
    )
    async with _running(cache, scratch, f"oidc-provider {_version()}", cases, {}) as provider:
        yield provider


@contextlib.asynccontextmanager
async def strict_openid_provider(cache: Path, scratch: Path) -> AsyncIterator[OpenIdProvider]:
    """It takes pushed requests only, and each refresh token once: what comes twice ends the session."""
    form_post = {"response_mode": "form_post"}
    cases = (
        _case("PAR required", trial(), _meant_strict(), "server", is_renewed=True),
        _case(
            "+ form_post", behind_tls("strict"), _meant_strict(is_form_post=True), "renewal", form_post, is_renewed=True
        ),
    )
    demands = {"requires_pushed_requests": True, "rotates_refresh_tokens": True}
    async with _running(cache, scratch, f"oidc-provider {_version()} strict", cases, demands) as provider:
        yield provider


def _meant_strict(*, is_form_post: bool = False) -> meant.AsMeant:
    return meant.oidc(is_form_post=is_form_post, also=meant.only_pushed_requests)


def _proof(method: str) -> meant.AsMeant:
    return meant.client_proof(method, "/token")


def _case(
    name: str,
    stand: Stand,
    as_meant: meant.AsMeant,
    ending: Ending | None = None,
    section: Mapping[str, Any] = MappingProxyType({}),
    key: client_keys.Jwk | None = None,
    is_renewed: bool = False,
) -> Case:
    """A client with a secret, or with a key; the issuer is added when its port is known."""
    client_id = f"{name} {stand.name}".lower().replace(" ", "-")
    client: dict[str, Any] = {
        "redirect_uris": [stand.url("oidc/callback")],
        "post_logout_redirect_uris": [stand.url("logged-out")],
        "grant_types": ["authorization_code", "refresh_token"],
    }
    where: dict[str, Any] = {"client_id": client_id, **section}
    if key is None:
        where["client_secret"] = _SECRET
    else:
        client |= {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.public]}}
    if ending == "server":
        client["backchannel_logout_uri"] = stand.url("oidc/backchannel-logout")
        client["backchannel_logout_session_required"] = True
    return Case(name, "oidc", stand, where, as_meant, client, is_renewed=is_renewed, ending=ending)


@contextlib.asynccontextmanager
async def _running(
    cache: Path, scratch: Path, name: str, cases: Sequence[Case], demands: Mapping[str, bool]
) -> AsyncIterator[OpenIdProvider]:
    home = _installed(cache)
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    cases = [replace(case, section={"issuer": base_url, **case.section}) for case in cases]
    credentials = ("client_id", "client_secret")
    clients = [
        {**case.client, **{key: case.section[key] for key in credentials if key in case.section}} for case in cases
    ]
    settings = json.dumps({"clients": clients, **demands})
    ready = Ready(f"{base_url}/.well-known/openid-configuration", {}, START_SECONDS)
    log = scratch / f"{name.replace(' ', '-')}.log"
    async with server(["node", str(home / "server.mjs"), str(port), settings], ready, log) as seconds:
        yield OpenIdProvider(name, base_url, seconds, log, cases)


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
