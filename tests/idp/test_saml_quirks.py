"""
Responses of the shape that each identity provider sends, and the identity that comes out.

A row is one provider as it is set up by its guide in docs/idp: its issuer, what
it signs and encrypts, how it calls things, and what it does otherwise than the
others. Times have the form it writes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from passproxy.core.identity import AttributeRules, Authentication, identity_from
from passproxy.core.settings import OidcSettings, SamlSettings
from passproxy.idp.saml.verify import verified
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Edit, Element

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")

GUIDES = Path(__file__).parents[2] / "docs" / "idp"
CLAIMS = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
CLAIMS_2008 = "http://schemas.microsoft.com/ws/2008/06/identity/claims/"
MICROSOFT = "http://schemas.microsoft.com/identity/claims/"
AUTHENTIK = "http://schemas.goauthentik.io/2021/02/saml/"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"

WITH_SHORT_NAMES = {
    "uid": ("alice",),
    "mail": ("alice@example.com",),
    "displayName": ("Alice Example",),
    "givenName": ("Alice",),
    "sn": ("Example",),
    "groups": ("staff", "ops"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How one provider answers. `user` is what becomes the user name."""

    name: str
    signed: str
    attributes: Mapping[str, tuple[str, ...]]
    user: str = "alice"
    name_id: str = "alice"
    name_id_format: str = PERSISTENT
    issuer: str = "https://sso.example.com/idp"
    groups: tuple[str, ...] = ("staff", "ops")
    edits: tuple[Edit, ...] = ()
    encrypt: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def milliseconds(root: Element) -> None:
    """Times with fractions, as .NET and Java write them."""
    for element in root.iter():
        for name in ("IssueInstant", "AuthnInstant", "NotBefore", "NotOnOrAfter"):
            if name in element.attrib:
                element.set(name, element.attrib[name].replace("Z", ".123Z"))


def further_audience(root: Element) -> None:
    restriction = idp.find(root, ".//saml:AudienceRestriction")
    restriction.insert(0, idp.xml("<saml:Audience>https://federation.example.com/</saml:Audience>"))


def each_role_alone(root: Element) -> None:
    """The scope role_list of Keycloak."""
    for role in ("viewer", "editor"):
        attribute = f'<saml:Attribute Name="Role"><saml:AttributeValue>{role}</saml:AttributeValue></saml:Attribute>'
        idp.find(root, ".//saml:AttributeStatement").append(idp.xml(attribute))


def typed_values(root: Element) -> None:
    """xsi:type on each value, its namespaces declared there."""
    for value in list(root.iter(f"{{{idp.SAML}}}AttributeValue")):
        typed = idp.xml(
            '<saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema"'
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string"/>'
        )
        typed.text = value.text
        parent = value.getparent()
        assert parent is not None
        parent.replace(value, typed)


def targeted_id(root: Element) -> None:
    """eduPersonTargetedID as it used to be: a NameID inside the value."""
    attribute = (
        '<saml:Attribute Name="urn:oid:1.3.6.1.4.1.5923.1.1.1.10"><saml:AttributeValue>'
        "<saml:NameID>x</saml:NameID></saml:AttributeValue></saml:Attribute>"
    )
    idp.find(root, ".//saml:AttributeStatement").append(idp.xml(attribute))


def name_formats(value: str | None) -> Edit:
    def edit(root: Element) -> None:
        for attribute in root.iter(f"{{{idp.SAML}}}Attribute"):
            attribute.attrib.pop("NameFormat", "")
            if value is not None:
                attribute.set("NameFormat", "urn:oasis:names:tc:SAML:2.0:attrname-format:" + value)

    return edit


CONSENT = idp.setting(".", "Consent", "urn:oasis:names:tc:SAML:2.0:consent:unspecified")
CONFIRMED_BY_ADDRESS = idp.setting(".//saml:SubjectConfirmationData", "Address", "192.0.2.1")
NO_NAME_ID_FORMAT = idp.setting(".//saml:NameID", "Format", None)

