"""The WSGI middleware behind the reference server of the standard library, over real sockets."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from passproxy.trusted.errors import SettingsInvalid
from passproxy.trusted.wsgi import IDENTITY, TrustedProxyMiddleware
from tests.trusted.given import Installation, body


class App:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(application: Any) -> Iterator[int]:
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(port: int, *headers: tuple[str, bytes], method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, "/")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def answered(site: Installation, *headers: tuple[str, bytes], **options: Any) -> tuple[int, Any, App]:
    """Status, body, and the application, which was called once or not at all."""
    app = App()
    with served(TrustedProxyMiddleware(app, verifier=site.verifier, **options)) as port:
        answer, content = ask(port, *headers)
    if answer.status != 200:
        assert app.seen == []
        assert answer.getheader("Content-Type") == "application/problem+json"
        return answer.status, json.loads(content), app
    return answer.status, content, app


def test_a_good_assertion_reaches_the_application(site: Installation) -> None:
    status, _, app = answered(site, ("X-Passproxy-Assertion", site.proxy.assertion()))
    assert status == 200
    assert app.seen[0][IDENTITY].groups == ("staff", "ops")


def test_without_one_the_application_is_not_called(site: Installation) -> None:
    status, problem, _ = answered(site)
    assert (status, problem["code"]) == (401, "TP-MISSING")


@pytest.mark.parametrize("optional", [False, True])
def test_a_bad_one_is_refused_even_where_none_is_needed(site: Installation, optional: bool) -> None:
    token = site.proxy.assertion(aud="https://other.example.com")
    status, problem, _ = answered(site, ("X-Passproxy-Assertion", token), optional=optional)
    assert (status, problem["code"]) == (401, "TP-AUDIENCE")


def test_public_parts_see_who_is_not_there(site: Installation) -> None:
    status, _, app = answered(site, ("X-Passproxy-User", b"admin"), optional=True)
    assert status == 200
    assert app.seen[0][IDENTITY] is None
    assert "HTTP_X_PASSPROXY_USER" not in app.seen[0]


def test_a_second_assertion_under_another_spelling_is_refused(site: Installation) -> None:
    """The server folds X_Passproxy_Assertion into the same variable, and joins both with a comma."""
    good = site.proxy.assertion()
    status, problem, _ = answered(site, ("X-Passproxy-Assertion", good), ("X-Passproxy-Assertion", b"e30.e30.e30"))
    assert (status, problem["code"]) == (401, "TP-AMBIGUOUS")
    status, problem, _ = answered(site, ("X-Passproxy-Assertion", good), ("X_Passproxy_Assertion", b"e30.e30.e30"))
    assert status == 401
    status, problem, _ = answered(site, ("X-Passproxy-Assertion", good), ("X.Passproxy.Assertion", b"e30.e30.e30"))
    assert (status, problem["code"]) == (401, "TP-AMBIGUOUS")


def test_an_assertion_that_was_smuggled_in_is_measured_like_any_other(site: Installation) -> None:
    status, problem, _ = answered(site, ("X_Passproxy_Assertion", b"e30.e30.e30"))
    assert (status, problem["code"]) == (401, "TP-ALGORITHM")


@pytest.mark.parametrize(
    "name", ["X-Passproxy-User", "X_Passproxy_User", "X.Passproxy.User", "Remote-User", "Remote_User"]
)
def test_a_plain_identity_beside_the_assertion_is_gone(site: Installation, name: str) -> None:
    status, _, app = answered(site, ("X-Passproxy-Assertion", site.proxy.assertion()), (name, b"admin"))
    assert status == 200
    assert "admin" not in [value for key, value in app.seen[0].items() if key.startswith("HTTP_")]
    assert "HTTP_X_PASSPROXY_ASSERTION" not in app.seen[0]


def test_the_answer_to_head_has_no_body(site: Installation) -> None:
    seen: list[Any] = []
    middleware = TrustedProxyMiddleware(App(), verifier=site.verifier)
    environ = {"REQUEST_METHOD": "HEAD"}
    assert list(middleware(environ, lambda *answer: seen.append(answer))) == []  # type: ignore[arg-type]
    assert seen[0][0] == "401 Unauthorized"
    with served(TrustedProxyMiddleware(App(), verifier=site.verifier)) as port:
        answer, content = ask(port, method="HEAD")
    assert (answer.status, content) == (401, b"")


def test_without_keys_it_is_503(site: Installation) -> None:
    site.server.script = body(b"", 500)
    status, problem, _ = answered(site, ("X-Passproxy-Assertion", site.proxy.assertion()))
    assert (status, problem["code"]) == (503, "TP-KEYS")


def test_without_a_configuration_the_application_does_not_start() -> None:
    with pytest.raises(SettingsInvalid):
        TrustedProxyMiddleware(App())
