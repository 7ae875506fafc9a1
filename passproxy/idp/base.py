"""
The one interface between PassProxy and a protocol.

An adapter turns a login id into a redirect, and the answer into an
`Authentication`. It sees no request, no response and no cookie: what must be
remembered between the two is derived from a `Proof`, and what the browser
brings is a `Callback`. What differs between protocols is data that the adapter
declares (`callback_method`, `callback_path`, `login_id_field`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from passproxy.core.identity import Authentication


@dataclass(frozen=True, slots=True)
class Callback:
    """The answer as the browser brought it: decoded fields, each name once, all values strict UTF-8."""

    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Document:
    """Something that an adapter publishes, such as metadata."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """
    The secret of one login, known to this product's instances alone.

    Whatever must match between start and answer (a nonce, a code verifier, a
    request id) is derived from it, so that nothing needs to be stored.
    """

    secret: bytes

    def derive(self, purpose: str) -> str:
        """43 characters of unpadded base64url, 256 bits, different for each purpose."""
        digest = hmac.digest(self.secret, purpose.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class IdentityProvider(Protocol):
    """One configured identity provider. Only `LoginError` and its subclasses leave it."""

    @property
    def callback_method(self) -> Literal["GET", "POST"]:
        """What the browser brings the answer with; a cross-site POST needs a SameSite=None cookie."""

    @property
    def callback_path(self) -> str:
        """Where it brings it: a path below the reserved prefix, such as `oidc/callback`."""

    @property
    def login_id_field(self) -> str:
        """The field of the callback that carries the login id."""

    async def start(self, login_id: str, proof: Proof, now: float) -> str:
        """
        The URL to send the browser to.

        `login_id` is URL-safe and at most 80 bytes long. Raises `IdpUnavailable`
        when the identity provider's description has never been obtained.
        """

    async def finish(self, callback: Callback, proof: Proof, now: float) -> Authentication:
        """
        Verify the answer, all of it.

        The caller has checked that the login id is one that this browser was
        given, that it is fresh and that it was not used before.
        """

    def documents(self) -> Mapping[str, Document]:
        """What is published below the reserved prefix, by path."""

    async def run(self) -> None:
        """Keep what is known about the identity provider fresh, until cancelled."""
