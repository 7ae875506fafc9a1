"""
Signatures and document structure of SAML responses: attack catalogue 2.1.

Each row is a function that builds the hostile document from a genuine one,
signed a moment ago. Whatever the row, the document says admin@example.com where
the signed part says user@example.com; whatever is returned, it must not be admin.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from copy import deepcopy

import pytest
import xmlsec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from pydantic import ValidationError

from passproxy.core.errors import LoginError
from passproxy.core.settings import SamlSettings
from passproxy.demo.assertions import SAMLP, fresh_id, response, serialized, sign
from passproxy.idp.saml.errors import (
    AlgorithmRefused,
    EncryptionRefused,
    ResponseMalformed,
    SamlRefused,
    SignatureRefused,
    StructureRefused,
)
from passproxy.idp.saml.verify import verified
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Element

Build = Callable[[], bytes]

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")


def genuine(signed: str = "assertion") -> Element:
    return etree.fromstring(idp.answer(signed=signed))


def signature_of(element: Element) -> Element:
    return idp.find(element, "ds:Signature")


def forged_assertion(root: Element, *, identifier: str = "_evil", keep_signature: bool = False) -> Element:
    forged = deepcopy(idp.assertion_of(root))
    forged.set("ID", identifier)
    idp.find(forged, ".//saml:NameID").text = idp.VICTIM
    if not keep_signature:
        forged.remove(signature_of(forged))
    return forged


def forged_response(root: Element) -> Element:
    forged = deepcopy(root)
    forged.remove(signature_of(forged))
    forged.set("ID", "_evil")
    idp.assertion_of(forged).set("ID", "_evil_assertion")
    idp.find(forged, ".//saml:NameID").text = idp.VICTIM
    return forged


def swapped(root: Element) -> tuple[Element, Element]:
    """The genuine assertion, taken out, and a forged one in its place."""
    original = idp.assertion_of(root)
    forged = forged_assertion(root)
    root.replace(original, forged)
    return original, forged


def wrapping_1() -> bytes:
    root = genuine("response")
    forged, signature = forged_response(root), signature_of(root)
    root.remove(signature)
    signature.append(root)
    forged.insert(1, signature)
    return serialized(forged)


def wrapping_2() -> bytes:
    root = genuine("response")
    forged, signature = forged_response(root), signature_of(root)
    root.remove(signature)
    forged.insert(1, signature)
    forged.append(root)
    return serialized(forged)


def wrapping_3() -> bytes:
    root = genuine()
    root.insert(root.index(idp.assertion_of(root)), forged_assertion(root))
    return serialized(root)


def wrapping_3_last() -> bytes:
    root = genuine()
    root.append(forged_assertion(root))
    return serialized(root)


def wrapping_4() -> bytes:
    root = genuine()
    original, forged = swapped(root)
    forged.append(original)
    return serialized(root)


def _kept_signature() -> tuple[Element, Element, Element]:
    """A forged assertion that keeps the genuine signature; the original, without it, is returned to be parked."""
    root = genuine()
    original = idp.assertion_of(root)
    forged = forged_assertion(root, keep_signature=True)
    root.replace(original, forged)
    original.remove(signature_of(original))
    return root, forged, original


def wrapping_5() -> bytes:
    root, _, original = _kept_signature()
    root.append(original)
    return serialized(root)


def wrapping_6() -> bytes:
    root, forged, original = _kept_signature()
    signature_of(forged).append(original)
    return serialized(root)


def wrapping_7() -> bytes:
    root = genuine()
    original, _ = swapped(root)
    extensions = idp.xml("<samlp:Extensions/>")
    extensions.append(original)
    root.insert(1, extensions)
    return serialized(root)


def wrapping_8() -> bytes:
    root, forged, original = _kept_signature()
    holder = idp.xml("<ds:Object/>")
    holder.append(original)
    signature_of(forged).append(holder)
    return serialized(root)


def parked_in_status() -> bytes:
    root = genuine()
    original, _ = swapped(root)
    detail = idp.xml("<samlp:StatusDetail/>")
    detail.append(original)
    idp.find(root, "samlp:Status").append(detail)
    return serialized(root)


def parked_in_advice() -> bytes:
    root = genuine()
    original, forged = swapped(root)
    advice = idp.xml("<saml:Advice/>")
    advice.append(original)
    forged.insert(3, advice)
    return serialized(root)


def same_id_twice() -> bytes:
    root = genuine()
    identifier = idp.assertion_of(root).get("ID")
    root.insert(2, forged_assertion(root, identifier=identifier or ""))
    return serialized(root)


def response_shares_id() -> bytes:
    return idp.answer(idp.facts(response_id="_same", assertion_id="_same"), signed="assertion")


def shadowing_id(attribute: str) -> Build:
    """Another element that some reader takes for the one with the assertion's ID."""

    def build() -> bytes:
        root = genuine()
        status = idp.find(root, "samlp:Status")
        status.append(idp.xml("<samlp:StatusDetail/>"))
        status[-1].set(attribute, idp.assertion_of(root).get("ID") or "")
        return serialized(root)

    return build


