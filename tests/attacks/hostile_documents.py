"""
Documents that are weapons: each row a name, how it is made, and the refusal that it must meet.

`REFUSED` need no valid signature and end before any cryptography. `SLOW` get as far as a sender
can bring them without the provider's key, or with an answer of the provider's own around which
everything may be written that is not signed, and are as large and as entangled as the limits permit.
"""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from passproxy.demo.assertions import serialized
from passproxy.idp.saml.document import ELEMENT_LIMIT
from passproxy.idp.saml.errors import (
    AlgorithmRefused,
    EncryptionRefused,
    ResponseMalformed,
    SamlRefused,
    SignatureRefused,
    StatusRefused,
    StructureRefused,
)
from passproxy.idp.saml.precheck import RESPONSE_LIMIT_BYTES
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Edit, Element

XSLT = "http://www.w3.org/TR/1999/REC-xslt-19991116"
XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
XENC = "http://www.w3.org/2001/04/xmlenc#"
XPATH_FILTER = "http://www.w3.org/2002/06/xmldsig-filter2"

RECURSION = f"""
<ds:Transform Algorithm="{XSLT}"><xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:template name="t"><xsl:param name="n"/><xsl:if test="$n &gt; 0">
<xsl:call-template name="t"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
<xsl:call-template name="t"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
</xsl:if></xsl:template>
<xsl:template match="/"><xsl:call-template name="t"><xsl:with-param name="n" select="27"/></xsl:call-template></xsl:template>
</xsl:stylesheet></ds:Transform>"""


def after(edit: Edit) -> bytes:
    return idp.answer(after=edit)


def transform(fragment: str, *, instead: bool = True) -> Edit:
    def edit(root: Element) -> None:
        transforms = idp.find(root, ".//ds:Transforms")
        if instead:
            transforms[1] = idp.xml(fragment)
        else:
            transforms.append(idp.xml(fragment))

    return edit


def xpath_bomb(root: Element) -> None:
    expression = "count(//. | //@* | //namespace::*) > 0"
    transform(f'<ds:Transform Algorithm="{XPATH}"><ds:XPath>{expression}</ds:XPath></ds:Transform>')(root)
    idp.find(root, "samlp:Status").append(idp.xml(f"<samlp:StatusDetail>{'<e/>' * 800}</samlp:StatusDetail>"))


def reference(uri: str) -> Edit:
    return idp.setting(".//ds:Reference", "URI", uri)


def second_reference(uri: str, count: int = 1) -> Edit:
    def edit(root: Element) -> None:
        info = idp.find(root, ".//ds:SignedInfo")
        genuine = etree.tostring(idp.find(root, ".//ds:Reference")).decode()
        for _ in range(count):
            info.append(etree.fromstring(genuine))
            info[-1].set("URI", uri)

    return edit


def prefixes(count: int) -> Edit:
    """Each is looked up at each element, by a search through what is in scope."""
    kept = " ".join(f"n{number}" for number in range(count))
    return transform(
        '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">'
        f'<c:InclusiveNamespaces xmlns:c="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="{kept}"/></ds:Transform>'
    )


def scope(root: Element) -> None:
    declarations = " ".join(f'xmlns:n{number}="urn:{number}"' for number in range(500))
    idp.find(root, "samlp:Status").append(idp.xml(f"<e {declarations}/>"))


def many_transforms(root: Element) -> None:
    for _ in range(300):
        transform('<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>', instead=False)(root)


def key_info(fragment: str) -> Edit:
    def edit(root: Element) -> None:
        info = idp.find(root, ".//ds:KeyInfo")
        info.append(idp.xml(fragment))

    return edit


def cipher_reference(root: Element) -> None:
    root.append(
        idp.xml(
            '<saml:EncryptedAssertion><x:EncryptedData xmlns:x="http://www.w3.org/2001/04/xmlenc#"><x:CipherData>'
            '<x:CipherReference URI="file:///dev/zero"/></x:CipherData></x:EncryptedData></saml:EncryptedAssertion>'
        )
    )


def with_document_type(declaration: str) -> Callable[[], bytes]:
    return lambda: idp.replaced(idp.answer(), "<samlp:Response", f"{declaration}<samlp:Response")


