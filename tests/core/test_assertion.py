"""The assertion that an application can verify: what it says, how long, and with which keys."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import jwt
import pytest

from passproxy.core import assertion as module
from passproxy.core.assertion import AssertionRules, Assertions
from passproxy.core.errors import ChallengeMalformed, TokenInvalid
from passproxy.core.handles import own_handle
from passproxy.core.session import Known, Sessions
from passproxy.core.session_claims import Session
from passproxy.core.tokens import KeyRing, new_key
from passproxy.core.urls import Origin
from tests.core.given import ALICE, KEY, NOW, OLD_KEY, ORIGIN, RING, SAID_OF_ALICE

RULES = AssertionRules("X-Passproxy-Assertion", "https://app.example.com", 60)


def lines(session: Session) -> bytes:
    return f"X-Groups: {session.identity.groups}\r\n".encode()


SESSIONS = Sessions(RING, 3600, lines)


def assertions(ring: KeyRing = RING, rules: AssertionRules = RULES, origin: Origin = ORIGIN) -> Assertions:
    return Assertions(ring, origin, rules, lambda groups: ("administrator",) if "ops" in groups else ())


def known(seconds: int = 3600, identity=ALICE) -> Known:
    sessions = Sessions(RING, seconds, lines)
    token = sessions.seal(sessions.begin(identity, SAID_OF_ALICE, NOW)).encode()
    return sessions.open(token, NOW).holding(token)


def token_of(line: bytes) -> str:
    name, _, value = line.partition(b": ")
    assert name == b"X-Passproxy-Assertion"
    assert value.endswith(b"\r\n")
    return value.removesuffix(b"\r\n").decode("ascii")


def verified(token: str, made: Assertions, **expected: str) -> dict:
    header = jwt.get_unverified_header(token)
    (key,) = (key for key in made.key_set()["keys"] if key["kid"] == header["kid"])
    return jwt.decode(
        token,
        jwt.PyJWK(key).key,
        ["ES256"],
        audience=expected.get("audience", "https://app.example.com"),
        issuer="https://app.example.com",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )


def test_it_says_who_is_there():
    made, session = assertions(), known()
    token = token_of(made.line(session, NOW + 10))
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["typ"]) == ("ES256", "passproxy-assertion+jwt")
    assert verified(token, made) == {
        "iss": "https://app.example.com",
        "aud": "https://app.example.com",
        "sub": "subject-of-alice",
        "iat": NOW + 10,
        "nbf": NOW + 10,
        "exp": NOW + 70,
        "auth_time": ALICE.authenticated_at,
        "sid": own_handle(session.session.id),
        "user": "alice",
        "email": "alice@example.com",
        "groups": ["staff", "ops"],
        "roles": ["administrator"],
    }


def test_what_is_not_known_is_not_said():
    made = assertions()
    bare = replace(ALICE, attributes={"user": "alice"}, groups=())
    claims = verified(token_of(made.line(known(identity=bare), NOW)), made)
    assert "email" not in claims
    assert (claims["groups"], claims["roles"]) == ([], [])


def test_one_is_sent_until_half_of_its_life_is_over():
    made, session = assertions(), known()
    first = made.line(session, NOW)
    assert made.line(session, NOW + 29.9) is first
    second = made.line(session, NOW + 30)
    assert verified(token_of(second), made)["exp"] == NOW + 90


def test_it_ends_with_the_session():
    made = assertions()
    assert verified(token_of(made.line(known(seconds=40), NOW + 10)), made)["exp"] == NOW + 40


def test_a_renewed_session_gets_a_new_one_at_once():
    made, session = assertions(), known()
    before = made.line(session, NOW)
    renewed = SESSIONS.known(replace(session.session, identity=replace(ALICE, groups=("staff",))))
    after = made.line(renewed, NOW)
    assert verified(token_of(after), made)["groups"] == ["staff"]
    assert after != before


def test_each_session_has_its_own():
    made = assertions()
    one, other = (verified(token_of(made.line(known(), NOW)), made)["sid"] for _ in range(2))
    assert one != other


def test_without_the_token_of_the_session_there_is_none():
    with pytest.raises(TokenInvalid):
        assertions().line(known().holding(b""), NOW)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "KEPT_LIMIT", 3)
    made = assertions()
    for _ in range(10):
        made.line(known(), NOW)
    assert len(made._kept) <= 3


def test_every_key_of_the_ring_is_published_by_its_thumbprint_and_without_its_secret():
    made = assertions(KeyRing((KEY, OLD_KEY), str(ORIGIN)))
    keys = made.key_set()["keys"]
    assert len(keys) == 2
    for key in keys:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        needed = json.dumps({name: key[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        assert key["kid"] == base64.urlsafe_b64encode(hashlib.sha256(needed.encode()).digest()).rstrip(b"=").decode()


def test_a_new_key_is_published_before_it_signs():
    now = [float(NOW)]
    ring = KeyRing((new_key(NOW, seals_from=NOW + 600), KEY), str(ORIGIN), lambda: now[0])
    made, session = assertions(ring), known()
    new, old = (key["kid"] for key in made.key_set()["keys"])
    assert jwt.get_unverified_header(token_of(made.line(session, NOW)))["kid"] == old
    now[0] = NOW + 600.0
    assert jwt.get_unverified_header(token_of(made.line(session, NOW + 600)))["kid"] == new
    assert jwt.get_unverified_header(made.proof("c" * 43, NOW + 600))["kid"] == new


def test_replicas_have_the_same_keys_and_other_domains_others():
    assert assertions().key_set() == assertions(KeyRing((KEY,), str(ORIGIN))).key_set()
    other = Origin("https", "other.example.com", 443)
    assert assertions().key_set() != assertions(KeyRing((KEY,), str(other)), origin=other).key_set()


def test_the_description_says_where_everything_is():
    rules = AssertionRules("X-Who", "https://audience.example.com", 30)
    assert assertions(rules=rules).description() == {
        "issuer": "https://app.example.com",
        "jwks_uri": "https://app.example.com/.passproxy/jwks.json",
        "assertion_header": "X-Who",
        "audience": "https://audience.example.com",
        "algorithms": ["ES256"],
        "assertion_lifetime_seconds": 30,
        "claims": [
            *("sub", "auth_time", "sid", "user", "email", "name", "given_name", "surname", "upn", "account", "dn"),
            *("company", "department", "phone", "groups", "roles"),
        ],
    }


def test_a_proof_is_no_assertion():
    made = assertions()
    proof = made.proof("c" * 43, NOW)
    assert jwt.get_unverified_header(proof)["typ"] == "passproxy-trust+jwt"
    assert verified(proof, made) == {
        "iss": "https://app.example.com",
        "aud": "https://app.example.com",
        "iat": NOW,
        "exp": NOW + 60,
        "challenge": "c" * 43,
    }


@pytest.mark.parametrize(
    "challenge", ["", "c" * 21, "c" * 87, "c" * 42 + "=", "c" * 42 + "+", "c" * 42 + "\n", "ä" * 43]
)
def test_a_challenge_is_base64url_of_a_usual_length(challenge):
    with pytest.raises(ChallengeMalformed):
        assertions().proof(challenge, NOW)
