"""
The one interface between PassProxy and a protocol.

An adapter turns a login id into a redirect, and the answer into an
`Authentication`; later it may ask whether that still holds (`renew`), end the
session at the provider (`end`), or be told that it ended there (`notified`). It
sees no request, no response and no cookie: what must be remembered between
start and answer is derived from a `Proof`, what the browser brings is a
`Callback` or a `Message`, and what an adapter wants to have back later travels
in `Authentication.kept`. What differs between protocols is data that the
adapter declares (`callback_method`, `callback_path`, `login_id_field`,
`logout_paths`, `login_initiators`, `accepts_unsolicited`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from passproxy.core.identity import Authentication
from passproxy.idp.standing import Standing


@dataclass(frozen=True, slots=True)
class Callback:
    """The answer as the browser brought it: decoded fields, each name once, all values strict UTF-8."""

    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Message:
    """
    What arrived at one of the adapter's logout paths.

    `raw` is the query of a GET or the body of a POST, byte for byte, since a
    signature may be over exactly these bytes; `fields` are its decoded fields,
    each name once, none of the names escaped.
    """

    path: str
    method: Literal["GET", "POST"]
    raw: bytes
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Departure:
    """
    Where to send the browser with a message for the provider.

    By a redirect to `url`; when there are `fields`, by a form that posts them.
    """

    url: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogoutNotice:
    """
    What the identity provider says about sessions, verified.

    `handles` name the sessions that are over, as `Authentication.handles` does;
    there are none in an answer to our own logout. `issued_at` is when the
    provider said so, in seconds since the epoch. `departure` is where a browser
    goes on with our answer; without one it stays here, or it was no browser.
    `is_complete` is false when the provider says that somebody may still be
    signed in somewhere. `framed_by` is the origin whose pages may show the
    answer in a frame.
    """

    handles: tuple[str, ...]
    issued_at: int
    departure: Departure | None = None
    is_complete: bool = True
    framed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Something that an adapter publishes, such as metadata."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """
    What the provider publishes about itself, for people.

    `name` is what it calls itself, `urls` where browsers and we go, `keys` how many verify its
    signatures, and `keys_expire` when the last of their certificates ends, in seconds since the
    epoch; None where keys have no end. `notes` are sentences about what is odd.
    """

    name: str
    urls: tuple[str, ...]
    keys: int
    keys_expire: float | None = None
    notes: tuple[str, ...] = ()


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

    @property
    def accepts_unsolicited(self) -> bool:
        """Whether an answer that no login of ours asked for may become a session."""

    @property
    def login_initiators(self) -> frozenset[str]:
        """The names that may stand in `iss` when somebody else starts a login (OpenID Connect Core 1.0, 4)."""

    @property
    def logout_paths(self) -> Mapping[str, tuple[str, ...]]:
        """The paths below the reserved prefix where `notified` takes messages, and the methods of each."""

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

    async def finish_unsolicited(self, callback: Callback, now: float) -> Authentication:
        """
        Verify an answer to no request of ours, all of it; only where `accepts_unsolicited`.

        An answer that names a request is refused: it belongs to a login, of whoever.
        """

    async def renew(self, kept: bytes, subject: str, now: float) -> Authentication:
        """
        Ask the provider whether a login still holds; only for those that were `is_renewable`.

        `kept` is what the adapter gave with the latest `Authentication`, `subject` whose it was. The
        result replaces it whole, `kept` included.

        Raises:
            RenewalRefused: the provider says no, for good. What was kept is worth nothing any more.
            LoginError: anything else, so that nothing is known; what was kept is worth another try.
        """

    async def end(self, kept: bytes, logout_id: str, proof: Proof, now: float) -> Departure | None:
        """
        How the browser ends the session at the provider; None where the provider offers no way.

        `kept` may be empty. The provider returns `logout_id` with its answer, if the protocol has one.
        Raises nothing: our own session has ended already.
        """

    async def notified(self, message: Message, proof: Proof | None, now: float) -> LogoutNotice:
        """
        Verify a message about the end of sessions, all of it.

        `proof` is that of the logout which the message's `login_id_field` names, if it is one of ours.
        Raises `LoginError` when the message does not hold; then nothing ends.
        """

    async def facts(self, now: float) -> ProviderFacts:
        """
        What is known about the provider; read from it when nothing is.

        Raises:
            LoginError: it cannot be reached, or what it says cannot be used.
        """

    def documents(self) -> Mapping[str, Document]:
        """What is published below the reserved prefix, by path."""

    def standing(self) -> Standing:
        """What is held of the identity provider's description; asks nobody."""

    async def run(self) -> None:
        """Keep what is known about the identity provider fresh, until cancelled."""
