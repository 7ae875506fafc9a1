"""
What the metadata of an identity provider says about it.

Exactly one entity is chosen, by name or because there is no other; only keys
for signing are taken, and only strong ones. Nothing is fetched here. The
document is trusted for where it came from (TLS, or a file of the
administrator), or, where a certificate is configured, for its signature
alone. Whether the addresses that browsers are sent to are acceptable is judged
by request.py, which uses them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from passproxy.idp.saml.document import parsed
from passproxy.idp.saml.errors import MetadataRefused, ResponseMalformed, SamlRefused, SignatureRefused
from passproxy.idp.saml.instant import seconds
from passproxy.idp.saml.messages import IdpDescription
from passproxy.idp.saml.precheck import DS, guard_identifiers, signatures_of
from passproxy.idp.saml.signatures import confirm

MD = "{urn:oasis:names:tc:SAML:2.0:metadata}"
_PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"

#: A national federation has some thousand entities of some hundred elements below 5 MiB.
METADATA_ELEMENT_LIMIT = 200_000

#: A rollover has two. Each further one costs an attempt for every forged response.
CERTIFICATE_LIMIT = 8

#: Below 2048 an RSA key can be broken, above 8192 it only costs time (SSRF-13).
RSA_BITS = range(2048, 8193)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def described(document: bytes, entity_id: str | None, now: float, signer: bytes | None = None) -> IdpDescription:
    """
    The identity provider that a metadata document describes.

    With a `signer` (a certificate, DER) only as far as the document is signed by its key, and has an end.

    Raises:
        MetadataRefused: there is none, more than one to choose from, or it cannot be used.
    """
    try:
        # Windows tools save with a byte order mark, which says no more than "UTF-8".
        root = parsed(document.removeprefix(b"\xef\xbb\xbf").lstrip(), METADATA_ELEMENT_LIMIT)
    except ResponseMalformed as error:
        raise MetadataRefused(error.detail) from None
    if signer is not None:
        _check_signature(root, signer)
    entity = _chosen(root, entity_id)
    role = _role(entity)
    valid_until = _valid_until(role)
    if signer is not None and valid_until is None:
        # An old copy would be as good as a new one for ever (SAML2int SDP-MD03).
        raise MetadataRefused("signed metadata without a validUntil")
    if valid_until is not None and valid_until <= now:
        raise MetadataRefused(f"the metadata expired {now - valid_until:.0f} seconds ago")
    notes: list[str] = []
    certificates = _certificates(role, now, notes)
    return IdpDescription(
        entity_id=entity.get("entityID", ""),
        sso_url=_sso_location(role),
        certificates=tuple(c.public_bytes(Encoding.DER) for c in certificates),
        valid_until=valid_until,
        certificates_expire=max(c.not_valid_after_utc.timestamp() for c in certificates),
        notes=tuple(notes),
        **_logout_service(role),
    )


def _check_signature(root: etree._Element, signer: bytes) -> None:
    """An enveloped signature on the whole, by this certificate, of the same strictness as a response's."""
    elements = list(root.iter("*"))  # tools put their comments in
    try:
        guard_identifiers(elements)
        signature = signatures_of((root,), elements).get(root)
        if signature is None:
            raise SignatureRefused("it is not signed")
        confirm(root, (signature,), (signer,))
    except SamlRefused as error:
        raise MetadataRefused(f"the metadata's signature: {error.code} {error.detail}") from None


def _logout_service(role: etree._Element) -> dict[str, str]:
    """Where its single logout is, by the binding that is better for browsers; nothing where it has none."""
    services = {service.get("Binding", ""): service for service in role.findall(f"{MD}SingleLogoutService")}
    for name, binding in (("redirect", _REDIRECT), ("post", _POST)):
        service = services.get(binding)
        if service is not None:
            url = service.get("Location", "")
            return {
                "logout_binding": name,
                "logout_url": url,
                "logout_response_url": service.get("ResponseLocation", url),
            }
    return {}


