"""
Encrypted assertions: attack catalogue SAML-26, SAML-27, SAML-28, XML-11 and XML-15.

Everybody can encrypt for us, so that encryption proves nothing; and whatever
does not decrypt must be refused like a wrong signature, without an answer of
its own. The demo identity provider encrypts with xmlsec, PassProxy decrypts by
other means.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from copy import deepcopy

import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lxml import etree

from passproxy.core.errors import LoginError
from passproxy.idp.saml.errors import (
    AlgorithmRefused,
    AudienceRefused,
    EncryptionMissing,
    EncryptionRefused,
    SamlRefused,
    SignatureRefused,
    StructureRefused,
    TimeRefused,
)
from passproxy.idp.saml.messages import AssertionFacts
from passproxy.idp.saml.verify import verified
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Edit, Element

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")

XENC = "http://www.w3.org/2001/04/xmlenc#"
ENCRYPTED, DATA = "saml:EncryptedAssertion", "saml:EncryptedAssertion/{http://www.w3.org/2001/04/xmlenc#}EncryptedData"
KEY = f"{DATA}/ds:KeyInfo/{{{XENC}}}EncryptedKey"
VALUE = f"{{{XENC}}}CipherData/{{{XENC}}}CipherValue"


def judged(document: bytes, *names: str) -> AssertionFacts:
    return verified(document, idp.expectations(decryption_keys=tuple(idp.own_key(name) for name in names or ("sp",))))


def sealed(signed: str = "assertion", after: Edit | None = None, **how: object) -> bytes:
    return idp.answer(signed=signed, encrypt=idp.encrypted_for(**how), after=after)


def plain_text(document: bytes | None = None) -> bytes:
    """The signed assertion of a response, on its own."""
    return etree.tostring(idp.assertion_of(etree.fromstring(document or idp.answer())), with_tail=False)


@pytest.mark.parametrize("signed", ["assertion", "response", "both"])
@pytest.mark.parametrize("algorithm", ["Aes128Gcm", "Aes256Gcm", "Aes128Cbc", "Aes256Cbc"])
def test_a_good_answer_is_opened(signed: str, algorithm: str) -> None:
    document = sealed(signed, algorithm=getattr(xmlsec.constants, f"Transform{algorithm}"))
    assert idp.USER.encode() not in document
    facts = judged(document)
    assert facts.name_id == idp.USER
    assert facts.attributes["groups"] == ("staff", "ops")


def test_either_key_of_the_ring_opens() -> None:
    for name in ("sp", "sp-next"):
        document = idp.answer(encrypt=idp.encrypted_for(name))
        assert judged(document, "sp", "sp-next").name_id == idp.USER


def by_hand(
    plaintext: bytes, *, key_beside: bool = False, method: str, digest: hashes.HashAlgorithm, mask: hashes.HashAlgorithm
) -> Edit:
    """Encrypts without xmlsec, for what its templates cannot say."""

    def edit(root: Element) -> None:
        public = x509.load_pem_x509_certificate(idp.keys("sp").certificate_pem).public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        session, nonce = os.urandom(32), os.urandom(12)
        wrapped = base64.b64encode(public.encrypt(session, padding.OAEP(padding.MGF1(mask), digest, None))).decode()
        data = base64.b64encode(nonce + AESGCM(session).encrypt(nonce, plaintext, None)).decode()
        key = (
            f'<x:EncryptedKey xmlns:x="{XENC}" Id="_key">{method}<ds:KeyInfo><ds:KeyName>sp</ds:KeyName></ds:KeyInfo>'
            f"<x:CipherData><x:CipherValue>{wrapped}</x:CipherValue></x:CipherData></x:EncryptedKey>"
        )
        inside = f'<ds:RetrievalMethod Type="{XENC}EncryptedKey" URI="#_key"/>' if key_beside else key
        holder = idp.xml(
            f'<saml:EncryptedAssertion><x:EncryptedData xmlns:x="{XENC}" Type="{XENC}Element">'
            '<x:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/>'
            f"<ds:KeyInfo>{inside}</ds:KeyInfo><x:CipherData><x:CipherValue>{data}</x:CipherValue></x:CipherData>"
            f"</x:EncryptedData>{key if key_beside else ''}</saml:EncryptedAssertion>"
        )
        root.replace(idp.assertion_of(root), holder)

    return edit


SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()
MGF1P = f'<x:EncryptionMethod Algorithm="{XENC}rsa-oaep-mgf1p">{{}}</x:EncryptionMethod>'
OAEP = '<x:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#rsa-oaep">{}</x:EncryptionMethod>'
DIGEST_SHA256 = f'<ds:DigestMethod Algorithm="{XENC}sha256"/>'
MASK_SHA256 = (
    '<e:MGF xmlns:e="http://www.w3.org/2009/xmlenc11#" Algorithm="http://www.w3.org/2009/xmlenc11#mgf1sha256"/>'
)


@pytest.mark.parametrize(
    ("method", "digest", "mask"),
    [
        pytest.param(MGF1P.format(""), SHA1, SHA1, id="nothing said"),
        pytest.param(MGF1P.format(DIGEST_SHA256), SHA256, SHA1, id="digest SHA-256"),
        pytest.param(OAEP.format(DIGEST_SHA256 + MASK_SHA256), SHA256, SHA256, id="XML Encryption 1.1"),
    ],
)
@pytest.mark.parametrize("key_beside", [False, True])
def test_the_forms_of_oaep_and_both_places_of_the_key(
    method: str, digest: hashes.HashAlgorithm, mask: hashes.HashAlgorithm, key_beside: bool
) -> None:
    encrypt = by_hand(plain_text(), key_beside=key_beside, method=method, digest=digest, mask=mask)
    assert judged(idp.answer(signed="neither", encrypt=encrypt)).name_id == idp.USER


def test_names_that_are_declared_around_the_encrypted_element_hold_inside() -> None:
    """As xmlsec's own encryption of an element does it, which several identity providers use."""
    bare = plain_text().replace(f' xmlns:saml="{idp.SAML}"'.encode(), b"", 1)
    bare = bare.replace(f' xmlns:samlp="{idp.SAMLP}"'.encode(), b"", 1)
    assert b"xmlns:saml=" not in bare.partition(b">")[0]
    assert judged(sealed(plaintext=bare, signed="neither")).name_id == idp.USER


