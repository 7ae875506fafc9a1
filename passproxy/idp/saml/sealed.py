"""
Is this response with an encrypted assertion built so that it can be read in one way only?

The counterpart of precheck.py for what is not decrypted yet, with the same
rules for the rest of the document. What passes has one EncryptedAssertion and
no other, its key transported by RSA-OAEP, and everything that decryption needs
lies inside it: nothing is looked up elsewhere. Nothing is decrypted here.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from passproxy.idp.saml.errors import AlgorithmRefused, EncryptionMissing, EncryptionRefused, StructureRefused
from passproxy.idp.saml.precheck import (
    DS,
    SAML,
    XENC,
    decoded,
    guard_key_info,
    guard_status,
    guard_version,
    message,
    signatures_of,
)

_XENC11 = "{http://www.w3.org/2009/xmlenc11#}"
_SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
_OAEP_MGF1 = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
_OAEP = "http://www.w3.org/2009/xmlenc11#rsa-oaep"
_ELEMENT = "http://www.w3.org/2001/04/xmlenc#Element"
_ENCRYPTED_KEY = "http://www.w3.org/2001/04/xmlenc#EncryptedKey"

#: Digests of OAEP -> name. SHA-1 is no weakness there, and what most providers use.
_OAEP_DIGESTS = {
    _SHA1: "sha1",
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
_MASKS = {
    "http://www.w3.org/2009/xmlenc11#mgf1sha1": "sha1",
    "http://www.w3.org/2009/xmlenc11#mgf1sha256": "sha256",
    "http://www.w3.org/2009/xmlenc11#mgf1sha384": "sha384",
    "http://www.w3.org/2009/xmlenc11#mgf1sha512": "sha512",
}

#: Data encryption URI -> (is it GCM, length of the key in bytes).
_DATA_ALGORITHMS = {
    **{f"http://www.w3.org/2001/04/xmlenc#aes{bits}-cbc": (False, bits // 8) for bits in (128, 192, 256)},
    **{f"http://www.w3.org/2009/xmlenc11#aes{bits}-gcm": (True, bits // 8) for bits in (128, 192, 256)},
}


@dataclass(frozen=True, slots=True)
class Box:
    """What is encrypted, and how."""

    ciphertext: bytes
    is_gcm: bool
    key_bytes: int
    wrapped_key: bytes
    digest: str
    mask: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A response of sound structure around one encrypted assertion."""

    response: etree._Element
    response_signature: etree._Element | None
    encrypted: etree._Element
    box: Box


def sealed(document: bytes) -> Sealed:
    """
    The parts of a response, once nothing about the structure outside of what is encrypted is in doubt.

    Raises:
        SamlRefused: a subclass names what was in doubt; `EncryptionMissing` where the assertion is plain.
    """
    response, elements = message(document)
    guard_status(response)
    encrypted = _only_encrypted(response, elements)
    guard_version(response)
    signatures = signatures_of((response,), elements)
    return Sealed(response, signatures.get(response), encrypted, _box(encrypted))


def _only_encrypted(response: etree._Element, elements: list[etree._Element]) -> etree._Element:
    found = [one for one in elements if one.tag in (f"{SAML}Assertion", f"{SAML}EncryptedAssertion")]
    if len(found) != 1:
        raise StructureRefused(f"the response holds {len(found)} assertions, plain and encrypted")
    if found[0].getparent() is not response:
        raise StructureRefused("the assertion is not directly inside the response")
    if found[0].tag == f"{SAML}Assertion":
        raise EncryptionMissing("the assertion is not encrypted")
    inside = set(found[0].iter())
    if any(one.tag.startswith((XENC, f"{SAML}Encrypted")) and one not in inside for one in elements):
        raise EncryptionRefused("something else than the assertion is encrypted")
    return found[0]


def _box(encrypted: etree._Element) -> Box:
    names = [child.tag for child in encrypted]
    if names not in ([f"{XENC}EncryptedData"], [f"{XENC}EncryptedData", f"{XENC}EncryptedKey"]):
        raise StructureRefused("the encrypted assertion is not one EncryptedData, with at most one key beside it")
    data = encrypted[0]
    if [child.tag for child in data] != [f"{XENC}EncryptionMethod", f"{DS}KeyInfo", f"{XENC}CipherData"]:
        raise StructureRefused("EncryptedData is not method, key and ciphertext")
    algorithm = _DATA_ALGORITHMS.get(data[0].get("Algorithm", ""))
    if algorithm is None or len(data[0]) or data.get("Type", _ELEMENT) != _ELEMENT:
        raise AlgorithmRefused("the assertion is not encrypted as an element by AES-GCM or AES-CBC")
    key = _key(data[1], encrypted)
    digest, mask = _oaep(key[0])
    return Box(_ciphertext(data[2]), *algorithm, _ciphertext(key.findall(f"{XENC}CipherData")[0]), digest, mask)


def _key(key_info: etree._Element, encrypted: etree._Element) -> etree._Element:
    """The EncryptedKey: inside KeyInfo, or beside EncryptedData and named there."""
    if len(key_info) != 1:
        raise StructureRefused("not exactly one key for the encrypted assertion")
    key = key_info[0]
    if len(encrypted) == 2:
        beside = encrypted[1]
        is_named = key.tag == f"{DS}RetrievalMethod" and key.get("URI") == f"#{beside.get('Id')}"
        if not is_named or len(key) or key.get("Type", _ENCRYPTED_KEY) != _ENCRYPTED_KEY:
            raise StructureRefused("the key beside the encrypted assertion is not the one that is named")
        key = beside
    names = [child.tag for child in key if child.tag not in (f"{DS}KeyInfo", f"{XENC}ReferenceList")]
    if key.tag != f"{XENC}EncryptedKey" or names != [f"{XENC}EncryptionMethod", f"{XENC}CipherData"]:
        raise StructureRefused("the encrypted key is not method and ciphertext")
    if key[0].tag != f"{XENC}EncryptionMethod":
        raise StructureRefused("the encrypted key does not start with its method")
    for hint in key.findall(f"{DS}KeyInfo"):
        guard_key_info(hint)
        if any(one.tag.startswith(XENC) for one in hint.iter()):
            raise StructureRefused("a key that is encrypted by an encrypted key")
    return key


def _oaep(method: etree._Element) -> tuple[str, str]:
    """Digest and mask. RSA with PKCS #1 v1.5 is not among them: it tells too much about what failed (SAML-28)."""
    said = {child.tag: child.get("Algorithm", "") for child in method}
    is_known = len(said) == len(method) and not any(len(child) for child in method)
    digest = _OAEP_DIGESTS.get(said.pop(f"{DS}DigestMethod", _SHA1))
    mask: str | None = "sha1"
    if method.get("Algorithm") == _OAEP:
        mask = _MASKS.get(said.pop(f"{_XENC11}MGF", "http://www.w3.org/2009/xmlenc11#mgf1sha1"))
    elif method.get("Algorithm") != _OAEP_MGF1:
        raise AlgorithmRefused("the key of the encrypted assertion is not transported by RSA-OAEP")
    if not is_known or said or digest is None or mask is None:
        raise AlgorithmRefused("RSA-OAEP with parameters that are not known")
    return digest, mask


def _ciphertext(data: etree._Element) -> bytes:
    # A CipherReference would name a file or an address (XML-11).
    if [child.tag for child in data] != [f"{XENC}CipherValue"]:
        raise StructureRefused("CipherData is not one CipherValue")
    return decoded(data[0])
