"""
What the demo identity provider says in SAML: responses, their signatures, its metadata.

`response` builds a tree, `sign` signs one element of it in place, `serialized`
makes the bytes; between the three a test may change whatever it likes, which is
how the hostile identity provider of the tests is made. Nothing here judges a
response: that is passproxy/idp/saml, which shares no code with this module, so
that a mistake in one is not repeated in the other.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from lxml.builder import ElementMaker  # type: ignore[import-not-found]  # lxml-stubs leave it out

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"

STATUS_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"  # noqa: S105 - a URN
REDIRECT_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
NAME_FORMAT_URI = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"

# The stubs of lxml make every product of an ElementMaker `Any`.
_saml: Any = ElementMaker(namespace=SAML, nsmap={"saml": SAML})
_samlp: Any = ElementMaker(namespace=SAMLP, nsmap={"samlp": SAMLP, "saml": SAML})
_metadata: Any = ElementMaker(namespace=METADATA, nsmap={"md": METADATA})
_ds: Any = ElementMaker(namespace=DS, nsmap={"ds": DS})

#: A signature or digest algorithm, one of `xmlsec.constants.Transform...`.
Algorithm: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and a certificate that carries its public half, both PEM."""

    key_pem: bytes
    certificate_pem: bytes


@dataclass(frozen=True, slots=True)
class ResponseFacts:
    """What one response says. Times are seconds since the epoch; `lifetime` is in seconds."""

    issuer: str
    audience: str
    recipient: str
    destination: str
    in_response_to: str | None
    name_id: str | None
    issued_at: float
    name_id_format: str = UNSPECIFIED
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    session_index: str = "_session"
    session_not_on_or_after: float | None = None
    authenticated_at: float | None = None
    lifetime: float = 300
    response_id: str = field(default_factory=lambda: fresh_id("r"))
    assertion_id: str = field(default_factory=lambda: fresh_id("a"))


def fresh_id(kind: str) -> str:
    """An xs:ID that was never used before."""
    return f"_{kind}{secrets.token_hex(16)}"


def key_pair(common_name: str, now: float, *, bits: int = 2048, days: int = 3650) -> KeyPair:
    """A fresh RSA key with a self-signed certificate, valid from a day before `now`."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = datetime.fromtimestamp(now, UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .sign(private, hashes.SHA256())
    )
    key_pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(key_pem, certificate.public_bytes(serialization.Encoding.PEM))


def instant(seconds: float) -> str:
    """An xs:dateTime in UTC, whole seconds, as SAML Core 1.3.3 asks."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def response(facts: ResponseFacts) -> etree._Element:
    """An unsigned Response around one Assertion."""
    root: etree._Element = _samlp.Response(
        _saml.Issuer(facts.issuer),
        _samlp.Status(_samlp.StatusCode(Value=STATUS_SUCCESS)),
        assertion(facts),
        ID=facts.response_id,
        Version="2.0",
        IssueInstant=instant(facts.issued_at),
        Destination=facts.destination,
    )
    if facts.in_response_to is not None:
        root.set("InResponseTo", facts.in_response_to)
    return root


def assertion(facts: ResponseFacts) -> etree._Element:
    """An unsigned Assertion, with an attribute statement when there are attributes."""
    element: etree._Element = _saml.Assertion(
        _saml.Issuer(facts.issuer),
        _subject(facts),
        _saml.Conditions(
            _saml.AudienceRestriction(_saml.Audience(facts.audience)),
            NotBefore=instant(facts.issued_at),
            NotOnOrAfter=instant(facts.issued_at + facts.lifetime),
        ),
        _authn_statement(facts),
        ID=facts.assertion_id,
        Version="2.0",
        IssueInstant=instant(facts.issued_at),
    )
    if facts.attributes:
        element.append(_saml.AttributeStatement(*(_attribute(*item) for item in facts.attributes.items())))
    return element


def _subject(facts: ResponseFacts) -> etree._Element:
    data = _saml.SubjectConfirmationData(
        Recipient=facts.recipient, NotOnOrAfter=instant(facts.issued_at + facts.lifetime)
    )
    if facts.in_response_to is not None:
        data.set("InResponseTo", facts.in_response_to)
    subject: etree._Element = _saml.Subject(_saml.SubjectConfirmation(data, Method=BEARER))
    if facts.name_id is not None:
        subject.insert(0, _saml.NameID(facts.name_id, Format=facts.name_id_format))
    return subject


def _authn_statement(facts: ResponseFacts) -> etree._Element:
    at = facts.issued_at if facts.authenticated_at is None else facts.authenticated_at
    statement: etree._Element = _saml.AuthnStatement(
        _saml.AuthnContext(_saml.AuthnContextClassRef(PASSWORD)),
        AuthnInstant=instant(at),
        SessionIndex=facts.session_index,
    )
    if facts.session_not_on_or_after is not None:
        statement.set("SessionNotOnOrAfter", instant(facts.session_not_on_or_after))
    return statement


