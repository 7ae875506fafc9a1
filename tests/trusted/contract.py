"""
The contract of docs/trusted.md as a list of what a proxy does otherwise.

For every implementation of the serving side: `ask` brings back what it answers,
however that is reached. An empty list is what is wanted.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from passproxy.trusted.enrolment import JWKS_PATH, TRUST_PATH, enrolled
from passproxy.trusted.errors import TrustError
from passproxy.trusted.jwk import keys_from, thumbprint
from passproxy.trusted.keys import KeySet
from passproxy.trusted.verifier import ASSERTION_LIMIT_BYTES, Verifier, json_object
from tests.trusted.given import HEADER, TYPE

#: Claim -> type; those that must be there.
REQUIRED: Mapping[str, type] = {
    **{"iss": str, "aud": str, "sub": str, "iat": int, "nbf": int, "exp": int, "user": str},
    **{"groups": list, "roles": list},
}

#: Likewise, those that may be.
OPTIONAL: Mapping[str, type] = {
    "auth_time": int,
    "sid": str,
    **dict.fromkeys(
        ["email", "name", "given_name", "surname", "upn", "account", "dn", "company", "department", "phone"], str
    ),
}

CACHED = "public, max-age=300"

BAD_CHALLENGES = (
    "challenge=",
    "challenge=" + "A" * 21,
    "challenge=" + "A" * 87,
    "challenge=" + "A" * 42 + "=",
    "challenge=" + "A" * 42 + "+",
    "challenge=" + "A" * 42 + ".",
    "challenge=" + "A" * 42 + "%41",
    "challenge=" + "A" * 42 + "%0a",
    "challenge=" + "A" * 43 + "&challenge=" + "B" * 43,
    "challenge=" + "A" * 43 + "&x=1",
    "x=1",
    "Challenge=" + "A" * 43,
)


@dataclass(frozen=True, slots=True)
class Served:
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


#: Method and target to an answer.
Ask = Callable[[str, str], Served]


def violations(ask: Ask, origin: str, *, now: float) -> list[str]:
    """What the documents of the proxy at this origin do otherwise. `now` is what its clock shows."""
    found = [*_keys(ask), *_description(ask, origin), *_challenges(ask)]

    def fetch(url: str) -> bytes:
        return ask("GET", url.removeprefix(origin)).body

    try:
        enrolled(origin, fetch, now=now, challenge=secrets.token_urlsafe(32))
    except TrustError as error:
        found.append(f"it cannot be enrolled: {error.code} {error.detail}")
    return found


def assertion_violations(token: bytes, ask: Ask, origin: str, *, now: float) -> list[str]:
    """What an assertion of the proxy at this origin does otherwise."""
    found = []
    settings = enrolled(
        origin, lambda url: ask("GET", url.removeprefix(origin)).body, now=now, challenge=secrets.token_urlsafe(32)
    )
    keys = KeySet(settings.jwks_url, fetch=lambda url: ask("GET", url.removeprefix(origin)).body)
    try:
        Verifier(settings, keys, clock=lambda: now).verify(token)
    except TrustError as error:
        found.append(f"it is not believed: {error.code} {error.detail}")
    decoded = jwt.decode_complete(token, options={"verify_signature": False})
    header, claims = decoded["header"], json_object(json.dumps(decoded["payload"]).encode())
    if set(header) != {"alg", "typ", "kid"} or (header["alg"], header["typ"]) != ("ES256", TYPE):
        found.append(f"the JOSE header is {header}")
    if header.get("kid") not in settings.thumbprints:
        found.append("the kid is not the thumbprint of a published key")
    if len(token) > ASSERTION_LIMIT_BYTES:
        found.append(f"it has {len(token)} bytes")
    lifetime = ask("GET", TRUST_PATH).json()["assertion_lifetime_seconds"]
    if not 0 < claims.get("exp", 0) - claims.get("iat", 0) <= lifetime:
        found.append("it lives longer than the description says")
    for name, value in claims.items():
        kind = REQUIRED.get(name) or OPTIONAL.get(name)
        if kind is None:
            found.append(f"{name} is not in the contract")
        elif not isinstance(value, kind) or value == "":
            found.append(f"{name} is {value!r}")
    return [*found, *(f"{name} is missing" for name in REQUIRED if name not in claims)]


def _keys(ask: Ask) -> Iterator[str]:
    served = ask("GET", JWKS_PATH)
    yield from _plain(ask, JWKS_PATH, served, CACHED)
    for entry in served.json()["keys"]:
        if set(entry) != {"kty", "crv", "x", "y", "kid", "use", "alg"}:
            yield f"a key has the members {sorted(entry)}"
        elif entry["kid"] != thumbprint(entry):
            yield "a kid is not the thumbprint of its key"
    if len(keys_from(served.body)) != len(served.json()["keys"]):
        yield "some key cannot be used"


def _description(ask: Ask, origin: str) -> Iterator[str]:
    served = ask("GET", TRUST_PATH)
    yield from _plain(ask, TRUST_PATH, served, CACHED)
    members = json_object(served.body)
    if "proof" in members:
        yield "without a challenge there is a proof"
    expected = {
        "issuer": origin,
        "jwks_uri": origin + JWKS_PATH,
        "assertion_header": HEADER,
        "algorithms": ["ES256"],
    }
    yield from (f"{name} is {members.get(name)!r}" for name, value in expected.items() if members.get(name) != value)
    if not set(members.get("claims", ())) <= REQUIRED.keys() | OPTIONAL.keys():
        yield f"the claims are {members.get('claims')}"


def _challenges(ask: Ask) -> Iterator[str]:
    plain = ask("GET", TRUST_PATH).json()
    for length in (22, 43, 86):
        challenge = secrets.token_urlsafe(86)[:length]
        target = f"{TRUST_PATH}?challenge={challenge}"
        served = ask("GET", target)
        yield from _plain(ask, target, served, "no-store")
        if served.status != 200:
            continue
        members = served.json()
        proof = jwt.decode_complete(members.pop("proof"), options={"verify_signature": False})
        if members != plain:
            yield "with a challenge the description is another one"
        if set(proof["payload"]) != {"iss", "aud", "iat", "exp", "challenge"} or set(proof["header"]) != {
            "alg",
            "typ",
            "kid",
        }:
            yield f"the proof says {sorted(proof['payload'])} under {sorted(proof['header'])}"
        elif proof["payload"]["exp"] - proof["payload"]["iat"] != 60:
            yield "the proof does not live 60 seconds"
    for query in BAD_CHALLENGES:
        status = ask("GET", f"{TRUST_PATH}?{query}").status
        if status != 400:
            yield f"?{query} is answered with {status}"


def _plain(ask: Ask, target: str, served: Served, cached: str) -> Iterator[str]:
    if served.status != 200:
        yield f"{target} is answered with {served.status}"
    if served.headers.get("content-type", "").partition(";")[0] != "application/json":
        yield f"{target} is {served.headers.get('content-type')}"
    if served.headers.get("cache-control") != cached:
        yield f"{target} has cache-control {served.headers.get('cache-control')}"
    if {"set-cookie", "location", "content-encoding"} & set(served.headers):
        yield f"{target} sets a cookie, points elsewhere or is compressed"
    head = ask("HEAD", target)
    if head.status != served.status or head.body:
        yield f"HEAD {target} is answered with {head.status} and {len(head.body)} bytes"