def reference_to(uri: str | None) -> Build:
    return lambda: idp.answer(after=idp.setting(".//ds:Reference", "URI", uri))


def expression_as_id() -> bytes:
    """An ID that makes "#" + ID an XPointer expression."""
    return idp.answer(
        after=idp.all_of(
            idp.setting(".//saml:Assertion", "ID", "xpointer(/)"), idp.setting(".//ds:Reference", "URI", "#xpointer(/)")
        )
    )


def signature_elsewhere() -> bytes:
    """The Signature's parent is the forged assertion, its reference names the genuine one."""
    root, _, original = _kept_signature()
    root.insert(2, original)
    return serialized(root)


def further_reference(uri: str) -> Build:
    def build() -> bytes:
        root = genuine()
        further = deepcopy(idp.find(root, ".//ds:Reference"))
        further.set("URI", uri)
        idp.find(root, ".//ds:SignedInfo").append(further)
        return serialized(root)

    return build


def digest_smuggled(parent: str) -> Build:
    def build() -> bytes:
        root = etree.fromstring(idp.answer(after=idp.text(".//saml:NameID", idp.VICTIM)))
        smuggled = idp.xml(f"<samlp:{parent}><ds:DigestValue>{'A' * 43}=</ds:DigestValue></samlp:{parent}>")
        if parent == "Extensions":
            root.insert(1, smuggled)
        else:
            idp.find(root, "samlp:Status").append(smuggled)
        return serialized(root)

    return build


def relative_namespace(where: str) -> Build:
    """CVE-2025-66568: a relative namespace URI makes canonicalisation fail; its result must not count as empty."""

    def build() -> bytes:
        document = idp.answer(after=idp.text(".//saml:NameID", idp.VICTIM))
        return idp.replaced(document, f"<{where} ", f'<{where} xmlns:x="1" x:y="1" ')

    return build


def signed_with_hmac(algorithm: object, secret: bytes) -> Build:
    """SAML-20: the certificate is public, so whoever uses it as an HMAC key accepts everybody's signature."""

    def build() -> bytes:
        root = response(idp.facts(name_id=idp.VICTIM))
        assertion = idp.assertion_of(root)
        signature = xmlsec.template.create(assertion, xmlsec.constants.TransformExclC14N, algorithm, ns="ds")  # type: ignore[arg-type]  # any of them
        assertion.insert(1, signature)
        reference = xmlsec.template.add_reference(
            signature, xmlsec.constants.TransformSha256, uri=f"#{assertion.get('ID')}"
        )
        xmlsec.template.add_transform(reference, xmlsec.constants.TransformEnveloped)
        xmlsec.template.add_transform(reference, xmlsec.constants.TransformExclC14N)
        xmlsec.tree.add_ids(root, ["ID"])
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_binary_data(xmlsec.constants.KeyDataHmac, secret)
        context.sign(signature)
        return serialized(root)

    return build


def emptied(path: str) -> Build:
    return lambda: idp.answer(after=idp.text(path, ""))


def element_signed(path: str) -> Build:
    """A genuine signature of another kind of element, under a forged name."""

    def build() -> bytes:
        root = response(idp.facts(name_id=idp.VICTIM))
        element = idp.find(root, path)
        element.set("ID", fresh_id("x"))
        sign(element, idp.keys().key_pem, idp.keys().certificate_pem)
        return serialized(root)

    return build


