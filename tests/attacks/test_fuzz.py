"""
Whatever arrives: what was genuine and unharmed, or a refusal of the known kind. Never somebody else.

Documents go through the whole adapter, with the code of the XML process called in this one, so
that a thousand of them take seconds. Its net for unexpected exceptions counts as a failure here:
each hostile document is to be refused by a check that knows why. The choices are the same in
every run; the documents are signed anew, with their own ids and times.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from passproxy.core.errors import LoginError
from passproxy.core.identity import Authentication
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.demo.assertions import UNSPECIFIED, ResponseFacts
from passproxy.idp.base import Callback, Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml import worker
from passproxy.idp.saml.errors import refusal
from passproxy.idp.saml.keys import own_keys
from passproxy.idp.saml.logout import NamedSession, handles_of, packed
from passproxy.idp.saml.messages import decoded, encoded
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.provider import SamlProvider
from passproxy.idp.saml.request import request_id
from tests.attacks.mutations import byte_strings, trees, wrappings
from tests.core.given import examples
from tests.fakes import idp_saml as idp

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")

ORIGIN = Origin("https", "app.example.com", 443)
PROOF = Proof(b"p" * 32)
ATTRIBUTES = {"mail": (idp.USER,), "groups": ("staff", "ops"), "name": ("Zo\u00eb <Ops> & Co",)}
SIGNED = ("assertion", "response", "both")

TOKENS = (
    b"<!---->", b"<!-- x -->", b"<?x?>", b"<![CDATA[", b"]]>", b"&lt;", b"&evil;", b"&#0;", b"&#x61;", b"\x00", b"\xff",
    b"\xed\xa0\x80", b"\xc0\xbc", b"<!DOCTYPE a>", b'<!DOCTYPE a [<!ENTITY e "x">]>', b"<", b">", b'"', b"'", b"/", b" ", b"\r\n",
    b"xmlns:saml=''", b"</saml:NameID>", b"<saml:Assertion/>", b"</saml:Assertion>", b"<saml:Advice/>", b"<ds:Object/>", idp.VICTIM.encode(), b"ID='_x'",
)  # fmt: skip

ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7", "cp037", "latin-1")
LABELS = ("UTF-8", "utf-8", "UTF-16", "ISO-8859-1", "UTF-7", "IBM037", "us-ascii", "utf8", "", "x" * 50)


class InThisProcess(Verifier):
    """Asks the code of the XML process, without the process."""

    def __init__(self) -> None:
        super().__init__(time.time)

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        answer = decoded(encoded(worker.answer(encoded(request))))
        if "refused" in answer:
            assert not answer["detail"].startswith("unexpected"), answer
            raise refusal(answer["refused"], answer["detail"])
        return answer


class Judge:
    """The adapter, asked from outside of its event loop, and what it has said so far."""

    def __init__(self, runner: asyncio.Runner, provider: SamlProvider) -> None:
        self._runner = runner
        self._provider = provider
        self.said: Counter[str] = Counter()

    def judge(self, document: bytes, said: ResponseFacts) -> None:
        self.judge_text(base64.b64encode(document).decode(), said)

    def judge_text(self, text: str, said: ResponseFacts) -> None:
        """The invariant."""
        callback = Callback({"SAMLResponse": text, "RelayState": "login-1"})
        try:
            authentication = self._runner.run(self._provider.finish(callback, PROOF, time.time()))
        except LoginError as error:
            self.said[error.code] += 1
        else:
            assert authentication == expected(said)
            self.said["accepted"] += 1


def expected(said: ResponseFacts) -> Authentication:
    """What the document says as it was signed, in every field."""
    session = NamedSession(idp.USER, UNSPECIFIED, "", "", said.session_index)
    at = int(said.issued_at)
    return Authentication(idp.IDP_ENTITY_ID, idp.USER, ATTRIBUTES, at, at + 900, handles_of(session), packed(session))


def genuine() -> ResponseFacts:
    now = time.time()
    return idp.facts(
        in_response_to=request_id(PROOF), attributes=ATTRIBUTES, issued_at=now, session_not_on_or_after=now + 900
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def made(runner: asyncio.Runner, tmp_path: Path) -> Iterator[Callable[..., Judge]]:
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata())
    idp.place_own_key(tmp_path)

    async def client() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    http = runner.run(client())

    def make(**changes: Any) -> Judge:
        settings = SamlSettings.model_validate({"metadata_file": str(tmp_path / "idp.xml"), **changes})
        keys = own_keys(settings, tmp_path, ORIGIN.host, time.time())
        copy = LastGood(tmp_path / "copy", b"k" * 32)
        return Judge(runner, SamlProvider(settings, ORIGIN, http, copy, time.time, InThisProcess(), keys))

    yield make
    runner.run(http.close())


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("sealed", [False, True])
def test_the_documents_that_are_changed_below_are_good_ones(made: Callable[..., Judge], signed: str, sealed: bool):
    judge, said = made(want_encrypted_assertions=sealed), genuine()
    judge.judge(idp.answer(said, signed=signed, encrypt=idp.encrypted_for() if sealed else None), said)
    assert judge.said == {"accepted": 1}


def test_xml_17_a_tree_that_was_changed_in_any_way(made: Callable[..., Judge]):
    judge = made()

    @examples(300)
    @given(st.sampled_from(SIGNED), trees())
    def check(signed: str, edit: idp.Edit) -> None:
        said = genuine()
        judge.judge(idp.answer(said, signed=signed, after=edit), said)

    check()
    assert judge.said["accepted"] > 0
    assert len(judge.said) > 3, judge.said


def test_saml_19_a_signed_part_that_was_wrapped_in_any_way(made: Callable[..., Judge]):
    judge = made()

    @examples(250)
    @given(st.sampled_from(SIGNED), wrappings())
    def check(signed: str, edit: idp.Edit) -> None:
        said = genuine()
        judge.judge(idp.answer(said, signed=signed, after=edit), said)

    check()
    assert judge.said["accepted"] == 0


def test_xml_17_a_tree_that_was_changed_before_its_encrypted_assertion_was_sealed_or_after(made: Callable[..., Judge]):
    judge = made(want_encrypted_assertions=True)

    @examples(80)
    @given(st.sampled_from(SIGNED), trees(), st.booleans())
    def check(signed: str, edit: idp.Edit, is_inside: bool) -> None:
        said = genuine()

        def seal(root: idp.Element) -> None:
            if is_inside and signed == "assertion":
                edit(idp.assertion_of(root))
            idp.encrypted_for()(root)

        judge.judge(idp.answer(said, signed=signed, encrypt=seal, after=None if is_inside else edit), said)

    check()
    assert judge.said["accepted"] > 0
    assert len(judge.said) > 3, judge.said


def test_xml_17_bytes_that_were_changed_in_any_way(made: Callable[..., Judge]):
    judge = made()

    @examples(300)
    @given(st.sampled_from(SIGNED), byte_strings(TOKENS))
    def check(signed: str, change: Callable[[bytes], bytes]) -> None:
        said = genuine()
        judge.judge(change(idp.answer(said, signed=signed)), said)

    check()
    assert judge.said["accepted"] > 0
    assert len(judge.said) > 3, judge.said


def test_xml_13_another_encoding_with_any_label(made: Callable[..., Judge]):
    judge = made()

    @examples(80)
    @given(st.sampled_from(ENCODINGS), st.sampled_from(LABELS), st.booleans())
    def check(encoding: str, label: str, is_declared: bool) -> None:
        said = genuine()
        text = etree.tostring(etree.fromstring(idp.answer(said)), encoding="unicode")
        declaration = f'<?xml version="1.0" encoding="{label}"?>' if is_declared else ""
        judge.judge((declaration + text).encode(encoding, "xmlcharrefreplace"), said)

    check()
    assert judge.said["PP-SAML-MALFORMED"] > 5


def test_xml_14_a_form_field_that_was_changed_in_any_way(made: Callable[..., Judge]):
    judge = made()

    @examples(120)
    @given(byte_strings((b"=", b"==", b"\r\n", b"\n", b" ", b"-", b"_", b"%2B", b"\x00", "\u00e9".encode())))
    def check(change: Callable[[bytes], bytes]) -> None:
        said = genuine()
        text = change(base64.b64encode(idp.answer(said)))
        judge.judge_text(text.decode("utf-8", "replace"), said)

    check()
    assert judge.said["PP-SAML-MALFORMED"] > 5


def test_xml_17_anything_at_all(made: Callable[..., Judge]):
    judge = made()

    @examples(200)
    @given(st.one_of(st.text(max_size=300), st.binary(max_size=300).map(lambda raw: base64.b64encode(raw).decode())))
    def check(text: str) -> None:
        judge.judge_text(text, genuine())

    check()
    assert judge.said.keys() == {"PP-SAML-MALFORMED"}
