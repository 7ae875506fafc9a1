"""
The OpenID Connect half of the demo identity provider: one client, the code flow, PKCE always.

Stricter than most real providers, so that what works here works there: exact
redirect URI, S256 only, state and nonce required, codes that are good once and
for a minute. It moves no bytes: idp.py turns requests into mappings and answers
into responses. The only grant is the authorization code; there are no refresh
tokens.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus, urlencode

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from passproxy.demo.assertions import KeyPair
from passproxy.demo.authorization import SCOPE_CLAIMS, AuthorizationRequest, Client, authorization_request
from passproxy.demo.refusals import Answerable, GrantRefused
from passproxy.demo.sessions import SignIn
from passproxy.demo.users import User

#: From the redirect to the token request a relying party needs a second or two.
CODE_LIFETIME_SECONDS = 60

TOKEN_LIFETIME_SECONDS = 300

#: Codes and access tokens that are kept at most; the oldest go first.
GRANT_LIMIT = 10_000

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")  # RFC 7636 4.1


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code stands for, and later an access token."""

    request: AuthorizationRequest
    sign_in: SignIn
    expires_at: float


class OpenIdProvider:
    """One issuer with one client. `paths` are those of its endpoints, by their names in the discovery document."""

    def __init__(
        self, issuer: str, client: Client, paths: Mapping[str, str], keys: KeyPair, clock: Callable[[], float]
    ) -> None:
        self.issuer = issuer
        self._client = client
        self._paths = paths
        self._clock = clock
        self._key = _rsa_key(keys.key_pem)
        self._public_jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._key_id = hashlib.sha256(keys.certificate_pem).hexdigest()[:16]
        self._codes: dict[str, Grant] = {}
        self._access_tokens: dict[str, Grant] = {}

    def discovery(self) -> dict[str, Any]:
        """The provider's metadata (OpenID Connect Discovery 3)."""
        return {
            "issuer": self.issuer,
            **{name: self.issuer + path for name, path in self._paths.items()},
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", *SCOPE_CLAIMS],
            "claims_supported": ["sub", *(claim for claims in SCOPE_CLAIMS.values() for claim in claims)],
            "prompt_values_supported": ["none", "login", "select_account", "consent"],
            "authorization_response_iss_parameter_supported": True,
        }

    def jwks(self) -> dict[str, Any]:
        """The public half of the signing key."""
        public = {name: self._public_jwk[name] for name in ("kty", "n", "e")}
        return {"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": "RS256"}]}

    def authorization_request(self, fields: Mapping[str, str]) -> AuthorizationRequest:
        """What a browser was sent here with. Raises as `authorization_request` does."""
        return authorization_request(fields, self._client)

    def answer(self, request: AuthorizationRequest, sign_in: SignIn) -> str:
        """The redirect that carries a fresh code."""
        code = secrets.token_urlsafe(32)
        _keep(self._codes, code, Grant(request, sign_in, self._clock() + CODE_LIFETIME_SECONDS))
        # `iss` lets the relying party notice an answer of the wrong provider (RFC 9207).
        return _with_query(request.redirect_uri, {"code": code, "state": request.state, "iss": self.issuer})

    def error_answer(self, fields: Mapping[str, str], refusal: Answerable) -> str:
        """The redirect that carries an error; only for requests that are `Answerable`."""
        answer = {"error": refusal.error, "error_description": refusal.sentence, "iss": self.issuer}
        if state := fields.get("state"):
            answer["state"] = state
        return _with_query(self._client.redirect_uri, answer)

    def tokens(self, fields: Mapping[str, str], authorization: str | None) -> dict[str, Any]:
        """
        The answer of the token endpoint to this form and `Authorization` header.

        Raises:
            GrantRefused: with the error and status of RFC 6749 5.2.
        """
        self._authenticate_client(fields, authorization)
        if fields.get("grant_type") != "authorization_code":
            raise GrantRefused("unsupported_grant_type", "Only authorization_code is offered.")
        grant = self._redeemed(fields)
        access_token = secrets.token_urlsafe(32)
        _keep(self._access_tokens, access_token, Grant(grant.request, grant.sign_in, self._token_end()))
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_SECONDS,
            "scope": " ".join(sorted(grant.request.scopes)),
            "id_token": self._id_token(grant, access_token),
        }

    def userinfo(self, authorization: str | None) -> dict[str, Any]:
        """
        The claims behind a bearer token.

        Raises:
            GrantRefused: there is none, or it is not (or no longer) one of ours.
        """
        scheme, _, token = (authorization or "").partition(" ")
        grant = self._access_tokens.get(token.strip())
        if scheme.lower() != "bearer" or grant is None or grant.expires_at <= self._clock():
            raise GrantRefused("invalid_token", "A valid access token is needed.", 401)
        return _claims(grant.sign_in.user, grant.request.scopes)

    def after_logout(self, fields: Mapping[str, str]) -> str | None:
        """Where a browser goes after its logout: to the registered address if that was asked for, else nowhere."""
        if fields.get("post_logout_redirect_uri") != self._client.post_logout_redirect_uri:
            return None
        state = {"state": fields["state"]} if "state" in fields else {}
        return _with_query(self._client.post_logout_redirect_uri, state)

    def _authenticate_client(self, fields: Mapping[str, str], authorization: str | None) -> None:
        if authorization is not None and "client_secret" in fields:
            raise GrantRefused("invalid_request", "Two ways of client authentication in one request.")
        client_id, secret = (
            _basic(authorization)
            if authorization is not None
            else (fields.get("client_id", ""), fields.get("client_secret", ""))
        )
        known = hmac.compare_digest(client_id.encode(), self._client.client_id.encode())
        if not known or not hmac.compare_digest(secret.encode(), self._client.client_secret.encode()):
            raise GrantRefused("invalid_client", "The client's id or secret is wrong.", 401)
        if fields.get("client_id", client_id) != client_id:
            raise GrantRefused("invalid_request", "Two client ids in one request.")

    def _redeemed(self, fields: Mapping[str, str]) -> Grant:
        """The grant of a code, which is spent by the attempt: a guess at its verifier is not repeated."""
        grant = self._codes.pop(fields.get("code", ""), None)
        if grant is None or grant.expires_at <= self._clock():
            raise GrantRefused("invalid_grant", "The code is unknown, was used before, or is too old.")
        if fields.get("redirect_uri") != grant.request.redirect_uri:
            raise GrantRefused("invalid_grant", "The redirect_uri differs from that of the authorization request.")
        verifier = fields.get("code_verifier", "")
        if not _VERIFIER.match(verifier) or not hmac.compare_digest(
            _digest(verifier, 32), grant.request.code_challenge
        ):
            raise GrantRefused("invalid_grant", "The code_verifier does not match the challenge.")
        return grant

    def _id_token(self, grant: Grant, access_token: str) -> str:
        claims = {
            **_claims(grant.sign_in.user, grant.request.scopes),
            "iss": self.issuer,
            "aud": self._client.client_id,
            "iat": int(self._clock()),
            "exp": int(self._token_end()),
            "auth_time": int(grant.sign_in.at),
            "nonce": grant.request.nonce,
            "at_hash": _digest(access_token, 16),
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id})

    def _token_end(self) -> float:
        return self._clock() + TOKEN_LIFETIME_SECONDS


