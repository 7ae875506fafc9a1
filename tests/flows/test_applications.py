"""
What applications of the usual kinds read, on servers that are not ours, behind a real PassProxy.

For each profile they find out who is there, from its names alone; with forged ones beside them. PHP's
part is in e2e/test_php.py, since it needs PHP.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from passproxy.core.profiles import PROFILES
from tests.fakes.applications import (
    GROUPS,
    SOMEBODY,
    TOLD,
    Told,
    asgi_server,
    grafana,
    telling,
    telling_asgi,
    variable,
    wsgi_server,
)
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, PassProxy, demo_idp, get, oidc_at, protecting, saml_at
from tests.fakes.raw import Raw


async def asked(passproxy: PassProxy, *lines: str, path: str = "/", cookie: str | None = None) -> Any:
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(get(path, *lines, cookie=cookie))
    assert answer.status == 200, answer.head
    return json.loads(answer.body)


def forged(told: Told) -> list[str]:
    names = (told.user_field, told.groups_field)
    return [f"{spelling}: mallory" for name in names for spelling in (name, name.replace("-", "_"), name.lower())]


def test_each_profile_has_somebody_to_tell_of() -> None:
    assert TOLD.keys() == PROFILES.keys() - {"none"}


@pytest.mark.parametrize("profile", TOLD)
async def test_a_wsgi_application_finds_out_who_is_there(tmp_path: Path, profile: str) -> None:
    told = TOLD[profile]
    with wsgi_server(telling) as url:
        async with protecting(url, tmp_path, headers={"profile": profile}) as passproxy:
            cookie = passproxy.cookie(groups=GROUPS, **SOMEBODY)
            environ = await asked(passproxy, *forged(told), cookie=cookie)
    assert environ[variable(told.user_field)] == told.user
    assert environ[variable(told.groups_field)] == told.groups
    assert "mallory" not in str(environ)


@pytest.mark.parametrize("profile", TOLD)
async def test_an_asgi_application_finds_out_who_is_there(tmp_path: Path, profile: str) -> None:
    told = TOLD[profile]
    async with (
        asgi_server(telling_asgi) as url,
        protecting(url, tmp_path, headers={"profile": profile}) as passproxy,
    ):
        cookie = passproxy.cookie(groups=GROUPS, **SOMEBODY)
        headers = await asked(passproxy, *forged(told), cookie=cookie)
    assert headers[told.user_field.lower()] == told.user
    assert headers[told.groups_field.lower()] == told.groups
    assert "mallory" not in str(headers)


@pytest.mark.parametrize(
    ("encoding", "read"),
    [
        ("utf-8", str),
        ("percent", unquote),
        ("rfc8187", lambda value: unquote(value.removeprefix("UTF-8''"))),
    ],
)
async def test_a_name_outside_ascii_arrives_in_each_encoding(tmp_path: Path, encoding: str, read: Any) -> None:
    with wsgi_server(telling) as url:
        async with protecting(url, tmp_path, headers={"encoding": encoding}) as passproxy:
            environ = await asked(passproxy, cookie=passproxy.cookie(groups=GROUPS, **SOMEBODY))
    assert read(environ["HTTP_X_PASSPROXY_NAME"]) == "Jörg Ärcher"
    assert environ["HTTP_X_PASSPROXY_USER"] == "alice"


GRAFANA = {
    "profile": "none",
    "set": {
        "X-WEBAUTH-USER": "{user}",
        "X-WEBAUTH-NAME": "{name}",
        "X-WEBAUTH-EMAIL": "{email}",
        "X-WEBAUTH-ROLE": "{roles}",
    },
}


@pytest.mark.parametrize("provider", [oidc_at, saml_at], ids=["oidc", "saml"])
async def test_grafanas_contract_is_kept_from_a_login_on(tmp_path: Path, provider: Any) -> None:
    """Names, whitelist and meaning are those of its documentation; Grafana itself is not here."""
    roles = {"Admin": ["ops"]}
    with wsgi_server(grafana) as url:
        async with (
            demo_idp() as idp,
            protecting(url, tmp_path, headers=GRAFANA, access={"roles": roles}, **provider(idp)) as passproxy,
            Browser(passproxy.front) as browser,
        ):
            page = await browser.sign_in(await browser.open(f"{ORIGIN}/d/1"), "alice", "alice")
    assert page.json() == {
        "login": "alice",
        "Name": "Alice Archer",
        "Email": "alice@example.com",
        "Role": "Admin",
    }


async def test_grafana_believes_no_client_on_a_public_path(tmp_path: Path) -> None:
    with wsgi_server(grafana) as url:
        async with (
            protecting(url, tmp_path, headers=GRAFANA, passthrough={"paths": ["/api/health"]}) as passproxy,
            Raw(passproxy.address) as raw,
        ):
            answer = await raw.ask(get("/api/health", "X-WEBAUTH-USER: admin", "x_webauth_user: admin"))
    assert (answer.status, answer.body) == (401, b"sign in")
