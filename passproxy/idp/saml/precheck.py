"""
Is this document built so that nothing in it can be read in two ways?

Runs on the parsed tree before any cryptography and before any library that
follows what a document says: an unauthenticated visitor wrote these bytes. What
passes has one Assertion, at most one Signature on the Response and one on the
Assertion, and in each of them one Reference, to its own parent, with two known
transforms and known algorithms. This module verifies no signature and judges no
content, with one exception: a status that is not success ends here, because
such a response has no assertion. verify.py does the rest.

The forms refused are those of XML signature wrapping (Somorovsky and others,
2012), of transforms and references as weapons (XML Signature Best Practices 2.1)
and of duplicate or ambiguous IDs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from dataclasses import dataclass

from lxml import etree

from passproxy.idp.saml.document import ELEMENT_LIMIT, parsed
from passproxy.idp.saml.errors import (
    AlgorithmRefused,
    AuthenticationFailed,
    AuthnContextRefused,
    EncryptionRefused,
    RequestDenied,
    RequestNotUnderstood,
    ResponseMalformed,
    SamlRefused,
    SignatureRefused,
    StatusRefused,
    StructureRefused,
)

SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
SAMLP = "{urn:oasis:names:tc:SAML:2.0:protocol}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
XENC = "{http://www.w3.org/2001/04/xmlenc#}"
_EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
_INCLUSIVE_NAMESPACES = f"{{{_EXC_C14N}}}InclusiveNamespaces"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"

#: A response with a thousand groups stays below 200 KiB; one with a photograph in it is not a login.
RESPONSE_LIMIT_BYTES = 256 * 1024

#: No element of SAML has more than ten attributes, and most have none or one.
ATTRIBUTE_LIMIT = 32
ATTRIBUTES_LIMIT = 20_000

#: A list of what is accepted, because lists of what is refused forget something (MD5, RIPEMD-160, HMAC).
SIGNATURE_ALGORITHMS = frozenset(
    f"http://www.w3.org/2001/04/xmldsig-more#{name}"
    for name in ("rsa-sha256", "rsa-sha384", "rsa-sha512", "ecdsa-sha256", "ecdsa-sha384", "ecdsa-sha512")
)

#: Digest algorithm URI -> length of its digest in bytes.
DIGEST_BYTES = {
    "http://www.w3.org/2001/04/xmlenc#sha256": 32,
    "http://www.w3.org/2001/04/xmldsig-more#sha384": 48,
    "http://www.w3.org/2001/04/xmlenc#sha512": 64,
}

#: A P-256 signature has 64 bytes, one by RSA 2048 has 256, and by RSA 8192 has 1024.
_SIGNATURE_BYTES = range(64, 1025)

#: Prefixes that a canonicalisation is told to keep; real ones name xs and xsi. Each is looked up
#: at each element: five hundred of them over three thousand elements cost 24 seconds.
PREFIX_LIMIT = 16

#: Namespaces that are in scope at one element, and how deep elements nest; a response has some
#: ten of each. Canonicalisation searches all of the one along all of the other.
SCOPE_LIMIT = 64
DEPTH_LIMIT = 32

#: Of namespaces in scope, over all elements: ten at each. Sixty at each of ten thousand took 300 ms.
SCOPES_LIMIT = 10 * ELEMENT_LIMIT

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,255}")

_STATUS_REFUSALS: dict[str, type[SamlRefused]] = {
    _STATUS + "RequestDenied": RequestDenied,
    _STATUS + "AuthnFailed": AuthenticationFailed,
    _STATUS + "NoPassive": AuthenticationFailed,
    _STATUS + "NoAuthnContext": AuthnContextRefused,
    _STATUS + "InvalidNameIDPolicy": RequestNotUnderstood,
    _STATUS + "RequestUnsupported": RequestNotUnderstood,
    _STATUS + "UnsupportedBinding": RequestNotUnderstood,
    _STATUS + "Requester": RequestNotUnderstood,
    _STATUS + "VersionMismatch": RequestNotUnderstood,
}


@dataclass(frozen=True, slots=True)
class Sound:
    """A document of sound structure. Each signature, where there is one, is a child of what it signs."""

    response: etree._Element
    assertion: etree._Element
    response_signature: etree._Element | None
    assertion_signature: etree._Element | None


def sound(document: bytes, *, is_vouched_for: bool = False) -> Sound:
    """
    The parts of a response, once nothing about its structure is in doubt.

    Without any signature only where a signature around the whole was verified
    before (`is_vouched_for`).

    Raises:
        SamlRefused: a subclass names what was in doubt.
    """
    response, elements = message(document)
    _guard_encryption(elements)
    guard_status(response)
    assertion = _only_assertion(response, elements)
    guard_version(response, assertion)
    signatures = signatures_of((response, assertion), elements)
    if not signatures and not is_vouched_for:
        raise SignatureRefused("neither the response nor the assertion is signed")
    return Sound(response, assertion, signatures.get(response), signatures.get(assertion))


def message(
    document: bytes, roots: frozenset[str] = frozenset({"Response"})
) -> tuple[etree._Element, list[etree._Element]]:
    """A message of one of these kinds and all elements of it, none of them a comment, each ID of them unique."""
    if len(document) > RESPONSE_LIMIT_BYTES:
        raise ResponseMalformed(f"the document is larger than {RESPONSE_LIMIT_BYTES} bytes")
    root = parsed(document)
    if root.tag not in {f"{SAMLP}{name}" for name in roots}:
        raise ResponseMalformed(f"the root element is not a {' or '.join(sorted(roots))}")
    elements = _elements(root)
    guard_identifiers(elements)
    return root, elements


def _elements(root: etree._Element) -> list[etree._Element]:
    nodes = list(root.getroottree().iter())
    outside = [*root.itersiblings(), *root.itersiblings(preceding=True)]
    if outside or any(not isinstance(node.tag, str) for node in nodes):
        raise StructureRefused("a comment or processing instruction")
    attributes = [len(node.attrib) for node in nodes]
    if len(nodes) > ELEMENT_LIMIT or max(attributes) > ATTRIBUTE_LIMIT or sum(attributes) > ATTRIBUTES_LIMIT:
        raise StructureRefused("too many elements or attributes")
    _guard_scopes(nodes)
    return nodes


def _guard_scopes(elements: list[etree._Element]) -> None:
    depths: dict[etree._Element | None, int] = {None: 0}
    scopes = 0
    for element in elements:
        depth = depths[element] = depths[element.getparent()] + 1
        # From the outside in, so that no element is asked that is far beyond the limits.
        scope = len(element.nsmap) if depth <= DEPTH_LIMIT else 0
        scopes += scope
        if depth > DEPTH_LIMIT or scope > SCOPE_LIMIT or scopes > SCOPES_LIMIT:
            raise StructureRefused("too deep, or too many namespaces")


def guard_identifiers(elements: list[etree._Element]) -> None:
    # By local name and in any case: xml:id, Id and x:ID are IDs to some reader.
    identifiers = Counter(
        value
        for element in elements
        for name, value in element.attrib.items()
        if str(name).rpartition("}")[2].lower() == "id"
    )
    if any(count > 1 for count in identifiers.values()):
        raise StructureRefused("two elements have the same ID")


def _guard_encryption(elements: list[etree._Element]) -> None:
    for element in elements:
        if element.tag.startswith((XENC, f"{SAML}Encrypted")):
            raise EncryptionRefused(f"the response holds {etree.QName(element).localname}")


def guard_version(*parts: etree._Element) -> None:
    if any(part.get("Version") != "2.0" for part in parts):
        raise StructureRefused("the response or the assertion is not of SAML version 2.0")


def guard_status(response: etree._Element) -> None:
    code = response.find(f"{SAMLP}Status/{SAMLP}StatusCode")
    if code is None or len(response.findall(f"{SAMLP}Status")) != 1:
        raise StructureRefused("the response has no single status")
    values = [child.get("Value", "") for child in code.iter(f"{SAMLP}StatusCode")]
    if values == [_STATUS + "Success"]:
        return
    refusal = next((_STATUS_REFUSALS[value] for value in reversed(values) if value in _STATUS_REFUSALS), StatusRefused)
    # What is not one of the standard's own names is the sender's text and stays out of the log.
    known = [value.removeprefix(_STATUS) for value in values if re.fullmatch(_STATUS + "[A-Za-z]{1,40}", value)]
    raise refusal(f"status {' / '.join(known[:3]) or 'unknown'}")


def _only_assertion(response: etree._Element, elements: list[etree._Element]) -> etree._Element:
    assertions = [element for element in elements if element.tag == f"{SAML}Assertion"]
    if len(assertions) != 1:
        raise StructureRefused(f"the response holds {len(assertions)} assertions")
    if assertions[0].getparent() is not response:
        raise StructureRefused("the assertion is not directly inside the response")
    return assertions[0]


def signatures_of(
    signable: tuple[etree._Element, ...], elements: list[etree._Element]
) -> dict[etree._Element, etree._Element]:
    """The signature of each element that has one. Anywhere else none may be."""
    found: dict[etree._Element, etree._Element] = {}
    for element in elements:
        if element.tag != f"{DS}Signature":
            continue
        parent = element.getparent()
        if parent is None or parent not in signable or parent in found:
            raise StructureRefused("a signature in a place where none belongs")
        _guard_signature(element, parent.get("ID", ""))
        found[parent] = element
    return found


def _guard_signature(signature: etree._Element, parent_id: str) -> None:
    names = [child.tag for child in signature]
    if names not in (
        [f"{DS}SignedInfo", f"{DS}SignatureValue"],
        [f"{DS}SignedInfo", f"{DS}SignatureValue", f"{DS}KeyInfo"],
    ):
        # ds:Object and what it can carry (manifests, a parked assertion) end here.
        raise StructureRefused("the signature has other parts than SignedInfo, SignatureValue and KeyInfo")
    if len(names) == 3:
        guard_key_info(signature[2])
    info = signature[0]
    if [child.tag for child in info] != [f"{DS}CanonicalizationMethod", f"{DS}SignatureMethod", f"{DS}Reference"]:
        # More than one Reference, or a SignatureMethod that is missing (SAML-15, SAML-22).
        raise StructureRefused("SignedInfo is not one canonicalisation, one signature method and one reference")
    _guard_canonicalisation(info[0])
    if info[1].get("Algorithm") not in SIGNATURE_ALGORITHMS or len(info[1]):
        raise AlgorithmRefused("the signature algorithm is not RSA or ECDSA with SHA-256, SHA-384 or SHA-512")
    _guard_reference(info[2], parent_id)
    if len(decoded(signature[1])) not in _SIGNATURE_BYTES:
        raise SignatureRefused("the signature value is empty or of an impossible length")


def guard_key_info(key_info: etree._Element) -> None:
    # Its keys are never used. What would make a reader fetch or look elsewhere is refused all the same.
    for element in key_info.iter(etree.Element):
        if etree.QName(element).localname in ("RetrievalMethod", "KeyInfoReference") or element.get("URI") is not None:
            raise StructureRefused("KeyInfo points somewhere else")


def _guard_reference(reference: etree._Element, parent_id: str) -> None:
    # An "ID" such as xpointer(/) would turn the comparison below into an expression.
    if not _IDENTIFIER.fullmatch(parent_id) or reference.get("URI") != f"#{parent_id}":
        raise StructureRefused("the signature refers to something else than its parent")
    if [child.tag for child in reference] != [f"{DS}Transforms", f"{DS}DigestMethod", f"{DS}DigestValue"]:
        raise StructureRefused("the reference is not transforms, digest method and digest value")
    transforms, method, value = reference
    if [child.tag for child in transforms] != [f"{DS}Transform"] * 2:
        raise StructureRefused("not exactly two transforms")
    if transforms[0].get("Algorithm") != _ENVELOPED or len(transforms[0]):
        raise AlgorithmRefused("the first transform is not enveloped-signature")
    _guard_canonicalisation(transforms[1])
    expected = DIGEST_BYTES.get(method.get("Algorithm", ""))
    if expected is None or len(method):
        raise AlgorithmRefused("the digest algorithm is not SHA-256, SHA-384 or SHA-512")
    if len(decoded(value)) != expected:
        raise SignatureRefused("the digest has the wrong length")


def _guard_canonicalisation(method: etree._Element) -> None:
    if method.get("Algorithm") != _EXC_C14N:
        raise AlgorithmRefused("the canonicalisation is not exclusive and without comments")
    if any(child.tag != _INCLUSIVE_NAMESPACES or len(child) for child in method) or len(method) > 1:
        raise StructureRefused("a canonicalisation with unknown parameters")
    if any(len(child.get("PrefixList", "").split()) > PREFIX_LIMIT for child in method):
        raise StructureRefused("a canonicalisation that keeps too many prefixes")


def decoded(element: etree._Element) -> bytes:
    """The bytes of a base64 value, which may be wrapped."""
    if len(element):
        raise StructureRefused("markup inside a base64 value")
    try:
        return base64.b64decode(re.sub(r"[ \t\r\n]", "", element.text or ""), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused("a digest or signature value that is not base64") from None