def encoded_as(codec: str, label: str | None = None) -> Callable[[], bytes]:
    def build() -> bytes:
        document = idp.answer().decode().replace("<?xml version='1.0' encoding='UTF-8'?>\n", "")
        declaration = f"<?xml version='1.0' encoding='{label}'?>" if label else ""
        return (declaration + document).encode(codec)

    return build


def deep(levels: int) -> Edit:
    def edit(root: Element) -> None:
        element = etree.SubElement(idp.find(root, "samlp:Status"), "e")
        for _ in range(levels):
            element = etree.SubElement(element, "e")

    return edit


def many_attributes(root: Element) -> None:
    for number in range(5000):
        idp.find(root, "samlp:Status").set(f"a{number}", "")


LOLS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))

REFUSED: list[tuple[str, Callable[[], bytes], type[SamlRefused]]] = [
    ("XML-02 external DTD", with_document_type('<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd">'), ResponseMalformed),
    ("XML-02 parameter entity", with_document_type('<!DOCTYPE r [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>'), ResponseMalformed),
    ("XML-03 nine levels", with_document_type(f'<!DOCTYPE r [<!ENTITY l0 "lol">{LOLS}]>'), ResponseMalformed),
    ("XML-03 one large entity", with_document_type(f'<!DOCTYPE r [<!ENTITY a "{"a" * 50_000}">]>'), ResponseMalformed),
    ("XML-05 XSLT", lambda: after(transform(RECURSION)), AlgorithmRefused),
    ("XML-05 XSLT as third transform", lambda: after(transform(RECURSION, instead=False)), StructureRefused),
    ("XML-05 XSLT as canonicalisation", lambda: after(idp.setting(".//ds:CanonicalizationMethod", "Algorithm", XSLT)), AlgorithmRefused),
    ("XML-06 XPath", lambda: after(xpath_bomb), AlgorithmRefused),
    ("XML-06 XPath filter", lambda: after(transform(f'<ds:Transform Algorithm="{XPATH_FILTER}"/>')), AlgorithmRefused),
    ("XML-06 base64", lambda: after(transform('<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#base64"/>')), AlgorithmRefused),
    ("XML-06 inside a good transform", lambda: after(transform(f'<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"><ds:Transform Algorithm="{XPATH}"/></ds:Transform>')), StructureRefused),
    ("XML-07 /dev/zero", lambda: after(reference("file:///dev/zero")), StructureRefused),
    ("XML-07 bare path", lambda: after(reference("/dev/zero")), StructureRefused),
    ("XML-07 standard input", lambda: after(reference("/proc/self/fd/0")), StructureRefused),
    ("XML-07 as second reference", lambda: after(second_reference("file:///dev/zero")), StructureRefused),
    ("XML-09 many references", lambda: after(second_reference("#x", 300)), StructureRefused),
    ("XML-09 many transforms", lambda: after(many_transforms), StructureRefused),
    ("XML-09 prefixes to keep", lambda: after(prefixes(500)), StructureRefused),
    ("XML-09 namespaces in scope", lambda: after(scope), StructureRefused),
    ("XML-10 RetrievalMethod", lambda: after(key_info('<ds:RetrievalMethod URI="http://127.0.0.1:9/"/>')), StructureRefused),
    ("XML-10 RetrievalMethod without URI", lambda: after(key_info("<ds:RetrievalMethod/>")), StructureRefused),
    ("XML-10 KeyInfoReference", lambda: after(key_info('<k:KeyInfoReference xmlns:k="http://www.w3.org/2009/xmldsig11#" URI="#x"/>')), StructureRefused),
    ("XML-11 CipherReference", lambda: after(cipher_reference), EncryptionRefused),
    ("XML-11 EncryptedKey in KeyInfo", lambda: after(key_info('<x:EncryptedKey xmlns:x="http://www.w3.org/2001/04/xmlenc#"/>')), EncryptionRefused),
    ("XML-12 depth 300", lambda: after(deep(300)), ResponseMalformed),
    ("XML-12 depth 40", lambda: after(deep(40)), StructureRefused),
    ("XML-12 attributes", lambda: after(many_attributes), StructureRefused),
    ("XML-12 elements", lambda: after(lambda root: idp.find(root, "samlp:Status").extend(etree.Element("e") for _ in range(6_000))), StructureRefused),
    ("XML-12 too many to parse", lambda: b"<a>" + b"<b/>" * 25_000 + b"</a>", ResponseMalformed),
    ("XML-12 namespaces", lambda: b"<a>" + b'<b xmlns:c="d"/>' * 6000 + b"</a>", ResponseMalformed),
    ("XML-12 white space", lambda: idp.answer() + b" " * RESPONSE_LIMIT_BYTES, ResponseMalformed),
    ("XML-13 UTF-16 with mark", encoded_as("utf-16", "UTF-16"), ResponseMalformed),
    ("XML-13 UTF-16 without mark", encoded_as("utf-16-le"), ResponseMalformed),
    ("XML-13 UTF-8 with mark", encoded_as("utf-8-sig"), ResponseMalformed),
    ("XML-13 UTF-7 label", encoded_as("ascii", "UTF-7"), ResponseMalformed),
    ("XML-13 EBCDIC", encoded_as("cp037", "IBM037"), ResponseMalformed),
    ("XML-13 Latin-1 label", encoded_as("utf-8", "ISO-8859-1"), ResponseMalformed),
    ("XML-13 XML 1.1", lambda: idp.replaced(idp.answer(), "version='1.0'", "version='1.1'"), ResponseMalformed),
    ("XML-13 not UTF-8", lambda: idp.answer().replace(b"user@", b"\xff@"), ResponseMalformed),
]  # fmt: skip


