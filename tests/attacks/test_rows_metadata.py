"""
Signed metadata, wrapped and replayed: rows SSRF-07 and SSRF-11 of attack catalogue 2.15.

The genuine document is signed by the federation's key; the attacker has it, and a key of his own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from lxml import etree

from passproxy.core.errors import IdpUnavailable
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.demo.assertions import DS, METADATA, instant, serialized
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.description import DescriptionSource
from passproxy.idp.saml.errors import MetadataRefused
from passproxy.idp.saml.metadata import described
from passproxy.idp.saml.pool import Verifier
from tests.attacks.acs import acs_site
from tests.attacks.test_saml_metadata import SIGNER, signed_metadata
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import navigation
from tests.fakes.idp_saml import Element
from tests.fakes.log import Log

ORIGIN = Origin("https", "app.example.com", 443)
MD = f"{{{METADATA}}}"


def genuine() -> Element:
    return etree.fromstring(signed_metadata())


def forged(identifier: str = "_evil") -> Element:
    """The same entity with the attacker's key and address."""
    until = idp.setting(".", "validUntil", instant(time.time() + 86400))
    edit = idp.all_of(idp.setting(".", "ID", identifier), until)
    return etree.fromstring(idp.idp_metadata(idp.keys("attacker"), sso_url="https://evil.example/sso", edit=edit))


def signature_of(root: Element) -> Element:
    found = root.find(f"{{{DS}}}Signature")
    assert found is not None
    return found


def beside(first: Element, second: Element, *, signature: Element | None = None) -> bytes:
    root = etree.Element(f"{MD}EntitiesDescriptor", ID="_list", validUntil=instant(time.time() + 86400))
    if signature is not None:
        root.append(signature)
    root.extend([first, second])
    return serialized(root)


def inside_extensions() -> bytes:
    root, parked = forged(), genuine()
    root.insert(0, signature_of(parked))
    etree.SubElement(root, f"{MD}Extensions").append(parked)
    return serialized(root)


def inside_object() -> bytes:
    root, parked = forged(), genuine()
    signature = signature_of(parked)
    root.insert(0, signature)
    etree.SubElement(signature, f"{{{DS}}}Object").append(parked)
    return serialized(root)


def in_its_signature() -> bytes:
    """XSW-1: the forged one around, the whole genuine one within its signature."""
    root, parked = forged("_m"), genuine()
    signature = etree.fromstring(etree.tostring(signature_of(parked)))
    signature.append(parked)
    root.insert(0, signature)
    return serialized(root)


def with_signature_of(reference: str | None, identifier: str = "_evil") -> Callable[[], bytes]:
    def build() -> bytes:
        root = forged(identifier)
        signature = signature_of(genuine())
        element = idp.find(signature, ".//ds:Reference")
        if reference is not None:
            element.set("URI", reference)
        else:
            del element.attrib["URI"]
        root.insert(0, signature)
        return serialized(root)

    return build


def same_identifier() -> bytes:
    root = genuine()
    root.append(forged("_m"))
    return serialized(root)


def with_role_of_the_attacker() -> bytes:
    root = genuine()
    role = forged().find(f"{MD}IDPSSODescriptor")
    assert role is not None
    root.insert(1, role)
    return serialized(root)


def with_document_type(declaration: str) -> Callable[[], bytes]:
    return lambda: idp.replaced(signed_metadata(), "<md:EntityDescriptor", f"{declaration}<md:EntityDescriptor")


WRAPPED: list[tuple[str, Callable[[], bytes]]] = [
    ("SSRF-07 beside it, the forged one first", lambda: beside(forged(), genuine())),
    ("SSRF-07 beside it, the forged one last", lambda: beside(genuine(), forged())),
    ("SSRF-07 beside it, the signature moved to the list", lambda: beside(forged(), (g := genuine()), signature=signature_of(g))),
    ("SSRF-07 beside it under one ID", lambda: beside(forged("_m"), genuine())),
    ("SSRF-07 parked in Extensions", inside_extensions),
    ("SSRF-07 parked in an Object", inside_object),
    ("SSRF-07 parked in the signature", in_its_signature),
    ("SSRF-07 the signature of another", with_signature_of("#_m")),
    ("SSRF-07 the signature of another under its ID", with_signature_of("#_m", "_m")),
    ("SSRF-07 a signature of the whole document", with_signature_of("")),
    ("SSRF-07 a signature of nothing named", with_signature_of(None)),
    ("SSRF-07 a signature of a file", with_signature_of("file:///dev/zero")),
    ("SSRF-07 a second element with the ID", same_identifier),
    ("SSRF-07 a second role", with_role_of_the_attacker),
    ("SSRF-07 a document type", with_document_type("<!DOCTYPE x>")),
    ("SSRF-07 an ID by its document type", with_document_type('<!DOCTYPE x [<!ATTLIST md:EntityDescriptor x ID #IMPLIED>]>')),
]  # fmt: skip


@pytest.mark.parametrize("build", [row[1] for row in WRAPPED], ids=[row[0] for row in WRAPPED])
@pytest.mark.parametrize("name", [None, idp.IDP_ENTITY_ID], ids=["any", "named"])
def test_only_what_is_signed_as_a_whole_is_believed(build: Callable[[], bytes], name: str | None) -> None:
    with pytest.raises(MetadataRefused):
        described(build(), name, time.time(), SIGNER)


