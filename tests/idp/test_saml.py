"""The SAML adapter as its callers see it: the login contract, start, subject, replay, and the process behind it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import xmlsec
from lxml import etree

from passproxy.core.errors import IdentityIncomplete, IdpUnavailable, LoginError, LoginReplayed
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.demo.assertions import ResponseFacts
from passproxy.idp.base import Callback, IdentityProvider, Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.errors import (
    AssertionReplayed,
    EncryptionMissing,
    GroupsElsewhere,
    InResponseToRefused,
    ResponseMalformed,
    SubjectMissing,
    TimeRefused,
)
from passproxy.idp.saml.keys import own_keys
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.provider import GROUPS_LINK, SamlProvider
from passproxy.idp.saml.request import request_id
from tests.fakes import idp_saml as idp
from tests.idp.contract import LoginContract, Scenario, Started, Twist

ORIGIN = Origin("https", "app.example.com", 443)
DENIED = "urn:oasis:names:tc:SAML:2.0:status:RequestDenied"


#: One event loop and one verifying process for the file: each start of one takes a third of a second.
pytestmark = pytest.mark.asyncio(loop_scope="module")

Build = Callable[..., SamlProvider]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verifier() -> AsyncIterator[Verifier]:
    verifier = Verifier(time.time)
    yield verifier
    await verifier.close()


@pytest_asyncio.fixture(loop_scope="module")
async def build(verifier: Verifier, tmp_path: Path) -> AsyncIterator[Build]:
    """Makes providers whose metadata is a file, and keeps one HTTP client for them."""
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata())
    idp.place_own_key(tmp_path)
    async with aiohttp.ClientSession() as http:

        def made(clock: Callable[[], float] = time.time, **settings: Any) -> SamlProvider:
            parsed = SamlSettings.model_validate({"metadata_file": str(tmp_path / "idp.xml"), **settings})
            keys = own_keys(parsed, tmp_path, ORIGIN.host, clock())
            last_good = LastGood(tmp_path / "copy", b"k" * 32)
            return SamlProvider(parsed, ORIGIN, http, last_good, clock, verifier, keys)

        yield made


@pytest.fixture
def provider(build: Build) -> SamlProvider:
    return build()


class SamlScenario(Scenario):
    issuer = idp.IDP_ENTITY_ID
    subject = idp.USER
    attributes = {"mail": (idp.USER,), "groups": ("staff", "ops")}  # noqa: RUF012 - declared so by the contract

    def __init__(self, provider: IdentityProvider) -> None:
        self.provider = provider

    def now(self) -> float:
        return time.time()

    async def answer(self, started: Started, twist: Twist = Twist.NONE) -> Callback:
        said = idp.facts(in_response_to=idp.read_request(started.redirect).get("ID"))
        return idp.callback(_TWISTED[twist](said), started.login_id)

    def malformed(self, started: Started) -> Sequence[Callback]:
        values = ("", "not base64!", "AAAA", base64.b64encode(b"<a>").decode(), base64.b64encode(b"<a/>").decode())
        relayed = {"RelayState": started.login_id}
        return [Callback(relayed), Callback({"SAMLart": "AAQ", **relayed})] + [
            Callback({"SAMLResponse": value, **relayed}) for value in values
        ]


def _later(root: idp.Element) -> None:
    idp.find(root, ".//saml:Conditions").set("NotBefore", idp.instant(time.time() + 400))


_TWISTED: dict[Twist, Callable[[ResponseFacts], bytes]] = {
    Twist.NONE: idp.answer,
    Twist.WRONG_ISSUER: lambda said: idp.answer(idp.replace(said, issuer="https://other.example.com/")),
    Twist.WRONG_AUDIENCE: lambda said: idp.answer(idp.replace(said, audience="https://other.example.com/")),
    Twist.NO_AUDIENCE: lambda said: idp.answer(said, before=idp.without(".//saml:AudienceRestriction")),
    Twist.OTHER_LOGIN: lambda said: idp.answer(idp.replace(said, in_response_to="_other")),
    Twist.NO_LOGIN: lambda said: idp.answer(idp.replace(said, in_response_to=None)),
    Twist.EXPIRED: lambda said: idp.answer(idp.replace(said, lifetime=-70)),
    Twist.NOT_YET_VALID: lambda said: idp.answer(said, before=_later),
    Twist.CLOCK_AHEAD: lambda said: idp.answer(idp.replace(said, issued_at=said.issued_at + 3600)),
    Twist.CLOCK_BEHIND: lambda said: idp.answer(idp.replace(said, issued_at=said.issued_at - 3600, lifetime=7200)),
    Twist.NEVER_EXPIRES: lambda said: idp.answer(
        said, before=idp.setting(".//saml:SubjectConfirmationData", "NotOnOrAfter", None)
    ),
    Twist.UNSIGNED: lambda said: idp.answer(said, signed="neither"),
    Twist.FOREIGN_KEY: lambda said: idp.answer(said, pair=idp.keys("foreign")),
    Twist.ALGORITHM: lambda said: idp.answer(said, algorithm=xmlsec.constants.TransformRsaSha1),
    Twist.TAMPERED: lambda said: idp.answer(said, after=idp.text(".//saml:NameID", idp.VICTIM)),
    Twist.NO_SUBJECT: lambda said: idp.answer(idp.replace(said, name_id=None)),
    Twist.FAILED: lambda said: idp.answer(
        said, signed="both", before=idp.setting(".//samlp:StatusCode", "Value", DENIED)
    ),
}


class EncryptedScenario(SamlScenario):
    async def answer(self, started: Started, twist: Twist = Twist.NONE) -> Callback:
        plain = await super().answer(started, twist)
        root = etree.fromstring(base64.b64decode(plain.fields["SAMLResponse"]))
        idp.encrypted_for()(root)
        return idp.callback(etree.tostring(root), started.login_id)


class TestSamlEncrypted(LoginContract):
    @pytest.fixture
    def scenario(self, build: Build, tmp_path: Path) -> Scenario:
        return EncryptedScenario(build(**_key_files(tmp_path), want_encrypted_assertions=True))


def _key_files(folder: Path) -> dict[str, str]:
    (folder / "sp.key").write_bytes(idp.keys("sp").key_pem)
    (folder / "sp.crt").write_bytes(idp.keys("sp").certificate_pem)
    return {"key_file": str(folder / "sp.key"), "certificate_file": str(folder / "sp.crt")}


async def test_a_plain_assertion_is_refused_where_encrypted_ones_are_wanted(build: Build, tmp_path: Path) -> None:
    with pytest.raises(EncryptionMissing):
        await _login(build(**_key_files(tmp_path), want_encrypted_assertions=True), idp.facts())


async def test_the_metadata_announces_what_to_encrypt_for(build: Build, tmp_path: Path) -> None:
    provider = build(**_key_files(tmp_path), want_encrypted_assertions=True)
    signing, descriptor = etree.fromstring(provider.documents()["saml/metadata"].body).iter("{*}KeyDescriptor")
    assert (signing.get("use"), descriptor.get("use")) == ("signing", "encryption")
    assert base64.b64decode(descriptor.findtext(".//{*}X509Certificate") or "") == idp.der(idp.keys("sp"))
    methods = [method.get("Algorithm", "") for method in descriptor.iter("{*}EncryptionMethod")]
    assert methods[0].endswith("aes256-gcm")
    assert methods[-1].endswith("rsa-oaep-mgf1p")


async def test_a_login_that_forces_authentication_ends_well(build: Build, tmp_path: Path) -> None:
    provider = build(**_key_files(tmp_path), force_authn=True, sign_requests=True)
    scenario = SamlScenario(provider)
    started = await scenario.begin()
    assert "&Signature=" in started.redirect
    assert (await scenario.finish(await scenario.answer(started), started)).subject == idp.USER


class TestSaml(LoginContract):
    @pytest.fixture
    def scenario(self, provider: SamlProvider) -> Scenario:
        return SamlScenario(provider)


async def test_the_request_is_what_the_metadata_announces(provider: SamlProvider) -> None:
    proof = Proof(b"s" * 32)
    redirect = await provider.start("login-1", proof, time.time())
    request = idp.read_request(redirect)
    assert redirect.startswith(idp.SSO_URL + "&SAMLRequest=")
    assert request.get("ID") == request_id(proof)
    assert request.get("Destination") == idp.SSO_URL
    assert request.get("AssertionConsumerServiceURL") == idp.ACS_URL
    assert idp.find(request, "saml:Issuer").text == idp.SP_ENTITY_ID
    assert request.find(".//{*}RequestedAuthnContext") is None
    published = etree.fromstring(provider.documents()["saml/metadata"].body)
    assert published.get("entityID") == idp.SP_ENTITY_ID
    service = published.find(".//{*}AssertionConsumerService")
    assert service is not None
    assert service.get("Location") == idp.ACS_URL
    descriptor = published.find("{*}SPSSODescriptor")
    assert descriptor is not None
    assert descriptor.get("WantAssertionsSigned") == "true"


@pytest.mark.parametrize(
    ("name_id_format", "on_the_wire"),
    [
        ("unspecified", None),
        ("persistent", "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"),
        ("transient", "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"),
        ("emailAddress", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"),
    ],
)
async def test_the_name_id_format_is_asked_for(build: Build, name_id_format: str, on_the_wire: str | None) -> None:
    provider = build(name_id_format=name_id_format, entity_id="urn:a&b")
    request = idp.read_request(await provider.start("login-1", Proof(b"s"), time.time()))
    policy = request.find("{*}NameIDPolicy")
    assert policy is not None
    assert policy.get("Format") == on_the_wire
    assert idp.find(request, "saml:Issuer").text == "urn:a&b"
    assert b'entityID="urn:a&amp;b"' in provider.documents()["saml/metadata"].body


async def test_the_request_id_is_an_xml_identifier_and_differs_between_logins() -> None:
    first, second = request_id(Proof(b"1")), request_id(Proof(b"2"))
    assert first != second
    assert first.startswith("_")
    assert len(first) == 44


async def _login(provider: SamlProvider, said: ResponseFacts) -> object:
    proof = Proof(b"s" * 32)
    document = idp.answer(idp.replace(said, in_response_to=request_id(proof)))
    return await provider.finish(idp.callback(document), proof, time.time())


async def test_the_session_of_the_identity_provider_bounds_ours(provider: SamlProvider) -> None:
    proof, end = Proof(b"s" * 32), int(time.time()) + 300
    document = idp.answer(idp.facts(in_response_to=request_id(proof), session_not_on_or_after=end))
    said = await provider.finish(idp.callback(document), proof, time.time())
    assert said.expires_at == end


async def test_an_authentication_in_the_future_counts_as_now(provider: SamlProvider) -> None:
    proof, now = Proof(b"s" * 32), time.time()
    document = idp.answer(idp.facts(in_response_to=request_id(proof), authenticated_at=now + 50))
    assert (await provider.finish(idp.callback(document), proof, now)).authenticated_at == int(now)


@pytest.mark.parametrize(
    ("name_id", "name_id_format", "attributes", "subject"),
    [
        ("alice", idp.UNSPECIFIED, {"urn:oasis:names:tc:SAML:attribute:subject-id": ("s",)}, "alice"),
        (None, "", {"urn:oasis:names:tc:SAML:attribute:subject-id": ("s@x",)}, "s@x"),
        (None, "", {"http://schemas.microsoft.com/identity/claims/objectidentifier": ("0-1",)}, "0-1"),
        ("_transient", idp.TRANSIENT, {"urn:oasis:names:tc:SAML:attribute:subject-id": ("s@x",)}, "s@x"),
        ("_transient", idp.TRANSIENT, {}, "_transient"),
    ],
)
async def test_the_subject_is_the_most_stable_identifier(
    provider: SamlProvider, name_id: str | None, name_id_format: str, attributes: dict[str, tuple[str]], subject: str
) -> None:
    proof = Proof(b"s" * 32)
    said = idp.facts(
        name_id=name_id, name_id_format=name_id_format, attributes=attributes, in_response_to=request_id(proof)
    )
    assert (await provider.finish(idp.callback(idp.answer(said)), proof, time.time())).subject == subject


@pytest.mark.parametrize("name_id", [None, "", "  "])
async def test_an_answer_that_names_nobody_is_incomplete(provider: SamlProvider, name_id: str | None) -> None:
    two = {"urn:oasis:names:tc:SAML:attribute:subject-id": ("a", "b")}
    with pytest.raises(SubjectMissing) as refusal:
        await _login(provider, idp.facts(name_id=name_id, attributes=two))
    assert isinstance(refusal.value, IdentityIncomplete)


async def test_a_replay_is_told_from_a_first_use(provider: SamlProvider) -> None:
    proof = Proof(b"s" * 32)
    document = idp.answer(idp.facts(in_response_to=request_id(proof)), signed="both")
    await provider.finish(idp.callback(document), proof, time.time())
    with pytest.raises(AssertionReplayed) as refusal:
        await provider.finish(idp.callback(document), proof, time.time())
    assert isinstance(refusal.value, LoginReplayed)


async def test_an_assertion_from_before_the_start_is_refused_for_the_replay_cache_is_empty(build: Build) -> None:
    """CLK-06."""
    with pytest.raises(TimeRefused, match="before PassProxy started"):
        await _login(build(lambda: time.time() + 5, clock_skew=0), idp.facts())


@pytest.mark.parametrize("wrapping", ["\n", "\r\n"])
async def test_lines_of_base64_may_be_wrapped_and_nothing_else(provider: SamlProvider, wrapping: str) -> None:
    proof = Proof(b"s" * 32)
    encoded = base64.b64encode(idp.answer(idp.facts(in_response_to=request_id(proof)))).decode()
    wrapped = wrapping.join(encoded[at : at + 76] for at in range(0, len(encoded), 76))
    for junk in (encoded + "=", encoded[:-4] + "!" + encoded[-4:], " " + encoded, encoded[:40] + "-_" + encoded[42:]):
        with pytest.raises(LoginError):
            await provider.finish(Callback({"SAMLResponse": junk}), proof, time.time())
    assert (await provider.finish(Callback({"SAMLResponse": wrapped}), proof, time.time())).subject == idp.USER


async def test_too_large_an_answer_is_refused_unread(provider: SamlProvider) -> None:
    for size in (300 * 1024, 600 * 1024):
        with pytest.raises(ResponseMalformed):
            await provider.finish(idp.callback(b"<" + b"a" * size), Proof(b"s"), time.time())


async def test_interleaved_logins_do_not_mix(provider: SamlProvider) -> None:
    """SEM-34."""

    async def login(number: int) -> bool:
        proof = Proof(number.to_bytes(32, "big"))
        said = idp.facts(name_id=f"user{number}", attributes={}, in_response_to=request_id(proof))
        answer = await provider.finish(idp.callback(idp.answer(said)), proof, time.time())
        return answer.subject == f"user{number}"

    assert all(await asyncio.gather(*(login(number) for number in range(60))))


async def test_an_answer_for_another_browser_is_refused(provider: SamlProvider) -> None:
    """SEM-09: the attacker's own valid response, brought by a victim whose login has another proof."""
    theirs = idp.facts(in_response_to=request_id(Proof(b"attacker")))
    with pytest.raises(InResponseToRefused):
        await provider.finish(idp.callback(idp.answer(theirs)), Proof(b"victim"), time.time())