def test_what_an_encrypted_assertion_says_is_judged_like_any_other() -> None:
    for said, refusal in (
        (idp.facts(audience="https://other.example.com/"), AudienceRefused),
        (idp.facts(lifetime=-70), TimeRefused),
    ):
        for signed in ("assertion", "response"):
            with pytest.raises(refusal):
                judged(idp.answer(said, signed=signed, encrypt=idp.encrypted_for()))


# --- structure: refused before anything is decrypted ---


def beside(position: int) -> Edit:
    def edit(root: Element) -> None:
        root.insert(position, etree.fromstring(plain_text()))

    return edit


def value(path: str, change: Callable[[bytes], bytes]) -> Edit:
    def edit(root: Element) -> None:
        element = idp.find(root, f"{path}/{VALUE}")
        element.text = base64.b64encode(change(base64.b64decode("".join((element.text or "").split())))).decode()

    return edit


def reference(path: str) -> Edit:
    def edit(root: Element) -> None:
        data = idp.find(root, f"{path}/{{{XENC}}}CipherData")
        data[0] = idp.xml(f'<x:CipherReference xmlns:x="{XENC}" URI="file:///dev/zero"/>')

    return edit


def chain(root: Element) -> None:
    key = idp.find(root, KEY)
    key.insert(1, idp.xml(f'<ds:KeyInfo><x:EncryptedKey xmlns:x="{XENC}"/></ds:KeyInfo>'))


def retrieval(uri: str) -> Edit:
    def edit(root: Element) -> None:
        info = idp.find(root, f"{DATA}/ds:KeyInfo")
        info[0] = idp.xml(f'<ds:RetrievalMethod URI="{uri}"/>')

    return edit


def copied(path: str) -> Edit:
    def edit(root: Element) -> None:
        element = idp.find(root, path)
        element.addnext(etree.fromstring(etree.tostring(element, with_tail=False)))

    return edit


def algorithm(path: str, uri: str) -> Edit:
    return lambda root: idp.find(root, f"{path}/{{{XENC}}}EncryptionMethod").set("Algorithm", uri)


def parked(root: Element) -> None:
    status = idp.find(root, "samlp:Status")
    status.append(idp.xml(f'<samlp:StatusDetail><x:EncryptedData xmlns:x="{XENC}"/></samlp:StatusDetail>'))


