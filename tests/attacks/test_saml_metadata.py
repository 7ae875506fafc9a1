"""Which identity provider a metadata document describes, and what of it is believed (SSRF-06, 08, 10, 13; SAML-02, 29)."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree

from passproxy.core.urls import Origin
from passproxy.demo.assertions import METADATA, instant, metadata, serialized, sign
from passproxy.idp.saml.errors import MetadataRefused
from passproxy.idp.saml.metadata import described
from passproxy.idp.saml.request import guard_provider_url
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Edit, Element

NOW = time.time()
MD = f"{{{METADATA}}}"


def descriptor(root: Element) -> Element:
    found = root.find(f"{MD}IDPSSODescriptor")
    assert found is not None
    return found


def keys_of(root: Element) -> list[Element]:
    return descriptor(root).findall(f"{MD}KeyDescriptor")


def certificate(private: object, *, days: int = 10) -> bytes:
    """A certificate for any kind of key, signed by a strong one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    start = datetime.fromtimestamp(NOW, UTC) - timedelta(days=30)
    public = private.public_key()  # type: ignore[attr-defined]  # every private key has one
    builder = x509.CertificateBuilder(name, name, public, 1, start, start + timedelta(days=30 + days))
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)


def with_certificates(*pems: bytes) -> bytes:
    return serialized(metadata(idp.IDP_ENTITY_ID, idp.SSO_URL, pems))


def federation(*names: str) -> bytes:
    root = etree.Element(f"{MD}EntitiesDescriptor")
    for name in names:
        root.append(etree.fromstring(idp.idp_metadata(entity_id=name)))
    return serialized(root)


def test_a_plain_document_is_read() -> None:
    found = described(idp.idp_metadata(idp.keys(), idp.keys("new")), None, NOW)
    assert (found.entity_id, found.sso_url) == (idp.IDP_ENTITY_ID, idp.SSO_URL)
    assert found.certificates == (idp.der(idp.keys()), idp.der(idp.keys("new")))
    assert found.valid_until is None
    assert found.certificates_expire > NOW
    assert found.notes == ()


def test_a_byte_order_mark_and_blank_lines_do_not_matter() -> None:
    assert described(b"\xef\xbb\xbf\r\n" + idp.idp_metadata(), None, NOW).entity_id == idp.IDP_ENTITY_ID


def test_ssrf_08_of_several_providers_only_the_named_one_is_taken() -> None:
    document = federation("https://a.example/", "https://b.example/")
    assert described(document, "https://b.example/", NOW).entity_id == "https://b.example/"
    with pytest.raises(MetadataRefused, match=r"2 identity providers.*idp_entity_id"):
        described(document, None, NOW)
    with pytest.raises(MetadataRefused, match="0 identity providers"):
        described(document, "https://c.example/", NOW)


def test_ssrf_08_the_same_name_twice_is_no_choice() -> None:
    with pytest.raises(MetadataRefused, match="2 identity providers"):
        described(federation("https://a.example/", "https://a.example/"), "https://a.example/", NOW)


def test_a_named_provider_must_be_the_one_in_a_single_document() -> None:
    with pytest.raises(MetadataRefused):
        described(idp.idp_metadata(), "https://other.example/", NOW)


def test_a_service_provider_beside_it_is_not_counted() -> None:
    root = etree.fromstring(federation("https://a.example/"))
    root.append(
        etree.fromstring(
            f'<md:EntityDescriptor xmlns:md="{METADATA}" entityID="urn:sp"><md:SPSSODescriptor/></md:EntityDescriptor>'
        )
    )
    assert described(serialized(root), None, NOW).entity_id == "https://a.example/"


def use(value: str | None) -> Edit:
    def edit(root: Element) -> None:
        for key in keys_of(root):
            if value is None:
                del key.attrib["use"]
            else:
                key.set("use", value)

    return edit


def test_saml_29_a_key_for_encryption_signs_nothing() -> None:
    with pytest.raises(MetadataRefused, match="no usable signing certificate"):
        described(idp.idp_metadata(edit=use("encryption")), None, NOW)


def test_a_key_without_a_use_is_for_both() -> None:
    assert described(idp.idp_metadata(edit=use(None)), None, NOW).certificates == (idp.der(idp.keys()),)


def no_keys(root: Element) -> None:
    for key in keys_of(root):
        descriptor(root).remove(key)


def no_redirect(root: Element) -> None:
    service = descriptor(root).find(f"{MD}SingleSignOnService")
    assert service is not None
    service.set("Binding", "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST")


def certificate_twice(root: Element) -> None:
    data = idp.find(root, ".//ds:X509Data")
    data.append(etree.fromstring(etree.tostring(data[0])))


