"""
An answer or a cookie brought twice, elsewhere or late; and how long it takes to be refused.

Rows CLK-05, CLK-07 and JWT-23 of the attack catalogue. The last is about which comparison is used,
since a difference in time cannot be measured on a shared machine.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from passproxy.core import pending as pending_module
from passproxy.core.errors import LoginError, TokenInvalid
from passproxy.core.pending import LOGIN_LIMIT_SECONDS, PendingLogins
from passproxy.core.tokens import Purpose
from passproxy.idp.base import Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.provider import SamlProvider
from passproxy.idp.saml.request import request_id
from tests.attacks.acs import AcsSite, Begun, acs_site
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import alive, get
from tests.fakes.log import Log

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Nodes:
    """Two instances of one site, with the same session keys and nothing else in common."""

    one: AcsSite
    two: AcsSite


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    first, second = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    async with acs_site(first) as one:
        keys = {"keys_file": str(first / "keys.json")}
        async with acs_site(second, session=keys) as two:
            yield Nodes(one, two)


@pytest.fixture(autouse=True)
def as_new(nodes: Nodes) -> None:
    nodes.one.upstream.forget()
    nodes.two.upstream.forget()


def without_cookie(begun: Begun) -> Begun:
    return Begun("unrelated=1", begun.relay_state, begun.request_id)


async def test_clk_05_two_nodes_finish_each_others_logins(nodes: Nodes) -> None:
    """Else the refusals below would mean nothing."""
    begun = await nodes.one.begun()
    answer = await nodes.two.asked(nodes.two.posted(begun, idp.answer(begun.facts())))
    assert answer.status == 303
    assert (await nodes.one.seen(nodes.two.session_of(answer))).one(b"x-passproxy-user") == idp.USER.encode()


async def test_clk_05_an_answer_that_one_node_took_is_none_at_the_other(nodes: Nodes, log: Log) -> None:
    begun = await nodes.one.begun()
    document = idp.answer(begun.facts())
    taken = await nodes.one.asked(nodes.one.posted(begun, document))
    assert taken.status == 303
    # The login cookie is gone from this browser, and no other ever had it.
    name = begun.cookie.partition("=")[0].encode()
    assert any(value.startswith(name + b"=; ") and b"Max-Age=0" in value for value in taken.all(b"set-cookie"))
    log.forget()
    await nodes.two.refuses(nodes.two.posted(without_cookie(begun), document), log, 403)
    stranger = await nodes.two.begun()
    mixed = Begun(stranger.cookie, begun.relay_state, begun.request_id)
    await nodes.two.refuses(nodes.two.posted(mixed, document), log, 403)
    forwarded = Begun(stranger.cookie, stranger.relay_state, begun.request_id)
    answer = await nodes.two.refuses(nodes.two.posted(forwarded, document), log, 403)
    assert b"PP-SAML-IN-RESPONSE-TO" in answer.body


async def test_clk_05_with_the_cookie_as_well_it_is_good_once_at_each_and_only_while_it_is_fresh(
    nodes: Nodes, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The known limit that docs/security.md names: whoever has both has them for five minutes."""
    begun = await nodes.one.begun()
    document = idp.answer(begun.facts())
    for site in (nodes.one, nodes.two):
        assert (await site.asked(site.posted(begun, document))).status == 303
        log.forget()
        await site.refuses(site.posted(begun, document), log, 403)
    # As if both had been up for long: else an old answer is refused for being older than they are.
    for provider in alive(SamlProvider):
        monkeypatch.setattr(provider, "_started_at", time.time() - 86400)
    old = await nodes.one.begun()
    late = idp.answer(old.facts(issued_at=time.time() - 365, lifetime=3600))
    for site in (nodes.one, nodes.two):
        log.forget()
        answer = await site.refuses(site.posted(old, late), log, 403)
        assert b"PP-SAML-TIME" in answer.body


async def test_clk_07_a_copied_login_cookie_is_worth_nothing_once_the_login_was_finished(
    nodes: Nodes, log: Log
) -> None:
    site = nodes.one
    begun = await site.begun()
    assert (await site.asked(site.posted(begun, idp.answer(begun.facts())))).status == 303
    log.forget()
    for document in (idp.answer(begun.facts()), idp.answer(begun.facts(name_id=idp.VICTIM))):
        answer = await site.refuses(site.posted(begun, document), log, 403)
        assert b"PP-LOGIN-REPLAYED" in answer.body


async def test_clk_07_nor_after_an_answer_that_was_refused(nodes: Nodes, log: Log) -> None:
    """One try for each login, so that nobody can try answers one after the other."""
    site = nodes.one
    begun = await site.begun()
    await site.refuses(site.posted(begun, idp.answer(begun.facts(), pair=idp.keys("stranger"))), log, 403)
    answer = await site.refuses(site.posted(begun, idp.answer(begun.facts())), log, 403)
    assert b"PP-LOGIN-REPLAYED" in answer.body