STRUCTURE: list[tuple[str, Edit, type[SamlRefused]]] = [
    ("SAML-26 genuine plain one last", beside(3), StructureRefused),
    ("SAML-26 genuine plain one first", beside(2), StructureRefused),
    ("SAML-26 two encrypted ones", copied(ENCRYPTED), StructureRefused),
    ("SAML-26 encrypted data elsewhere", parked, EncryptionRefused),
    ("SAML-28 RSA with PKCS 1 v1.5", algorithm(KEY, XENC + "rsa-1_5"), AlgorithmRefused),
    ("SAML-28 key wrapped by AES", algorithm(KEY, XENC + "kw-aes256"), AlgorithmRefused),
    ("SAML-28 triple DES", algorithm(DATA, XENC + "tripledes-cbc"), AlgorithmRefused),
    ("XML-11 CipherReference for the data", reference(DATA), StructureRefused),
    ("XML-11 CipherReference for the key", reference(KEY), StructureRefused),
    ("XML-11 chain of keys", chain, StructureRefused),
    ("XML-11 two keys", copied(KEY), StructureRefused),
    ("XML-11 key from a file", retrieval("file:///dev/zero"), StructureRefused),
    ("XML-11 key from somewhere in the document", retrieval("#_a"), StructureRefused),
]


@pytest.mark.parametrize(("edit", "refusal"), [pytest.param(e, r, id=name) for name, e, r in STRUCTURE])
def test_an_odd_structure_is_refused_before_decryption(edit: Edit, refusal: type[SamlRefused]) -> None:
    with pytest.raises(refusal):
        judged(sealed(after=edit))


def test_a_plain_assertion_is_refused_where_encryption_is_demanded() -> None:
    for signed in ("assertion", "response", "both"):
        with pytest.raises(EncryptionMissing):
            judged(idp.answer(signed=signed))


def test_saml_27_another_ciphertext_under_a_signed_response_is_refused() -> None:
    """Even one whose assertion is genuine and signed: the signature of the response is over what came."""
    other = etree.fromstring(sealed())

    def swap(root: Element) -> None:
        root.replace(idp.find(root, ENCRYPTED), deepcopy(idp.find(other, ENCRYPTED)))

    for signed in ("response", "both"):
        with pytest.raises(SignatureRefused, match="none of the identity provider's certificates"):
            judged(sealed(signed, after=swap))


# --- SAML-28: after decryption there is one refusal only ---


def cut(data: bytes) -> bytes:
    return data[:-16]


def flipped(at: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at] ^= 1
        return bytes(changed)

    return change


def forged(**signing: object) -> bytes:
    document = idp.answer(**{"signed": "neither", **signing})  # type: ignore[arg-type]  # options of one function
    return plain_text(document)


CBC = {"algorithm": xmlsec.constants.TransformAes256Cbc}
GCM = {"algorithm": xmlsec.constants.TransformAes256Gcm}