async def test_without_metadata_there_is_no_login(build: Build, tmp_path: Path) -> None:
    provider = build(metadata_file=str(tmp_path / "missing.xml"))
    with pytest.raises(IdpUnavailable):
        await provider.start("login-1", Proof(b"s"), time.time())
    with pytest.raises(IdpUnavailable):
        await provider.finish(idp.callback(idp.answer()), Proof(b"s"), time.time())


async def test_the_adapter_is_an_identity_provider(provider: SamlProvider) -> None:
    declared: IdentityProvider = provider
    assert (declared.callback_method, declared.callback_path, declared.login_id_field) == (
        "POST",
        "saml/acs",
        "RelayState",
    )


def unsolicited(**changes: Any) -> bytes:
    return idp.answer(idp.facts(in_response_to=None, **changes))


async def test_sem_10_an_answer_that_nobody_asked_for_is_taken_where_that_is_permitted_and_once(build: Build) -> None:
    provider = build(allow_idp_initiated=True)
    assert provider.accepts_unsolicited
    document = unsolicited()
    said = await provider.finish_unsolicited(idp.callback(document, ""), time.time())
    assert said.subject == idp.USER
    with pytest.raises(AssertionReplayed):
        await provider.finish_unsolicited(idp.callback(document, ""), time.time())


