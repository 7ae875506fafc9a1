"""What surrounds an encrypted assertion, and a signature: each part in its place, or a refusal before any cryptography."""

from __future__ import annotations

import pytest
from lxml import etree

from passproxy.idp.saml import second_opinion, selftest
from passproxy.idp.saml.errors import AlgorithmRefused, SamlRefused, StructureRefused
from passproxy.idp.saml.precheck import sound
from passproxy.idp.saml.sealed import sealed
from passproxy.idp.saml.verify import verified
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Edit, Element

XENC = "{http://www.w3.org/2001/04/xmlenc#}"
DATA = f".//{XENC}EncryptedData"
KEY = f".//{XENC}EncryptedKey"

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")


def below_extensions(path: str) -> Edit:
    def edit(root: Element) -> None:
        holder = idp.xml("<samlp:Extensions/>")
        holder.append(idp.find(root, path))
        root.insert(1, holder)

    return edit


def appended(path: str, fragment: str) -> Edit:
    return lambda root: idp.find(root, path).append(idp.xml(fragment))


def beside(reference: str) -> Edit:
    """The key beside what it opens, and in its place this."""

    def edit(root: Element) -> None:
        key, data = idp.find(root, KEY), idp.find(root, DATA)
        idp.find(root, f"{DATA}/ds:KeyInfo").replace(key, idp.xml(reference))
        key.set("Id", "_key")
        data.addnext(key)

    return edit


def hint_first(root: Element) -> None:
    idp.find(root, KEY).insert(0, idp.xml("<ds:KeyInfo><ds:KeyName>sp</ds:KeyName></ds:KeyInfo>"))


RETRIEVAL = '<ds:RetrievalMethod URI="{}"/>'

ODD: list[tuple[str, Edit, type[SamlRefused]]] = [
    ("not directly inside", below_extensions("saml:EncryptedAssertion"), StructureRefused),
    ("something else with it", appended("saml:EncryptedAssertion", "<saml:Advice/>"), StructureRefused),
    ("no key", idp.without(f"{DATA}/ds:KeyInfo"), StructureRefused),
    ("an empty place for the key", idp.without(KEY), StructureRefused),
    ("a key beside it that nobody names", beside("<ds:KeyName>sp</ds:KeyName>"), StructureRefused),
    ("another key than the one beside it", beside(RETRIEVAL.format("#_other")), StructureRefused),
    ("a key of another type", beside('<ds:RetrievalMethod Type="urn:x" URI="#_key"/>'), StructureRefused),
    ("a key without its ciphertext", idp.without(f"{KEY}/{XENC}CipherData"), StructureRefused),
    ("a key that starts with a hint", hint_first, StructureRefused),
    ("OAEP with a label", appended(f"{KEY}/{XENC}EncryptionMethod", "<ds:OAEPparams>YQ==</ds:OAEPparams>"), AlgorithmRefused),
    ("OAEP with MD5", appended(f"{KEY}/{XENC}EncryptionMethod", '<ds:DigestMethod Algorithm="urn:md5"/>'), AlgorithmRefused),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "refusal"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_what_cannot_be_read_in_one_way_only_is_not_decrypted(edit: Edit, refusal: type[SamlRefused]) -> None:
    with pytest.raises(refusal):
        sealed(idp.answer(encrypt=idp.encrypted_for(), after=edit))


def test_the_key_may_stand_beside_it_under_its_name() -> None:
    assert sealed(idp.answer(encrypt=idp.encrypted_for(), after=beside(RETRIEVAL.format("#_key")))).box.wrapped_key


OPEN: list[tuple[str, Edit]] = [
    ("an assertion below something else", below_extensions("saml:Assertion")),
    ("a signature with an object", appended(".//ds:Signature", "<ds:Object/>")),
    ("markup in a digest", appended(".//ds:DigestValue", "<ds:Object/>")),
    ("markup in the signature value", appended(".//ds:SignatureValue", "<ds:Object/>")),
    ("two states", lambda root: root.insert(1, idp.xml(idp.status_of("Success")))),
]


@pytest.mark.parametrize("edit", [edit for _, edit in OPEN], ids=[name for name, _ in OPEN])
def test_what_is_not_encrypted_has_each_part_in_its_place(edit: Edit) -> None:
    with pytest.raises(StructureRefused):
        sound(idp.answer(after=edit))


@pytest.mark.parametrize("encrypted", [False, True])
def test_whatever_the_second_judge_raises_is_a_refusal(monkeypatch: pytest.MonkeyPatch, encrypted: bool) -> None:
    """What it may raise is not documented, and its words quote the document."""

    def fails(*_: object) -> None:
        raise etree.XMLSyntaxError(idp.USER, 0, 0, 0)

    if encrypted:
        monkeypatch.setattr(second_opinion.OneLogin_Saml2_XML, "validate_xml", fails)
        document = idp.answer(signed="response", encrypt=idp.encrypted_for())
        expected = idp.expectations(decryption_keys=(idp.own_key(),))
    else:
        monkeypatch.setattr(second_opinion, "OneLogin_Saml2_Response", fails)
        document, expected = idp.answer(), idp.expectations()
    with pytest.raises(StructureRefused, match="XMLSyntaxError") as refusal:
        verified(document, expected)
    assert idp.USER not in refusal.value.detail


def test_sc_04_an_installation_that_accepts_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "verified", lambda document, expected: None)
    found = selftest.failures(1_700_000_000.0)
    assert any("is not signed" in failure for failure in found)
    assert any("somebody else signed it" in failure for failure in found)