def broken_certificate(root: Element) -> None:
    idp.find(root, ".//ds:X509Certificate").text = "AAAA"


def another_protocol(root: Element) -> None:
    descriptor(root).set("protocolSupportEnumeration", "urn:oasis:names:tc:SAML:1.1:protocol")


def two_roles(root: Element) -> None:
    root.append(etree.fromstring(etree.tostring(descriptor(root))))


def expired(root: Element) -> None:
    root.set("validUntil", instant(NOW - 60))


def role_expired(root: Element) -> None:
    descriptor(root).set("validUntil", instant(NOW - 60))


def strange_end(root: Element) -> None:
    root.set("validUntil", "tomorrow")


def no_name(root: Element) -> None:
    del root.attrib["entityID"]


def strange_name(root: Element) -> None:
    root.set("entityID", "https://x/\n")


def too_many_keys(root: Element) -> None:
    for _ in range(10):
        descriptor(root).insert(0, etree.fromstring(etree.tostring(keys_of(root)[0])))


UNCERTAIN = (
    *(no_keys, no_redirect, certificate_twice, broken_certificate, another_protocol, two_roles, expired),
    *(role_expired, strange_end, no_name, strange_name, too_many_keys),
)


@pytest.mark.parametrize("edit", UNCERTAIN, ids=lambda edit: edit.__name__)
def test_a_document_that_leaves_something_open_is_refused(edit: Edit) -> None:
    """SAML-02 among them: without a key there is no trust, and no login."""
    with pytest.raises(MetadataRefused):
        described(idp.idp_metadata(edit=edit), None, NOW)


@pytest.mark.parametrize(
    "document",
    [b"", b"<html><body>Sign in</body></html>", b"{}", idp.answer(), "<a/>".encode("utf-16"), federation()],
    ids=["empty", "html", "json", "response", "utf-16", "no entity"],
)
def test_what_is_not_metadata_is_refused(document: bytes) -> None:
    with pytest.raises(MetadataRefused):
        described(document, None, NOW)


def test_the_earliest_end_counts() -> None:
    def edit(root: Element) -> None:
        root.set("validUntil", instant(NOW + 600))
        descriptor(root).set("validUntil", instant(NOW + 300))

    assert described(idp.idp_metadata(edit=edit), None, NOW).valid_until == int(NOW + 300)


WEAK: list[tuple[str, Callable[[], object]]] = [
    ("RSA 1024", lambda: rsa.generate_private_key(65537, 1024)),
    ("RSA exponent 3", lambda: rsa.generate_private_key(3, 2048)),
    ("DSA", lambda: dsa.generate_private_key(1024)),
    ("P-192", lambda: ec.generate_private_key(ec.SECP192R1())),
    ("Ed25519", ed25519.Ed25519PrivateKey.generate),
]


@pytest.mark.parametrize("make", [row[1] for row in WEAK], ids=[row[0] for row in WEAK])
def test_ssrf_13_weak_keys_are_left_out_and_mentioned(make: Callable[[], object]) -> None:
    weak = certificate(make())
    with pytest.raises(MetadataRefused, match="no usable signing certificate; signing certificate 1 is left out"):
        described(with_certificates(weak), None, NOW)
    found = described(with_certificates(weak, idp.keys().certificate_pem), None, NOW)
    assert found.certificates == (idp.der(idp.keys()),)
    assert len(found.notes) == 1


def test_elliptic_curves_that_are_strong_are_taken() -> None:
    pem = certificate(ec.generate_private_key(ec.SECP384R1()))
    assert len(described(with_certificates(pem), None, NOW).certificates) == 1


def test_ssrf_13_an_expired_certificate_is_used_and_mentioned() -> None:
    pem = certificate(ec.generate_private_key(ec.SECP256R1()), days=-1)
    found = described(with_certificates(pem), None, NOW)
    assert len(found.certificates) == 1
    assert "expired" in found.notes[0]
    assert found.certificates_expire < NOW


def test_the_same_certificate_twice_counts_once() -> None:
    pem = idp.keys().certificate_pem
    assert len(described(with_certificates(pem, pem), None, NOW).certificates) == 1


def test_base64_of_a_certificate_may_be_wrapped() -> None:
    def edit(root: Element) -> None:
        element = idp.find(root, ".//ds:X509Certificate")
        element.text = "\n  " + base64.encodebytes(idp.der(idp.keys())).decode() + "  "

    assert len(described(idp.idp_metadata(edit=edit), None, NOW).certificates) == 1


