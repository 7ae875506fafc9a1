"""
SAML single logout: attack catalogue 2.4.

Each message is one that the provider could have sent, changed in one respect; the expected end is
always the same: a refusal, and no session ends. The good ones stand at the end.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import pytest
import pytest_asyncio
import xmlsec
from lxml import etree

from passproxy.core.errors import CallbackMalformed, LoginError
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import fields
from passproxy.idp.base import Message, Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.errors import LogoutRefused
from passproxy.idp.saml.keys import own_keys
from passproxy.idp.saml.logout import NamedSession, handles, logout_request_id, packed, session_from
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.provider import SamlProvider
from passproxy.idp.saml.redirect import INFLATED_LIMIT_BYTES
from passproxy.idp.saml.request import request_id
from tests.core.given import ORIGIN
from tests.fakes import idp_saml as idp

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROOF = Proof(b"l" * 32)
NAMED = NamedSession(idp.USER, "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress", "nq", "spnq", "idx<1>")

Make = Callable[..., SamlProvider]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verifier() -> AsyncIterator[Verifier]:
    verifier = Verifier(time.time)
    yield verifier
    await verifier.close()


@pytest_asyncio.fixture(loop_scope="module")
async def make(verifier: Verifier, tmp_path: Path) -> AsyncIterator[Make]:
    idp.place_own_key(tmp_path)
    async with aiohttp.ClientSession() as http:

        def made(service: idp.Edit | None = None, **more: Any) -> SamlProvider:
            (tmp_path / "idp.xml").write_bytes(idp.idp_metadata(edit=service or idp.logout_service()))
            settings = SamlSettings.model_validate({"metadata_file": str(tmp_path / "idp.xml"), **more})
            keys = own_keys(settings, tmp_path, ORIGIN.host, time.time())
            return SamlProvider(settings, ORIGIN, http, LastGood(tmp_path / "copy", b"k"), time.time, verifier, keys)

        yield made


@pytest.fixture
def provider(make: Make) -> SamlProvider:
    return make()


async def redirected(provider: SamlProvider, raw: bytes, proof: Proof | None = None) -> Any:
    """As the endpoint gives a query to the adapter."""
    return await provider.notified(Message("saml/slo", "GET", raw, fields(raw)), proof, time.time())


async def posted(provider: SamlProvider, document: bytes, proof: Proof | None = None, **more: str) -> Any:
    name = "SAMLRequest" if b"LogoutRequest" in document[:300] else "SAMLResponse"
    found = {name: base64.b64encode(document).decode(), **more}
    raw = "&".join(f"{key}={quote(value, safe='')}" for key, value in found.items()).encode()
    return await provider.notified(Message("saml/slo", "POST", raw, fields(raw)), proof, time.time())


def at(seconds: float) -> str:
    return idp.instant(time.time() + seconds)


def answer_to(proof: Proof, *codes: str) -> bytes:
    content = idp.status_of(*(codes or ("Success",)))
    return idp.logout("LogoutResponse", content=content, InResponseTo=logout_request_id(proof))


def unsigned(document: bytes) -> bytes:
    raw = idp.by_redirect(document)
    return raw.partition(b"&SigAlg=")[0]


def without(raw: bytes, name: bytes) -> bytes:
    return b"&".join(pair for pair in raw.split(b"&") if not pair.startswith(name + b"="))


REFUSED_QUERIES: list[tuple[str, Callable[[], bytes]]] = [
    ("SLO-01 unsigned", lambda: unsigned(idp.logout())),
    ("SLO-01 signed by a stranger", lambda: idp.by_redirect(idp.logout(), idp.keys("foreign"))),
    ("SLO-01 changed after it was signed", lambda: idp.by_redirect(idp.logout()).replace(b"SAMLRequest=f", b"SAMLRequest=g")),
    ("SLO-01 signature inside, none over the query", lambda: unsigned(idp.by_post(idp.logout()))),
    ("SLO-01 another RelayState than was signed", lambda: idp.by_redirect(idp.logout()).replace(b"state-of", b"state-by")),
    ("SLO-01 RelayState added", lambda: idp.by_redirect(idp.logout(), relay_state=None) + b"&RelayState=x"),
    ("SLO-01 RelayState taken away", lambda: without(idp.by_redirect(idp.logout()), b"RelayState")),
    ("SLO-02 request and answer at once", lambda: idp.by_redirect(idp.logout()) + b"&SAMLResponse=x"),
    ("SLO-02 neither request nor answer", lambda: b"RelayState=x"),
    ("SLO-04 an answer to nothing", lambda: idp.by_redirect(idp.logout("LogoutResponse"))),
    ("SLO-04 an answer in the place of a request", lambda: idp.by_redirect(answer_to(PROOF), name="SAMLRequest")),
    ("SLO-05 no algorithm", lambda: without(idp.by_redirect(idp.logout()), b"SigAlg")),
    ("SLO-05 an unknown algorithm", lambda: idp.by_redirect(idp.logout(), algorithm="urn:x")),
    ("SLO-05 SHA-1", lambda: idp.by_redirect(idp.logout(), algorithm="http://www.w3.org/2000/09/xmldsig#rsa-sha1")),
    ("SLO-05 HMAC", lambda: idp.by_redirect(idp.logout(), algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")),
    ("SLO-05 no signature", lambda: without(idp.by_redirect(idp.logout()), b"Signature")),
    ("SLO-05 an empty signature", lambda: without(idp.by_redirect(idp.logout()), b"Signature") + b"&Signature="),
    ("SLO-06 a bomb", lambda: idp.by_redirect(idp.logout(edit=lambda root: root.append(idp.xml(f"<samlp:Extensions>{'x' * (INFLATED_LIMIT_BYTES + 1)}</samlp:Extensions>"))))),
    ("SLO-06 not deflated", lambda: idp.by_redirect(idp.logout(), quoted=lambda text: quote(text[:40] if len(text) > 300 else text, safe=""))),
    ("SLO-08 expired", lambda: idp.by_redirect(idp.logout(NotOnOrAfter=at(-120)))),
    ("SLO-08 issued long ago", lambda: idp.by_redirect(idp.logout(edit=idp.setting(".", "IssueInstant", at(-400))))),
    ("SLO-08 issued in the future", lambda: idp.by_redirect(idp.logout(edit=idp.setting(".", "IssueInstant", at(120))))),
    ("SLO-08 issued at no time", lambda: idp.by_redirect(idp.logout(edit=idp.setting(".", "IssueInstant", "now")))),
    ("SLO-08 for another address", lambda: idp.by_redirect(idp.logout(destination="https://other.example.com/slo"))),
    ("SLO-08 for an address that begins as ours", lambda: idp.by_redirect(idp.logout(destination=idp.SLO_URL + ".evil"))),
    ("SLO-08 for an empty address", lambda: idp.by_redirect(idp.logout(destination=""))),
    ("SLO-08 for no address", lambda: idp.by_redirect(idp.logout(edit=idp.setting(".", "Destination", None)))),
    ("SLO-08 without an ID", lambda: idp.by_redirect(idp.logout(edit=idp.setting(".", "ID", None)))),
    ("SLO-07 of another issuer", lambda: idp.by_redirect(idp.logout(issuer="https://other.example.com/"))),
    ("SLO-07 of no issuer", lambda: idp.by_redirect(idp.logout(edit=idp.without("saml:Issuer")))),
    ("SLO-07 of nobody", lambda: idp.by_redirect(idp.logout(content="<saml:NameID/>"))),
    ("SLO-07 of two", lambda: idp.by_redirect(idp.logout(content="<saml:NameID>a</saml:NameID><saml:NameID>b</saml:NameID>"))),
    ("SLO-07 of a name with markup", lambda: idp.by_redirect(idp.logout(content="<saml:NameID>a<b/></saml:NameID>"))),
    ("SLO-07 of a name with a comment", lambda: idp.by_redirect(idp.logout(content="<saml:NameID>admin<!---->x</saml:NameID>"))),
    ("SLO-07 of a session without a name", lambda: idp.by_redirect(idp.logout(content=f"<saml:NameID>{idp.USER}</saml:NameID><samlp:SessionIndex/>"))),
    ("SLO-09 version 1.1", lambda: idp.by_redirect(idp.logout(edit=idp.setting(".", "Version", "1.1")))),
    ("SLO-09 a login response", lambda: idp.by_redirect(idp.answer(), name="SAMLRequest")),
    ("SLO-09 no XML", lambda: idp.by_redirect(b"nonsense LogoutRequest")),
    ("SLO-09 a document type", lambda: idp.by_redirect(b"<!DOCTYPE x>" + idp.logout())),
]  # fmt: skip


@pytest.mark.parametrize(("what", "query"), REFUSED_QUERIES, ids=[what for what, _ in REFUSED_QUERIES])
async def test_a_query_that_does_not_hold_ends_nothing(provider, what, query):
    proof = PROOF if "in the place" in what else None
    with pytest.raises(LogoutRefused) as refusal:
        await redirected(provider, query(), proof)
    assert idp.USER not in refusal.value.detail


@pytest.mark.parametrize(
    "raw",
    [
        lambda good: b"SAML%52equest=forged&" + good,
        lambda good: good + b"&SAML%52equest=forged",
        lambda good: good + b"&" + good.partition(b"&")[0],
        lambda good: good + b"&Signature=x",
        lambda good: good + b"&SigAlg=x",
        lambda good: good.replace(b"SAMLRequest", b"SAMLRequest%00"),
    ],
)
async def test_slo_02_a_second_spelling_of_a_name_never_gets_as_far_as_the_adapter(provider, raw):
    good = idp.by_redirect(idp.logout())
    with pytest.raises(CallbackMalformed):
        await redirected(provider, raw(good))


REFUSED_FORMS: list[tuple[str, Callable[[], bytes]]] = [
    ("SLO-01 unsigned", idp.logout),
    ("SLO-01 signed by a stranger", lambda: idp.by_post(idp.logout(), idp.keys("foreign"))),
    ("SLO-01 changed after it was signed", lambda: idp.replaced(idp.by_post(idp.logout()), idp.USER, idp.VICTIM)),
    ("SLO-09 around a signed assertion", lambda: idp.logout(edit=lambda root: root.append(idp.assertion_of(etree.fromstring(idp.answer()))))),
    ("SLO-09 around a signed request", lambda: idp.logout(edit=lambda root: root.append(etree.fromstring(idp.by_post(idp.logout()))))),
    ("SLO-09 in an envelope", lambda: b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>' + idp.by_post(idp.logout()) + b"</s:Body></s:Envelope>"),
    ("SLO-09 with an encrypted name", lambda: idp.by_post(idp.logout(content="<saml:EncryptedID/>"))),
    ("SLO-04 an answer to nothing", lambda: idp.by_post(idp.logout("LogoutResponse"))),
]  # fmt: skip


@pytest.mark.parametrize(("what", "document"), REFUSED_FORMS, ids=[what for what, _ in REFUSED_FORMS])
async def test_a_form_that_does_not_hold_ends_nothing(provider, what, document):
    with pytest.raises(LoginError):
        await posted(provider, document())


async def test_slo_05_sha_1_inside_a_form_is_refused(provider):
    weak = idp.by_post(idp.logout(), algorithm=xmlsec.constants.TransformRsaSha1)
    with pytest.raises(LogoutRefused):
        await posted(provider, weak)


async def test_slo_08_a_request_is_good_once_by_either_binding(provider):
    document = idp.logout()
    await redirected(provider, idp.by_redirect(document))
    for again in (idp.by_redirect(document), idp.by_redirect(document, relay_state=None)):
        with pytest.raises(LogoutRefused):
            await redirected(provider, again)
    with pytest.raises(LogoutRefused):
        await posted(provider, idp.by_post(document))


async def test_slo_04_an_answer_counts_only_for_the_logout_that_it_answers(provider):
    for document in (
        answer_to(Proof(b"another" * 5)),
        idp.logout("LogoutResponse"),
        idp.logout("LogoutResponse", InResponseTo=""),
    ):
        with pytest.raises(LogoutRefused):
            await redirected(provider, idp.by_redirect(document), PROOF)
    notice = await redirected(provider, idp.by_redirect(answer_to(PROOF)), PROOF)
    assert (notice.handles, notice.is_complete, notice.departure) == ((), True, None)


@pytest.mark.parametrize("codes", [("Success", "PartialLogout"), ("Responder",), ("Requester", "RequestDenied")])
async def test_an_answer_that_is_no_whole_success_says_so(provider, codes):
    notice = await posted(provider, idp.by_post(answer_to(PROOF, *codes)), PROOF)
    assert (notice.handles, notice.is_complete) == ((), False)


async def test_slo_07_a_request_names_exactly_whose_sessions_end(provider):
    all_of_them = await redirected(provider, idp.by_redirect(idp.logout()))
    assert all_of_them.handles == handles(idp.USER, ())
    content = f"<saml:NameID>{idp.USER}</saml:NameID>" + "".join(
        f"<samlp:SessionIndex>{index}</samlp:SessionIndex>" for index in ("a", "b")
    )
    some = await posted(provider, idp.by_post(idp.logout(content=content)))
    assert some.handles == handles(idp.USER, ("a", "b"))
    assert set(some.handles).isdisjoint(all_of_them.handles)
    # Nothing can move from the name into the index.
    assert handles("ab", ("c",)) != handles("a", ("bc",))


async def test_our_answer_is_signed_and_goes_where_answers_go(make):
    provider = make(idp.logout_service(answers="https://idp.example.com/slo?answers=1"))
    document = idp.logout()
    notice = await redirected(provider, idp.by_redirect(document))
    assert notice.departure is not None
    assert notice.departure.url.startswith("https://idp.example.com/slo?answers=1&SAMLResponse=")
    query = parse_qs(urlsplit(notice.departure.url).query)
    assert query["RelayState"] == ["state-of-the-idp"]
    said = idp.read_message(query["SAMLResponse"][0])
    assert said.get("InResponseTo") == etree.fromstring(document).get("ID")
    assert said.get("Destination") == "https://idp.example.com/slo?answers=1"
    idp.check_query(urlsplit(notice.departure.url).query.partition("answers=1&")[2], idp.keys("sp"))


async def test_lower_case_escapes_verify_as_they_stand(provider):
    """AD FS writes them so."""

    def lower(text: str) -> str:
        return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quote(text, safe=""))

    assert (await redirected(provider, idp.by_redirect(idp.logout(), quoted=lower))).handles


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
async def test_the_algorithms_of_the_list_verify(provider, name):
    algorithm = f"http://www.w3.org/2001/04/xmldsig-more#rsa-{name}"
    assert (await redirected(provider, idp.by_redirect(idp.logout(), algorithm=algorithm))).handles


async def test_our_request_names_the_session_as_the_provider_did(make):
    provider = make()
    await provider.start("login-1", PROOF, time.time())
    departure = await provider.end(packed(NAMED), "logout-1", PROOF, time.time())
    assert departure is not None
    url = urlsplit(departure.url)
    assert departure.url.startswith(idp.IDP_SLO_URL + "?SAMLRequest=")
    query = parse_qs(url.query)
    assert query["RelayState"] == ["logout-1"]
    said = idp.read_message(query["SAMLRequest"][0])
    name = idp.find(said, "saml:NameID")
    assert (name.text, dict(name.attrib)) == (
        idp.USER,
        {"Format": NAMED.name_id_format, "NameQualifier": "nq", "SPNameQualifier": "spnq"},
    )
    assert idp.find(said, "samlp:SessionIndex").text == "idx<1>"
    assert said.get("ID") == logout_request_id(PROOF) != request_id(PROOF)
    idp.check_query(url.query, idp.keys("sp"))


async def test_where_only_forms_are_taken_our_messages_are_signed_inside(make):
    provider = make(idp.logout_service("HTTP-POST"))
    await provider.start("login-1", PROOF, time.time())
    departure = await provider.end(packed(NAMED), "logout-1", PROOF, time.time())
    assert departure is not None
    assert departure.url == idp.IDP_SLO_URL
    assert departure.fields["RelayState"] == "logout-1"
    idp.check_signed(base64.b64decode(departure.fields["SAMLRequest"]), idp.keys("sp"))
    notice = await posted(provider, idp.by_post(idp.logout()), RelayState="theirs")
    assert notice.departure is not None
    assert notice.departure.fields["RelayState"] == "theirs"
    idp.check_signed(base64.b64decode(notice.departure.fields["SAMLResponse"]), idp.keys("sp"))


@pytest.mark.parametrize(
    ("service", "single_logout", "kept"),
    [
        (lambda root: None, True, packed(NAMED)),
        (None, True, b""),
        (None, True, packed(NamedSession())),
        (None, True, b"\x02" + packed(NAMED)[1:]),
        (None, False, packed(NAMED)),
    ],
)
async def test_where_the_provider_offers_none_or_nobody_is_named_only_we_log_out(make, service, single_logout, kept):
    provider = make(service, single_logout=single_logout)
    await provider.start("login-1", PROOF, time.time())
    assert await provider.end(kept, "logout-1", PROOF, time.time()) is None
    assert (provider.logout_paths == {}) != single_logout


@pytest.mark.parametrize(
    "value", [b"", b"x", b"\x01", b"\x01{}", b'\x01["a"]', b"\x01[1,2,3,4,5]", b'\x01["","","","",""]']
)
async def test_what_was_kept_comes_back_or_is_nothing(value):
    assert session_from(packed(NAMED)) == NAMED
    assert session_from(value) is None


async def test_a_login_can_be_ended_by_each_name_that_the_provider_gave_it(provider):
    said = idp.facts(in_response_to=request_id(PROOF), session_index="s-7")
    authentication = await provider.finish(idp.callback(idp.answer(said)), PROOF, time.time())
    assert set(authentication.handles) == {*handles(idp.USER, ()), *handles(idp.USER, ("s-7",))}
    assert session_from(authentication.kept).session_index == "s-7"
    assert not authentication.is_renewable


async def test_slo_01_a_key_that_is_new_at_the_provider_is_found(make, tmp_path, monkeypatch):
    monkeypatch.setattr("passproxy.idp.saml.description.RENEWAL_SECONDS", 0.0)
    provider = make()
    await provider.start("login-1", PROOF, time.time())
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata(idp.keys("new"), edit=idp.logout_service()))
    assert (await redirected(provider, idp.by_redirect(idp.logout(), idp.keys("new")))).handles
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata(idp.keys("newest"), edit=idp.logout_service()))
    assert (await posted(provider, idp.by_post(idp.logout(), idp.keys("newest")))).handles
