"""
From the bytes of a logout message to what it says, or a refusal (SAML Core 3.7, Profiles 4.4).

As strict as with responses, by the same checks: structure first, then the signature, then issuer,
destination and time. A message that came in a query was signed with it, which redirect.py has
verified; any other must carry its signature. That no message is used twice is the caller's to see
to, and so is which sessions it ends.
"""

from __future__ import annotations

import hmac

from lxml import etree

from passproxy.idp.saml.errors import (
    DestinationRefused,
    InResponseToRefused,
    IssuerRefused,
    LogoutRefused,
    SamlRefused,
    SignatureRefused,
    StructureRefused,
    TimeRefused,
)
from passproxy.idp.saml.instant import seconds
from passproxy.idp.saml.logout import AGE_LIMIT_SECONDS
from passproxy.idp.saml.messages import LogoutExpectations, LogoutFacts
from passproxy.idp.saml.precheck import SAML, SAMLP, XENC, guard_version, message, signatures_of
from passproxy.idp.saml.signatures import confirm

#: A person has few sessions at once; a browser with more is not one person's.
INDEX_LIMIT = 100

_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"


def logout_facts(document: bytes, expected: LogoutExpectations) -> LogoutFacts:
    """
    What a LogoutRequest, or the LogoutResponse to our own request, says.

    Raises:
        SignatureRefused: perhaps the key is newer than those that are known.
        LogoutRefused: for any other reason.
    """
    try:
        return _facts(document, expected)
    except SignatureRefused:
        raise
    except SamlRefused as error:
        raise LogoutRefused(f"{error.code} {error.detail}") from None


def _facts(document: bytes, expected: LogoutExpectations) -> LogoutFacts:
    root, elements = message(document, frozenset({"LogoutRequest", "LogoutResponse"}))
    if any(one.tag.startswith((XENC, f"{SAML}Encrypted")) or one.tag == f"{SAML}Assertion" for one in elements):
        raise StructureRefused("it holds an assertion, or something that is encrypted")
    guard_version(root)
    signature = signatures_of((root,), elements).get(root)
    if signature is None and not expected.is_signed:
        raise SignatureRefused("it is not signed")
    confirm(root, (signature,), expected.certificates)
    _check_origin(root, expected)
    issued_at = _check_time(root, expected)
    identifier = root.get("ID", "")
    if root.tag == f"{SAMLP}LogoutResponse":
        return LogoutFacts(identifier, issued_at, is_success=_is_success(root, expected))
    return LogoutFacts(identifier, issued_at, _name_id(root), _indexes(root))


def _check_origin(root: etree._Element, expected: LogoutExpectations) -> None:
    issuers = root.findall(f"{SAML}Issuer")
    if len(issuers) != 1 or len(issuers[0]) or issuers[0].text != expected.idp_entity_id:
        raise IssuerRefused(f"the Issuer is not {expected.idp_entity_id}")
    if issuers[0].get("Format", _ENTITY) != _ENTITY:
        raise IssuerRefused("the Issuer has another format")
    if root.get("Destination") != expected.destination:
        raise DestinationRefused(f"the Destination is {'another' if root.get('Destination') else 'missing'}")


def _check_time(root: etree._Element, expected: LogoutExpectations) -> float:
    try:
        issued_at = seconds(root.get("IssueInstant", ""))
        end = root.get("NotOnOrAfter")
        ends_at = None if end is None else seconds(end)
    except ValueError as error:
        raise TimeRefused(f"a time that is missing or {error}") from None
    age = expected.now - issued_at
    if not -expected.skew <= age <= AGE_LIMIT_SECONDS + expected.skew:
        raise TimeRefused(f"issued {age:.0f} seconds ago, or the clocks differ")
    if ends_at is not None and ends_at + expected.skew <= expected.now:
        raise TimeRefused(f"it expired {expected.now - ends_at:.0f} seconds ago")
    if not root.get("ID"):
        raise StructureRefused("it has no ID")
    return issued_at


def _is_success(root: etree._Element, expected: LogoutExpectations) -> bool:
    said = root.get("InResponseTo", "")
    if not expected.request_id or not hmac.compare_digest(said.encode(), expected.request_id.encode()):
        raise InResponseToRefused("it answers no logout of ours")
    codes = root.findall(f"{SAMLP}Status/{SAMLP}StatusCode")
    if len(codes) != 1:
        raise StructureRefused("it has no single status")
    # A partial logout is a success with a second code below it (Core 3.7.3).
    return codes[0].get("Value") == _SUCCESS and len(codes[0]) == 0


def _name_id(root: etree._Element) -> str:
    names = root.findall(f"{SAML}NameID")
    text = names[0].text if len(names) == 1 and not len(names[0]) else None
    if not text or not text.strip():
        raise StructureRefused(f"{len(names)} NameIDs, or one that is empty")
    return text


def _indexes(root: etree._Element) -> tuple[str, ...]:
    indexes = root.findall(f"{SAMLP}SessionIndex")
    texts = tuple(one.text or "" for one in indexes)
    if len(texts) > INDEX_LIMIT or not all(texts) or any(len(one) for one in indexes):
        raise StructureRefused("too many sessions, or one without a name")
    return texts