def _attribute(name: str, values: Sequence[str]) -> etree._Element:
    element: etree._Element = _saml.Attribute(
        *(_saml.AttributeValue(value) for value in values), Name=name, NameFormat=NAME_FORMAT_URI
    )
    return element


def sign(
    element: etree._Element,
    key_pem: bytes,
    certificate_pem: bytes,
    *,
    algorithm: Algorithm = xmlsec.constants.TransformRsaSha256,
    digest: Algorithm = xmlsec.constants.TransformSha256,
) -> etree._Element:
    """
    Put an enveloped signature right after the element's Issuer; returns that `ds:Signature`.

    An Assertion is signed before the Response around it, whose digest covers the
    inner signature. lxml does not find all that xmlsec made by its name: parse the
    serialized document again before searching in a signature.
    """
    signature = xmlsec.template.create(element, xmlsec.constants.TransformExclC14N, algorithm, ns="ds")
    issuer = element.find(f"{{{SAML}}}Issuer")
    element.insert(0 if issuer is None else element.index(issuer) + 1, signature)
    reference = xmlsec.template.add_reference(signature, digest, uri=f"#{element.get('ID')}")
    xmlsec.template.add_transform(reference, xmlsec.constants.TransformEnveloped)
    xmlsec.template.add_transform(reference, xmlsec.constants.TransformExclC14N)
    xmlsec.tree.add_ids(element, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(key_pem, xmlsec.constants.KeyDataFormatPem)
    context.sign(signature)
    signature.append(_key_info(certificate_pem))
    return signature


def _key_info(certificate_pem: bytes) -> etree._Element:
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    element: etree._Element = _ds.KeyInfo(_ds.X509Data(_ds.X509Certificate(der)))
    return element


def encrypt(
    root: etree._Element,
    certificate_pem: bytes,
    *,
    plaintext: bytes | None = None,
    algorithm: Algorithm = xmlsec.constants.TransformAes256Gcm,
    transport: Algorithm = xmlsec.constants.TransformRsaOaep,
) -> etree._Element:
    """
    Put an EncryptedAssertion in the place of the Assertion of a response; returns it.

    `plaintext` is encrypted instead, where a test wants something else inside.
    An inner signature comes before this, one around the response after it.
    """
    inner = root.find(f"{{{SAML}}}Assertion")
    assert inner is not None  # noqa: S101 - every response here has one
    holder: etree._Element = _saml.EncryptedAssertion()
    data = xmlsec.template.encrypted_data_create(holder, algorithm, type=xmlsec.constants.TypeEncElement, ns="xenc")
    xmlsec.template.encrypted_data_ensure_cipher_value(data)
    key_info = xmlsec.template.encrypted_data_ensure_key_info(data, ns="ds")
    xmlsec.template.encrypted_data_ensure_cipher_value(xmlsec.template.add_encrypted_key(key_info, transport))
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(certificate_pem, xmlsec.constants.KeyDataFormatCertPem))
    context = xmlsec.EncryptionContext(manager)
    bits = 128 if "128" in algorithm.name else 256
    context.key = xmlsec.Key.generate(xmlsec.constants.KeyDataAes, bits, xmlsec.constants.KeyDataTypeSession)
    data = context.encrypt_binary(data, etree.tostring(inner, with_tail=False) if plaintext is None else plaintext)
    holder.append(data)
    root.replace(inner, holder)
    return holder


def serialized(element: etree._Element) -> bytes:
    """The document as UTF-8 bytes, unformatted: white space would break the signatures."""
    return etree.tostring(element, encoding="UTF-8", xml_declaration=True)


def signed_response(facts: ResponseFacts, keys: KeyPair, *, response_too: bool = False) -> bytes:
    """A complete answer: the Assertion signed, and on demand the Response around it as well."""
    root = response(facts)
    inner = root.find(f"{{{SAML}}}Assertion")
    assert inner is not None  # noqa: S101 - built three lines above
    sign(inner, keys.key_pem, keys.certificate_pem)
    if response_too:
        sign(root, keys.key_pem, keys.certificate_pem)
    return serialized(root)


def metadata(
    entity_id: str, sso_url: str, signing_certificates_pem: Sequence[bytes], *, valid_until: float | None = None
) -> etree._Element:
    """The description of an identity provider: who it is, which keys it signs with, where to send browsers."""
    role = _metadata.IDPSSODescriptor(
        *(_metadata.KeyDescriptor(_key_info(pem), use="signing") for pem in signing_certificates_pem),
        _metadata.NameIDFormat(UNSPECIFIED),
        _metadata.SingleSignOnService(Binding=REDIRECT_BINDING, Location=sso_url),
        protocolSupportEnumeration=SAMLP,
        WantAuthnRequestsSigned="false",
    )
    entity: etree._Element = _metadata.EntityDescriptor(role, entityID=entity_id)
    if valid_until is not None:
        entity.set("validUntil", instant(valid_until))
    return entity
