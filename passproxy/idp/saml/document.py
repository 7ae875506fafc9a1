"""
The one hardened parser, through which every XML document goes.

UTF-8 without a document type, and nothing that its size does not warrant.
Comments and processing instructions stay in the tree, so that they are seen
rather than skipped. What the document means is the callers' business.
"""

from __future__ import annotations

import re

from lxml import etree

from passproxy.idp.saml.errors import ResponseMalformed

#: A thousand groups make some 1 100 elements. Far below what parsing and schema take seconds for.
ELEMENT_LIMIT = 5_000

_DECLARATION = re.compile(
    rb"<\?xml[ \t\r\n]+version=(?:'1\.0'|\"1\.0\")"
    rb"(?:[ \t\r\n]+encoding=(?:'utf-8'|\"utf-8\"))?"
    rb"(?:[ \t\r\n]+standalone=(?:'(?:yes|no)'|\"(?:yes|no)\"))?[ \t\r\n]*\?>",
    re.IGNORECASE,
)


def parsed(document: bytes, element_limit: int = ELEMENT_LIMIT) -> etree._Element:
    """
    The root element of an XML document.

    Raises:
        ResponseMalformed: not well-formed, not plain UTF-8, with a document type, or out of all proportion.
    """
    _guard_encoding(document)
    # Keycloak declares two namespaces on every value, so their number grows with that of the elements.
    if document.count(b"xmlns") > element_limit or document.count(b"<") > 2 * element_limit:
        raise ResponseMalformed("the document has an unreasonable number of elements or namespaces")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=False,
        remove_pis=False,
    )
    try:
        root = etree.fromstring(document, parser)
    except (etree.LxmlError, ValueError) as error:
        # The parser's message quotes the document.
        raise ResponseMalformed(f"the document is not well-formed XML ({type(error).__name__})") from None
    return root


def _guard_encoding(document: bytes) -> None:
    # Two parsers will read these bytes. Only UTF-8 leaves them no choice of encoding.
    if document.startswith(b"<?xml") and not _DECLARATION.match(document):
        raise ResponseMalformed("the XML declaration is not that of XML 1.0 in UTF-8")
    if not document.startswith(b"<"):
        raise ResponseMalformed("the document does not start as XML in UTF-8 does")
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise ResponseMalformed("the document has a document type")
    try:
        document.decode("utf-8")
    except UnicodeDecodeError:
        raise ResponseMalformed("the document is not UTF-8") from None
