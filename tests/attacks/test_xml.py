"""
XML as a weapon: attack catalogue 2.3.

None of these documents needs a valid signature, so each must be refused before
any cryptography and before anything that follows what a document says. What is
asserted is which code refuses: a limit in time would depend on the machine.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lxml import etree

from passproxy.idp.saml.errors import (
    AlgorithmRefused,
    EncryptionRefused,
    ResponseMalformed,
    SamlRefused,
    SignatureRefused,
    StructureRefused,
)
from passproxy.idp.saml.metadata import described
from passproxy.idp.saml.precheck import RESPONSE_LIMIT_BYTES, sound
from passproxy.idp.saml.verify import verified
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Edit, Element

XSLT = "http://www.w3.org/TR/1999/REC-xslt-19991116"
XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
XPATH_FILTER = "http://www.w3.org/2002/06/xmldsig-filter2"

RECURSION = f"""
<ds:Transform Algorithm="{XSLT}"><xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:template name="t"><xsl:param name="n"/><xsl:if test="$n &gt; 0">
<xsl:call-template name="t"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
<xsl:call-template name="t"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
</xsl:if></xsl:template>
<xsl:template match="/"><xsl:call-template name="t"><xsl:with-param name="n" select="27"/></xsl:call-template></xsl:template>
</xsl:stylesheet></ds:Transform>"""


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bool]]]:
    """A port on loopback, and whether anybody ever connected to it."""
    server, connections = socket.create_server(("127.0.0.1", 0)), list[bool]()

    def accept() -> None:
        try:
            while True:
                server.accept()[0].close()
                connections.append(True)
        except OSError:
            return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield server.getsockname()[1], connections
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(2)


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
    detail = idp.xml("<samlp:StatusDetail/>")
    for _ in range(800):
        etree.SubElement(detail, "e")
    idp.find(root, "samlp:Status").append(detail)


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
    ("XML-12 elements", lambda: after(lambda root: idp.find(root, "samlp:Status").extend(etree.Element("e") for _ in range(11_000))), StructureRefused),
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


@pytest.mark.parametrize(("build", "refusal"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_hostile_document_is_refused_by_the_precheck(build: Callable[[], bytes], refusal: type[SamlRefused]) -> None:
    """`sound` has no cryptography, so whatever it refuses reached none."""
    with pytest.raises(refusal):
        sound(build())


def test_xml_07_a_fifo_is_not_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(StructureRefused):
        verified(after(reference(fifo.as_uri())), idp.expectations())


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{}/", "ftp://127.0.0.1:{}/"])
def test_xml_02_04_08_10_nothing_is_fetched(listener: tuple[int, list[bool]], uri: str) -> None:
    port, connections = listener
    url = uri.format(port)
    hostile = [
        with_document_type(f'<!DOCTYPE r SYSTEM "{url}x.dtd">')(),
        with_document_type(f'<!DOCTYPE r [<!ENTITY % p SYSTEM "{url}p"> %p;]>')(),
        after(second_reference(url)),
        after(reference(url)),
        after(key_info(f'<ds:RetrievalMethod URI="{url}"/>')),
        idp.replaced(idp.answer(), "<samlp:Response", f'<?xml-stylesheet href="{url}"?><samlp:Response'),
    ]
    for document in hostile:
        with pytest.raises(SamlRefused):
            verified(document, idp.expectations())
    assert connections == []


def test_xml_04_inclusion_schema_and_base_are_text_like_any_other(listener: tuple[int, list[bool]]) -> None:
    port, connections = listener
    url = f"http://127.0.0.1:{port}/"

    def edit(root: Element) -> None:
        root.set("{http://www.w3.org/XML/1998/namespace}base", url)
        root.set("{http://www.w3.org/2001/XMLSchema-instance}schemaLocation", f"urn:x {url}x.xsd")
        detail = idp.xml("<samlp:StatusDetail/>")
        detail.append(idp.xml(f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{url}"/>'))
        idp.find(root, "samlp:Status").append(detail)

    with pytest.raises(SamlRefused):
        # xml:base is not allowed there by the schema; that nothing was fetched is the point.
        verified(after(edit), idp.expectations())
    assert connections == []


def test_the_prefixes_that_real_providers_keep_may_be_kept() -> None:
    """Okta and Shibboleth name xs; the signature is then made over it, so here only the structure is judged."""
    assert sound(after(prefixes(2))).assertion_signature is not None


def test_xml_10_a_large_key_info_is_never_read() -> None:
    """Nobody's key is taken from it: with the right certificate the response is accepted."""
    junk = key_info(
        f"<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>{'A' * 20_000}</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>"
    )
    assert verified(after(junk), idp.expectations()).name_id == idp.USER


def test_metadata_is_read_by_the_same_parser(listener: tuple[int, list[bool]]) -> None:
    port, connections = listener
    hostile = idp.replaced(
        idp.idp_metadata(),
        "<md:EntityDescriptor",
        f'<!DOCTYPE r SYSTEM "http://127.0.0.1:{port}/"><md:EntityDescriptor',
    )
    with pytest.raises(Exception, match="document type"):
        described(hostile, None, 0)
    assert connections == []


def test_the_good_response_passes_where_the_hostile_ones_end() -> None:
    parts = sound(idp.answer(signed="both"))
    assert parts.response_signature is not None
    assert parts.assertion_signature is not None
    with pytest.raises(SignatureRefused):
        sound(idp.answer(signed="neither"))
