"""
An enveloped signature on a message of ours, for the HTTP-POST binding.

Runs in the process that has the XML libraries (worker.py), which is given the key with the
question. The document is our own text; nothing of anybody else is signed.
"""

from __future__ import annotations

import base64

import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from lxml import etree

from passproxy.idp.saml.precheck import DS, SAML


def signed(document: bytes, key: bytes, certificate: bytes) -> bytes:
    """The document with its root signed by a key (PKCS #8, DER); the certificate (DER) goes along."""
    root = etree.fromstring(document)
    template = xmlsec.template.create(
        root, xmlsec.constants.TransformExclC14N, xmlsec.constants.TransformRsaSha256, ns="ds"
    )
    # The schema wants it right behind the Issuer.
    root.insert(root.index(next(root.iterchildren(f"{SAML}Issuer"))) + 1, template)
    reference = xmlsec.template.add_reference(template, xmlsec.constants.TransformSha256, uri=f"#{root.get('ID')}")
    xmlsec.template.add_transform(reference, xmlsec.constants.TransformEnveloped)
    xmlsec.template.add_transform(reference, xmlsec.constants.TransformExclC14N)
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    pem = load_der_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    context.sign(template)
    data = etree.SubElement(etree.SubElement(template, f"{DS}KeyInfo"), f"{DS}X509Data")
    etree.SubElement(data, f"{DS}X509Certificate").text = base64.b64encode(certificate).decode()
    return etree.tostring(root)
