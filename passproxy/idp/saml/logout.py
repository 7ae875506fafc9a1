"""
What PassProxy says in a logout: its LogoutRequest, its LogoutResponse, and who is meant by them.

A session is named to the provider exactly as the provider named it (Profiles 4.4.3.1), so that is
kept from the login to the logout, in the browser. Like request.py this writes text with every value
escaped; nothing here reads XML.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from passproxy.idp.base import Proof
from passproxy.idp.saml.messages import AssertionFacts

_VERSION = b"\x01"
_SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
_SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"

#: From IssueInstant to arrival, as with responses: the browser carries it at once.
AGE_LIMIT_SECONDS = 300

#: A provider that has not looked at it by then asks in vain; ours are carried at once.
VALIDITY_SECONDS = 300


@dataclass(frozen=True, slots=True)
class NamedSession:
    """A session as the provider names it; empty where it did not."""

    name_id: str = ""
    name_id_format: str = ""
    name_qualifier: str = ""
    sp_name_qualifier: str = ""
    session_index: str = ""


def named_session(facts: AssertionFacts) -> NamedSession:
    return NamedSession(
        facts.name_id, facts.name_id_format, facts.name_qualifier, facts.sp_name_qualifier, facts.session_index
    )


def packed(session: NamedSession) -> bytes:
    """As one value; nothing where nobody could be named."""
    parts = [
        session.name_id,
        session.name_id_format,
        session.name_qualifier,
        session.sp_name_qualifier,
        session.session_index,
    ]
    return _VERSION + json.dumps(parts, separators=(",", ":")).encode() if session.name_id else b""


def session_from(value: bytes) -> NamedSession | None:
    """What `packed` was given; None for anything else."""
    try:
        parts = json.loads(value[1:]) if value[:1] == _VERSION else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, list) or len(parts) != 5 or not all(type(part) is str for part in parts):
        return None
    return NamedSession(*parts) if parts[0] else None


def handles(name_id: str, session_indexes: tuple[str, ...]) -> tuple[str, ...]:
    """What sessions of this name are called, each alone; without indexes, all together."""
    if not session_indexes:
        return (f"name:{name_id}",)
    return tuple(f"session:{len(name_id)}:{name_id}{index}" for index in session_indexes)


def handles_of(session: NamedSession) -> tuple[str, ...]:
    """Every way in which the provider may name this session later."""
    if not session.name_id:
        return ()
    indexes = (session.session_index,) if session.session_index else ()
    return (*handles(session.name_id, ()), *(handles(session.name_id, indexes) if indexes else ()))


def logout_request_id(proof: Proof) -> str:
    """The ID of a logout's request: an xs:ID, which may not start with a digit or a hyphen."""
    return "_" + proof.derive("saml logout")


def logout_request(identifier: str, destination: str, issuer: str, session: NamedSession, now: float) -> bytes:
    qualifiers = {
        "Format": session.name_id_format,
        "NameQualifier": session.name_qualifier,
        "SPNameQualifier": session.sp_name_qualifier,
    }
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in qualifiers.items() if value)
    index = f"<samlp:SessionIndex>{escape(session.session_index)}</samlp:SessionIndex>" if session.session_index else ""
    more = f' NotOnOrAfter="{_instant(now + VALIDITY_SECONDS)}"'
    content = f"<saml:NameID{attributes}>{escape(session.name_id)}</saml:NameID>{index}"
    return _message("LogoutRequest", identifier, destination, issuer, now, more, content)


def logout_response(identifier: str, destination: str, issuer: str, in_response_to: str, now: float) -> bytes:
    """That the session is over: here that is true whenever it can be asked for."""
    more = f' InResponseTo="{escape(in_response_to)}"'
    content = f'<samlp:Status><samlp:StatusCode Value="{_SUCCESS}"/></samlp:Status>'
    return _message("LogoutResponse", identifier, destination, issuer, now, more, content)


def _message(kind: str, identifier: str, destination: str, issuer: str, now: float, more: str, content: str) -> bytes:
    return (
        f'<samlp:{kind} xmlns:samlp="{_SAMLP}" xmlns:saml="{_SAML}" ID="{escape(identifier)}" Version="2.0"'
        f' IssueInstant="{_instant(now)}" Destination="{escape(destination)}"{more}>'
        f"<saml:Issuer>{escape(issuer)}</saml:Issuer>{content}</samlp:{kind}>"
    ).encode()


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
