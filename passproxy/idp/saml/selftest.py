"""
Does this installation still refuse what it must?

Signs one response with a key of its own and lets verify.py judge it and some
forgeries of it. Run by the worker before its first document, so that a
dependency that was replaced, or two that do not fit each other, is found by
the administrator and not by an attacker.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree

from passproxy.core.errors import LoginError
from passproxy.idp.saml.messages import Expectations
from passproxy.idp.saml.verify import verified

_DOCUMENT = """\
<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" \
ID="_response" Version="2.0" IssueInstant="{now}" Destination="{acs}" InResponseTo="_request">\
<saml:Issuer>{idp}</saml:Issuer>\
<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>\
<saml:Assertion ID="_assertion" Version="2.0" IssueInstant="{now}"><saml:Issuer>{idp}</saml:Issuer>\
<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>\
<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>\
<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>\
<ds:Reference URI="#_assertion"><ds:Transforms>\
<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>\
<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>\
<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/></ds:Reference>\
</ds:SignedInfo><ds:SignatureValue/></ds:Signature>\
<saml:Subject><saml:NameID>nobody</saml:NameID>\
<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">\
<saml:SubjectConfirmationData Recipient="{acs}" InResponseTo="_request" NotOnOrAfter="{end}"/>\
</saml:SubjectConfirmation></saml:Subject>\
<saml:Conditions><saml:AudienceRestriction><saml:Audience>{sp}</saml:Audience></saml:AudienceRestriction></saml:Conditions>\
<saml:AuthnStatement AuthnInstant="{now}"><saml:AuthnContext><saml:AuthnContextClassRef>\
urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>\
</saml:Assertion></samlp:Response>"""

_IDP, _SP, _ACS = "https://idp.invalid/", "https://sp.invalid/", "https://sp.invalid/acs"
_SIGNATURE_END = b"</ds:Signature>"


def failures(now: float) -> list[str]:
    """What is wrong with this installation, each as a sentence; empty when nothing is."""
    try:
        private = ec.generate_private_key(ec.SECP256R1())
        genuine = _signed(private, now)
        expected = _expectations(_certificate(private, now), now)
        verified(genuine, expected)
    except Exception as error:  # whatever stops this stops every login
        return [f"a genuine response is not accepted: {type(error).__name__}: {error}"]
    stranger = _certificate(ec.generate_private_key(ec.SECP256R1()), now)
    return [
        *(
            f"a response is accepted although it {what}"
            for what, forge in _FORGERIES.items()
            if _is_accepted(forge(genuine), expected)
        ),
        *(
            ["a response is accepted although somebody else signed it"]
            if _is_accepted(genuine, _expectations(stranger, now))
            else []
        ),
    ]


def _is_accepted(document: bytes, expected: Expectations) -> bool:
    try:
        verified(document, expected)
    except LoginError:
        return False
    return True


def _unsigned(document: bytes) -> bytes:
    start, end = document.index(b"<ds:Signature "), document.index(_SIGNATURE_END) + len(_SIGNATURE_END)
    return document[:start] + document[end:]


def _wrapped(document: bytes) -> bytes:
    start, end = document.index(b"<saml:Assertion"), document.index(b"</samlp:Response>")
    forged = _unsigned(document[start:end]).replace(b'"_assertion"', b'"_forged"').replace(b"nobody", b"admin")
    return document[:start] + forged + document[start:]


_FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "is not signed": _unsigned,
    "was changed": lambda document: document.replace(b"nobody", b"admin"),
    "holds a second assertion": _wrapped,
    "answers another request": lambda document: document.replace(b' InResponseTo="_request"', b"", 1).replace(
        b'"_request"', b'"_another"'
    ),
    "is signed with HMAC": lambda document: document.replace(b"#ecdsa-sha256", b"#hmac-sha256"),
    "names a document type": lambda document: b"<!DOCTYPE r>" + document,
}


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _signed(private: ec.EllipticCurvePrivateKey, now: float) -> bytes:
    filled = _DOCUMENT.format(now=_instant(now), end=_instant(now + 120), idp=_IDP, sp=_SP, acs=_ACS)
    root = etree.fromstring(filled.encode())
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    signature = next(root.iter("{http://www.w3.org/2000/09/xmldsig#}Signature"))
    context.sign(signature)
    return etree.tostring(root)


def _certificate(private: ec.EllipticCurvePrivateKey, now: float) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-test")])
    start = datetime.fromtimestamp(now, UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 1, start, start + timedelta(days=2))
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)


def _expectations(certificate: bytes, now: float) -> Expectations:
    return Expectations(_IDP, (certificate,), _SP, _ACS, "_request", now, 60)
