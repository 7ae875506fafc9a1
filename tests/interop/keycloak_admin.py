"""Keycloak's interface for administrators, as far as the checks need one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from tests.interop.processes import StartFailed
from tests.interop.provider import OldKey

ADMINISTRATOR: Mapping[str, str] = {"username": "administrator", "password": "administrator"}

#: Keycloak gives administrators a minute.
_TOKEN_SECONDS = 40.0

_KEY_PROVIDER = "org.keycloak.keys.KeyProvider"
_GENERATED = "rsa-generated"


class Administrator:
    """Of one realm; close with `close`."""

    def __init__(self, base_url: str, realm: str) -> None:
        self._base_url = base_url
        self._realm = realm
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        self._token = ""
        self._token_until = 0.0

    async def close(self) -> None:
        await self._http.close()

    async def create_realm(self, representation: Mapping[str, Any]) -> None:
        # `--import-realm` reads from inside the installation, which other runs share.
        await self._ask("POST", "/admin/realms", json=representation)

    async def create_client(self, representation: Mapping[str, Any]) -> None:
        await self._ask("POST", self._at("/clients"), json=representation)

    async def client_of(self, metadata: bytes) -> dict[str, Any]:
        """How Keycloak itself reads a service provider's metadata."""
        headers = {"Content-Type": "application/xml"}
        found = await self._ask("POST", self._at("/client-description-converter"), data=metadata, headers=headers)
        return dict(found)

    async def log_out(self, login: str) -> None:
        await self._ask("POST", self._at(f"/users/{await self._user_id(login)}/logout"))

    async def set_groups(self, login: str, names: Sequence[str]) -> None:
        user = await self._user_id(login)
        has = {group["name"] for group in await self._ask("GET", self._at(f"/users/{user}/groups"))}
        for group in await self._ask("GET", self._at("/groups")):
            name, url = group["name"], self._at(f"/users/{user}/groups/{group['id']}")
            if name in names and name not in has:
                await self._ask("PUT", url)
            elif name not in names and name in has:
                await self._ask("DELETE", url)

    async def new_key(self, old: OldKey) -> None:
        """An RSA key of a higher priority than all that there are, which then may go."""
        before = await self._active_key()
        components = await self._ask("GET", self._at("/components"), params={"type": _KEY_PROVIDER})
        generated = [one for one in components if one["providerId"] == _GENERATED]
        highest = max(int(one["config"].get("priority", ["0"])[0]) for one in generated)
        key = {
            "name": f"{_GENERATED}-{highest + 100}",
            "providerId": _GENERATED,
            "providerType": _KEY_PROVIDER,
            "parentId": generated[0]["parentId"],
            "config": {"priority": [str(highest + 100)], "algorithm": ["RS256"]},
        }
        await self._ask("POST", self._at("/components"), json=key)
        if old == "removed":
            for one in generated:
                await self._ask("DELETE", self._at(f"/components/{one['id']}"))
        keys = await self._ask("GET", self._at("/keys"))
        is_published = any(one["kid"] == before for one in keys["keys"])
        if keys["active"]["RS256"] == before or is_published is not (old == "kept"):
            raise AssertionError(f"Keycloak did not roll its key over: {keys['active']}")

    async def _active_key(self) -> str:
        return str((await self._ask("GET", self._at("/keys")))["active"]["RS256"])

    async def _user_id(self, login: str) -> str:
        found = await self._ask("GET", self._at("/users"), params={"username": login, "exact": "true"})
        return str(found[0]["id"])

    def _at(self, path: str) -> str:
        return f"/admin/realms/{self._realm}{path}"

    async def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **content: Any) -> Any:
        authorization = {"Authorization": f"Bearer {await self._fresh_token()}"}
        sent = {**authorization, **(headers or {})}
        async with self._http.request(method, self._base_url + path, headers=sent, **content) as response:
            if response.status >= 300:
                raise StartFailed(f"Keycloak refuses {method} {path}: {response.status} {await response.text()}")
            return await response.json() if response.content_type == "application/json" else None

    async def _fresh_token(self) -> str:
        if time.monotonic() >= self._token_until:
            form = {"grant_type": "password", "client_id": "admin-cli", **ADMINISTRATOR}
            url = f"{self._base_url}/realms/master/protocol/openid-connect/token"
            async with self._http.post(url, data=form) as response:
                response.raise_for_status()
                self._token = (await response.json())["access_token"]
            self._token_until = time.monotonic() + _TOKEN_SECONDS
        return self._token
