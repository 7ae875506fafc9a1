"""
What the main process and the one that reads XML say to each other.

Plain frozen values and their JSON, one message a line. Nothing here touches
XML, so that the main process can import it without a parser.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class IdpDescription:
    """
    Who the identity provider is, taken from its metadata.

    `certificates` are DER, for signatures only. `valid_until` and
    `certificates_expire` (the last of them) are seconds since the epoch.
    `notes` are for the log: what was left out, and why.
    """

    entity_id: str
    sso_url: str
    certificates: tuple[bytes, ...]
    valid_until: float | None
    certificates_expire: float
    notes: tuple[str, ...] = ()
    #: Where to send logout messages, and how; the first of HTTP-Redirect and HTTP-POST that there is.
    logout_binding: str = ""
    logout_url: str = ""
    logout_response_url: str = ""


@dataclass(frozen=True, slots=True)
class Expectations:
    """Everything that a response is compared with. All of it from configuration, metadata and the login's proof."""

    idp_entity_id: str
    certificates: tuple[bytes, ...]
    sp_entity_id: str
    acs_url: str
    request_id: str
    now: float
    skew: float
    #: Assertions issued before this are refused: what was used before a restart is forgotten by the replay cache.
    not_issued_before: float = 0.0
    #: When not empty, one of these must be how the person authenticated.
    authn_contexts: tuple[str, ...] = ()
    #: When not empty, the request's ID is dated by this key (dated.py) and stands in for `request_id`;
    #: the person must have authenticated since.
    dating_key: str = field(default="", repr=False)
    #: Our private keys (PKCS #8, DER). When there are any, only an encrypted assertion is accepted.
    decryption_keys: tuple[bytes, ...] = field(default=(), repr=False)
    #: Nobody asked: the answer must name no request at all.
    is_unsolicited: bool = False


@dataclass(frozen=True, slots=True)
class LogoutExpectations:
    """
    What a logout message is compared with.

    Where `is_signed`, its signature was verified already, over the query that carried it; else
    it must be inside. `request_id` is that of our own LogoutRequest, for its answer.
    """

    idp_entity_id: str
    certificates: tuple[bytes, ...]
    destination: str
    is_signed: bool
    request_id: str
    now: float
    skew: float


@dataclass(frozen=True, slots=True)
class AssertionFacts:
    """What a verified assertion says. Times are seconds since the epoch."""

    issuer: str
    assertion_id: str
    name_id: str
    name_id_format: str
    attributes: Mapping[str, tuple[str, ...]]
    authenticated_at: float
    session_not_on_or_after: float | None
    #: The last two qualify the NameID; a logout must repeat them.
    session_index: str
    name_qualifier: str
    sp_name_qualifier: str
    #: From here on the same assertion would be refused for its age: how long to remember it.
    usable_until: float


@dataclass(frozen=True, slots=True)
class LogoutFacts:
    """
    What a verified logout message says: a request, or with `is_success` not None the answer to ours.

    No `session_indexes` mean all sessions of the name.
    """

    message_id: str
    issued_at: float
    name_id: str = ""
    session_indexes: tuple[str, ...] = ()
    is_success: bool | None = None


def encoded(message: Mapping[str, Any]) -> bytes:
    """One line. Bytes become base64 text."""
    return json.dumps(message, default=_base64_text, separators=(",", ":")).encode() + b"\n"


def decoded(line: bytes) -> dict[str, Any]:
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("a message is an object")
    return message


def _base64_text(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} cannot be part of a message")


def verify_request(document: bytes, expectations: Expectations) -> dict[str, Any]:
    return {"do": "verify", "document": document, "expectations": asdict(expectations)}


def describe_request(document: bytes, entity_id: str | None, now: float, signer: bytes | None = None) -> dict[str, Any]:
    return {"do": "describe", "document": document, "entity_id": entity_id, "now": now, "signer": signer}


def logout_request(document: bytes, expectations: LogoutExpectations) -> dict[str, Any]:
    return {"do": "logout", "document": document, "expectations": asdict(expectations)}


def sign_request(document: bytes, key: bytes, certificate: bytes) -> dict[str, Any]:
    return {"do": "sign", "document": document, "key": key, "certificate": certificate}


def expectations_from(message: Mapping[str, Any]) -> Expectations:
    contexts, certificates = tuple(message["authn_contexts"]), _bytes_tuple(message["certificates"])
    keys = _bytes_tuple(message["decryption_keys"])
    return Expectations(
        **{**message, "certificates": certificates, "authn_contexts": contexts, "decryption_keys": keys}
    )


def description_from(message: Mapping[str, Any]) -> IdpDescription:
    certificates, notes = _bytes_tuple(message["certificates"]), tuple(message["notes"])
    return IdpDescription(**{**message, "certificates": certificates, "notes": notes})


def facts_from(message: Mapping[str, Any]) -> AssertionFacts:
    attributes = {name: tuple(values) for name, values in message["attributes"].items()}
    return AssertionFacts(**{**message, "attributes": attributes})


def logout_expectations_from(message: Mapping[str, Any]) -> LogoutExpectations:
    return LogoutExpectations(**{**message, "certificates": _bytes_tuple(message["certificates"])})


def logout_facts_from(message: Mapping[str, Any]) -> LogoutFacts:
    return LogoutFacts(**{**message, "session_indexes": tuple(message["session_indexes"])})


def bytes_from(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


def _bytes_tuple(values: list[str]) -> tuple[bytes, ...]:
    return tuple(bytes_from(value) for value in values)
