"""
Whether signatures hold, by the identity provider's keys and by nothing else.

xmlsec is told what it may do; precheck.py has seen before that nothing else is
asked of it. Which elements must be signed is judged by verify.py.
"""

from __future__ import annotations

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from passproxy.idp.saml.errors import SignatureRefused

_REFERENCE_TRANSFORMS = (
    xmlsec.constants.TransformEnveloped,
    xmlsec.constants.TransformExclC14N,
    xmlsec.constants.TransformSha256,
    xmlsec.constants.TransformSha384,
    xmlsec.constants.TransformSha512,
)
_SIGNATURE_TRANSFORMS = (
    xmlsec.constants.TransformExclC14N,
    xmlsec.constants.TransformRsaSha256,
    xmlsec.constants.TransformRsaSha384,
    xmlsec.constants.TransformRsaSha512,
    xmlsec.constants.TransformEcdsaSha256,
    xmlsec.constants.TransformEcdsaSha384,
    xmlsec.constants.TransformEcdsaSha512,
)

# Since libxml2's own file and network readers are what a Reference to file:///dev/zero
# would use, none is left for the whole life of the process.
xmlsec.cleanup_callbacks()


def confirm(
    response: etree._Element, signatures: tuple[etree._Element | None, ...], certificates: tuple[bytes, ...]
) -> None:
    """
    Each of the signatures that is there, by one of the certificates (DER).

    Raises:
        SignatureRefused: one does not hold.
    """
    if not certificates:
        raise SignatureRefused("no certificate of the identity provider is known")
    xmlsec.tree.add_ids(response, ["ID"])
    for signature in signatures:
        if signature is not None and not any(_is_signed_by(der, signature) for der in certificates):
            raise SignatureRefused("none of the identity provider's certificates confirms the signature")


def _is_signed_by(certificate_der: bytes, signature: etree._Element) -> bool:
    public = x509.load_der_x509_certificate(certificate_der).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    context = xmlsec.SignatureContext()
    for transform in _REFERENCE_TRANSFORMS:
        context.enable_reference_transform(transform)
    for transform in _SIGNATURE_TRANSFORMS:
        context.enable_signature_transform(transform)
    # With a key set, KeyInfo is not looked at.
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    try:
        context.verify(signature)
    except xmlsec.Error:
        return False
    return True