def encrypted_beside(position: int) -> Build:
    def build() -> bytes:
        root = genuine()
        encrypted = idp.xml(
            '<saml:EncryptedAssertion><x:EncryptedData xmlns:x="http://www.w3.org/2001/04/xmlenc#"/></saml:EncryptedAssertion>'
        )
        root.insert(position, encrypted)
        return serialized(root)

    return build


def encrypted_instead() -> bytes:
    root = genuine("response")
    root.replace(idp.assertion_of(root), idp.xml("<saml:EncryptedAssertion/>"))
    return serialized(root)


def other_root(tag: str) -> Build:
    def build() -> bytes:
        root = genuine("both")
        root.tag = tag
        return serialized(root)

    return build


def wrapped_logout() -> bytes:
    """SAML-32: the same key signs logout responses, and one of them is put around a forged assertion's place."""
    logout = idp.xml(
        f'<samlp:LogoutResponse ID="_logout" Version="2.0" IssueInstant="2026-01-01T00:00:00Z">'
        f"<saml:Issuer>{idp.IDP_ENTITY_ID}</saml:Issuer></samlp:LogoutResponse>"
    )
    root = response(idp.facts(name_id=idp.VICTIM))
    root.insert(1, logout)
    sign(logout, idp.keys().key_pem, idp.keys().certificate_pem)
    return serialized(root)


def shared_signature() -> bytes:
    """The response refers to the signed logout response by carrying its ID and signature."""
    root = etree.fromstring(wrapped_logout())
    logout = idp.find(root, "samlp:LogoutResponse")
    signature = signature_of(logout)
    root.remove(logout)
    root.set("ID", "_logout")
    root.insert(1, signature)
    return serialized(root)


FOREIGN = "foreign"
PEM, DER = idp.keys().certificate_pem, idp.der(idp.keys())

