"""The middleware for aiohttp, in the example that is shipped, over real sockets."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from passproxy.trusted.aiohttp import USER, trusted_proxy
from passproxy.trusted.errors import SettingsInvalid
from tests.trusted.given import HEADER, Installation, body

EXAMPLE = Path(__file__).parents[2] / "etc" / "trusted" / "aiohttp_app.py"

Client = TestClient[web.Request, web.Application]


def example() -> web.Application:
    spec = importlib.util.spec_from_file_location("aiohttp_app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    application: web.Application = module.application()
    return application


@pytest.fixture
async def client(site: Installation, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """The example, with the environment as its configuration and the clock of this machine."""
    monkeypatch.setenv("TRUSTED_PROXY_PRESET", "passproxy")
    monkeypatch.setenv("TRUSTED_PROXY_ISSUER", site.proxy.issuer)
    monkeypatch.setenv("TRUSTED_PROXY_JWKS_URL", site.server.url)
    site.proxy.now = time.time
    async with TestClient(TestServer(example())) as client:
        yield client


def carrying(token: bytes) -> dict[str, str]:
    return {HEADER: token.decode()}


async def test_the_example_knows_who_is_there(client: Client, site: Installation) -> None:
    answer = await client.get("/", headers=carrying(site.proxy.assertion()))
    assert await answer.json() == {"user": "alice", "email": "alice@example.com", "groups": ["staff", "ops"]}
    answer = await client.get("/admin", headers=carrying(site.proxy.assertion()))
    assert await answer.json() == {"administrator": "alice"}
    answer = await client.get("/admin", headers=carrying(site.proxy.assertion(roles=["viewer"])))
    assert answer.status == 403


async def test_the_example_refuses_everybody_else(client: Client, site: Installation) -> None:
    for headers, code in (
        ({}, "TP-MISSING"),
        ({"X-Passproxy-User": "admin"}, "TP-MISSING"),
        ({"X_Passproxy_Assertion": site.proxy.assertion().decode()}, "TP-AMBIGUOUS"),
        (carrying(site.proxy.assertion(exp=int(time.time()) - 60)), "TP-EXPIRED"),
    ):
        answer = await client.get("/", headers=headers)
        assert answer.status == 401
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["code"] == code


async def test_the_examples_websocket_opens_for_a_verified_user_alone(client: Client, site: Installation) -> None:
    async with client.ws_connect("/ws", headers=carrying(site.proxy.assertion())) as socket:
        assert await socket.receive_json() == {"user": "alice"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await client.ws_connect("/ws")
    assert caught.value.status == 401


async def served(middleware: Any) -> TestClient[web.Request, web.Application]:
    async def shown(request: web.Request) -> web.Response:
        content = (await request.read()).decode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"user": str(request[USER]), "headers": headers, "body": content})

    app = web.Application(middlewares=[middleware])
    app.add_routes([web.post("/{name}", shown)])
    return TestClient(TestServer(app))


async def test_a_handler_gets_the_request_without_what_anybody_could_have_written(site: Installation) -> None:
    async with await served(trusted_proxy(verifier=site.verifier)) as client:
        headers = {
            **carrying(site.proxy.assertion()),
            "X-Passproxy-User": "admin",
            "Remote_User": "admin",
            "X-Own": "é",
        }
        answer = await client.post("/a", headers=headers, data=b"x" * 100_000)
        seen = await answer.json()
    assert "subject='b7f3-alice'" in seen["user"]
    assert seen["body"] == "x" * 100_000
    assert seen["headers"]["x-own"] == "é"
    assert not {"x-passproxy-user", "remote_user", "x-passproxy-assertion"} & set(seen["headers"])


async def test_public_parts_see_who_is_not_there(site: Installation) -> None:
    async with await served(trusted_proxy(verifier=site.verifier, optional=True)) as client:
        seen = await (await client.post("/a", headers={"X-Passproxy-User": "admin"})).json()
        assert seen["user"] == "None"
        assert "x-passproxy-user" not in seen["headers"]
        bad = await client.post("/a", headers=carrying(site.proxy.assertion(aud="other")))
        assert bad.status == 401


async def test_without_keys_it_is_503(site: Installation) -> None:
    site.server.script = body(b"", 500)
    async with await served(trusted_proxy(verifier=site.verifier)) as client:
        answer = await client.post("/a", headers=carrying(site.proxy.assertion()))
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "60"


def test_without_a_configuration_the_application_does_not_start() -> None:
    with pytest.raises(SettingsInvalid):
        trusted_proxy()
