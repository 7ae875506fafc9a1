"""A proxy that describes itself and proves its key: the serving side of docs/trusted.md, with room for lies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from passproxy.trusted.enrolment import JWKS_PATH, PROOF_TYPE, TRUST_PATH
from tests.trusted.given import HEADER, NOW, Proxy, Published, body, jwk, published

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{22,86}\Z")


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
        path, _, query = handler.path.partition("?")
        name, _, challenge = query.partition("=")
        status, cached = 200, "public, max-age=300"
        document: dict[str, Any] = {"keys": [jwk(key) for key in self.keys or (self.proxy.key,)]}
        if path == TRUST_PATH:
            document = self._description(challenge)
            if not query:
                del document["proof"]
            elif name == "challenge" and _CHALLENGE.match(challenge):
                cached = "no-store"
            else:
                status, cached, document = 400, "no-store", {"title": "Bad Request", "status": 400}
        elif path != JWKS_PATH:
            status = 404
        body(json.dumps(document).encode(), status, Content_Type="application/json", Cache_Control=cached)(handler)

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
