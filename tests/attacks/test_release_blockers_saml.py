"""The release blockers of the attack catalogue that are SAML's, one test each, by their number there."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import xmlsec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from onelogin.saml2.response import OneLogin_Saml2_Response

from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.idp.base import Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.errors import (
    AlgorithmRefused,
    AudienceRefused,
    DestinationRefused,
    InResponseToRefused,
    RecipientRefused,
    SamlRefused,
    StructureRefused,
    TimeRefused,
    VerifierFailed,
)
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.precheck import sound
from passproxy.idp.saml.provider import SamlProvider
from passproxy.idp.saml.request import request_id
from passproxy.idp.saml.verify import verified
from tests.attacks import hostile_documents as hostile
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import setting, without

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")

PROOF = Proof(b"s" * 32)
DATA = ".//saml:SubjectConfirmationData"


async def test_release_blocker_01_signed_info_as_a_weapon(tmp_path: Path) -> None:
    """
    XSLT, XPath, files and many references are refused before any cryptography.

    And were one to slip through, the process that hangs over it is killed while
    the event loop goes on, and the next login succeeds.
    """
    weapons = [
        hostile.after(hostile.transform(hostile.RECURSION)),
        hostile.after(hostile.xpath_bomb),
        hostile.after(hostile.reference("file:///dev/zero")),
        hostile.after(hostile.second_reference("file:///dev/zero")),
        hostile.after(hostile.second_reference("#x", 300)),
    ]
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata())
    settings = SamlSettings(metadata_file=str(tmp_path / "idp.xml"))
    verifier = Verifier(time.time, command=(sys.executable, "-P", "-c", _HANGS_ONCE), time_limit_seconds=1.0)
    async with aiohttp.ClientSession() as http:
        origin = Origin("https", "app.example.com", 443)
        provider = SamlProvider(settings, origin, http, LastGood(tmp_path / "copy", b"k"), time.time, verifier)
        try:
            for document in weapons:
                with pytest.raises((AlgorithmRefused, StructureRefused)):
                    sound(document)
                with pytest.raises((AlgorithmRefused, StructureRefused)):
                    await provider.finish(idp.callback(document), PROOF, time.time())
            good = idp.callback(idp.answer(idp.facts(in_response_to=request_id(PROOF))))
            slow = idp.callback(b"<hang/>")
            with pytest.raises(VerifierFailed):
                await provider.finish(slow, PROOF, time.time())
            assert (await asyncio.wait_for(provider.finish(good, PROOF, time.time()), 5)).subject == idp.USER
        finally:
            await provider.close()


#: The real worker, except that one document makes it hang as /dev/zero used to.
_HANGS_ONCE = """
import time
import passproxy.idp.saml.worker as worker
genuine = worker.answer
def answer(line):
    if b"PGhhbmcvPg==" in line:
        time.sleep(60)
    return genuine(line)