OPENED: list[tuple[str, Callable[[], bytes]]] = [
    ("CBC last byte of the vector", lambda: sealed(after=value(DATA, flipped(15)), **CBC)),
    ("CBC last byte of the last block but one", lambda: sealed(after=value(DATA, flipped(-17)), **CBC)),
    ("CBC last byte", lambda: sealed(after=value(DATA, flipped(-1)), **CBC)),
    ("CBC in the middle", lambda: sealed(after=value(DATA, flipped(400)), **CBC)),
    ("CBC a block less", lambda: sealed(after=value(DATA, cut), **CBC)),
    ("CBC half a block less", lambda: sealed(after=value(DATA, lambda data: data[:-8]), **CBC)),
    ("CBC a vector alone", lambda: sealed(after=value(DATA, lambda data: data[:16]), **CBC)),
    ("CBC nothing", lambda: sealed(after=value(DATA, lambda data: b""), **CBC)),
    ("GCM tag", lambda: sealed(after=value(DATA, flipped(-1)), **GCM)),
    ("GCM text", lambda: sealed(after=value(DATA, flipped(40)), **GCM)),
    ("GCM too short for a tag", lambda: sealed(after=value(DATA, lambda data: data[:20]), **GCM)),
    ("GCM nothing", lambda: sealed(after=value(DATA, lambda data: b""), **GCM)),
    ("OAEP", lambda: sealed(after=value(KEY, flipped(100)))),
    ("OAEP too short", lambda: sealed(after=value(KEY, lambda data: data[:100]))),
    ("OAEP nothing", lambda: sealed(after=value(KEY, lambda data: b""))),
    ("a session key of another length", lambda: sealed(after=algorithm(DATA, "http://www.w3.org/2009/xmlenc11#aes128-gcm"))),
    ("encrypted for somebody else", lambda: sealed(name="stranger")),
    ("not signed at all", lambda: sealed("neither")),
    ("signed by a stranger", lambda: sealed(plaintext=forged(signed="assertion", pair=idp.keys("foreign")))),
    ("signed with SHA-1", lambda: sealed(plaintext=forged(signed="assertion", algorithm=xmlsec.constants.TransformRsaSha1))),
    ("changed after it was signed", lambda: sealed(plaintext=plain_text().replace(idp.USER.encode(), idp.VICTIM.encode()))),
    ("nothing inside", lambda: sealed(plaintext=b" ")),
    ("text inside", lambda: sealed(plaintext=b"admin")),
    ("text around the assertion", lambda: sealed(plaintext=b"x" + plain_text())),
    ("two assertions inside", lambda: sealed(plaintext=plain_text() + plain_text())),
    ("another element inside", lambda: sealed(plaintext=b"<a/>")),
    ("a response inside", lambda: sealed(plaintext=etree.tostring(etree.fromstring(idp.answer())))),
    ("a comment inside", lambda: sealed(plaintext=plain_text().replace(b"@example.com<", b"@example.com<!--x-->.evil<"))),
    ("no XML inside", lambda: sealed(plaintext=b"<")),
    ("an element that ends what is around it", lambda: sealed(plaintext=b"</context><context>" + plain_text())),
    ("XML-15 a document type", lambda: sealed(plaintext=b"<!DOCTYPE r [<!ENTITY e 'x'>]>" + plain_text())),
    ("XML-15 an external document type", lambda: sealed(plaintext=b'<!DOCTYPE r SYSTEM "file:///dev/zero">' + plain_text())),
    ("XML-15 an XML declaration in UTF-16", lambda: sealed(plaintext=plain_text().decode().encode("utf-16"))),
]  # fmt: skip


@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in OPENED])
def test_saml_28_whatever_is_wrong_inside_is_a_wrong_signature(build: Callable[[], bytes]) -> None:
    with pytest.raises(LoginError) as refusal:
        judged(build())
    assert type(refusal.value) is SignatureRefused
    assert idp.VICTIM not in refusal.value.detail


def test_a_signed_response_does_not_make_a_second_assertion_inside_acceptable() -> None:
    document = idp.answer(signed="response", encrypt=idp.encrypted_for(plaintext=plain_text() + plain_text()))
    with pytest.raises(SignatureRefused):
        judged(document)


def test_nothing_is_decrypted_under_a_wrong_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("decrypted")

    monkeypatch.setattr("passproxy.idp.saml.verify.opened", opened)
    with pytest.raises(SignatureRefused):
        judged(idp.answer(signed="response", pair=idp.keys("foreign"), encrypt=idp.encrypted_for()))


def test_without_the_wish_for_it_an_encrypted_assertion_is_refused() -> None:
    with pytest.raises(EncryptionRefused):
        verified(sealed(), idp.expectations(now=time.time()))


def test_the_key_does_not_show_in_what_is_expected() -> None:
    assert "decryption" not in repr(idp.expectations(decryption_keys=(idp.own_key(),)))


def test_what_the_schema_does_not_know_is_refused_under_a_signed_response_too() -> None:
    def odd(root: Element) -> None:
        idp.assertion_of(root).append(idp.xml("<saml:Surprise/>"))

    for signed in ("assertion", "response", "both"):
        with pytest.raises(StructureRefused):
            judged(idp.answer(signed=signed, before=odd, encrypt=idp.encrypted_for()))


def test_the_newer_form_of_oaep_is_accepted_under_a_signed_response_alone() -> None:
    plain = plain_text(idp.answer(signed="neither"))
    encrypt = by_hand(plain, method=OAEP.format(DIGEST_SHA256 + MASK_SHA256), digest=SHA256, mask=SHA256)
    assert judged(idp.answer(signed="response", encrypt=encrypt)).name_id == idp.USER