def test_ssrf_07_a_comment_cuts_no_certificate_in_two() -> None:
    """Comments are not signed, so anybody may add one; it must not make another key of what follows it."""
    head, certificate, tail = signed_metadata().rpartition(b"X509Certificate>MII")
    assert certificate
    with pytest.raises(MetadataRefused, match="no usable signing certificate"):
        described(head + certificate + b"<!-- -->" + tail, None, time.time(), SIGNER)


async def test_ssrf_07_a_wrapped_document_leaves_nobody_to_log_in_with(tmp_path: Path, log: Log) -> None:
    (tmp_path / "federation.pem").write_bytes(idp.keys("federation").certificate_pem)
    saml = {"metadata_certificate_file": str(tmp_path / "federation.pem")}
    async with acs_site(tmp_path, metadata=inside_extensions(), saml=saml) as site:
        await site.refuses(navigation("/"), log, 503)
    (tmp_path / "saml-metadata.xml").unlink(missing_ok=True)
    async with acs_site(tmp_path, metadata=signed_metadata(), saml=saml) as site:
        assert (await site.asked(navigation("/"))).status == 302


def dated(days: float, *names: str) -> bytes:
    """A signed copy with these keys that ends in so many days."""

    def edit(root: Element) -> None:
        root.set("validUntil", instant(time.time() + days * 86400))
        role = root.find(f"{MD}IDPSSODescriptor")
        other = etree.fromstring(idp.idp_metadata(*map(idp.keys, names))).find(f"{MD}IDPSSODescriptor")
        assert role is not None
        assert other is not None
        root.replace(role, other)

    return signed_metadata(edit=edit)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[DescriptionSource]:
    """What is known of a provider whose signed metadata is in a file that a test writes."""
    settings = SamlSettings.model_validate({"metadata_file": str(tmp_path / "idp.xml")})
    verifier = Verifier(time.time)
    async with aiohttp.ClientSession() as http:
        copy = LastGood(tmp_path / "copy", b"k")
        yield DescriptionSource(settings, ORIGIN, http, copy, verifier, time.time, SIGNER)
    await verifier.close()


async def test_ssrf_11_an_older_copy_that_has_ended_brings_no_key_back(
    source: DescriptionSource, tmp_path: Path
) -> None:
    (tmp_path / "idp.xml").write_bytes(dated(2, "new"))
    held = await source.current(time.time())
    (tmp_path / "idp.xml").write_bytes(dated(-0.01, "revoked"))
    with pytest.raises(MetadataRefused, match="expired"):
        await source._refresh()
    assert await source.current(time.time()) is held
    assert held.certificates == (idp.der(idp.keys("new")),)


async def test_ssrf_11_an_older_copy_that_holds_still_brings_no_key_back(
    source: DescriptionSource, tmp_path: Path
) -> None:
    (tmp_path / "idp.xml").write_bytes(dated(2, "new"))
    held = await source.current(time.time())
    (tmp_path / "idp.xml").write_bytes(dated(1, "revoked"))
    with pytest.raises(MetadataRefused, match="older"):
        await source._refresh()
    assert await source.current(time.time()) is held
    (tmp_path / "idp.xml").write_bytes(dated(3, "newer"))
    await source._refresh()
    assert (await source.current(time.time())).certificates == (idp.der(idp.keys("newer")),)


async def test_ssrf_11_a_refresh_that_is_held_back_keeps_a_copy_to_its_end_and_no_longer(
    source: DescriptionSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "passproxy.idp")
    (tmp_path / "idp.xml").write_bytes(dated(2, "new"))
    held = await source.current(time.time())
    (tmp_path / "idp.xml").write_bytes(b"<blocked/>")
    assert await source.renewed(held) is None
    assert await source.current(time.time() + 1.9 * 86400) is held
    with pytest.raises(IdpUnavailable, match="expired and could not be renewed"):
        await source.current(time.time() + 2.1 * 86400)


async def test_ssrf_11_a_copy_of_an_earlier_run_that_has_ended_is_none(
    source: DescriptionSource, tmp_path: Path
) -> None:
    ended = dated(-0.01, "revoked")
    source._last_good.store(source._as_last_good(ended))
    (tmp_path / "idp.xml").write_bytes(b"<blocked/>")
    with pytest.raises(IdpUnavailable):
        await source.current(time.time())
    assert source.known is None


async def test_ssrf_11_every_failure_and_every_change_of_keys_is_logged(
    source: DescriptionSource, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("passproxy.idp.saml.description.RENEWAL_SECONDS", 0.0)
    caplog.set_level(logging.WARNING, "passproxy.idp")
    (tmp_path / "idp.xml").write_bytes(dated(2, "new"))
    held = await source.current(time.time())
    for number in range(3):
        (tmp_path / "idp.xml").write_bytes(dated(-0.01, "revoked"))
        assert await source.renewed(held) is None
        assert caplog.text.count("idp.metadata_failed") == number + 1
    (tmp_path / "idp.xml").write_bytes(dated(3, "newest"))
    assert await source.renewed(held) is not None
    assert "idp.keys_changed" in caplog.text
