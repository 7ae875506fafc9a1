"""
From the bytes of a response to the facts of its assertion, or a refusal.

Four judges, each on its own: precheck.py (structure), signatures.py (xmlsec with
a list of what it may do), the checks below (what SAML Profiles 4.1.4 demands
of a bearer assertion, each of them mandatory and exact), and python3-saml in
strict mode (a second opinion, and the schema). The facts are read from the node
whose signature was verified, in the one tree that was parsed here. Where
encryption is demanded, the decrypted document goes through all of this as well.

A pure function but for one thing: python3-saml reads the system's clock. It
knows nothing of replay, which provider.py prevents.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace

from lxml import etree

from passproxy.idp.saml.dated import date_of
from passproxy.idp.saml.errors import (
    AttributesRefused,
    AudienceRefused,
    AuthenticationStale,
    AuthnContextRefused,
    ConditionsRefused,
    ConfirmationRefused,
    DestinationRefused,
    InResponseToRefused,
    IssuerRefused,
    RecipientRefused,
    SamlRefused,
    SignatureRefused,
    StructureRefused,
    TimeRefused,
)
from passproxy.idp.saml.instant import seconds
from passproxy.idp.saml.messages import AssertionFacts, Expectations
from passproxy.idp.saml.opened import opened
from passproxy.idp.saml.precheck import SAML, sound
from passproxy.idp.saml.sealed import sealed
from passproxy.idp.saml.second_opinion import ask_python3_saml, ask_schema
from passproxy.idp.saml.signatures import confirm

#: From IssueInstant to arrival: the browser posts at once. Five minutes are what a slow
#: phone and a page "stay signed in?" need; it also bounds what a stolen response is good for.
AGE_LIMIT_SECONDS = 300

#: Furthest end of a bearer assertion. AD FS and Entra grant 60 to 65 minutes, others less.
VALIDITY_LIMIT_SECONDS = 2 * 3600

_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"

#: Conditions that are understood (SAML Core 2.5.1): the last two only limit what we do not do,
#: since every assertion is used once and none is passed on as a new one.
_CONDITIONS = frozenset(f"{SAML}{name}" for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction"))

#: Attributes whose repetition adds values instead of making it unclear which one counts.
#: Keycloak sends one Role for each role unless told otherwise. It is no name of ours for a single value.
_REPEATABLE = frozenset({"Role"})


@dataclass(frozen=True, slots=True)
class Judged:
    """A response and its assertion, one of which at least is signed by the identity provider."""

    response: etree._Element
    assertion: etree._Element
    is_response_signed: bool
    #: Decrypted, where it was encrypted; then without the signature of the response.
    document: bytes
    has_signature_inside: bool


def verified(document: bytes, expected: Expectations) -> AssertionFacts:
    """
    The facts of the one assertion of a response that is right in every respect.

    Raises:
        LoginError: a subclass names what is wrong.
    """
    parts = _judged(document, expected)
    expected = _of_this_request(parts.assertion, expected)
    _check_response(parts, expected)
    _check_assertion(parts.assertion, expected)
    usable_until = _check_confirmation(parts.assertion, expected)
    _check_authentication(_only(parts.assertion, "AuthnStatement"), expected)
    facts = _facts(parts.assertion, expected, usable_until)
    if parts.has_signature_inside:
        ask_python3_saml(parts.document, expected)
    else:
        ask_schema(parts.document)
    return facts


def _judged(document: bytes, expected: Expectations) -> Judged:
    """Structure and signatures, before and after decryption where it is demanded."""
    if not expected.decryption_keys:
        parts = sound(document)
        confirm(parts.response, (parts.response_signature, parts.assertion_signature), expected.certificates)
        return Judged(parts.response, parts.assertion, parts.response_signature is not None, document, True)
    outer = sealed(document)
    is_signed = outer.response_signature is not None
    # Before anything is decrypted: a signature around it is over the ciphertext (SAML-27).
    confirm(outer.response, (outer.response_signature,), expected.certificates)
    plain = opened(outer, expected.decryption_keys)
    try:
        parts = sound(plain, is_vouched_for=is_signed)
        confirm(parts.response, (parts.assertion_signature,), expected.certificates)
    except SamlRefused as error:
        # Until its signature is known to hold, nothing that was decrypted gets an answer of its own (SAML-28).
        raise SignatureRefused(f"the encrypted assertion does not hold: {error.detail}") from None
    return Judged(parts.response, parts.assertion, is_signed, plain, parts.assertion_signature is not None)


def _check_response(parts: Judged, expected: Expectations) -> None:
    response, is_signed = parts.response, parts.is_response_signed
    _check_issuer(response, expected)
    destination = response.get("Destination")
    # SAML Bindings 3.5.5.2: a signed message must name where it goes. Unsigned, the
    # attribute proves nothing, and the signed Recipient says the same.
    if destination != expected.acs_url and (is_signed or destination is not None):
        raise DestinationRefused(f"Destination is {_shown(destination)}, expected {expected.acs_url}")
    in_response_to = response.get("InResponseTo")
    if in_response_to is not None and (expected.is_unsolicited or not _is_equal(in_response_to, expected.request_id)):
        raise InResponseToRefused("the response names another request")
    _check_age(response, expected)


def _check_assertion(assertion: etree._Element, expected: Expectations) -> None:
    _check_issuer(assertion, expected)
    _check_age(assertion, expected)
    conditions = _only(assertion, "Conditions")
    not_before, not_on_or_after = conditions.get("NotBefore"), conditions.get("NotOnOrAfter")
    if not_before is not None and _seconds(not_before) > expected.now + expected.skew:
        raise TimeRefused(f"not valid before {_shown(not_before)}")
    if not_on_or_after is not None and _seconds(not_on_or_after) + expected.skew <= expected.now:
        raise TimeRefused(f"expired at {_shown(not_on_or_after)}")
    if any(condition.tag not in _CONDITIONS for condition in conditions):
        raise ConditionsRefused("an unknown condition")
    _check_audience(conditions, expected)


def _check_issuer(element: etree._Element, expected: Expectations) -> None:
    issuers = element.findall(f"{SAML}Issuer")
    said = _text(issuers[0]) if len(issuers) == 1 else ""
    if said != expected.idp_entity_id or issuers[0].get("Format", _ENTITY) != _ENTITY:
        raise IssuerRefused(f"the Issuer is {_shown(said)}, expected {expected.idp_entity_id}")


def _check_age(element: etree._Element, expected: Expectations) -> None:
    issued = _seconds(element.get("IssueInstant"))
    if issued > expected.now + expected.skew:
        raise TimeRefused(f"issued {issued - expected.now:.0f} seconds from now: the clocks differ")
    if issued < expected.now - AGE_LIMIT_SECONDS - expected.skew:
        raise TimeRefused(f"issued {expected.now - issued:.0f} seconds ago, or the clocks differ")
    if issued < expected.not_issued_before:
        raise TimeRefused("issued before PassProxy started, so that it may have been used before")


def _check_audience(conditions: etree._Element, expected: Expectations) -> None:
    restrictions = conditions.findall(f"{SAML}AudienceRestriction")
    if not restrictions:
        raise AudienceRefused("no AudienceRestriction")
    for restriction in restrictions:
        # SAML Core 2.5.1.4: one audience of each restriction must be ours.
        audiences = [_text(audience) for audience in restriction.findall(f"{SAML}Audience")]
        if expected.sp_entity_id not in audiences:
            shown = ", ".join(_shown(audience) for audience in audiences[:3])
            raise AudienceRefused(f"the audience is {shown or 'empty'}, expected {expected.sp_entity_id}")


def _check_confirmation(assertion: etree._Element, expected: Expectations) -> float:
    """SAML Profiles 4.1.4.2 and 4.1.4.3; returns when the assertion stops being usable."""
    subject = _only(assertion, "Subject")
    bearers = [c for c in subject.findall(f"{SAML}SubjectConfirmation") if c.get("Method") == _BEARER]
    if len(bearers) != 1 or len(bearers[0].findall(f"{SAML}SubjectConfirmationData")) != 1:
        raise ConfirmationRefused(f"{len(bearers)} bearer confirmations with data")
    data = _only(bearers[0], "SubjectConfirmationData")
    if data.get("Recipient") != expected.acs_url:
        raise RecipientRefused(f"the Recipient is {_shown(data.get('Recipient'))}, expected {expected.acs_url}")
    # The signed one. The attribute of the response can be removed by whoever carries it.
    if expected.is_unsolicited:
        if data.get("InResponseTo") is not None:
            raise InResponseToRefused("the assertion names a request, and nobody here made one")
    elif not _is_equal(data.get("InResponseTo", ""), expected.request_id):
        raise InResponseToRefused("the assertion does not name the request of this login")
    if data.get("NotBefore") is not None:
        raise TimeRefused("a bearer confirmation must not have a NotBefore")
    end = _seconds(data.get("NotOnOrAfter"))
    # No skew here: python3-saml has none either, and five minutes are usual.
    if end <= expected.now:
        raise TimeRefused(f"the confirmation expired {expected.now - end:.0f} seconds ago")
    if end > expected.now + VALIDITY_LIMIT_SECONDS + expected.skew:
        raise TimeRefused(f"the confirmation is valid for more than {VALIDITY_LIMIT_SECONDS} seconds")
    # A second more than the checks grant, so that the replay cache never forgets too early.
    return min(end, _seconds(assertion.get("IssueInstant")) + AGE_LIMIT_SECONDS + expected.skew) + 1


def _of_this_request(assertion: etree._Element, expected: Expectations) -> Expectations:
    """With the ID of a dated request, which only its login could have made, taken from the signed answer."""
    if not expected.dating_key:
        return expected
    said = [data.get("InResponseTo", "") for data in assertion.iter(f"{SAML}SubjectConfirmationData")]
    identifier = next((one for one in said if date_of(expected.dating_key, one) is not None), None)
    if identifier is None:
        raise InResponseToRefused("the assertion does not name the request of this login")
    return replace(expected, request_id=identifier)


def _check_authentication(statement: etree._Element, expected: Expectations) -> None:
    if expected.authn_contexts:
        found = statement.findall(f"{SAML}AuthnContext/{SAML}AuthnContextClassRef")
        said = _text(found[0]) if len(found) == 1 else None
        if said not in expected.authn_contexts:
            raise AuthnContextRefused(f"AuthnContextClassRef is {_shown(said)}")
    if expected.dating_key:
        started = date_of(expected.dating_key, expected.request_id)
        at = _seconds(statement.get("AuthnInstant"))
        if started is None or at < started - expected.skew:
            raise AuthenticationStale(f"authenticated {expected.now - at:.0f} seconds ago, before this login began")


def _facts(assertion: etree._Element, expected: Expectations, usable_until: float) -> AssertionFacts:
    statement = _only(assertion, "AuthnStatement")
    session_end = statement.get("SessionNotOnOrAfter")
    if session_end is not None and _seconds(session_end) <= expected.now:
        raise TimeRefused("the session at the identity provider is over")
    name_ids = assertion.findall(f"{SAML}Subject/{SAML}NameID")
    return AssertionFacts(
        issuer=expected.idp_entity_id,
        assertion_id=assertion.get("ID", ""),
        name_id=_text(name_ids[0]) if len(name_ids) == 1 else "",
        name_id_format=name_ids[0].get("Format", "") if len(name_ids) == 1 else "",
        attributes=_attributes(assertion),
        authenticated_at=min(_seconds(statement.get("AuthnInstant")), expected.now),
        session_not_on_or_after=None if session_end is None else _seconds(session_end),
        session_index=statement.get("SessionIndex", ""),
        name_qualifier=name_ids[0].get("NameQualifier", "") if len(name_ids) == 1 else "",
        sp_name_qualifier=name_ids[0].get("SPNameQualifier", "") if len(name_ids) == 1 else "",
        usable_until=usable_until,
    )


def _attributes(assertion: etree._Element) -> dict[str, tuple[str, ...]]:
    """By Name alone: FriendlyName is for people, and NameFormat does not make another attribute of it."""
    found: dict[str, tuple[str, ...]] = {}
    for attribute in assertion.iterfind(f"{SAML}AttributeStatement/{SAML}Attribute"):
        name = attribute.get("Name", "")
        if name in found and name not in _REPEATABLE:
            raise AttributesRefused(f"attribute {_shown(name)} is there twice")
        values = (_value(value, name) for value in attribute.iterfind(f"{SAML}AttributeValue"))
        found[name] = (*found.get(name, ()), *(value for value in values if value))
    return found


def _value(element: etree._Element, name: str) -> str:
    # eduPersonTargetedID used to come as a NameID inside the value. It is left out, not cut in two.
    if [child.tag for child in element] == [f"{SAML}NameID"] and not (element.text or "").strip():
        return ""
    if len(element):
        raise AttributesRefused(f"attribute {_shown(name)} has markup in its value")
    return element.text or ""


def _only(parent: etree._Element, name: str) -> etree._Element:
    found = parent.findall(f"{SAML}{name}")
    if len(found) != 1:
        raise StructureRefused(f"{len(found)} elements {name} where one belongs")
    return found[0]


def _text(element: etree._Element) -> str:
    if len(element):
        raise StructureRefused(f"markup inside {etree.QName(element).localname}")
    text = element.text or ""
    return text if text.strip() else ""


def _seconds(instant: str | None) -> float:
    try:
        return seconds(instant or "")
    except ValueError as error:
        raise TimeRefused(f"a time that is missing or {error}") from None


def _is_equal(said: str, expected: str) -> bool:
    return hmac.compare_digest(said.encode(), expected.encode())


def _shown(value: str | None) -> str:
    """A value of the document for the log: short, and without anything a terminal could obey."""
    return "missing" if value is None else repr(value[:200])