@functools.cache
def _rsa_key(pem: bytes) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the demo signs with RSA keys only")
    return key


def _claims(user: User, scopes: frozenset[str]) -> dict[str, Any]:
    known = {
        "name": user.name,
        "given_name": user.given_name,
        "family_name": user.family_name,
        "preferred_username": user.login,
        "email": user.email,
        "email_verified": True,
        "groups": list(user.groups),
    }
    names = (name for scope, claims in SCOPE_CLAIMS.items() if scope in scopes for name in claims)
    return {"sub": user.subject, **{name: known[name] for name in names}}


def _basic(authorization: str) -> tuple[str, str]:
    """Client id and secret of a Basic header, form-decoded as RFC 6749 2.3.1 has it."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        decoded = ""
    client_id, separator, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not separator:
        raise GrantRefused("invalid_client", "The Authorization header is not Basic.", 401)
    return unquote_plus(client_id), unquote_plus(secret)


def _digest(text: str, length_bytes: int) -> str:
    """The first bytes of the SHA-256 of a text, in base64url: 32 for PKCE, 16 for at_hash."""
    digest = hashlib.sha256(text.encode()).digest()[:length_bytes]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _with_query(url: str, fields: Mapping[str, str]) -> str:
    if not fields:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"


def _keep(grants: dict[str, Grant], key: str, grant: Grant) -> None:
    while len(grants) >= GRANT_LIMIT:
        del grants[next(iter(grants))]
    grants[key] = grant
