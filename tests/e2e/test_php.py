"""
A PHP application on PHP's own server, behind a real PassProxy: what `$_SERVER` says of who is there.

PHP folds names, so whatever a client could smuggle in under another spelling would be one variable with ours.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import child, free_port, is_listening
from tests.fakes.applications import GROUPS, SOMEBODY, TOLD, variable
from tests.fakes.gateway import PassProxy, get, protecting
from tests.fakes.raw import Raw

PHP = shutil.which("php") or "/usr/bin/php"

#: PHP has parsed Authorization by itself, as applications expect it.
APPLICATION = """<?php
header('Content-Type: application/json');
echo json_encode(array_filter($_SERVER, fn($name) => preg_match('/^(HTTP_|PHP_AUTH_)/', $name), ARRAY_FILTER_USE_KEY));
"""


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    (tmp_path / "index.php").write_text(APPLICATION)
    port = free_port()
    command = [PHP, "-S", f"127.0.0.1:{port}", "-t", str(tmp_path), str(tmp_path / "index.php")]
    async with child(command, tmp_path / "php.log", lambda _: is_listening(port)):
        yield f"http://127.0.0.1:{port}"


async def asked(passproxy: PassProxy, *lines: str, path: str = "/", cookie: str | None = None) -> Any:
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(get(path, *lines, cookie=cookie))
    assert answer.status == 200, answer.head
    return json.loads(answer.body)


@pytest.mark.parametrize("profile", TOLD)
async def test_a_php_application_finds_out_who_is_there(url: str, tmp_path: Path, profile: str) -> None:
    told = TOLD[profile]
    names = (told.user_field, told.groups_field)
    forged = [f"{spelling}: mallory" for name in names for spelling in (name.replace("-", "_"), name.replace("-", "."))]
    async with protecting(url, tmp_path / "state", headers={"profile": profile}) as passproxy:
        variables = await asked(passproxy, *forged, cookie=passproxy.cookie(groups=GROUPS, **SOMEBODY))
    assert variables[variable(told.user_field)] == told.user
    assert variables[variable(told.groups_field)] == told.groups
    assert "mallory" not in str(variables)


async def test_hdr_16_php_gets_the_credentials_that_are_configured(url: str, tmp_path: Path) -> None:
    basic_auth = {"username": "{user}", "password": "pass:wörd"}
    line = "Authorization: Basic bWFsbG9yeTptYWxsb3J5"
    async with protecting(
        url, tmp_path / "state", upstream={"basic_auth": basic_auth}, passthrough={"paths": ["/public"]}
    ) as passproxy:
        told = await asked(passproxy, line, cookie=passproxy.cookie())
        public = await asked(passproxy, line, path="/public")
    assert (told["PHP_AUTH_USER"], told["PHP_AUTH_PW"]) == ("alice", "pass:wörd")
    assert not [name for name in public if "AUTH" in name]


async def test_hdr_16_without_any_a_clients_own_pass(url: str, tmp_path: Path) -> None:
    async with protecting(url, tmp_path / "state") as passproxy:
        told = await asked(passproxy, "Authorization: Basic YTpi", cookie=passproxy.cookie())
    assert (told["PHP_AUTH_USER"], told["PHP_AUTH_PW"]) == ("a", "b")
