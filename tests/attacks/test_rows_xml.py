"""
XML at the real callback: rows of attack catalogue 2.3 on what leaves the machine, what is base64, and what it may cost.

The process that reads XML is the real one. Where a test needs it busy or dead, it is stopped or
killed by its id, as the kernel would.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from lxml import etree

from passproxy.core.errors import LoginError
from passproxy.idp.saml.messages import facts_from, verify_request
from passproxy.idp.saml.pool import Verifier
from tests.attacks.acs import AcsSite, Begun, acs_site
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import alive, eventually, get
from tests.fakes.log import Log
from tests.fakes.raw import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AcsSite]:
    async with acs_site(tmp_path_factory.mktemp("acs")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: AcsSite) -> None:
    site.upstream.forget()


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bool]]]:
    """An address on loopback, and whether anybody ever connected to it."""
    server, connections = socket.create_server(("127.0.0.1", 0)), list[bool]()

    def accept() -> None:
        try:
            while True:
                server.accept()[0].close()
                connections.append(True)
        except OSError:
            return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}", connections
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(2)


def verifier_of() -> Verifier:
    """The only one that has a process."""
    (found,) = alive(Verifier, lambda one: one.process_id is not None)
    return found


@pytest.mark.parametrize("instead", [True, False], ids=["XML-08 the only reference", "XML-08 a second one"])
@pytest.mark.parametrize("url", ["http://{}/", "https://{}/a.xml", "ftp://{}/", "//{}/", "http://{}/#xpointer(/)"])
async def test_a_reference_elsewhere_is_not_followed(
    site: AcsSite, log: Log, listener: tuple[str, list[bool]], url: str, instead: bool
) -> None:
    address, connections = listener
    begun = await site.begun()

    def edit(root: idp.Element) -> None:
        reference = idp.find(root, ".//ds:Reference")
        if not instead:
            reference.addnext(etree.fromstring(etree.tostring(reference)))
            reference = idp.find(root, ".//ds:SignedInfo")[-1]
        reference.set("URI", url.format(address))

    await site.refuses(site.posted(begun, idp.answer(begun.facts(), after=edit)), log, 403)
    assert connections == []


def in_the_middle(text: str) -> Callable[[str], str]:
    return lambda encoded: encoded[:400] + text + encoded[400:]


LOOSE: list[tuple[str, Callable[[str], str]]] = [
    ("XML-14 a blank inside", in_the_middle(" ")),
    ("XML-14 a tab inside", in_the_middle("\t")),
    ("XML-14 a carriage return alone", in_the_middle("\r")),
    ("XML-14 junk inside", in_the_middle("!*.")),
    ("XML-14 NUL inside", in_the_middle("\x00")),
    ("XML-14 letters that are not ASCII", in_the_middle("\u0430")),
    ("XML-14 padding inside", in_the_middle("=")),
    ("XML-14 URL-safe digits", lambda encoded: base64.urlsafe_b64encode(base64.b64decode(encoded)[:-1] + b"\xff\xfe>").decode()),
    ("XML-14 no padding", lambda encoded: encoded.rstrip("=")[: -2 if encoded[-1] != "=" else None]),
    ("XML-14 too much padding", lambda encoded: encoded + "===="),
    ("XML-14 something behind the padding", lambda encoded: encoded + "AAAA" if encoded.endswith("=") else encoded + "A"),
    ("XML-14 as a data URL", lambda encoded: "data:text/xml;base64," + encoded),
    ("XML-14 encoded twice", lambda encoded: base64.b64encode(encoded.encode()).decode()),
]  # fmt: skip


@pytest.mark.parametrize("change", [row[1] for row in LOOSE], ids=[row[0] for row in LOOSE])
async def test_base64_is_base64(site: AcsSite, log: Log, change: Callable[[str], str]) -> None:
    begun = await site.begun()
    encoded = change(base64.b64encode(idp.answer(begun.facts())).decode())
    await site.refuses(site.posted(begun, encoded), log, 400)
    assert not log.tells("PHNhbWxw")


async def test_xml_14_lines_that_java_wraps_are_base64(site: AcsSite) -> None:
    begun = await site.begun()
    wrapped = base64.encodebytes(idp.answer(begun.facts())).decode().replace("\n", "\r\n")
    assert (await site.asked(site.posted(begun, wrapped))).status == 303


def nearly_valid(begun: Begun) -> bytes:
    """As large as the callback takes it, and wrong at its very end: the schema is all that refuses it."""
    groups = tuple(f"group-{number:06}" for number in range(1500))
    return idp.answer(begun.facts(attributes={"groups": groups}), before=_unknown_at_the_end)


def _unknown_at_the_end(root: idp.Element) -> None:
    idp.find(root, ".//saml:Assertion").append(idp.xml("<saml:Nothing/>"))


async def test_xml_16_what_is_costly_waits_in_a_line_that_ends(site: AcsSite) -> None:
    """More answers than the line holds: who finds no place is told to come back, and everybody else is judged."""
    begun = [await site.begun() for _ in range(6)]
    good = await site.begun()
    verifier = verifier_of()
    limits = verifier._queue_limit, verifier._time_limit_seconds
    verifier._queue_limit, verifier._time_limit_seconds = 3, 30.0
    process_id = verifier.process_id
    assert process_id is not None
    os.kill(process_id, signal.SIGSTOP)
    try:
        asked = [asyncio.ensure_future(site.asked(site.posted(one, nearly_valid(one)))) for one in begun]
        await eventually(lambda: sum(task.done() for task in asked) == 3, "three are refused at once")
        # Whoever has a session does not notice.
        assert (await site.asked(get("/busy", cookie=site.cookie))).status == 200
    finally:
        os.kill(process_id, signal.SIGCONT)
    answers: list[Answer] = await asyncio.gather(*asked)
    verifier._queue_limit, verifier._time_limit_seconds = limits
    busy = [answer for answer in answers if answer.status == 503]
    assert sorted(answer.status for answer in answers) == [403, 403, 403, 503, 503, 503]
    assert all(int(answer.one(b"retry-after")) > 0 and b"PP-SAML-BUSY" in answer.body for answer in busy)
    assert [seen.target for seen in site.upstream.requests] == [b"/busy"]
    assert (await site.asked(site.posted(good, idp.answer(good.facts())))).status == 303


async def test_xml_16_who_was_told_to_come_back_may_bring_the_same_answer(site: AcsSite) -> None:
    begun = await site.begun()
    document = idp.answer(begun.facts())
    verifier = verifier_of()
    limit, verifier._queue_limit = verifier._queue_limit, 0
    try:
        assert (await site.asked(site.posted(begun, document))).status == 503
    finally:
        verifier._queue_limit = limit
    assert (await site.asked(site.posted(begun, document))).status == 303


async def test_xml_17_a_crash_of_the_parser_is_one_failed_login(site: AcsSite) -> None:
    begun, good = await site.begun(), await site.begun()
    process_id = verifier_of().process_id
    assert process_id is not None
    os.kill(process_id, signal.SIGSTOP)
    task = asyncio.ensure_future(site.asked(site.posted(begun, idp.answer(begun.facts()))))
    await eventually(lambda: verifier_of()._queued == 1, "the answer is with the process")
    os.kill(process_id, signal.SIGSEGV)
    os.kill(process_id, signal.SIGCONT)
    answer = await task
    assert answer.status == 503
    assert b"Traceback" not in answer.body
    name = site.passproxy.names.session.encode()
    assert not [value for value in answer.all(b"set-cookie") if value.startswith(name + b"=")]
    assert site.upstream.is_untouched
    assert (await site.asked(get("/", cookie=site.cookie))).status == 200
    assert (await site.asked(site.posted(good, idp.answer(good.facts())))).status == 303
    assert verifier_of().process_id != process_id


def mutated(document: bytes, source: random.Random) -> bytes:
    """A few of the changes that fuzzers make: bits, cuts, repetitions, and pieces that parsers stumble over."""
    data = bytearray(document)
    for _ in range(source.randint(1, 6)):
        position = source.randrange(len(data))
        length = source.randint(1, 80)
        piece = bytes(data[position : position + length])
        choice = source.randrange(6)
        if choice == 0:
            data[position] ^= 1 << source.randrange(8)
        elif choice == 1:
            del data[position : position + length]
        elif choice == 2:
            data[position:position] = piece * source.randint(1, 200)
        elif choice == 3:
            data[position:position] = source.choice(NASTY)
        elif choice == 4:
            data[position : position + length] = source.randbytes(length)
        else:
            data[position:position] = bytes(data[source.randrange(len(data)) :][:length])
    return bytes(data)


NASTY = [
    b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?x", b"?>", b"&#x0;", b"&#x10FFFF;", b"&amp;", b"&lt;", b"<!DOCTYPE x [",
    b'<!ENTITY a "b">', b"&a;", b"\xff\xfe", b"\xed\xa0\x80", b'xmlns:xml="x"', b'xmlns=""', b'xml:id="_a"',
    b'ID="_a"', b"<", b">", b'"', b"\x00", b"xmlns:saml='urn:x'", b"</saml:Assertion>", b"<saml:Assertion>",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
async def test_xml_17_mutated_documents_change_nobody_and_kill_nothing(seed: int) -> None:
    """
    Refused, or accepted with the very identity that was signed; by one process that outlives them all.

    Fixed seeds: this is a corpus, and no search.
    """
    source = random.Random(seed)
    verifier = Verifier(time.time)
    accepted, refusals = 0, list[LoginError]()
    try:
        genuine = idp.answer(signed="both" if seed % 2 else "assertion")
        await verifier.ask(verify_request(genuine, idp.expectations()))
        process_id = verifier.process_id
        for _ in range(250):
            try:
                answer = await verifier.ask(verify_request(mutated(genuine, source), idp.expectations()))
            except LoginError as refusal:
                refusals.append(refusal)
                continue
            facts = facts_from(answer["facts"])
            assert (facts.name_id, facts.attributes["mail"]) == (idp.USER, (idp.USER,))
            accepted += 1
        assert verifier.process_id == process_id
    finally:
        await verifier.close()
    assert [refusal.detail for refusal in refusals if refusal.status >= 500] == []
    # The changes are no idle ones.
    assert accepted < 125