def _chosen(root: etree._Element, entity_id: str | None) -> etree._Element:
    if root.tag not in (f"{MD}EntityDescriptor", f"{MD}EntitiesDescriptor"):
        raise MetadataRefused("the document is not SAML metadata")
    entities = [e for e in root.iter(f"{MD}EntityDescriptor") if e.find(f"{MD}IDPSSODescriptor") is not None]
    if entity_id is not None:
        entities = [e for e in entities if e.get("entityID") == entity_id]
    if len(entities) != 1:
        wanted = "any" if entity_id is None else repr(entity_id)
        raise MetadataRefused(
            f"the metadata holds {len(entities)} identity providers ({wanted} wanted): set saml.idp_entity_id to one of them"
        )
    # It names itself in every answer; beyond this it would not be a URI (SAML Core 8.3.6).
    if not re.fullmatch(r"[!-~]{1,1024}", entities[0].get("entityID", "")):
        raise MetadataRefused("the entityID is not a URI")
    return entities[0]


def _role(entity: etree._Element) -> etree._Element:
    roles = [
        role
        for role in entity.findall(f"{MD}IDPSSODescriptor")
        if _PROTOCOL in role.get("protocolSupportEnumeration", "").split()
    ]
    if len(roles) != 1:
        raise MetadataRefused(f"the entity has {len(roles)} descriptions as a SAML 2.0 identity provider")
    return roles[0]


def _valid_until(role: etree._Element) -> float | None:
    said = [element.get("validUntil") for element in (role, *role.iterancestors())]
    try:
        return min((seconds(value) for value in said if value is not None), default=None)
    except ValueError as error:
        raise MetadataRefused(f"validUntil is {error}") from None


def _sso_location(role: etree._Element) -> str:
    services = role.findall(f"{MD}SingleSignOnService")
    location = next((s.get("Location", "") for s in services if s.get("Binding") == _REDIRECT), None)
    if location is None:
        raise MetadataRefused("the identity provider offers no single sign-on by HTTP-Redirect")
    return location


def _certificates(role: etree._Element, now: float, notes: list[str]) -> list[x509.Certificate]:
    kept: list[x509.Certificate] = []
    for number, encoded in enumerate(_signing_certificates(role), start=1):
        try:
            certificate = x509.load_der_x509_certificate(base64.b64decode("".join(encoded.split()), validate=True))
            weakness = _weakness(certificate)
        except (ValueError, TypeError, binascii.Error, x509.UnsupportedGeneralNameType) as error:
            weakness, certificate = f"cannot be read ({type(error).__name__})", None
        if weakness or certificate is None:
            notes.append(f"signing certificate {number} is left out: it {weakness}")
        elif certificate not in kept:
            kept.append(certificate)
            if certificate.not_valid_after_utc.timestamp() <= now:
                # Practice of SAML: the key is trusted because it is published, until it is not (SDP-MD06).
                notes.append(f"signing certificate {number} has expired but is still published, so it is used")
    if not kept:
        raise MetadataRefused("; ".join(["no usable signing certificate", *notes]))
    return kept


def _signing_certificates(role: etree._Element) -> Iterator[str]:
    keys = role.findall(f"{MD}KeyDescriptor")
    if len(keys) > CERTIFICATE_LIMIT:
        raise MetadataRefused(f"the identity provider publishes more than {CERTIFICATE_LIMIT} keys")
    for key in keys:
        # A key for encryption signs nothing. Without `use` it is for both (Metadata 2.4.1.1).
        if key.get("use", "signing") != "signing":
            continue
        found = key.findall(f"{DS}KeyInfo/{DS}X509Data/{DS}X509Certificate")
        if len(found) > 1:
            raise MetadataRefused("a key with several certificates: which of them signs is not said")
        yield from (certificate.text or "" for certificate in found)


def _weakness(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_BITS:
            return f"has an RSA key of {key.key_size} bits"
        return "has an RSA key with a small exponent" if key.public_numbers().e < 65537 else ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if isinstance(key.curve, _CURVES) else f"uses the curve {key.curve.name}"
    return "has a key that is neither RSA nor elliptic curve"