worker.answer = answer
worker.main()
"""


def test_release_blocker_01_the_process_has_no_reader_for_files_and_no_transform_but_ours() -> None:
    """The second line of defence, without the first: xmlsec itself refuses, at once."""
    for edit in (hostile.reference("file:///dev/zero"), hostile.transform(hostile.RECURSION), hostile.xpath_bomb):
        root = etree.fromstring(hostile.after(edit))
        xmlsec.tree.add_ids(root, ["ID"])
        context = xmlsec.SignatureContext()
        for transform in (
            xmlsec.constants.TransformEnveloped,
            xmlsec.constants.TransformExclC14N,
            xmlsec.constants.TransformSha256,
        ):
            context.enable_reference_transform(transform)
        context.key = xmlsec.Key.from_memory(idp.keys().key_pem, xmlsec.constants.KeyDataFormatPem)
        started = time.monotonic()
        with pytest.raises(xmlsec.Error):
            context.verify(idp.find(root, ".//ds:Signature"))
        assert time.monotonic() - started < 1


def test_release_blocker_02_the_signed_in_response_to_is_compared() -> None:
    """The attribute of an unsigned wrapper can be deleted by whoever carries it."""
    stripped = idp.answer(idp.facts(in_response_to="_other"), after=setting(".", "InResponseTo", None))
    with pytest.raises(InResponseToRefused):
        verified(stripped, idp.expectations())
    replaced = idp.answer(idp.facts(in_response_to="_other"), after=setting(".", "InResponseTo", idp.REQUEST_ID))
    with pytest.raises(InResponseToRefused):
        verified(replaced, idp.expectations())


@pytest.mark.parametrize(
    ("build", "refusal"),
    [
        (lambda: idp.answer(before=without(".//saml:AudienceRestriction")), AudienceRefused),
        (lambda: idp.answer(before=setting(DATA, "Recipient", None)), RecipientRefused),
        (lambda: idp.answer(idp.facts(recipient=f"https://evil.example/?u={idp.ACS_URL}")), RecipientRefused),
        (lambda: idp.answer(idp.facts(destination=idp.ACS_URL + ".evil.example"), signed="both"), DestinationRefused),
        (lambda: idp.answer(before=setting(DATA, "NotOnOrAfter", None)), TimeRefused),
    ],
    ids=["no audience", "no recipient", "recipient contains ours", "ours is a prefix of the destination", "no end"],
)
def test_release_blocker_03_what_the_library_lets_be_missing_or_similar_is_exact_and_mandatory(
    build: Callable[[], bytes], refusal: type[SamlRefused]
) -> None:
    with pytest.raises(refusal):
        verified(build(), idp.expectations())


@pytest.mark.parametrize("name", ["rsa-md5", "rsa-ripemd160", "rsa-sha1", "rsa-sha224", "hmac-sha256"])
def test_release_blocker_15_only_listed_algorithms_verify(name: str) -> None:
    uri = f"http://www.w3.org/2001/04/xmldsig-more#{name}"
    with pytest.raises(AlgorithmRefused):
        verified(idp.answer(after=setting(".//ds:SignatureMethod", "Algorithm", uri)), idp.expectations())


def signed_again(uri: str, algorithm: hashes.HashAlgorithm) -> Callable[[etree._Element], None]:
    """An edit that signs without libxmlsec1, some builds of which no longer make what is weak."""

    def edit(root: etree._Element) -> None:
        setting(".//ds:SignatureMethod", "Algorithm", uri)(root)
        canonical = etree.tostring(idp.find(root, ".//ds:SignedInfo"), method="c14n", exclusive=True)
        key = load_pem_private_key(idp.keys().key_pem, None)
        assert isinstance(key, RSAPrivateKey)
        made = key.sign(canonical, padding.PKCS1v15(), algorithm)
        idp.find(root, ".//ds:SignatureValue").text = base64.b64encode(made).decode()

    return edit


def test_release_blocker_15_md5_does_not_verify_even_when_genuinely_signed() -> None:
    more = "http://www.w3.org/2001/04/xmldsig-more#"
    assert verified(idp.answer(after=signed_again(f"{more}rsa-sha512", hashes.SHA512())), idp.expectations())
    with pytest.raises(AlgorithmRefused):
        verified(idp.answer(after=signed_again(f"{more}rsa-md5", hashes.MD5())), idp.expectations())


def test_release_blocker_16_unsolicited_responses_are_refused_by_our_own_check() -> None:
    """The library has no such option: it accepts what is refused here."""
    unsolicited = idp.answer(idp.facts(in_response_to=None))
    with pytest.raises(InResponseToRefused):
        verified(unsolicited, idp.expectations())
    assert "rejectUnsolicitedResponsesWithInResponseTo" not in Path(
        sys.modules[OneLogin_Saml2_Response.__module__].__file__ or ""
    ).read_text(encoding="utf-8")


def test_the_main_process_never_imports_a_parser() -> None:
    """Blocker 1 again: what is not there cannot hang. Only the worker imports lxml and xmlsec."""
    program = (
        "import sys, passproxy.idp.saml.provider;"
        "sys.exit(any(name.split('.')[0] in ('lxml', 'xmlsec', 'onelogin') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