#: Sixty namespaces, sixteen of their prefixes and as many that are bound to nothing, thirty attributes.
NAMESPACES = " ".join(f'xmlns:n{number}="urn:{number}"' for number in range(60))
BOUND, UNBOUND = (" ".join(f"{letter}{number}" for number in range(16)) for letter in "nu")
ATTRIBUTES = " ".join(f'a{number}=""' for number in range(30))


def stuffed(fragment: str, *, inside: bool = False, prefixes: str = "") -> Callable[[str], bytes]:
    """A response with both signatures, into which something was written: into what is signed, or beside it."""
    end = b"</saml:Assertion>" if inside else b"</samlp:Response>"
    method = b'<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"'
    kept = f'<c:InclusiveNamespaces xmlns:c="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="{prefixes}"/>'

    def build(request_id: str) -> bytes:
        document = idp.answer(idp.facts(in_response_to=request_id), signed="both")
        if prefixes:
            document = document.replace(method + b"/>", method + b">" + kept.encode() + b"</ds:Transform>")
        return document.replace(end, fragment.encode() + end)

    return build


def nested(inner: str, levels: int = 27) -> str:
    return "<e>" * levels + inner + "</e>" * levels


def padded(path: str, text: str) -> Callable[[str], bytes]:
    """A good answer with a very long value that nobody needs."""

    def edit(root: Element) -> None:
        element = idp.find(root, path)
        element.text = (element.text or "") + text

    return lambda request_id: idp.answer(idp.facts(in_response_to=request_id), after=idp.all_of(edit, wrong_at_the_end))


def wrong_at_the_end(root: Element) -> None:
    """What only the schema objects to, after everything else was looked at."""
    root.append(idp.xml("<samlp:Extensions/>"))


def extended(fragment: str) -> Callable[[str], bytes]:
    """A genuine answer: around its assertion a stranger may write what the schema allows, and then something else."""

    def edit(root: Element) -> None:
        root.insert(1, idp.xml(f"<samlp:Extensions>{fragment}</samlp:Extensions>"))
        wrong_at_the_end(root)

    return lambda request_id: idp.answer(idp.facts(in_response_to=request_id), after=edit)


def many_codes(request_id: str) -> bytes:
    inner = "<samlp:StatusCode Value='x'/>" * 4000
    return idp.answer(
        idp.facts(in_response_to=request_id),
        after=lambda root: idp.find(root, "samlp:Status").replace(
            idp.find(root, "samlp:Status/samlp:StatusCode"),
            idp.xml(f"<samlp:StatusCode Value='x'>{inner}</samlp:StatusCode>"),
        ),
    )


