"""Single logout where something is missing on the other side: the rest of it is in tests/attacks/test_slo.py."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from passproxy.core.errors import RenewalRefused
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import fields
from passproxy.idp.base import Message, Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.replay import ReplayCache
from passproxy.idp.saml import description, provider
from passproxy.idp.saml.errors import LogoutRefused, VerifierBusy
from passproxy.idp.saml.keys import OwnKeys, own_keys
from passproxy.idp.saml.logout import NamedSession, logout_request_id, packed
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.provider import SamlProvider
from passproxy.idp.saml.request import metadata, request_id, service_provider
from tests.core.given import ORIGIN
from tests.fakes import idp_saml as idp

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROOF = Proof(b"l" * 32)

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

        def made(edit: idp.Edit | None = idp.logout_service()) -> SamlProvider:  # noqa: B008 - an edit has no state
            (tmp_path / "idp.xml").write_bytes(idp.idp_metadata(edit=edit))
            settings = SamlSettings.model_validate({"metadata_file": str(tmp_path / "idp.xml")})
            keys = own_keys(settings, tmp_path, ORIGIN.host, time.time())
            return SamlProvider(settings, ORIGIN, http, LastGood(tmp_path / "copy", b"k"), time.time, verifier, keys)

        yield made


async def redirected(saml: SamlProvider, raw: bytes, proof: Proof | None = None) -> Any:
    return await saml.notified(Message("saml/slo", "GET", raw, fields(raw)), proof, time.time())


async def posted(saml: SamlProvider, text: str, proof: Proof | None = None) -> Any:
    raw = f"SAMLRequest={quote(text, safe='')}".encode()
    return await saml.notified(Message("saml/slo", "POST", raw, fields(raw)), proof, time.time())


async def test_who_takes_no_answer_gets_none_and_the_session_is_over(make: Make) -> None:
    notice = await redirected(make(None), idp.by_redirect(idp.logout()))
    assert notice.handles
    assert notice.departure is None


async def test_a_request_in_the_place_of_an_answer_ends_nothing(make: Make) -> None:
    raw = idp.by_redirect(idp.logout(), name="SAMLResponse")
    with pytest.raises(LogoutRefused, match="in the place of an answer"):
        await redirected(make(), raw, PROOF)


async def test_a_relay_state_that_is_longer_than_the_standard_has_it_is_not_sent_back(make: Make) -> None:
    await redirected(make(), idp.by_redirect(idp.logout(), relay_state="x" * 80))
    with pytest.raises(LogoutRefused, match="RelayState"):
        await redirected(make(), idp.by_redirect(idp.logout(), relay_state="x" * 81))


async def test_a_message_beyond_all_proportion_is_not_looked_at(make: Make) -> None:
    for text in ("A" * 400_000, "not base64"):
        with pytest.raises(LogoutRefused):
            await posted(make(), text)


@pytest.mark.parametrize(
    "edit",
    [
        idp.setting("saml:Issuer", "Format", idp.TRANSIENT),
        idp.without("samlp:Status"),
        lambda root: root.append(idp.xml(idp.status_of("Success"))),
    ],
    ids=["an issuer of another format", "no status", "two states"],
)
async def test_an_answer_that_is_none_is_refused(make: Make, edit: idp.Edit) -> None:
    document = idp.logout("LogoutResponse", edit=edit, InResponseTo=logout_request_id(PROOF))
    with pytest.raises(LogoutRefused):
        await redirected(make(), idp.by_redirect(document), PROOF)


async def test_new_keys_of_the_provider_do_not_help_a_stranger(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(description, "RENEWAL_SECONDS", 0.0)
    saml = make()
    await saml.start("login-1", PROOF, time.time())
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata(idp.keys("new"), edit=idp.logout_service()))
    with pytest.raises(LogoutRefused, match="PP-SAML-SIGNATURE"):
        await redirected(saml, idp.by_redirect(idp.logout(), idp.keys("foreign")))


async def test_a_logout_that_cannot_be_signed_now_ends_here(
    make: Make, verifier: Verifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def busy(request: object) -> dict[str, Any]:
        raise VerifierBusy("waited too long for a turn")

    saml = make(idp.logout_service("HTTP-POST"))
    await saml.start("login-1", PROOF, time.time())
    monkeypatch.setattr(verifier, "ask", busy)
    assert await saml.end(packed(NamedSession(idp.USER)), "logout-1", PROOF, time.time()) is None
    assert "idp.logout_not_sent code=PP-SAML-BUSY" in caplog.text


async def test_saml_has_nothing_to_renew_with(make: Make) -> None:
    with pytest.raises(RenewalRefused):
        await make().renew(b"", idp.USER, time.time())


async def test_where_no_further_answer_can_be_remembered_none_is_taken(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forgetting one of them instead would let it in again."""
    monkeypatch.setattr(provider, "ReplayCache", lambda: ReplayCache(limit=0))
    document = idp.answer(idp.facts(in_response_to=request_id(PROOF)))
    with pytest.raises(VerifierBusy, match="full"):
        await make().finish(idp.callback(document), PROOF, time.time())


async def test_our_metadata_offers_no_logout_where_there_is_none() -> None:
    for wanted in (False, True):
        settings = SamlSettings.model_validate({"metadata_file": "/x", "single_logout": wanted})
        assert (b"SingleLogoutService" in metadata(service_provider(ORIGIN, settings), OwnKeys())) == wanted
