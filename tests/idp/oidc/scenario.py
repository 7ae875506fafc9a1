"""The adapter under test, connected to the fake provider; and what an answer looks like under each twist."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from jwt.algorithms import HMACAlgorithm

from passproxy.core.identity import Authentication
from passproxy.core.settings import OidcSettings
from passproxy.core.urls import Origin
from passproxy.idp.base import Callback
from passproxy.idp.lastgood import LastGood
from passproxy.idp.oidc.provider import OidcProvider
from tests.fakes.idp_oidc import DROP, FakeOp, SigningKey, base64url, rsa_private_key, signed
from tests.idp.contract import Scenario, Started, Twist

NOW = 1_700_000_000
ORIGIN = Origin("https", "app.example.com", 443)


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class OidcScenario(Scenario):
    def __init__(self, op: FakeOp, http: aiohttp.ClientSession, state_dir: Path, clock: Clock, **keys: Any) -> None:
        self.op = op
        self.http = http
        self.clock = clock
        self.last_good = LastGood(state_dir / "discovery", b"k" * 32)
        self.issuer = op.issuer
        self.subject = op.person["sub"]
        self.attributes = {"preferred_username": ("alice",), "groups": ("staff", "platform-eng")}
        self.configure(**keys)

    def configure(self, **keys: Any) -> None:
        """A provider as after a restart, with these settings on top of the usual ones."""
        secret = {"client_secret": self.op.client_secret} if self.op.client_secret is not None else {}
        settings = OidcSettings(**{"issuer": self.issuer, "client_id": self.op.client_id, **secret, **keys})
        self.provider: OidcProvider = OidcProvider(settings, ORIGIN, self.http, self.last_good, self.clock)

    def now(self) -> float:
        return self.clock.now

    async def login(self, number: int = 1) -> Authentication:
        """A whole login, as the fake provider's hooks have it."""
        started = await self.begin(number)
        return await self.finish(Callback(self.op.answer(started.redirect)), started)

    async def finish_with(self, started: Started, **fields: str) -> Authentication:
        return await self.finish(Callback({"state": started.login_id, **fields}), started)

    async def answer(self, started: Started, twist: Twist = Twist.NONE) -> Callback:
        # The ID token is made when the code is redeemed, so a twist stays until the next answer.
        self.op.claims, self.op.answer_fields, self.op.forge = {}, {}, None
        self._twist(twist)
        return Callback(self.op.answer(started.redirect))

    def malformed(self, started: Started) -> Sequence[Callback]:
        state = {"state": started.login_id}
        return [
            Callback(fields)
            for fields in (
                state,
                {**state, "code": ""},
                {**state, "code": "a\x00b"},
                {**state, "code": "a\nb"},
                {**state, "code": "ä"},
                {**state, "code": "x" * 9000},
                {**state, "error": ""},
                {**state, "code": "abc", "error": "access_denied"},
                {**state, "id_token": "a.b.c"},
                {**state, "access_token": "abc"},
            )
        ]

    def _twist(self, twist: Twist) -> None:
        op, now = self.op, int(self.clock.now)
        claims: dict[Twist, dict[str, Any]] = {
            Twist.WRONG_ISSUER: {"iss": "https://other.example"},
            Twist.WRONG_AUDIENCE: {"aud": "another-app"},
            Twist.NO_AUDIENCE: {"aud": DROP},
            Twist.OTHER_LOGIN: {"nonce": "n" * 43},
            Twist.NO_LOGIN: {"nonce": DROP},
            Twist.EXPIRED: {"exp": now - 61},
            Twist.NOT_YET_VALID: {"nbf": now + 120},
            Twist.CLOCK_AHEAD: {"iat": now + 3600, "exp": now + 3900},
            Twist.CLOCK_BEHIND: {"iat": now - 3600, "exp": now - 3300},
            Twist.NEVER_EXPIRES: {"exp": DROP},
            Twist.NO_SUBJECT: {"sub": DROP},
        }
        op.claims = claims.get(twist, {})
        if twist is Twist.FAILED:
            op.answer_fields = {"code": DROP, "error": "access_denied", "error_description": "not today"}
        elif twist is Twist.UNSIGNED:
            op.forge = lambda header, said: (
                signed({**header, "alg": "none"}, said, op.signing_key).rpartition(".")[0] + "."
            )
        elif twist is Twist.FOREIGN_KEY:
            foreign = SigningKey(rsa_private_key(2), op.signing_key.kid)
            op.forge = lambda header, said: signed(header, said, foreign)
        elif twist is Twist.ALGORITHM:
            op.forge = lambda header, said: signed_with_hmac(header, said, op.client_secret or "")
        elif twist is Twist.TAMPERED:
            op.forge = lambda header, said: tampered(signed(header, said, op.signing_key), said)


def signed_with_hmac(header: dict[str, Any], claims: dict[str, Any], secret: str | bytes) -> str:
    key = secret.encode() if isinstance(secret, str) else secret
    unsigned = signed({**header, "alg": "HS256"}, claims, SigningKey()).rpartition(".")[0]
    return f"{unsigned}.{base64url(HMACAlgorithm(HMACAlgorithm.SHA256).sign(unsigned.encode(), key))}"


def tampered(token: str, claims: dict[str, Any]) -> str:
    """The header and signature of one token around the claims of somebody else."""
    header, _, signature = token.split(".")
    other = signed({}, {**claims, "sub": "somebody-else"}, SigningKey()).split(".")[1]
    return f"{header}.{other}.{signature}"


@contextlib.asynccontextmanager
async def oidc_scenario(state_dir: Path, **keys: Any) -> AsyncIterator[OidcScenario]:
    clock = Clock()
    async with (
        FakeOp(now=clock) as op,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        yield OidcScenario(op, http, state_dir, clock, **keys)
