"""
What a genuinely signed assertion says, and whether that is for us, here and now: attack catalogue 2.2.

Every document is signed by the right key, so only the content can refuse it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from passproxy.core.errors import IdentityUnsafe, LoginError
from passproxy.core.identity import ALIASES, AttributeRules, Authentication, identity_from
from passproxy.demo.assertions import instant
from passproxy.idp.saml.errors import (
    AttributesRefused,
    AudienceRefused,
    AuthenticationFailed,
    ConditionsRefused,
    ConfirmationRefused,
    DestinationRefused,
    InResponseToRefused,
    IssuerRefused,
    RecipientRefused,
    RequestDenied,
    RequestNotUnderstood,
    SamlRefused,
    StatusRefused,
    StructureRefused,
    TimeRefused,
)
from passproxy.idp.saml.messages import AssertionFacts
from passproxy.idp.saml.verify import verified
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Edit, Element, all_of, setting, text, without

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")

DATA = ".//saml:SubjectConfirmationData"
CONDITIONS = ".//saml:Conditions"
STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
OTHER = "https://other.example.com/"


def said(edit: Edit | None = None, *, signed: str = "assertion", **facts: Any) -> bytes:
    return idp.answer(idp.facts(**facts), before=edit, signed=signed)


def judged(document: bytes, **expected: Any) -> AssertionFacts:
    return verified(document, idp.expectations(**expected))


def status(*codes: str) -> Edit:
    def edit(root: Element) -> None:
        outer = idp.find(root, "samlp:Status/samlp:StatusCode")
        outer.set("Value", STATUS + codes[0])
        for code in codes[1:]:
            outer.append(idp.xml(f'<samlp:StatusCode Value="{STATUS}{code}"/>'))

    return edit


def added(path: str, fragment: str, position: int | None = None) -> Edit:
    def edit(root: Element) -> None:
        parent = idp.find(root, path)
        parent.insert(len(parent) if position is None else position, idp.xml(fragment))

    return edit


def shifted(path: str, attribute: str, seconds: float) -> Edit:
    return lambda root: setting(path, attribute, instant(time.time() + seconds))(root)


def both_issued(value: Callable[[], str]) -> Edit:
    return lambda root: all_of(
        setting(".", "IssueInstant", value()), setting(".//saml:Assertion", "IssueInstant", value())
    )(root)


def ago(seconds: float, form: str = "{}") -> Callable[[], str]:
    return lambda: form.format(instant(time.time() - seconds).removesuffix("Z"))


REFUSED: list[tuple[str, Callable[[], bytes], type[LoginError]]] = [
    ("SEM-01 for another service", lambda: said(audience=OTHER), AudienceRefused),
    ("SEM-01 audience is a prefix of ours", lambda: said(audience=idp.SP_ENTITY_ID[:-1]), AudienceRefused),
    ("SEM-01 ours in one restriction of two", lambda: said(added(CONDITIONS, f"<saml:AudienceRestriction><saml:Audience>{OTHER}</saml:Audience></saml:AudienceRestriction>")), AudienceRefused),
    ("SEM-02 no restriction", lambda: said(without(".//saml:AudienceRestriction")), AudienceRefused),
    ("SEM-02 no conditions", lambda: said(without(CONDITIONS)), StructureRefused),
    ("SEM-05 recipient contains ours", lambda: said(recipient=f"https://evil.example/?u={idp.ACS_URL}"), RecipientRefused),
    ("SEM-05 recipient in another case", lambda: said(recipient=idp.ACS_URL.upper()), RecipientRefused),
    ("SEM-05 no recipient", lambda: said(setting(DATA, "Recipient", None)), RecipientRefused),
    ("SEM-06 no destination", lambda: said(setting(".", "Destination", None), signed="both"), DestinationRefused),
    ("SEM-06 empty destination", lambda: said(destination="", signed="both"), DestinationRefused),
    ("SEM-06 empty destination, response unsigned", lambda: said(destination=""), DestinationRefused),
    ("SEM-06 ours is a prefix", lambda: said(destination=idp.ACS_URL + ".evil.example"), DestinationRefused),
    ("SEM-06 another path", lambda: said(destination="https://app.example.com/", signed="both"), DestinationRefused),
    ("SEM-07 no InResponseTo at all", lambda: said(in_response_to=None), InResponseToRefused),
    ("SEM-07 only the response has one", lambda: said(setting(DATA, "InResponseTo", None)), InResponseToRefused),
    ("SEM-08 response without, assertion for another", lambda: said(setting(".", "InResponseTo", None), in_response_to="_other"), InResponseToRefused),
    ("SEM-08 response for us, assertion for another", lambda: said(setting(DATA, "InResponseTo", "_other")), InResponseToRefused),
    ("SEM-08 assertion for us, response for another", lambda: said(setting(".", "InResponseTo", "_other")), InResponseToRefused),
    ("SEM-11 both issuers", lambda: said(issuer=OTHER), IssuerRefused),
    ("SEM-11 assertion issuer", lambda: said(text(".//saml:Assertion/saml:Issuer", OTHER)), IssuerRefused),
    ("SEM-11 response issuer", lambda: said(text("saml:Issuer", OTHER)), IssuerRefused),
    ("SEM-11 with a slash more", lambda: said(issuer=idp.IDP_ENTITY_ID + "/"), IssuerRefused),
    ("SEM-12 empty assertion issuer", lambda: said(text(".//saml:Assertion/saml:Issuer", "")), IssuerRefused),
    ("SEM-12 empty response issuer", lambda: said(text("saml:Issuer", "")), IssuerRefused),
    ("SEM-12 no response issuer", lambda: said(without("saml:Issuer")), IssuerRefused),
    ("SEM-12 issuer of another format", lambda: said(setting("saml:Issuer", "Format", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress")), IssuerRefused),
    ("SEM-13 responder", lambda: said(status("Responder")), StatusRefused),
    ("SEM-13 requester around success", lambda: said(status("Requester", "Success")), StatusRefused),
    ("SEM-13 success around requester", lambda: said(status("Success", "Requester")), StatusRefused),
    ("SEM-13 authentication failed", lambda: said(status("Responder", "AuthnFailed")), AuthenticationFailed),
    ("SEM-13 no passive", lambda: said(status("Responder", "NoPassive")), AuthenticationFailed),
    ("SEM-13 not understood", lambda: said(status("Requester", "RequestUnsupported")), RequestNotUnderstood),
    ("SEM-13 requester alone", lambda: said(status("Requester")), RequestNotUnderstood),
    ("SEM-13 denied", lambda: said(status("Responder", "RequestDenied")), RequestDenied),
    ("SEM-13 no status", lambda: said(without("samlp:Status")), StructureRefused),
    ("SEM-14 conditions expired", lambda: said(shifted(CONDITIONS, "NotOnOrAfter", -400)), TimeRefused),
    ("SEM-14 confirmation expired a second ago", lambda: said(shifted(DATA, "NotOnOrAfter", -1)), TimeRefused),
    ("SEM-15 confirmation without end", lambda: said(setting(DATA, "NotOnOrAfter", None)), TimeRefused),
    ("SEM-15 no end anywhere", lambda: said(all_of(setting(DATA, "NotOnOrAfter", None), setting(CONDITIONS, "NotOnOrAfter", None))), TimeRefused),
    ("SEM-15 ten years", lambda: said(shifted(DATA, "NotOnOrAfter", 10 * 365 * 86400)), TimeRefused),
    ("SEM-16 not yet valid", lambda: said(shifted(CONDITIONS, "NotBefore", 400)), TimeRefused),
    ("SEM-17 an hour old", lambda: said(both_issued(ago(3600, "{}Z"))), TimeRefused),
    ("SEM-17 an hour ahead", lambda: said(both_issued(ago(-3600, "{}Z"))), TimeRefused),
    ("SEM-17 with an offset", lambda: said(both_issued(ago(0, "{}+02:00"))), TimeRefused),
    ("SEM-17 without a zone", lambda: said(both_issued(ago(0))), TimeRefused),
    ("SEM-17 missing", lambda: said(setting(".//saml:Assertion", "IssueInstant", None)), TimeRefused),
    ("SEM-17 missing on the response", lambda: said(setting(".", "IssueInstant", None)), TimeRefused),
    ("SEM-18 sender-vouches", lambda: said(setting(".//saml:SubjectConfirmation", "Method", "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches")), ConfirmationRefused),
    ("SEM-18 holder-of-key", lambda: said(setting(".//saml:SubjectConfirmation", "Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key")), ConfirmationRefused),
    ("SEM-18 no method", lambda: said(setting(".//saml:SubjectConfirmation", "Method", None)), ConfirmationRefused),
    ("SEM-18 no confirmation", lambda: said(without(".//saml:SubjectConfirmation")), ConfirmationRefused),
    ("SEM-18 no data", lambda: said(without(DATA)), ConfirmationRefused),
    ("SEM-18 no subject", lambda: said(without(".//saml:Subject")), StructureRefused),
    ("SEM-19 bearer with NotBefore", lambda: said(shifted(DATA, "NotBefore", -5)), TimeRefused),
    ("SEM-20 session over", lambda: said(session_not_on_or_after=time.time() - 5), TimeRefused),
    ("SEM-22 unknown condition", lambda: said(added(CONDITIONS, '<saml:Condition xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="saml:OneTimeUseType"/>')), ConditionsRefused),
    ("SEM-22 condition of another namespace", lambda: said(added(CONDITIONS, '<x:Delegation xmlns:x="urn:x"/>')), ConditionsRefused),
    ("SEM-26 element in the name", lambda: said(added(".//saml:NameID", "<saml:b/>")), StructureRefused),
    ("SEM-26 element in a value", lambda: said(added(".//saml:AttributeValue", "<saml:b/>")), AttributesRefused),
    ("SEM-26 element in the audience", lambda: said(added(".//saml:Audience", "<saml:b/>")), StructureRefused),
    ("SEM-27 attribute twice", lambda: said(added(".//saml:AttributeStatement", '<saml:Attribute Name="mail"><saml:AttributeValue>admin@example.com</saml:AttributeValue></saml:Attribute>')), AttributesRefused),
    ("SEM-27 with another NameFormat", lambda: said(added(".//saml:AttributeStatement", '<saml:Attribute Name="mail" NameFormat="urn:x"><saml:AttributeValue>x</saml:AttributeValue></saml:Attribute>')), AttributesRefused),
    ("SEM-27 in a second statement", lambda: said(added(".//saml:Assertion", '<saml:AttributeStatement><saml:Attribute Name="mail"><saml:AttributeValue>x</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>')), AttributesRefused),
    ("SEM-32 another instance", lambda: said(audience="https://b.example.com/.passproxy/saml/metadata", recipient="https://b.example.com/.passproxy/saml/acs", destination="https://b.example.com/.passproxy/saml/acs"), DestinationRefused),
    ("CLK-03 year 0000", lambda: said(setting(DATA, "NotOnOrAfter", "0000-01-01T00:00:00Z")), TimeRefused),
    ("CLK-03 year 9999", lambda: said(setting(DATA, "NotOnOrAfter", "9999-12-31T23:59:59Z")), TimeRefused),
    ("CLK-03 year 10000", lambda: said(setting(DATA, "NotOnOrAfter", "10000-01-01T00:00:00Z")), TimeRefused),
    ("CLK-03 leap second", lambda: said(setting(DATA, "NotOnOrAfter", "2027-06-30T23:59:60Z")), TimeRefused),
    ("CLK-03 hour 24", lambda: said(setting(DATA, "NotOnOrAfter", "2027-06-30T24:00:00Z")), TimeRefused),
    ("CLK-03 lower-case z", lambda: said(both_issued(ago(0, "{}z"))), TimeRefused),
    ("CLK-03 other digits", lambda: said(setting(DATA, "NotOnOrAfter", "\uff12027-06-30T00:00:00Z")), TimeRefused),
    ("no statement of authentication", lambda: said(without(".//saml:AuthnStatement")), StructureRefused),
    ("two statements of authentication", lambda: said(added(".//saml:Assertion", '<saml:AuthnStatement AuthnInstant="2026-01-01T00:00:00Z"><saml:AuthnContext><saml:AuthnContextClassRef>x</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>')), StructureRefused),
    ("not valid by the schema", lambda: said(added(".//saml:Assertion", "<saml:Unknown/>")), StructureRefused),
    ("another version", lambda: said(setting(".//saml:Assertion", "Version", "1.1")), StructureRefused),
    ("another version of the response", lambda: said(setting(".", "Version", "3.0")), StructureRefused),
]  # fmt: skip


@pytest.mark.parametrize(("build", "refusal"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_assertion_that_is_not_for_us_here_and_now_is_refused(
    build: Callable[[], bytes], refusal: type[LoginError]
) -> None:
    with pytest.raises(refusal):
        judged(build())


ACCEPTED: list[tuple[str, Callable[[], bytes], dict[str, Any]]] = [
    ("SEM-01 several audiences in one restriction", lambda: said(added(".//saml:AudienceRestriction", f"<saml:Audience>{OTHER}</saml:Audience>", 0)), {}),
    ("SEM-06 no destination, response unsigned", lambda: said(setting(".", "Destination", None)), {}),
    ("SEM-08 only the signed InResponseTo", lambda: said(setting(".", "InResponseTo", None)), {}),
    ("SEM-16 not yet valid, within the skew", lambda: said(shifted(CONDITIONS, "NotBefore", 250)), {"skew": 300.0}),
    ("SEM-17 milliseconds", lambda: said(both_issued(ago(0, "{}.123Z"))), {}),
    ("SEM-18 a second confirmation that is not bearer", lambda: said(added(".//saml:Subject", '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"/>')), {}),
    ("SEM-22 OneTimeUse", lambda: said(added(CONDITIONS, "<saml:OneTimeUse/>")), {}),
    ("SEM-22 ProxyRestriction", lambda: said(added(CONDITIONS, '<saml:ProxyRestriction Count="0"/>')), {}),
    ("SEM-23 address", lambda: said(setting(DATA, "Address", "10.0.0.1")), {}),
    ("SEM-27 FriendlyName is nobody's name", lambda: said(setting(".//saml:Attribute", "FriendlyName", "groups")), {}),
    ("no attributes", lambda: said(attributes={}), {}),
    ("CLK-01 their clock is four minutes ahead", lambda: said(issued_at=time.time() + 240), {"skew": 300.0}),
    ("CLK-01 their clock is four minutes behind", lambda: said(issued_at=time.time() - 240), {"skew": 300.0}),
]  # fmt: skip


@pytest.mark.parametrize(("build", "expected"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_what_the_standard_allows_is_accepted(build: Callable[[], bytes], expected: dict[str, Any]) -> None:
    assert judged(build(), **expected).name_id == idp.USER


@pytest.mark.parametrize("minutes", [-10, 10])
def test_clk_01_ten_minutes_are_beyond_every_skew(minutes: int) -> None:
    with pytest.raises(TimeRefused, match=r"ago|from now|expired"):
        judged(said(issued_at=time.time() + minutes * 60), skew=300.0)


def test_sem_20_the_end_of_the_session_there_is_reported() -> None:
    end = int(time.time()) + 300
    assert judged(said(session_not_on_or_after=end)).session_not_on_or_after == end


def test_sem_21_an_assertion_is_usable_no_longer_than_it_is_remembered() -> None:
    """What the replay cache forgets, the age check refuses: no gap between the two."""
    document = said(lifetime=3600)
    facts = judged(document)
    with pytest.raises(TimeRefused):
        judged(document, now=facts.usable_until + 1)
    assert facts.usable_until > time.time()


def test_sem_26_a_cdata_section_is_joined_with_what_follows() -> None:
    document = idp.replaced(said(), f">{idp.USER}</saml:NameID>", f"><![CDATA[{idp.USER}]]></saml:NameID>")
    assert judged(document).name_id == idp.USER


def test_sem_26_a_name_id_inside_a_value_is_left_out() -> None:
    """The old form of eduPersonTargetedID."""
    nested = added(
        ".//saml:AttributeStatement",
        '<saml:Attribute Name="eptid"><saml:AttributeValue><saml:NameID>x</saml:NameID></saml:AttributeValue></saml:Attribute>',
    )
    assert judged(said(nested)).attributes["eptid"] == ()


def test_sem_27_only_the_roles_of_keycloak_may_be_repeated() -> None:
    role = '<saml:Attribute Name="Role"><saml:AttributeValue>{}</saml:AttributeValue></saml:Attribute>'
    statement = ".//saml:AttributeStatement"
    document = said(all_of(added(statement, role.format("viewer")), added(statement, role.format("editor"))))
    assert judged(document).attributes["Role"] == ("viewer", "editor")
    assert not any("Role" in names for ours, names in ALIASES.items() if ours != "groups")


@pytest.mark.parametrize("value", ["a@x\r\nX-Evil: 1", "a\u0085b", "a\u2028b", "a\u202eb", "a\tb"])
def test_sem_30_a_value_that_could_break_a_header_ends_as_a_refusal(value: str) -> None:
    """The SAML layer carries it faithfully; the identity is where it is refused."""
    facts = judged(said(attributes={"mail": (value,)}))
    with pytest.raises(IdentityUnsafe):
        identity_from(Authentication(facts.issuer, facts.name_id, facts.attributes, 0), AttributeRules())


def test_sem_31_names_that_look_alike_stay_different() -> None:
    names = [
        idp.VICTIM,
        "\u0430dmin@example.com",
        "ADMIN@example.com",
        "\uff41dmin@example.com",
        "admin\u200b@example.com",
    ]
    assert [judged(said(name_id=name)).name_id for name in names] == names


@pytest.mark.parametrize("document", [b"", b"<", b"<a>", b"<Response/>", b"\x00", b"AAAA", "<é/>".encode("latin-1")])
def test_sem_36_what_is_not_a_response_is_a_bad_message(document: bytes) -> None:
    with pytest.raises(SamlRefused) as refusal:
        judged(document)
    assert refusal.value.status == 400


def test_sem_38_a_thousand_groups_are_read() -> None:
    groups = tuple(f"group-{number:04}" for number in range(1000))
    assert judged(said(attributes={"groups": groups})).attributes["groups"] == groups


def test_no_refusal_says_what_the_document_says_unescaped() -> None:
    with pytest.raises(IssuerRefused) as refusal:
        judged(said(issuer="https://x/\n\u202e"))
    assert "\n" not in refusal.value.detail
    assert "\u202e" not in refusal.value.detail
