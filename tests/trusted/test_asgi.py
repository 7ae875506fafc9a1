"""The ASGI middleware, called as a server calls it; the keys come over a real socket."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from passproxy.trusted.asgi import TrustedProxyMiddleware
from passproxy.trusted.errors import SettingsInvalid
from passproxy.trusted.identity import Identity
from tests.trusted.given import HEADER, Installation, Proxy, body

Message = MutableMapping[str, Any]


class App:
    """An application that answers 200 and remembers what it was called with."""

    def __init__(self) -> None:
        self.scopes: list[MutableMapping[str, Any]] = []
        self.received: list[Message] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            self.received.append(await receive())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
        elif scope["type"] == "websocket":
            self.received.append(await receive())
            await send({"type": "websocket.accept"})

    @property
    def user(self) -> Identity | None:
        (scope,) = self.scopes
        user: Identity | None = scope["state"]["user"]
        return user


async def called(middleware: Any, *headers: tuple[bytes, bytes], **scope: Any) -> list[Message]:
    sent: list[Message] = []
    kind = scope.get("type", "http")

    async def receive() -> Message:
        return {"type": "websocket.connect" if kind == "websocket" else "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await middleware({"type": "http", "path": "/", "headers": list(headers), **scope}, receive, send)
    return sent


def carrying(token: bytes) -> tuple[bytes, bytes]:
    return (HEADER.lower().encode(), token)


async def test_a_good_assertion_reaches_the_application_as_its_user(site: Installation) -> None:
    app = App()
    sent = await called(TrustedProxyMiddleware(app, verifier=site.verifier), carrying(site.proxy.assertion()))
    assert sent[0]["status"] == 200
    assert app.user is not None
    assert app.user.email == "alice@example.com"


async def test_a_request_without_one_does_not_reach_the_application(site: Installation) -> None:
    app = App()
    start, end = await called(TrustedProxyMiddleware(app, verifier=site.verifier))
    assert start["status"] == 401
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"content-length"] == str(len(end["body"])).encode()
    assert b"www-authenticate" in headers
    assert json.loads(end["body"])["code"] == "TP-MISSING"
    assert app.scopes == []


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"typ": "JWT"}, "TP-TYPE"),
        ({"kid": "another"}, "TP-KEY"),
    ],
)
async def test_a_bad_one_does_not_either(site: Installation, headers: dict[str, str], code: str) -> None:
    for optional in (False, True):
        app = App()
        middleware = TrustedProxyMiddleware(app, verifier=site.verifier, optional=optional)
        start, end = await called(middleware, carrying(site.proxy.assertion(headers)))
        assert start["status"] == 401
        assert json.loads(end["body"])["code"] == code
        assert app.scopes == []


async def test_two_assertions_are_refused_even_when_both_are_good(site: Installation) -> None:
    app = App()
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier, optional=True)
    start, end = await called(middleware, *[carrying(site.proxy.assertion())] * 2)
    assert start["status"] == 401
    assert json.loads(end["body"])["code"] == "TP-AMBIGUOUS"
    assert app.scopes == []


async def test_an_application_with_public_parts_sees_who_is_not_there(site: Installation) -> None:
    app = App()
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier, optional=True)
    sent = await called(middleware, (b"x-passproxy-user", b"admin"), state={"user": "admin"})
    assert sent[0]["status"] == 200
    assert app.user is None
    assert app.scopes[0]["headers"] == []


async def test_plain_headers_and_the_assertion_itself_are_gone(site: Installation) -> None:
    app = App()
    await called(
        TrustedProxyMiddleware(app, verifier=site.verifier),
        carrying(site.proxy.assertion()),
        (b"x-passproxy-user", b"admin"),
        (b"x_passproxy_user", b"admin"),
        (b"remote-user", b"admin"),
        (b"accept", b"*/*"),
    )
    assert app.scopes[0]["headers"] == [(b"accept", b"*/*")]


async def test_an_application_may_keep_its_plain_headers(site: Installation) -> None:
    app = App()
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier, strip_headers=())
    await called(middleware, carrying(site.proxy.assertion()), (b"x-passproxy-user", b"alice"))
    assert app.scopes[0]["headers"] == [(b"x-passproxy-user", b"alice")]


async def test_a_state_that_a_server_shares_is_not_written_to(site: Installation) -> None:
    app, shared = App(), {"pool": "db"}
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier)
    await called(middleware, carrying(site.proxy.assertion()), state=shared)
    assert app.scopes[0]["state"]["pool"] == "db"
    assert shared == {"pool": "db"}


async def test_a_websocket_with_a_good_assertion_is_accepted(site: Installation) -> None:
    app = App()
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier)
    sent = await called(middleware, carrying(site.proxy.assertion()), type="websocket")
    assert [message["type"] for message in sent] == ["websocket.accept"]
    assert app.received == [{"type": "websocket.connect"}]
    assert app.user is not None


async def test_a_websocket_without_one_is_closed_before_it_is_accepted(site: Installation) -> None:
    app = App()
    sent = await called(TrustedProxyMiddleware(app, verifier=site.verifier), type="websocket")
    assert sent == [{"type": "websocket.close", "code": 4401, "reason": "Unauthorized"}]
    assert app.scopes == []


async def test_where_the_server_can_a_websocket_is_answered_with_the_problem(site: Installation) -> None:
    app = App()
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier)
    start, end = await called(middleware, type="websocket", extensions={"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert end["type"] == "websocket.http.response.body"
    assert json.loads(end["body"])["code"] == "TP-MISSING"


async def test_without_keys_it_is_503_and_the_application_is_not_called(site: Installation) -> None:
    site.server.script = body(b"", 500)
    app = App()
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier, optional=True)
    start, end = await called(middleware, carrying(site.proxy.assertion()))
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"60"
    assert json.loads(end["body"])["code"] == "TP-KEYS"
    assert app.scopes == []


async def test_a_flood_of_unknown_keys_asks_the_server_once(site: Installation) -> None:
    forger, app = Proxy(now=site.wall), App()
    middleware = TrustedProxyMiddleware(app, verifier=site.verifier)
    for number in range(300):
        start, _ = await called(middleware, carrying(forger.assertion({"kid": str(number)})))
        assert start["status"] == 401
    assert len(site.server.asked) == 1
    assert app.scopes == []


async def test_the_lifespan_of_the_application_is_its_own(site: Installation) -> None:
    app = App()
    await called(TrustedProxyMiddleware(app, verifier=site.verifier), type="lifespan")
    assert [scope["type"] for scope in app.scopes] == ["lifespan"]


async def test_a_kind_of_connection_that_is_not_known_does_not_pass(site: Installation) -> None:
    app = App()
    with pytest.raises(RuntimeError):
        await called(TrustedProxyMiddleware(app, verifier=site.verifier), type="webtransport")
    assert app.scopes == []


def test_without_a_configuration_the_application_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXY_ISSUER", "https://app.example.com")
    with pytest.raises(SettingsInvalid):
        TrustedProxyMiddleware(App())


async def test_the_environment_is_the_configuration(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXY_PRESET", "passproxy")
    monkeypatch.setenv("TRUSTED_PROXY_ISSUER", site.proxy.issuer)
    monkeypatch.setenv("TRUSTED_PROXY_JWKS_URL", site.server.url)
    import time

    site.proxy.now = time.time
    app = App()
    await called(TrustedProxyMiddleware(app), carrying(site.proxy.assertion()))
    assert app.user is not None
