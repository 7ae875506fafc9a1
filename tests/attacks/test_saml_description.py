"""How what is known about the identity provider stays true: fetched, kept, replaced, never guessed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from passproxy.core.errors import IdpUnavailable
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.demo.assertions import instant
from passproxy.idp.base import Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml import description as description_module
from passproxy.idp.saml.description import DescriptionSource
from passproxy.idp.saml.errors import MetadataRefused, SignatureRefused
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.provider import SamlProvider
from passproxy.idp.saml.request import request_id
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Element

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = Origin("https", "app.example.com", 443)
PROOF = Proof(b"s" * 32)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verifier() -> AsyncIterator[Verifier]:
    verifier = Verifier(time.time)
    yield verifier
    await verifier.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Publisher:
    """An identity provider's web server: its metadata, and how often it was asked."""

    def __init__(self) -> None:
        self.document = idp.idp_metadata()
        self.status = 200
        self.asked = 0
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        headers = {"Location": "/elsewhere"} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, body=self.document, headers=headers)


@pytest_asyncio.fixture(loop_scope="module")
async def publisher() -> AsyncIterator[Publisher]:
    publisher = Publisher()
    application = web.Application()
    application.router.add_get("/{path:.*}", publisher.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    publisher.url = f"http://127.0.0.1:{runner.addresses[0][1]}/metadata"
    yield publisher
    await runner.cleanup()


Make = Callable[..., DescriptionSource]


@pytest.fixture
def make(http: aiohttp.ClientSession, publisher: Publisher, verifier: Verifier, tmp_path: Path) -> Make:
    def make(**settings: Any) -> DescriptionSource:
        parsed = SamlSettings.model_validate(settings or {"metadata_url": publisher.url})
        return DescriptionSource(parsed, ORIGIN, http, LastGood(tmp_path / "copy", b"k"), verifier, time.time)

    return make


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses of the module, without the waiting."""
    monkeypatch.setattr(description_module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(description_module, "RENEWAL_SECONDS", 0.0)


async def running(source: DescriptionSource, until: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(source.run())
        while not await until():  # noqa: ASYNC110 - polled from outside
            await asyncio.sleep(0.01)
        task.cancel()


async def known(source: DescriptionSource) -> bool:
    with contextlib.suppress(IdpUnavailable):
        return bool(await source.current(time.time()))
    return False


async def test_metadata_is_fetched_on_first_use_and_once(make: Make, publisher: Publisher) -> None:
    source = make()
    found = await asyncio.gather(*(source.current(time.time()) for _ in range(20)))
    assert {one.entity_id for one in found} == {idp.IDP_ENTITY_ID}
    assert publisher.asked == 1


@pytest.mark.parametrize("status", [301, 403, 404, 500])
async def test_only_a_success_without_redirect_counts(make: Make, publisher: Publisher, status: int) -> None:
    publisher.status = status
    with pytest.raises(IdpUnavailable):
        await make().current(time.time())


async def test_while_it_is_down_it_is_not_asked_for_every_login(make: Make, publisher: Publisher) -> None:
    publisher.status = 500
    source = make()
    for _ in range(5):
        with pytest.raises(IdpUnavailable):
            await source.current(time.time())
    assert publisher.asked == 1


@pytest.mark.usefixtures("hurried")
async def test_it_starts_degraded_and_recovers_by_itself(make: Make, publisher: Publisher) -> None:
    publisher.status = 500
    source = make()
    with pytest.raises(IdpUnavailable):
        await source.current(time.time())
    publisher.status = 200
    await running(source, lambda: known(source))


async def test_the_last_good_copy_serves_while_it_is_down(make: Make, publisher: Publisher) -> None:
    await make().current(time.time())
    publisher.status = 500
    assert (await make().current(time.time())).entity_id == idp.IDP_ENTITY_ID
    assert publisher.asked == 1


async def test_the_last_good_copy_of_another_source_is_none(make: Make, publisher: Publisher, tmp_path: Path) -> None:
    """SSRF-12: moving to another provider must not leave the old one in charge."""
    await make().current(time.time())
    publisher.status = 500
    with pytest.raises(IdpUnavailable):
        await make(metadata_url=publisher.url + "2").current(time.time())
    LastGood(tmp_path / "copy", b"k").store(b"{")
    with pytest.raises(IdpUnavailable):
        await make().current(time.time())


async def test_a_bad_document_never_replaces_a_good_one(
    make: Make, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    source = make()
    good = await source.current(time.time())
    for document in (
        b"<html/>",
        idp.idp_metadata(sso_url="http://evil.example/"),
        idp.idp_metadata(entity_id="urn:evil"),
    ):
        publisher.document = document
        with pytest.raises(IdpUnavailable):
            await source._refresh()
        assert await source.current(time.time()) is good
    assert "urn:evil" not in (await source.current(time.time())).entity_id
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_ssrf_06_another_entity_is_refused_even_after_a_restart(make: Make, publisher: Publisher) -> None:
    await make().current(time.time())
    publisher.document = idp.idp_metadata(entity_id="urn:evil")
    restarted = make()
    assert (await restarted.current(time.time())).entity_id == idp.IDP_ENTITY_ID
    with pytest.raises(MetadataRefused, match="now describes 'urn:evil'"):
        await restarted._refresh()


async def test_new_keys_are_taken_and_logged(
    make: Make, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    source = make()
    await source.current(time.time())
    publisher.document = idp.idp_metadata(idp.keys("new"))
    with caplog.at_level(logging.WARNING, "passproxy.idp"):
        await source._refresh()
    assert (await source.current(time.time())).certificates == (idp.der(idp.keys("new")),)
    assert "idp.keys_changed" in caplog.text


async def test_metadata_that_expired_is_used_no_more(make: Make, publisher: Publisher) -> None:
    def edit(root: Element) -> None:
        root.set("validUntil", instant(time.time() + 100))

    publisher.document = idp.idp_metadata(edit=edit)
    source = make()
    await source.current(time.time())
    with pytest.raises(MetadataRefused, match="expired"):
        await source.current(time.time() + 200)


@pytest.mark.usefixtures("hurried")
async def test_a_file_is_read_again(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "idp.xml"
    file.write_bytes(idp.idp_metadata())
    source = make(metadata_file=str(file))
    before = await source.current(time.time())
    file.write_bytes(idp.idp_metadata(idp.keys("new")))
    assert (await source.renewed(before)) != before


async def test_a_copy_that_cannot_be_written_does_not_matter(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "copy").mkdir()
    with caplog.at_level(logging.WARNING, "passproxy.idp"):
        assert await known(make())
    assert "idp.metadata_not_stored" in caplog.text


@pytest.fixture
def provider(http: aiohttp.ClientSession, publisher: Publisher, verifier: Verifier, tmp_path: Path) -> SamlProvider:
    settings = SamlSettings(metadata_url=publisher.url)
    return SamlProvider(settings, ORIGIN, http, LastGood(tmp_path / "copy", b"k"), time.time, verifier)


async def _finish(provider: SamlProvider, pair: str) -> str:
    document = idp.answer(idp.facts(in_response_to=request_id(PROOF)), pair=idp.keys(pair))
    return (await provider.finish(idp.callback(document), PROOF, time.time())).subject


@pytest.mark.usefixtures("hurried")
async def test_a_login_signed_by_a_key_that_was_rolled_over_meanwhile_succeeds(
    provider: SamlProvider, publisher: Publisher
) -> None:
    assert await _finish(provider, "idp") == idp.USER
    publisher.document = idp.idp_metadata(idp.keys("new"))
    assert await _finish(provider, "new") == idp.USER
    with pytest.raises(SignatureRefused):
        await _finish(provider, "idp")


async def test_forged_signatures_make_us_look_for_new_keys_once_a_minute(
    provider: SamlProvider, publisher: Publisher
) -> None:
    await provider.start("login-1", PROOF, time.time())
    for _ in range(5):
        with pytest.raises(SignatureRefused):
            await _finish(provider, "foreign")
    assert publisher.asked == 1


async def test_a_running_provider_is_ready_and_ends_clean(
    http: aiohttp.ClientSession, publisher: Publisher, tmp_path: Path
) -> None:
    settings = SamlSettings(metadata_url=publisher.url)
    verifier = Verifier(time.time)
    provider = SamlProvider(settings, ORIGIN, http, LastGood(tmp_path / "copy", b"k"), time.time, verifier)
    async with asyncio.timeout(20):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(provider.run())
            while not publisher.asked:  # noqa: ASYNC110 - polled from outside
                await asyncio.sleep(0.01)
            assert (await provider.start("login-1", PROOF, time.time())).startswith(idp.SSO_URL)
            task.cancel()
    assert verifier.process_id is None


@pytest.mark.usefixtures("hurried")
async def test_while_looking_for_new_keys_fails_the_old_ones_stay(
    make: Make, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    source = make()
    before = await source.current(time.time())
    publisher.status = 500
    assert await source.renewed(before) is None
    assert "idp.metadata_failed" in caplog.text
    assert await source.current(time.time()) is before


async def test_metadata_that_is_nowhere_is_said(make: Make) -> None:
    with pytest.raises(MetadataRefused, match=r"neither saml\.metadata_url nor"):
        await make(clock_skew="60s").current(time.time())


async def test_what_is_odd_about_the_keys_is_said_once(
    make: Make, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(root: Element) -> None:
        for certificate in list(root.iter("{*}X509Certificate"))[:1]:
            certificate.text = "AAAA"

    publisher.document = idp.idp_metadata(idp.keys("broken"), idp.keys(), edit=edit)
    source = make()
    assert (await source.current(time.time())).certificates == (idp.der(idp.keys()),)
    await source._refresh()
    assert caplog.text.count("idp.metadata_note signing certificate 1 is left out") == 1
