"""
Section 2.14 of the catalogue, row by row: logins that nobody finishes, and answers that are dear to verify.

Nothing is timed. Where the price is a process, it is shown that there is none, or that it ends.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import signal
import tracemalloc
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from passproxy.core.cookies import COOKIE_LIMIT_BYTES
from passproxy.idp.saml.pool import Verifier
from tests.attacks.acs import ACS, FORM, AcsSite, acs_site
from tests.attacks.edge import Edge, edge
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import alive, get, navigation, request
from tests.fakes.log import Log
from tests.fakes.upstream import ok

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saml(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge, saml: AcsSite) -> None:
    for each in (site, saml):
        each.upstream.script = ok
        each.upstream.forget()


def verifier_of() -> Verifier:
    """The only one that has a process."""
    (found,) = alive(Verifier, lambda one: one.process_id is not None)
    return found


async def test_dos_05_garbage_without_a_login_is_refused_before_it_is_read(saml: AcsSite, log: Log) -> None:
    """As large as is taken. Whoever would read it stands still, and nobody waits for that."""
    await saml.signed_in()
    process_id = verifier_of().process_id
    assert process_id is not None
    body = b"RelayState=x&SAMLResponse=" + base64.b64encode(os.urandom(190_000)).replace(b"+", b"%2B")
    os.kill(process_id, signal.SIGSTOP)
    try:
        for cookie in (None, "__Host-passproxy-login-abcdefgh=x"):
            log.forget()
            await saml.refuses(request("POST", ACS, FORM, cookie=cookie, body=body), log, 400, 403)
        answers = await asyncio.gather(*(saml.asked(request("POST", ACS, FORM, body=body)) for _ in range(40)))
    finally:
        os.kill(process_id, signal.SIGCONT)
    assert {answer.status for answer in answers} <= {400, 403}
    assert verifier_of().process_id == process_id


EXPENSIVE = {
    "DOS-06 entities that multiply": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10 if n else b"&a;" * 10) for n in range(10))
    + b"]><x>&a9;</x>",
    "DOS-06 very deep": b"<x>" * 20_000 + b"</x>" * 20_000,
    "DOS-06 very many attributes": b"<x " + b" ".join(b'a%d="1"' % n for n in range(15_000)) + b"/>",
    "DOS-06 very many names": b"<x " + b" ".join(b'xmlns:a%d="u:%d"' % (n, n) for n in range(9_000)) + b"/>",
    "DOS-06 one long text": b"<x>" + b"&#38;" * 40_000 + b"</x>",
}


@pytest.mark.parametrize("document", EXPENSIVE.values(), ids=EXPENSIVE)
async def test_expensive_xml_costs_one_login(saml: AcsSite, log: Log, document: bytes) -> None:
    begun = await saml.begun()
    log.forget()
    answer = await saml.refuses(saml.posted(begun, document), log, 400, 403)
    assert not [value for value in answer.all(b"set-cookie") if value.startswith(b"__Host-passproxy=e")]
    assert (await saml.asked(get("/x", cookie=saml.cookie))).status == 200


async def test_dos_07_verification_that_hangs_is_nobody_elses_and_has_an_end(saml: AcsSite) -> None:
    """The process is stopped, as if it were busy for ever; it is ended, and the next login has a new one."""
    await saml.signed_in()
    verifier = verifier_of()
    limit, stuck = verifier._time_limit_seconds, verifier.process_id
    assert stuck is not None
    begun = [await saml.begun() for _ in range(5)]
    verifier._time_limit_seconds = 0.4
    os.kill(stuck, signal.SIGSTOP)
    try:
        hung = [asyncio.ensure_future(saml.asked(saml.posted(one, idp.answer(one.facts())))) for one in begun]
        for _ in range(20):
            assert (await saml.asked(get("/x", cookie=saml.cookie))).status == 200
            assert (await saml.asked(navigation("/y"))).status == 302
        assert (await saml.asked(get("/.passproxy/health"))).status == 200
        answers = await asyncio.gather(*hung)
    finally:
        verifier._time_limit_seconds = limit
    # Which of the five came first is not ours to say; that one was lost with the process.
    assert max(answer.status for answer in answers) >= 400
    assert verifier.process_id != stuck
    await saml.signed_in()


async def test_dos_08_logins_begun_without_end_leave_nothing_behind(site: Edge, saml: AcsSite) -> None:
    """Whoever kept their links alone would keep 200 kilobytes."""

    async def begin(each: Edge, count: int) -> None:
        for number in range(count):
            answer = await each.asked(navigation(f"/{number}?{'x' * 2500}"))
            assert answer.status == 302
            assert sum(map(len, answer.all(b"set-cookie"))) < COOKIE_LIMIT_BYTES
        assert each.upstream.requests == []
        gc.collect()

    for each in (site, saml):
        await begin(each, 10)
        tracemalloc.start()
        try:
            await begin(each, 10)
            before = tracemalloc.get_traced_memory()[0]
            await begin(each, 80)
            assert tracemalloc.get_traced_memory()[0] - before < 128 * 1024
        finally:
            tracemalloc.stop()
