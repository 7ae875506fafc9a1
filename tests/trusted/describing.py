"""A proxy that describes itself and proves its key: the serving side of docs/trusted.md, with room for lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from passproxy.trusted.enrolment import PROOF_TYPE
from tests.trusted.given import HEADER, NOW, Proxy, Published, body, jwk, published


@dataclass
class Describing:
    """`description`, `proof` and `proof_headers` are laid over the truth; None takes a member away."""

    proxy: Proxy
    server: Published
    description: dict[str, Any] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    proof_headers: dict[str, Any] = field(default_factory=dict)
    signer: Proxy | None = None
    keys: tuple[ec.EllipticCurvePrivateKey, ...] = ()

    @property
    def origin(self) -> str:
        return self.server.origin

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        documents: dict[str, Callable[[], Any]] = {
            "/.passproxy/trust.json": lambda: self._description(parse_qs(parts.query)["challenge"][0]),
            "/.passproxy/jwks.json": lambda: {"keys": [jwk(key) for key in self.keys or (self.proxy.key,)]},
        }
        body(json.dumps(documents[parts.path]()).encode())(handler)

    def _description(self, challenge: str) -> dict[str, Any]:
        now = int(self.proxy.now())
        signer = self.signer or self.proxy
        claims = {"iss": self.origin, "aud": self.origin, "iat": now, "exp": now + 60, "challenge": challenge}
        claims = {name: value for name, value in {**claims, **self.proof}.items() if value is not None}
        members = {
            "issuer": self.origin,
            "jwks_uri": self.origin + "/.passproxy/jwks.json",
            "assertion_header": HEADER,
            "audience": self.origin,
            "algorithms": ["ES256"],
            "assertion_lifetime_seconds": 60,
            "claims": ["sub", "user"],
            "proof": signer.signed(claims, {"typ": PROOF_TYPE, **self.proof_headers}).decode(),
        }
        return {name: value for name, value in {**members, **self.description}.items() if value is not None}


@contextmanager
def describing(now: Callable[[], float] = lambda: NOW) -> Iterator[Describing]:
    with published(body(b"")) as server:
        found = Describing(Proxy(issuer=server.origin, now=now), server)
        server.script = found.answer
        yield found
