"""
A proxy that signs, a server that publishes its keys, and clocks that stand.

The server is real and counts what it is asked; time passes when a test says so.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from passproxy.trusted.jwk import thumbprint
from passproxy.trusted.keys import KeySet
from passproxy.trusted.settings import Settings, settings_from
from passproxy.trusted.verifier import Verifier

NOW = 1_800_000_000
ISSUER = "https://app.example.com"
HEADER = "X-Passproxy-Assertion"
TYPE = "passproxy-assertion+jwt"


def examples(count: int) -> settings_of_hypothesis:
    """The same ones in every run, however slow the machine."""
    return settings_of_hypothesis(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


#: Small JSON of any shape.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("AQAB"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


class Clock:
    """Seconds that pass when told."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def number(value: int, length: int = 32) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(length, "big")).rstrip(b"=").decode()


def jwk(key: ec.EllipticCurvePrivateKey, **members: Any) -> dict[str, Any]:
    """The public key, as it is published."""
    numbers = key.public_key().public_numbers()
    entry = {"kty": "EC", "crv": "P-256", "x": number(numbers.x), "y": number(numbers.y)}
    return {**entry, "kid": thumbprint(entry), "use": "sig", "alg": "ES256", **members}


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Proxy:
    """What stands in front of an application: it has a key and says who is there."""

    issuer: str = ISSUER
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    now: Callable[[], float] = lambda: NOW

    @property
    def kid(self) -> str:
        return str(jwk(self.key)["kid"])

    def jwks(self) -> bytes:
        return json.dumps({"keys": [jwk(self.key)]}).encode()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those of a good assertion; a claim that is changed to None is left out."""
        now = int(self.now())
        claims = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": "b7f3-alice",
            "iat": now,
            "nbf": now,
            "exp": now + 60,
            "auth_time": now - 600,
            "sid": "4be2",
            "user": "alice",
            "email": "alice@example.com",
            "name": "Alice Example",
            "groups": ["staff", "ops"],
            "roles": ["administrator"],
        }
        return {name: value for name, value in {**claims, **changed}.items() if value is not None}

    def assertion(self, headers: Mapping[str, Any] | None = None, **changed: Any) -> bytes:
        return self.signed(self.claims(**changed), headers)

    def signed(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> bytes:
        """JOSE headers that are None are left out."""
        named = {"typ": TYPE, "kid": self.kid, **(headers or {})}
        typ = named.pop("typ") or ""
        named = {name: value for name, value in named.items() if value is not None}
        return jwt.encode(dict(claims), self.key, "ES256", headers={**named, "typ": typ}).encode()


Script = Callable[[BaseHTTPRequestHandler], None]


def body(document: bytes, status: int = 200, **headers: str) -> Script:
    """An answer with this body; underscores in header names are hyphens."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(document)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(document)

    return answer


class Published:
    """A web server on loopback. `script` answers; `asked` are the targets it was asked for. With `tls` it speaks that."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.asked: list[str] = []
        published = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                published.asked.append(self.path)
                published.script(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that leaves is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            # The handshake belongs to the thread of the connection, which may fail.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self.url = self.origin + "/jwks.json"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def published(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Published]:
    server = Published(script, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def settings(jwks_url: str, **changed: str) -> Settings:
    variables = {"PRESET": "passproxy", "ISSUER": ISSUER, "JWKS_URL": jwks_url, **changed}
    return settings_from({f"TRUSTED_PROXY_{name}": value for name, value in variables.items()})


@dataclass
class Installation:
    """A proxy, its published keys, and what verifies its assertions, each with a clock of its own."""

    proxy: Proxy
    server: Published
    verifier: Verifier
    wall: Clock
    monotonic: Clock

    def publish(self, *keys: ec.EllipticCurvePrivateKey) -> None:
        self.server.script = body(json.dumps({"keys": [jwk(key) for key in keys]}).encode())

    def passes(self, seconds: float) -> None:
        self.wall.passes(seconds)
        self.monotonic.passes(seconds)


@contextmanager
def installation() -> Iterator[Installation]:
    wall, monotonic = Clock(NOW), Clock(50.0)
    proxy = Proxy(now=wall)
    with published(body(proxy.jwks())) as server:
        keys = KeySet(server.url, clock=monotonic)
        verifier = Verifier(settings(server.url), keys, clock=wall)
        yield Installation(proxy, server, verifier, wall, monotonic)
