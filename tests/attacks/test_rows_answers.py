"""
Answers that belong to another browser, to nobody, to another process, or to another time; and what an outsider sees.

Rows SEM-09, SEM-10, SEM-34, CLK-02, CLK-06, INFO-03 and INFO-05 of the attack catalogue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from passproxy.core.errors import LoginError, LoginReplayed
from passproxy.core.settings import SamlSettings
from passproxy.idp.base import Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.provider import SamlProvider
from passproxy.idp.saml.request import request_id
from tests.attacks.acs import AcsSite, Begun, acs_site, claims
from tests.core.given import ORIGIN
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import get, request
from tests.fakes.log import Log

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: AcsSite) -> None:
    site.upstream.forget()


async def test_sem_09_an_answer_brought_by_a_browser_that_began_nothing(site: AcsSite, log: Log) -> None:
    theirs = await site.begun()
    stranger = Begun("unrelated=1", theirs.relay_state, theirs.request_id)
    log.forget()
    await site.refuses(site.posted(stranger, idp.answer(theirs.facts())), log, 403)


async def test_sem_09_an_answer_brought_by_a_browser_that_began_another_login(site: AcsSite, log: Log) -> None:
    """Whether it names its own login or the one of the browser."""
    theirs, mine = await site.begun(), await site.begun()
    document = idp.answer(theirs.facts())
    for relay_state in (theirs.relay_state, mine.relay_state):
        log.forget()
        await site.refuses(site.posted(Begun(mine.cookie, relay_state, ""), document), log, 403)


@pytest.mark.parametrize("relay_state", ["", "/reports", "https://evil.example/", "A" * 22])
async def test_sem_10_a_login_that_nobody_began_is_none(site: AcsSite, log: Log, relay_state: str) -> None:
    document = idp.answer(idp.facts(in_response_to=None))
    await site.refuses(site.posted(Begun("unrelated=1", relay_state, ""), document), log, 400, 403)


async def test_sem_10_where_it_is_permitted_it_ends_on_a_local_path_and_is_taken_once(tmp_path: Path, log: Log) -> None:
    async with acs_site(tmp_path, saml={"allow_idp_initiated": True}) as permitting:
        for relay_state, lands in (
            ("/reports", b"https://app.example.com/reports"),
            ("https://evil.example/", b"https://app.example.com/"),
            ("//evil.example/", b"https://app.example.com/"),
            ("/.passproxy/logout", b"https://app.example.com/"),
        ):
            begun = Begun("unrelated=1", relay_state, "")
            document = idp.answer(idp.facts(in_response_to=None))
            taken = await permitting.asked(permitting.posted(begun, document))
            assert (taken.status, taken.one(b"location")) == (303, lands)
            log.forget()
            await permitting.refuses(permitting.posted(begun, document), log, 403)


async def test_sem_34_two_hundred_logins_at_once_each_become_their_own(site: AcsSite) -> None:
    async def login(number: int) -> bool:
        session = await site.signed_in(name_id=f"user{number}", attributes={"uid": (f"login{number}",)})
        said = claims(session)
        return (said["sub"], said["attributes"]["user"]) == (f"user{number}", f"login{number}")

    waiting = asyncio.Semaphore(20)

    async def in_turn(number: int) -> bool:
        async with waiting:
            return await login(number)

    assert all(await asyncio.gather(*(in_turn(number) for number in range(200))))


@pytest_asyncio.fixture(loop_scope="module")
async def adapter(tmp_path: Path) -> AsyncIterator[SamlProvider]:
    (tmp_path / "idp.xml").write_bytes(idp.idp_metadata())
    settings = SamlSettings.model_validate({"metadata_file": str(tmp_path / "idp.xml")})
    verifier = Verifier(time.time)
    async with aiohttp.ClientSession() as http:
        copy = LastGood(tmp_path / "copy", b"k")
        yield SamlProvider(settings, ORIGIN, http, copy, time.time, verifier)
    await verifier.close()


@pytest.mark.parametrize("jump", [3600, 20 * 365 * 86400], ids=["CLK-02 an hour", "CLK-02 twenty years"])
async def test_a_clock_that_jumps_ahead_and_back_revives_no_answer(adapter: SamlProvider, jump: int) -> None:
    proof, now = Proof(b"s" * 32), time.time()
    document = idp.answer(idp.facts(in_response_to=request_id(proof)), signed="both")
    await adapter.finish(idp.callback(document), proof, now)
    with pytest.raises(LoginError):
        await adapter.finish(idp.callback(document), proof, now + jump)
    with pytest.raises(LoginReplayed):
        await adapter.finish(idp.callback(document), proof, now)


async def test_clk_06_a_restart_revives_no_answer(tmp_path: Path, log: Log) -> None:
    """What an earlier process may have taken is older than this one, so it is not looked up but refused."""
    (tmp_path / "one").mkdir()
    async with acs_site(tmp_path / "one", saml={"clock_skew": "0s"}) as before:
        await asyncio.sleep(1.1)  # times in a document are whole seconds
        begun = await before.begun()
        document = idp.answer(begun.facts())
        assert (await before.asked(before.posted(begun, document))).status == 303
    await asyncio.sleep(1.1)
    (tmp_path / "two").mkdir()
    keys = {"keys_file": str(tmp_path / "one" / "keys.json")}
    async with acs_site(tmp_path / "two", saml={"clock_skew": "0s"}, session=keys) as after:
        log.forget()
        await after.refuses(after.posted(begun, document), log, 403)


async def test_info_03_health_says_that_it_lives_and_nothing_else(site: AcsSite) -> None:
    answer = await site.asked(get("/.passproxy/health", host="10.0.0.1:8123"))
    assert (answer.status, answer.body, answer.all(b"server")) == (200, b"ok\n", [])
    for path in ("metrics", "status", "ready", "live", "debug", "config", "health/", "health/x"):
        for cookie in (None, site.cookie):
            answer = await site.asked(get(f"/.passproxy/{path}", cookie=cookie))
            assert (answer.status, b"PP-ENDPOINT" in answer.body) == (404, True)
    assert site.upstream.requests == []


async def test_info_05_an_application_that_is_away_is_not_described(tmp_path: Path, log: Log) -> None:
    async with acs_site(tmp_path) as site:
        port = str(site.upstream.port).encode()
        await site.upstream.stop()
        for accept in ("text/html", "application/json"):
            for asked in (get("/", f"Accept: {accept}", cookie=site.cookie), request("POST", "/", cookie=site.cookie)):
                log.forget()
                answer = await site.asked(asked)
                assert answer.status == 502
                for told in (port, b"127.0.0.1", b"localhost", b"refused", b"errno", b"Errno", b"http://127"):
                    assert told not in answer.body, told
                assert log.one("upstream.error")["code"] == "PP-UPSTREAM-UNREACHABLE"
