"""
Authorization requests: what a relying party may ask of the demo identity provider.

Everything is checked before anybody is asked for a password, and again with it,
since the request waits in the address of the form. Whether somebody must give a
password at all is answered here too; who they are is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from passproxy.demo.refusals import Answerable, Unanswerable
from passproxy.demo.sessions import SignIn

#: A SHA-256 in base64url.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")

#: The scopes that are offered besides openid, and the claims that each brings.
SCOPE_CLAIMS = {
    "profile": ("name", "given_name", "family_name", "preferred_username"),
    "email": ("email", "email_verified"),
    "groups": ("groups",),
}


@dataclass(frozen=True, slots=True)
class Client:
    """The one relying party that is registered here."""

    client_id: str
    client_secret: str
    redirect_uri: str
    post_logout_redirect_uri: str


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    redirect_uri: str
    state: str
    nonce: str
    code_challenge: str
    scopes: frozenset[str]
    prompt: frozenset[str]
    max_age_seconds: int | None

    def needs_password(self, sign_in: SignIn | None, now: float) -> bool:
        """Whether an earlier sign-in, if there is one, is not good enough."""
        if sign_in is None or "login" in self.prompt or "select_account" in self.prompt:
            return True
        return self.max_age_seconds is not None and now - sign_in.at > self.max_age_seconds


def authorization_request(fields: Mapping[str, str], client: Client) -> AuthorizationRequest:
    """
    What a browser was sent here with.

    Raises:
        Unanswerable: the client or its redirect URI is not the registered one.
        Answerable: anything else is wrong, which the client may know.
    """
    if fields.get("client_id") != client.client_id:
        raise Unanswerable("No client with this client_id is registered here.")
    if fields.get("redirect_uri") != client.redirect_uri:
        raise Unanswerable("The redirect_uri is not, character for character, the one that is registered.")
    if fields.get("response_type") != "code":
        raise Answerable("unsupported_response_type", "Only the code flow is offered.")
    if fields.get("response_mode", "query") != "query" or "request" in fields or "request_uri" in fields:
        raise Answerable("invalid_request", "Only plain requests that are answered in the query are offered.")
    return AuthorizationRequest(
        redirect_uri=fields["redirect_uri"],
        state=_required(fields, "state"),
        nonce=_required(fields, "nonce"),
        code_challenge=_challenge(fields),
        scopes=_scopes(fields),
        prompt=frozenset(fields.get("prompt", "").split()),
        max_age_seconds=_max_age(fields),
    )


def _required(fields: Mapping[str, str], name: str) -> str:
    if not fields.get(name):
        raise Answerable("invalid_request", f"The parameter {name} is missing.")
    return fields[name]


def _challenge(fields: Mapping[str, str]) -> str:
    challenge = fields.get("code_challenge", "")
    if fields.get("code_challenge_method") != "S256" or not _CHALLENGE.match(challenge):
        raise Answerable("invalid_request", "A code_challenge by the method S256 is required.")
    return challenge


def _scopes(fields: Mapping[str, str]) -> frozenset[str]:
    scopes = frozenset(fields.get("scope", "").split())
    if "openid" not in scopes:
        raise Answerable("invalid_scope", "The scope openid is required.")
    return scopes & {"openid", *SCOPE_CLAIMS}


def _max_age(fields: Mapping[str, str]) -> int | None:
    if "max_age" not in fields:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", fields["max_age"]):
        raise Answerable("invalid_request", "max_age is a number of seconds.")
    return int(fields["max_age"])