def begun_at(site: AcsSite, now: float) -> Begun:
    """A login cookie of the real key ring from another time."""
    remembered = PendingLogins(site.passproxy.ring, site.passproxy.names).remember("/", {}, now)
    ((name, value),) = remembered.cookies.items()
    return Begun(f"{name}={value}", remembered.login.login_id, request_id(Proof(remembered.login.secret)))


@pytest.mark.parametrize(
    ("age", "code"),
    [
        pytest.param(LOGIN_LIMIT_SECONDS - 30, None, id="CLK-07 just in time"),
        pytest.param(LOGIN_LIMIT_SECONDS + 1, b"PP-LOGIN-EXPIRED", id="CLK-07 a second late"),
        pytest.param(10 * 365 * 86400, b"PP-LOGIN-EXPIRED", id="CLK-07 years late"),
        pytest.param(-120, b"PP-LOGIN-EXPIRED", id="CLK-07 from the future"),
    ],
)
async def test_a_login_cookie_has_its_time(nodes: Nodes, log: Log, age: float, code: bytes | None) -> None:
    site = nodes.one
    begun = begun_at(site, time.time() - age)
    wire = site.posted(begun, idp.answer(begun.facts()))
    if code is None:
        assert (await site.asked(wire)).status == 303
    else:
        assert code in (await site.refuses(wire, log, 403)).body


async def test_clk_07_the_answer_to_one_login_does_not_finish_another_of_the_same_browser(
    nodes: Nodes, log: Log
) -> None:
    site = nodes.one
    first = await site.begun("/one")
    second = await site.begun("/two", cookie=first.cookie)
    jar = f"{first.cookie}; {second.cookie}"
    crossed = Begun(jar, first.relay_state, second.request_id)
    answer = await site.refuses(site.posted(crossed, idp.answer(crossed.facts())), log, 403)
    assert b"PP-SAML-IN-RESPONSE-TO" in answer.body
    right = Begun(jar, second.relay_state, second.request_id)
    finished = await site.asked(site.posted(right, idp.answer(right.facts())))
    assert (finished.status, finished.one(b"location")) == (303, b"https://app.example.com/two")


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The lengths of what was compared in constant time."""
    lengths: list[tuple[int, int]] = []
    genuine = hmac.compare_digest

    def noting(one: bytes, other: bytes) -> bool:
        lengths.append((len(one), len(other)))
        return genuine(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    monkeypatch.setattr(pending_module.secrets, "compare_digest", noting)
    return lengths


def flipped(text: str, position: int) -> str:
    other = "B" if text[position] == "A" else "A"
    return text[:position] + other + text[position + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda head, mac: head + mac, id="JWT-23 the right one"),
        pytest.param(lambda head, mac: head + flipped(mac, 0), id="JWT-23 wrong at its start"),
        pytest.param(lambda head, mac: head + flipped(mac, 20), id="JWT-23 wrong in its middle"),
        pytest.param(lambda head, mac: head + flipped(mac, 41), id="JWT-23 wrong at its end"),
        pytest.param(lambda head, mac: head + "A" * 43, id="JWT-23 wrong everywhere"),
    ],
)
async def test_each_signature_is_compared_whole_and_once(
    nodes: Nodes, compared: list[tuple[int, int]], change: Callable[[str, str], str]
) -> None:
    head, dot, mac = nodes.one.passproxy.token(os.urandom(4).hex()).rpartition(".")
    token = change(head + dot, mac)
    answer = await nodes.one.asked(get("/", cookie=f"{nodes.one.passproxy.names.session}={token}"))
    assert answer.status == (200 if token == head + dot + mac else 401)
    assert compared == [(32, 32)]


async def test_jwt_23_so_are_a_login_id_and_the_seal_of_a_copy(
    nodes: Nodes, compared: list[tuple[int, int]], tmp_path: Path
) -> None:
    ring, names = nodes.one.passproxy.ring, nodes.one.passproxy.names
    logins, now = PendingLogins(ring, names), time.time()
    remembered = logins.remember("/", {}, now)
    jar = {name.encode(): value.encode() for name, value in remembered.cookies.items()}
    identifier = remembered.login.login_id
    assert logins.find(identifier, jar, now) == remembered.login
    for wrong in (flipped(identifier, 0), flipped(identifier, 21)):
        with pytest.raises(LoginError):
            logins.find(wrong, jar, now)
    assert compared == [(22, 22)] * 3
    compared.clear()
    copy = LastGood(tmp_path / "copy", ring.key(Purpose.LAST_GOOD))
    copy.store(b"document")
    assert copy.load() == b"document"
    sealed = (tmp_path / "copy").read_bytes()
    (tmp_path / "copy").write_bytes(b"0" * 64 + sealed[64:])
    assert copy.load() is None
    assert compared == [(64, 64)] * 2
    with pytest.raises(TokenInvalid):
        # What is enclosed is opened by AES-GCM, which compares its tag in the library.
        ring.disclose(Purpose.PENDING, flipped(ring.enclose(Purpose.PENDING, b"x"), 40).encode())