ORIGIN = Origin("https", "app.example.com", 443)


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example.com/sso",
        "https://idp.example.com/sso?tenant=1&x=%20",
        "https://app.example.com:8443/sso",
        "http://127.0.0.1:9000/sso",
        "http://[::1]:9000/sso",
        "http://idp.localhost/sso",
    ],
)
def test_an_address_to_send_browsers_to_may_be(url: str) -> None:
    guard_provider_url(url, ORIGIN)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/sso",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://idp.example.com/sso",
        "ftp://idp.example.com/sso",
        "https://app.example.com/logout",
        "https://APP.example.com:443/",
        "https://user@idp.example.com/",
        "https://user:pw@idp.example.com/",
        "https://idp.example.com/\r\nX: 1",
        "https://idp.example.com/ x",
        "https://idp.example.com/#x",
        'https://idp.example.com/"x',
        "https://idp.example.com\\@evil",
        "https://idp.example.com:99999/",
        "https:///sso",
        "https://[::1/sso",
        "https://é.example/",
        "https://idp.example.com/" + "a" * 3000,
    ],
)
def test_ssrf_10_an_address_to_send_browsers_to_may_not_be(url: str) -> None:
    with pytest.raises(MetadataRefused):
        guard_provider_url(url, ORIGIN)


def test_our_own_address_is_known_by_its_numbers_too() -> None:
    with pytest.raises(MetadataRefused, match="our own"):
        guard_provider_url("http://[::1]:8080/sso", Origin("http", "[::1]", 8080))


def signed_metadata(name: str = "federation", edit: Edit | None = None, **signing: Any) -> bytes:
    """As a federation publishes it: signed as a whole, and with an end."""
    pair = idp.keys(name)
    until = idp.setting(".", "validUntil", instant(time.time() + 86400))
    edits = idp.all_of(idp.setting(".", "ID", "_m"), until, edit or (lambda _: None))
    root = etree.fromstring(idp.idp_metadata(edit=edits))
    sign(root, pair.key_pem, pair.certificate_pem, **signing)
    return serialized(root)


SIGNER = idp.der(idp.keys("federation"))


def test_signed_metadata_is_read_where_a_certificate_is_configured() -> None:
    assert described(signed_metadata(), None, time.time(), SIGNER).entity_id == idp.IDP_ENTITY_ID
    commented = signed_metadata(edit=lambda root: root.insert(0, etree.Comment("made by a tool")))
    assert described(commented, None, time.time(), SIGNER).entity_id == idp.IDP_ENTITY_ID


@pytest.mark.parametrize(
    ("what", "document"),
    [
        ("SSRF-05 unsigned", lambda: idp.idp_metadata()),
        ("SSRF-05 signed by somebody else", lambda: signed_metadata("stranger")),
        ("SSRF-05 changed since", lambda: idp.replaced(signed_metadata(), idp.SSO_URL.replace("&", "&amp;"), "https://evil.example/sso")),
        ("SSRF-05 without an end", lambda: signed_metadata(edit=idp.setting(".", "validUntil", None))),
        ("SSRF-05 expired", lambda: signed_metadata(edit=idp.setting(".", "validUntil", instant(time.time() - 1)))),
        ("SSRF-05 by SHA-1", lambda: signed_metadata(algorithm=xmlsec.constants.TransformRsaSha1)),
        ("SSRF-05 inside an unsigned list", lambda: b'<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">' + signed_metadata() + b"</md:EntitiesDescriptor>"),
        ("SSRF-05 two elements with the signed ID", lambda: signed_metadata(edit=lambda root: root[0].set("ID", "_m"))),
    ],
)  # fmt: skip
def test_metadata_that_is_not_signed_as_it_has_to_be_is_refused(what: str, document: Callable[[], bytes]) -> None:
    with pytest.raises(MetadataRefused):
        described(document(), None, time.time(), SIGNER)


@pytest.mark.parametrize(
    ("binding", "expected"), [("HTTP-Redirect", "redirect"), ("HTTP-POST", "post"), ("SOAP", ""), ("HTTP-Artifact", "")]
)
def test_single_logout_is_where_the_metadata_says_by_a_binding_that_browsers_know(binding: str, expected: str) -> None:
    found = described(idp.idp_metadata(edit=idp.logout_service(binding)), None, time.time())
    assert found.logout_binding == expected
    assert found.logout_url == found.logout_response_url == (idp.IDP_SLO_URL if expected else "")
    both = idp.all_of(
        idp.logout_service("HTTP-POST", "https://x/post"), idp.logout_service(answers="https://x/answers")
    )
    found = described(idp.idp_metadata(edit=both), None, time.time())
    assert (found.logout_binding, found.logout_response_url) == ("redirect", "https://x/answers")
