"""
The signed assertion: who is there, told to the application so that it can be proven.

A short-lived JWT (RFC 7519, ES256), made for a session when it is needed and
sent with each of its requests until half of its life is over. Its keys are
derived from the key ring, so replicas share them and a rotation rotates them
too; the public halves of all of them are published (RFC 7517).

What an application may rely on is written down in docs/trusted.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from passproxy.core.errors import ChallengeMalformed
from passproxy.core.handles import own_handle
from passproxy.core.session import Known
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.core.urls import Origin

ALGORITHM = "ES256"
TYPE = "passproxy-assertion+jwt"
PROOF_TYPE = "passproxy-trust+jwt"

JWKS_PATH = "jwks.json"
TRUST_PATH = "trust.json"

#: A proof is made when it is asked for, and read at once.
PROOF_SECONDS = 60

#: The longest life of an assertion, and ten minutes for those who verify: as long an old key stays published.
OVERLAP_SECONDS = 3600 + 600

#: base64url characters of a challenge: 128 bits at least, SHA-512's output at most.
CHALLENGE_CHARACTERS = (22, 86)

#: Assertions kept at a time, each about a kibibyte; whose is forgotten gets a new one for 100 µs.
KEPT_LIMIT = 4096

# The order of the group of P-256 (SP 800-186, 3.2.1.3), and as many more bits as make the remainder fair
# (FIPS 186-5, A.2.1).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SEED_BYTES = 40

_CHALLENGE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class AssertionRules:
    """The header's name, for whom the assertions are, and how many seconds each lives."""

    header: str
    audience: str
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class _Signer:
    kid: str
    private: ec.EllipticCurvePrivateKey
    public: Mapping[str, str]


class Assertions:
    """All assertions of one origin. `roles_of` are the roles that groups make."""

    def __init__(
        self,
        ring: KeyRing,
        origin: Origin,
        rules: AssertionRules,
        roles_of: Callable[[Iterable[str]], tuple[str, ...]] = lambda groups: (),
    ) -> None:
        self._ring = ring
        self._issuer = str(origin)
        self._rules = rules
        self._roles_of = roles_of
        self._signers = {key: _signer(key) for key in ring.keys(Purpose.ASSERTION)}
        self._header = f"{rules.header}: ".encode()
        self._kept: dict[bytes, tuple[bytes, bytes, float]] = {}

    def line(self, session: Known, now: float) -> bytes:
        """
        The header line for a request of this session, ending with CRLF. The session must hold its token.

        Raises:
            TokenInvalid: it does not.
        """
        # A session that was renewed has the same handles, and other lines.
        kept = self._kept.get(session.revocable_by)
        if kept is not None and kept[0] is session.lines and now < kept[2]:
            return kept[1]
        line = self._header + self._assertion(session, now).encode() + b"\r\n"
        if len(self._kept) >= KEPT_LIMIT:
            self._kept.clear()
        self._kept[session.revocable_by] = (session.lines, line, now + self._rules.lifetime_seconds / 2)
        return line

    def key_set(self) -> dict[str, Any]:
        """The JWK set of all keys that sign, did sign or will sign."""
        return {"keys": [dict(signer.public) for signer in self._signers.values()]}

    def description(self) -> dict[str, Any]:
        """What an application needs to know to verify."""
        return {
            "issuer": self._issuer,
            "jwks_uri": f"{self._issuer}/.passproxy/{JWKS_PATH}",
            "assertion_header": self._rules.header,
            "audience": self._rules.audience,
            "algorithms": [ALGORITHM],
            "assertion_lifetime_seconds": self._rules.lifetime_seconds,
            "claims": [*_CLAIMS, *_ATTRIBUTES, "groups", "roles"],
        }

    def proof(self, challenge: str, now: float) -> str:
        """
        That the key which signs assertions is at hand now, for somebody who chose this challenge.

        Raises:
            ChallengeMalformed: it is none.
        """
        shortest, longest = CHALLENGE_CHARACTERS
        if not shortest <= len(challenge) <= longest or not _CHALLENGE.issuperset(challenge):
            raise ChallengeMalformed("the challenge is not base64url of a usual length")
        claims = {"iat": int(now), "exp": int(now) + PROOF_SECONDS, "challenge": challenge}
        return self._signed(claims, PROOF_TYPE)

    def _assertion(self, session: Known, now: float) -> str:
        whole = session.session
        identity = whole.identity
        claims: dict[str, Any] = {
            "sub": identity.subject,
            "iat": int(now),
            "nbf": int(now),
            "exp": min(int(now) + self._rules.lifetime_seconds, whole.expires_at),
            "auth_time": identity.authenticated_at,
            "sid": own_handle(whole.id),
            **{name: identity.attributes[name] for name in _ATTRIBUTES if name in identity.attributes},
            "groups": list(identity.groups),
            "roles": list(self._roles_of(identity.groups)),
        }
        return self._signed(claims, TYPE)

    def _signed(self, claims: Mapping[str, Any], kind: str) -> str:
        signer = self._signers[self._ring.key(Purpose.ASSERTION)]
        whole = {"iss": self._issuer, "aud": self._rules.audience, **claims}
        return jwt.encode(whole, signer.private, ALGORITHM, {"typ": kind, "kid": signer.kid})


_CLAIMS = ("sub", "auth_time", "sid")
_ATTRIBUTES = (
    *("user", "email", "name", "given_name", "surname", "upn"),
    *("account", "dn", "company", "department", "phone"),
)


def _signer(seed: bytes) -> _Signer:
    expanded = HKDFExpand(hashes.SHA256(), _SEED_BYTES, b"P-256").derive(seed)
    private = ec.derive_private_key(int.from_bytes(expanded, "big") % (_ORDER - 1) + 1, ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    public = {"crv": "P-256", "kty": "EC", "x": _encoded(numbers.x), "y": _encoded(numbers.y)}
    # RFC 7638, 3: the required members in lexical order, and no space.
    thumbprint = hashlib.sha256(json.dumps(public, sort_keys=True, separators=(",", ":")).encode()).digest()
    kid = base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode()
    return _Signer(kid, private, {**public, "kid": kid, "use": "sig", "alg": ALGORITHM})


def _encoded(coordinate: int) -> str:
    return base64.urlsafe_b64encode(coordinate.to_bytes(32, "big")).rstrip(b"=").decode()
