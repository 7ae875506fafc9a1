"""
XML as a weapon: attack catalogue 2.3.

Hardly any of these documents needs a valid signature, so each of those must be refused
before any cryptography and before anything that follows what a document says. What is
asserted is which code refuses: a limit in time would depend on the machine.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from passproxy.idp.saml.errors import (
    SamlRefused,
    SignatureRefused,
    StructureRefused,
)
from passproxy.idp.saml.metadata import described
from passproxy.idp.saml.precheck import sound
from passproxy.idp.saml.verify import verified
from tests.attacks.hostile_documents import (
    REFUSED,
    SEALED,
    SLOW,
    after,
    key_info,
    prefixes,
    reference,
    second_reference,
    with_document_type,
)
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Element


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


@pytest.mark.parametrize(("build", "refusal"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_hostile_document_is_refused_by_the_precheck(build: Callable[[], bytes], refusal: type[SamlRefused]) -> None:
    """`sound` has no cryptography, so whatever it refuses reached none."""
    with pytest.raises(refusal):
        sound(build())


@pytest.mark.parametrize(("build", "refusal"), [row[1:] for row in SLOW], ids=[row[0] for row in SLOW])
def test_xml_12_what_is_as_slow_as_the_limits_permit_is_refused(
    build: Callable[[str], bytes], refusal: type[SamlRefused]
) -> None:
    """How long each takes is measured by `make hostile`."""
    with pytest.raises(refusal):
        verified(build(idp.REQUEST_ID), idp.expectations())


@pytest.mark.parametrize(("build", "refusal"), [row[1:] for row in SEALED], ids=[row[0] for row in SEALED])
def test_xml_15_the_same_inside_of_an_encrypted_assertion_is_refused(
    build: Callable[[str], bytes], refusal: type[SamlRefused]
) -> None:
    with pytest.raises(refusal):
        verified(build(idp.REQUEST_ID), idp.expectations(decryption_keys=(idp.own_key(),)))


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


def test_xml_12_a_thousand_groups_as_keycloak_writes_them_are_far_below_the_limits() -> None:
    """Two namespaces and a type at each value, below some ten that are in scope."""

    def edit(root: Element) -> None:
        for value in root.iter("{*}AttributeValue"):
            declared = (
                'xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            )
            other = idp.xml(f'<saml:AttributeValue {declared} xsi:type="xs:string"/>')
            other.text = value.text
            parent = value.getparent()
            assert parent is not None
            parent.replace(value, other)

    groups = tuple(f"group-{number}" for number in range(1000))
    document = idp.answer(idp.facts(attributes={"groups": groups}), before=edit)
    assert verified(document, idp.expectations()).attributes["groups"] == groups


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