REFUSED: list[tuple[str, Build, type[LoginError] | tuple[type[LoginError], ...]]] = [
    ("SAML-01 unsigned", lambda: idp.answer(signed="neither"), SignatureRefused),
    ("SAML-03 name changed", lambda: idp.answer(after=idp.text(".//saml:NameID", idp.VICTIM)), SignatureRefused),
    ("SAML-03 attribute changed", lambda: idp.answer(after=idp.text(".//saml:AttributeValue", "x")), SignatureRefused),
    ("SAML-03 conditions gone", lambda: idp.answer(after=idp.without(".//saml:Conditions")), SignatureRefused),
    (
        "SAML-03 changed in a signed response",
        lambda: idp.answer(signed="response", after=idp.text(".//saml:NameID", idp.VICTIM)),
        SignatureRefused,
    ),
    (
        "SAML-04 own key in KeyInfo",
        lambda: idp.answer(idp.facts(name_id=idp.VICTIM), pair=idp.keys(FOREIGN)),
        SignatureRefused,
    ),
    (
        "SAML-04 without KeyInfo",
        lambda: idp.answer(idp.facts(name_id=idp.VICTIM), pair=idp.keys(FOREIGN), after=idp.without(".//ds:KeyInfo")),
        SignatureRefused,
    ),
    ("SAML-06 XSW-1", wrapping_1, StructureRefused),
    ("SAML-07 XSW-2", wrapping_2, StructureRefused),
    ("SAML-08 XSW-3", wrapping_3, StructureRefused),
    ("SAML-08 XSW-3 forged last", wrapping_3_last, StructureRefused),
    ("SAML-09 XSW-4", wrapping_4, StructureRefused),
    ("SAML-10 XSW-5", wrapping_5, StructureRefused),
    ("SAML-10 XSW-6", wrapping_6, StructureRefused),
    ("SAML-11 XSW-7", wrapping_7, StructureRefused),
    ("SAML-11 XSW-8", wrapping_8, StructureRefused),
    ("SAML-12 StatusDetail", parked_in_status, StructureRefused),
    ("SAML-12 Advice", parked_in_advice, StructureRefused),
    ("SAML-13 two assertions, one ID", same_id_twice, StructureRefused),
    ("SAML-13 response and assertion, one ID", response_shares_id, StructureRefused),
    ("SAML-13 Id elsewhere", shadowing_id("Id"), StructureRefused),
    ("SAML-13 xml:id elsewhere", shadowing_id("{http://www.w3.org/XML/1998/namespace}id"), StructureRefused),
    ("SAML-13 x:ID elsewhere", shadowing_id("{urn:x}ID"), StructureRefused),
    ("SAML-14 empty URI", reference_to(""), StructureRefused),
    ("SAML-14 no URI", reference_to(None), StructureRefused),
    ("SAML-14 xpointer(/)", reference_to("#xpointer(/)"), StructureRefused),
    ("SAML-14 xpointer(id)", reference_to("#xpointer(id('_a1'))"), StructureRefused),
    ("SAML-14 xpointer as ID", expression_as_id, StructureRefused),
    ("SAML-14 another element", reference_to("#_a2"), StructureRefused),
    ("SAML-14 signature elsewhere", signature_elsewhere, StructureRefused),
    ("SAML-15 same document", further_reference("#_a1"), StructureRefused),
    ("SAML-15 external", further_reference("http://127.0.0.1:9/"), StructureRefused),
    ("SAML-15 file", further_reference("file:///etc/passwd"), StructureRefused),
    ("SAML-17 digest in StatusDetail", digest_smuggled("StatusDetail"), SignatureRefused),
    ("SAML-17 digest in Extensions", digest_smuggled("Extensions"), SignatureRefused),
    ("SAML-18 relative namespace on the assertion", relative_namespace("saml:Assertion"), SignatureRefused),
    ("SAML-18 relative namespace on the response", relative_namespace("samlp:Response"), SignatureRefused),
    ("SAML-20 HMAC-SHA256 by PEM", signed_with_hmac(xmlsec.constants.TransformHmacSha256, PEM), AlgorithmRefused),
    ("SAML-20 HMAC-SHA256 by DER", signed_with_hmac(xmlsec.constants.TransformHmacSha256, DER), AlgorithmRefused),
    ("SAML-20 HMAC-SHA1", signed_with_hmac(xmlsec.constants.TransformHmacSha1, PEM), AlgorithmRefused),
    ("SAML-21 RSA-SHA1", lambda: idp.answer(algorithm=xmlsec.constants.TransformRsaSha1), AlgorithmRefused),
    ("SAML-21 digest SHA-1", lambda: idp.answer(digest=xmlsec.constants.TransformSha1), AlgorithmRefused),
    ("SAML-22 empty signature", emptied(".//ds:SignatureValue"), SignatureRefused),
    ("SAML-22 empty digest", emptied(".//ds:DigestValue"), SignatureRefused),
    ("SAML-22 one byte", lambda: idp.answer(after=idp.text(".//ds:SignatureValue", "AA==")), SignatureRefused),
    ("SAML-22 truncated digest", lambda: idp.answer(after=idp.text(".//ds:DigestValue", "AA==")), SignatureRefused),
    ("SAML-22 not base64", lambda: idp.answer(after=idp.text(".//ds:SignatureValue", "é")), SignatureRefused),
    ("SAML-22 no method", lambda: idp.answer(after=idp.without(".//ds:SignatureMethod")), StructureRefused),
    ("SAML-22 no digest method", lambda: idp.answer(after=idp.without(".//ds:DigestMethod")), StructureRefused),
    ("SAML-22 no transforms", lambda: idp.answer(after=idp.without(".//ds:Transforms")), StructureRefused),
    ("SAML-23 response right, assertion wrong", lambda: _one_of_two_broken("assertion"), SignatureRefused),
    ("SAML-23 assertion right, response wrong", lambda: _one_of_two_broken("response"), SignatureRefused),
    ("SAML-24 Status", element_signed("samlp:Status"), StructureRefused),
    ("SAML-24 Subject", element_signed(".//saml:Subject"), StructureRefused),
    ("SAML-24 AttributeStatement", element_signed(".//saml:AttributeStatement"), StructureRefused),
    ("SAML-26 encrypted first", encrypted_beside(2), EncryptionRefused),
    ("SAML-26 encrypted last", encrypted_beside(3), EncryptionRefused),
    ("SAML-27 ciphertext swapped", encrypted_instead, EncryptionRefused),
    ("SAML-31 LogoutResponse", other_root(f"{{{SAMLP}}}LogoutResponse"), ResponseMalformed),
    ("SAML-31 ArtifactResponse", other_root(f"{{{SAMLP}}}ArtifactResponse"), ResponseMalformed),
    ("SAML-31 Assertion", lambda: serialized(idp.assertion_of(genuine())), ResponseMalformed),
    ("SAML-31 Envelope", other_root("{http://schemas.xmlsoap.org/soap/envelope/}Envelope"), ResponseMalformed),
    ("SAML-31 metadata", lambda: idp.idp_metadata(), ResponseMalformed),
    ("SAML-32 logout response inside", wrapped_logout, StructureRefused),
    ("SAML-32 logout signature reused", shared_signature, SignatureRefused),
]