SHAPES = [
    Shape(
        "keycloak",
        "response",
        {**{name: value for name, value in WITH_SHORT_NAMES.items() if name != "groups"}, "memberOf": ("staff", "ops")},
        name_id="G-6e2b",
        edits=(name_formats("basic"), each_role_alone, typed_values, milliseconds),
    ),
    Shape("keycloak", "both", WITH_SHORT_NAMES, encrypt={}, edits=(name_formats("basic"), milliseconds)),
    Shape(
        "entra-id",
        "assertion",
        {
            MICROSOFT + "tenantid": ("0000-1",),
            MICROSOFT + "objectidentifier": ("0000-2",),
            MICROSOFT + "displayname": ("Alice Example",),
            CLAIMS_2008 + "groups": ("staff", "ops"),
            MICROSOFT + "identityprovider": ("https://sts.windows.net/0000-1/",),
            "http://schemas.microsoft.com/claims/authnmethodsreferences": (
                "http://schemas.microsoft.com/claims/multipleauthn",
            ),
            CLAIMS + "givenname": ("Alice",),
            CLAIMS + "surname": ("Example",),
            CLAIMS + "emailaddress": ("alice@example.com",),
            CLAIMS + "name": ("alice@corp.example.com",),
        },
        user="alice@corp.example.com",
        name_id="alice@corp.example.com",
        name_id_format=EMAIL,
        issuer="https://sts.windows.net/0000-1/",
        edits=(name_formats(None), milliseconds),
        facts={"lifetime": 3900},
    ),
    Shape(
        "adfs",
        "assertion",
        {
            CLAIMS + "upn": ("alice@corp.example.com",),
            CLAIMS + "emailaddress": ("alice@example.com",),
            CLAIMS_2008 + "windowsaccountname": ("CORP\\alice",),
            MICROSOFT + "displayname": ("Alice Example",),
            CLAIMS + "givenname": ("Alice",),
            CLAIMS + "surname": ("Example",),
            "http://schemas.xmlsoap.org/claims/Group": ("staff", "ops"),
        },
        user="CORP\\alice",
        issuer="http://sso.example.com/adfs/services/trust",
        edits=(CONSENT, name_formats(None), milliseconds, NO_NAME_ID_FORMAT),
    ),
    Shape(
        "okta",
        "both",
        WITH_SHORT_NAMES,
        name_id="alice@example.com",
        name_id_format=EMAIL,
        issuer="http://www.okta.com/exk1",
        edits=(name_formats("unspecified"), typed_values, milliseconds),
    ),
    Shape("duo", "both", WITH_SHORT_NAMES, edits=(name_formats("unspecified"),)),
    Shape(
        "pingone", "assertion", {"saml_subject": ("0000-2",), **WITH_SHORT_NAMES}, edits=(typed_values, milliseconds)
    ),
    Shape(
        "authentik",
        "assertion",
        {
            CLAIMS + "upn": ("alice@corp.example.com",),
            CLAIMS + "name": ("Alice Example",),
            CLAIMS + "emailaddress": ("alice@example.com",),
            AUTHENTIK + "username": ("alice",),
            AUTHENTIK + "uid": ("0000-2",),
            "http://schemas.xmlsoap.org/claims/Group": ("staff", "ops"),
        },
        user="alice@corp.example.com",
        edits=(name_formats("uri"), CONFIRMED_BY_ADDRESS),
    ),
    Shape(
        "shibboleth",
        "response",
        {
            "urn:oid:0.9.2342.19200300.100.1.1": ("alice",),
            "urn:oid:0.9.2342.19200300.100.1.3": ("alice@example.com",),
            "urn:oid:2.16.840.1.113730.3.1.241": ("Alice Example",),
            "urn:oid:2.5.4.42": ("Alice",),
            "urn:oid:2.5.4.4": ("Example",),
            "urn:oid:1.3.6.1.4.1.5923.1.5.1.1": ("staff", "ops"),
            "urn:oasis:names:tc:SAML:attribute:subject-id": ("alice@example.com",),
        },
        name_id="AAdzZWNyZXQx",
        name_id_format=idp.TRANSIENT,
        encrypt={},
        edits=(further_audience, targeted_id, CONFIRMED_BY_ADDRESS, milliseconds),
    ),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.name} {shape.signed}")
def test_the_answer_of_each_provider_becomes_the_same_identity(shape: Shape) -> None:
    said = idp.facts(
        issuer=shape.issuer,
        name_id=shape.name_id,
        name_id_format=shape.name_id_format,
        attributes=shape.attributes,
        **shape.facts,
    )
    encrypt = None if shape.encrypt is None else idp.encrypted_for(**shape.encrypt)
    document = idp.answer(said, signed=shape.signed, before=idp.all_of(*shape.edits), encrypt=encrypt)
    keys = () if encrypt is None else (idp.own_key(),)
    facts = verified(document, idp.expectations(idp_entity_id=shape.issuer, decryption_keys=keys))
    identity = identity_from(Authentication(facts.issuer, facts.name_id, facts.attributes, 0), AttributeRules())
    assert identity.attributes["user"] == shape.user
    assert identity.attributes["email"] == "alice@example.com"
    assert identity.attributes["name"] == "Alice Example"
    assert set(identity.groups) == set(shape.groups)
    assert facts.authenticated_at <= time.time()


def test_each_provider_of_the_table_has_a_guide_and_each_guide_a_row() -> None:
    assert {shape.name for shape in SHAPES} == {path.stem for path in GUIDES.glob("*.md")}


def blocks(path: Path) -> list[dict[str, Any]]:
    """The YAML that a guide tells to write, indented as in a list item or not."""
    parts = path.read_text("utf-8").split("```yaml\n")[1:]
    return [yaml.safe_load(part.partition("```")[0]) for part in parts]


@pytest.mark.parametrize("path", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_what_a_guide_tells_to_write_is_valid(path: Path) -> None:
    said = {name: section for block in blocks(path) for name, section in block.items()}
    assert SamlSettings.model_validate(said["saml"])
    oidc = {("client_secret" if name == "client_secret_file" else name): value for name, value in said["oidc"].items()}
    assert OidcSettings.model_validate(oidc)


@pytest.mark.parametrize("path", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_each_guide_names_our_addresses_exactly(path: Path) -> None:
    text = path.read_text("utf-8")
    for address in (idp.ACS_URL, idp.SP_ENTITY_ID, "https://app.example.com/.passproxy/oidc/callback"):
        assert f"`{address}`" in text