@pytest.mark.parametrize(
    ("what", "document"),
    [
        ("SEM-07 the assertion names a request", lambda: idp.answer(idp.facts())),
        ("SEM-07 only the response names one", lambda: idp.answer(idp.facts(in_response_to=None), after=idp.setting(".", "InResponseTo", "_r"))),
        ("SEM-07 only the assertion names one", lambda: idp.answer(idp.facts(), after=idp.setting(".", "InResponseTo", None))),
        ("SEM-01 for another service", lambda: unsolicited(audience="https://other.example.com/")),
        ("SAML-01 unsigned", lambda: idp.answer(idp.facts(in_response_to=None), signed="neither")),
    ],
)  # fmt: skip
async def test_an_unsolicited_answer_is_judged_as_strictly_as_any_other(
    build: Build, what: str, document: Callable[[], bytes]
) -> None:
    provider = build(allow_idp_initiated=True)
    with pytest.raises(LoginError):
        await provider.finish_unsolicited(idp.callback(document(), ""), time.time())


async def test_sem_10_without_permission_no_unsolicited_answer_is_taken(provider: SamlProvider) -> None:
    assert not provider.accepts_unsolicited
    with pytest.raises(InResponseToRefused):
        await provider.finish_unsolicited(idp.callback(unsolicited(), ""), time.time())
    with pytest.raises(InResponseToRefused):
        await provider.finish(idp.callback(unsolicited()), Proof(b"s" * 32), time.time())


async def test_groups_that_are_only_linked_to_are_a_page_of_their_own(provider: SamlProvider) -> None:
    """Entra ID sends a link instead of more than 150 groups."""
    link = {GROUPS_LINK: ("https://graph.windows.net/t/users/1/getMemberObjects",)}
    proof = Proof(b"s" * 32)
    attributes = {"mail": (idp.USER,), **link}
    document = idp.answer(idp.facts(in_response_to=request_id(proof), attributes=attributes))
    with pytest.raises(GroupsElsewhere):
        await provider.finish(idp.callback(document), proof, time.time())
    whole = {**attributes, "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups": ("staff",)}
    document = idp.answer(idp.facts(in_response_to=request_id(proof), attributes=whole, assertion_id="_a2"))
    assert (await provider.finish(idp.callback(document), proof, time.time())).subject == idp.USER