def _one_of_two_broken(which: str) -> bytes:
    root = genuine("both")
    broken = idp.assertion_of(root) if which == "assertion" else root
    other = deepcopy(signature_of(broken))
    value = idp.find(other, "ds:SignatureValue")
    value.text = base64.b64encode(b"\x01" * 256).decode()
    broken.replace(signature_of(broken), other)
    if which == "assertion":
        # The response is signed again over the broken one, so that only the inner signature is wrong.
        root.remove(signature_of(root))
        sign(root, idp.keys().key_pem, idp.keys().certificate_pem)
    return serialized(root)


@pytest.mark.parametrize(("build", "refusal"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_forged_response_is_refused(build: Build, refusal: type[LoginError]) -> None:
    with pytest.raises(refusal):
        verified(build(), idp.expectations())


@pytest.mark.parametrize("signed", ["assertion", "response", "both"])
def test_saml_23_any_signature_that_covers_the_assertion_is_enough(signed: str) -> None:
    assert verified(idp.answer(signed=signed), idp.expectations()).name_id == idp.USER


@pytest.mark.parametrize(
    "algorithm",
    [xmlsec.constants.TransformRsaSha256, xmlsec.constants.TransformRsaSha384, xmlsec.constants.TransformRsaSha512],
    ids=lambda algorithm: str(algorithm.name),
)
def test_saml_21_current_algorithms_are_accepted(algorithm: object) -> None:
    assert verified(idp.answer(algorithm=algorithm), idp.expectations()).name_id == idp.USER


@pytest.mark.parametrize(
    "uri",
    [
        "http://www.w3.org/2001/04/xmldsig-more#rsa-md5",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-ripemd160",
        "http://www.w3.org/2000/09/xmldsig#dsa-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256 ",
        "",
    ],
)
def test_saml_21_every_other_algorithm_is_refused(uri: str) -> None:
    """A list of what is accepted: the library's list of what is refused knows neither MD5 nor RIPEMD-160."""
    with pytest.raises(AlgorithmRefused):
        verified(idp.answer(after=idp.setting(".//ds:SignatureMethod", "Algorithm", uri)), idp.expectations())


def test_saml_02_without_a_trusted_certificate_nothing_is_accepted() -> None:
    for document in (idp.answer(signed="neither"), idp.answer()):
        with pytest.raises(SignatureRefused):
            verified(document, idp.expectations(certificates=()))


def test_saml_05_there_is_no_trust_by_fingerprint() -> None:
    for key in ("cert_fingerprint", "certFingerprint", "strict", "debug"):
        with pytest.raises(ValidationError):
            SamlSettings.model_validate({"metadata_file": "/x", key: "00"})


def test_saml_28_no_two_encrypted_assertions_are_refused_differently() -> None:
    """Nothing is decrypted, so there is no oracle."""
    details = set()
    for cipher in ("AAAA", "!!!!", ""):
        root = genuine()
        root.append(idp.xml(f"<saml:EncryptedAssertion><ds:x>{cipher}</ds:x></saml:EncryptedAssertion>"))
        with pytest.raises(EncryptionRefused) as refusal:
            verified(serialized(root), idp.expectations())
        details.add(refusal.value.detail)
    assert len(details) == 1


def test_saml_30_a_retired_key_is_no_longer_accepted_and_a_new_one_is() -> None:
    old, new = idp.keys(), idp.keys("new")
    during, after = (idp.der(old), idp.der(new)), (idp.der(new),)
    assert verified(idp.answer(pair=new), idp.expectations(certificates=during)).name_id == idp.USER
    assert verified(idp.answer(pair=old), idp.expectations(certificates=during)).name_id == idp.USER
    with pytest.raises(SignatureRefused):
        verified(idp.answer(pair=old), idp.expectations(certificates=after))


_GENUINE = idp.answer(idp.facts(lifetime=3600))
_SIGNED = re.search(rb"<saml:Assertion.*</saml:Assertion>", _GENUINE, re.DOTALL)
assert _SIGNED is not None
_OUTSIDE = [*range(_SIGNED.start()), *range(_SIGNED.end(), len(_GENUINE))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    position=st.sampled_from(_OUTSIDE),
    change=st.sampled_from(
        [b"", b"<", b">", b'"', b"&", b" ", b"_", b"a", b"\x00", b"\xff", b"<!---->", b"<a/>", b"<?a?>"]
    ),
    insert=st.booleans(),
)
def test_saml_19_what_is_changed_outside_the_verified_node_changes_nobody(
    position: int, change: bytes, insert: bool
) -> None:
    """Invariant: the identity is the same, or there is none."""
    document = _GENUINE[:position] + change + _GENUINE[position + (0 if insert else 1) :]
    try:
        facts = verified(document, idp.expectations())
    except SamlRefused:
        return
    assert facts.name_id == idp.USER
    assert facts.attributes == {"mail": (idp.USER,), "groups": ("staff", "ops")}


@settings(max_examples=100, deadline=None)
@given(position=st.integers(_SIGNED.start(), _SIGNED.end() - 1), byte=st.integers(0, 255))
def test_saml_19_what_is_changed_inside_the_verified_node_is_refused_or_means_the_same(
    position: int, byte: int
) -> None:
    """Invariant: as above. White space in a base64 value, KeyInfo and quotes may change without effect."""
    document = _GENUINE[:position] + bytes([byte]) + _GENUINE[position + 1 :]
    try:
        facts = verified(document, idp.expectations())
    except SamlRefused:
        return
    assert facts.name_id == idp.USER
    assert facts.attributes == {"mail": (idp.USER,), "groups": ("staff", "ops")}


DIFFERENTIALS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("comment in the name", lambda d: idp.replaced(d, f">{idp.USER}<", f">{idp.VICTIM}<!---->.evil<")),
    ("comment around the response", lambda d: d.replace(b"<samlp:Response", b"<!-- x --><samlp:Response", 1)),
    ("instruction in the name", lambda d: idp.replaced(d, f">{idp.USER}<", f">{idp.USER}<?x?><")),
    ("instruction after the response", lambda d: d + b"<?x?>"),
    ("namespace bound again", lambda d: idp.replaced(d, "<saml:Subject>", f'<saml:Subject xmlns:saml="{SAMLP}">')),
    ("entity for a letter", lambda d: idp.replaced(d, "<saml:Subject>", "<saml:Subject>&a;")),
    ("document type", lambda d: d.replace(b"<samlp:Response", b"<!DOCTYPE samlp:Response><samlp:Response", 1)),
    (
        "prefixed copy of ID",
        lambda d: idp.replaced(d, "<saml:Assertion ", '<saml:Assertion xmlns:x="urn:x" x:ID="_x" '),
    ),
]


@pytest.mark.parametrize("edit", [row[1] for row in DIFFERENTIALS], ids=[row[0] for row in DIFFERENTIALS])
def test_saml_19_what_two_parsers_could_read_differently_is_refused(edit: Callable[[bytes], bytes]) -> None:
    with pytest.raises(SamlRefused):
        verified(edit(idp.answer()), idp.expectations())


def test_saml_19_a_cdata_section_is_read_as_what_was_signed() -> None:
    """Canonicalisation makes text of it, so the signature holds; the value is then the whole text."""
    document = idp.replaced(idp.answer(), f">{idp.USER}<", f"><![CDATA[{idp.USER[:4]}]]>{idp.USER[4:]}<")
    assert verified(document, idp.expectations()).name_id == idp.USER