WIDE = "<e/>" * (ELEMENT_LIMIT - 100)

SLOW: list[tuple[str, Callable[[str], bytes], type[SamlRefused]]] = [
    ("wide, to be canonicalised twice", stuffed(WIDE, inside=True), SignatureRefused),
    ("wide and deep, prefixes bound to nothing", stuffed(nested(WIDE), inside=True, prefixes=UNBOUND), SignatureRefused),
    ("sixty namespaces over all of it", stuffed(f"<e {NAMESPACES}>{WIDE}</e>", inside=True, prefixes=BOUND), StructureRefused),
    ("ten namespaces over all of it", stuffed(nested(f"<e {' '.join(NAMESPACES.split()[:6])}>{WIDE}</e>"), inside=True, prefixes=UNBOUND), SignatureRefused),
    ("each bound and used anew", stuffed("".join(f'<n:e xmlns:n="urn:{number}" n:a=""/>' for number in range(4000)), inside=True, prefixes=BOUND), SignatureRefused),
    ("attributes up to their limit", stuffed(f"<e {ATTRIBUTES}/>" * 660, inside=True), SignatureRefused),
    ("attributes beyond it", stuffed(f"<e {ATTRIBUTES}/>" * 900, inside=True), StructureRefused),
    ("an ID at each", stuffed("".join(f'<e ID="_{number}"/>' for number in range(ELEMENT_LIMIT - 100)), inside=True), SignatureRefused),
    ("many chains", stuffed(nested("<e/>") * 170, inside=True, prefixes=UNBOUND), SignatureRefused),
    ("distinct names", stuffed("".join(f"<e{number}/>" for number in range(ELEMENT_LIMIT - 100)), inside=True), SignatureRefused),
    ("text to be escaped", stuffed(f"<e>{'&lt;' * 44_000}</e>", inside=True), SignatureRefused),
    ("one long attribute", stuffed(f'<e a="{"&#13;" * 35_000}"/>', inside=True), SignatureRefused),
    ("white space in the signature", padded(".//ds:SignatureValue", " " * 170_000), StructureRefused),
    ("a long certificate", padded(".//ds:X509Certificate", "A" * 170_000), StructureRefused),
    ("wide extensions", extended(f'<x xmlns="urn:x">{WIDE}</x>'), StructureRefused),
    ("extensions with attributes", extended(f'<x xmlns="urn:x">{f"<e {ATTRIBUTES}/>" * 660}</x>'), StructureRefused),
    ("extensions of SAML", extended("<saml:AttributeValue/>" * (ELEMENT_LIMIT - 100)), StructureRefused),
    ("thousands of status codes", many_codes, StatusRefused),
]  # fmt: skip


def sealed(build: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """The assertion of a document, encrypted as it is: everybody can encrypt for us."""

    def sealed_build(request_id: str) -> bytes:
        root = etree.fromstring(build(request_id))
        inner = etree.tostring(idp.assertion_of(root), with_tail=False)
        idp.encrypted_for(plaintext=inner)(root)
        root.remove(idp.find(root, "ds:Signature"))
        return serialized(root)

    return sealed_build


def long_ciphertext(request_id: str) -> bytes:
    values = f".//{{{XENC}}}EncryptedData/{{{XENC}}}CipherData/{{{XENC}}}CipherValue"
    return idp.answer(
        idp.facts(in_response_to=request_id), encrypt=idp.encrypted_for(), after=idp.text(values, "A" * 170_000)
    )


#: For who demands encryption. None of them gets another answer than one that cannot be decrypted.
SEALED: list[tuple[str, Callable[[str], bytes], type[SamlRefused]]] = [
    ("sealed: entities", lambda request_id: idp.answer(encrypt=idp.encrypted_for(plaintext=f'<!DOCTYPE r [<!ENTITY l0 "lol">{LOLS}]><r>&l8;</r>'.encode())), SignatureRefused),
    ("sealed: a long ciphertext", long_ciphertext, SignatureRefused),
    *((f"sealed: {name}", sealed(build), SignatureRefused) for name, build, _ in SLOW[:9]),
]  # fmt: skip
