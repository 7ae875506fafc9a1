"""An answer that is under way ends with the session or the token behind it, each in the way that its reader understands."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from passproxy.core.decision import Decider
from tests.fakes.gateway import PassProxy, eventually, get, navigation, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream
from tests.fakes.websocket import accepting, handshake

pytestmark = pytest.mark.usefixtures("ticking")

EVENT = b"data: 1\n\n"
CHUNK = b"9\r\n" + EVENT + b"\r\n"
STREAM = b"Content-Type: Text/Event-Stream; charset=utf-8"
OTHER = b"Content-Type: text/event-streams"

TOKEN = "t0ken-that-is-long-enough-for-this"

Script = Callable[[Seen, Line], Awaitable[None]]


def endless(content_type: bytes) -> Script:
    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % content_type + CHUNK)
        await line.gone()

    return script


def sized(content_type: bytes) -> Script:
    """A thousand bytes are announced, and these are all that come."""

    async def script(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 1000\r\n\r\n" % content_type + EVENT)
        await line.gone()

    return script


async def silent(seen: Seen, line: Line) -> None:
    await line.gone()


async def revoked(passproxy: PassProxy, cookie: str) -> None:
    session = passproxy.sessions.session(cookie.partition("=")[2].encode(), time.time())
    await passproxy.service._built.revocations.revoke([session.handles[0]])


async def begun(raw: Raw, wire: bytes, first: bytes = CHUNK) -> None:
    await raw.send(wire)
    assert (await raw.head()).startswith(b"HTTP/1.1 200 ")
    assert await raw.take(len(first)) == first


async def is_cut(raw: Raw) -> bool:
    try:
        await raw.take(1)
    except (Cut, ConnectionError):
        return True
    return False


async def test_an_event_stream_ends_properly_and_its_next_request_is_refused(
    passproxy: PassProxy, upstream: Upstream, log: Log
) -> None:
    upstream.script = endless(STREAM)
    mine, other = passproxy.cookie(), passproxy.cookie("bob")
    async with Raw(passproxy.address) as raw, Raw(passproxy.address) as beside:
        await begun(raw, get("/events", cookie=mine))
        await begun(beside, get("/events", cookie=other))
        await revoked(passproxy, mine)
        assert await raw.rest() == b"0\r\n\r\n"
        await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
        assert not upstream.lines[1].is_gone
    (told,) = log.named("session.answer_ended")
    assert (told["reason"], told["done"]) == ("revoked", "ended")
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/events", cookie=mine))).status == 401


async def test_an_event_stream_over_http_1_0_ends_with_its_connection(passproxy: PassProxy, upstream: Upstream) -> None:
    upstream.script = endless(STREAM)
    cookie = passproxy.cookie()
    async with Raw(passproxy.address) as raw:
        await begun(raw, get("/events", cookie=cookie, version="1.0"), EVENT)
        await revoked(passproxy, cookie)
        assert await raw.rest() == b""


CUT = {
    "endless": (endless(OTHER), CHUNK),
    "of a known length": (sized(OTHER), EVENT),
    "an event stream of a known length": (sized(STREAM), EVENT),
}


@pytest.mark.parametrize(("script", "first"), CUT.values(), ids=CUT)
async def test_any_other_answer_of_a_revoked_session_is_cut(
    passproxy: PassProxy, upstream: Upstream, script: Script, first: bytes
) -> None:
    upstream.script = script
    cookie = passproxy.cookie()
    async with Raw(passproxy.address) as raw:
        await begun(raw, get("/big", cookie=cookie), first)
        await revoked(passproxy, cookie)
        assert await is_cut(raw)
    await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")


async def test_an_event_stream_ends_when_its_session_expires(passproxy: PassProxy, upstream: Upstream) -> None:
    upstream.script = endless(STREAM)
    async with Raw(passproxy.address) as raw:
        await begun(raw, get("/events", cookie=passproxy.cookie(seconds=2)))
        assert await raw.rest() == b"0\r\n\r\n"


async def test_and_so_does_any_other_endless_answer(passproxy: PassProxy, upstream: Upstream) -> None:
    upstream.script = endless(OTHER)
    async with Raw(passproxy.address) as raw:
        await begun(raw, get("/tail", cookie=passproxy.cookie(seconds=2)))
        assert await is_cut(raw)


async def test_an_answer_of_a_known_length_outlasts_a_session_that_only_expires(
    passproxy: PassProxy, upstream: Upstream
) -> None:
    async def until_the_other_has_ended(seen: Seen, line: Line) -> None:
        if seen.target == b"/events":
            await endless(STREAM)(seen, line)
            return
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + EVENT)
        await eventually(lambda: upstream.lines[-1].is_gone, "the event stream has ended")
        await line.send(EVENT)

    upstream.script = until_the_other_has_ended
    cookie = passproxy.cookie(seconds=2)
    async with Raw(passproxy.address) as raw, Raw(passproxy.address) as events:
        await begun(raw, get("/big", cookie=cookie), EVENT)
        await begun(events, get("/events", cookie=cookie))
        assert await events.rest() == b"0\r\n\r\n"
        assert await raw.take(len(EVENT)) == EVENT


async def test_what_everybody_may_read_goes_on(passproxy: PassProxy, upstream: Upstream) -> None:
    upstream.script = endless(STREAM)
    cookie = passproxy.cookie()
    async with Raw(passproxy.address) as public, Raw(passproxy.address) as raw:
        await begun(public, get("/public/events"))
        await begun(raw, get("/events", cookie=cookie))
        await passproxy.service._built.revocations.revoke(["*"])
        assert await raw.rest() == b"0\r\n\r\n"
        assert not upstream.lines[0].is_gone


async def test_a_request_that_waits_for_its_answer_is_judged_anew(passproxy: PassProxy, upstream: Upstream) -> None:
    """A long poll would bring what happened after the end of its session."""
    upstream.script = silent
    cookie = passproxy.cookie()
    async with Raw(passproxy.address) as raw:
        await raw.send(get("/poll", cookie=cookie))
        await eventually(lambda: len(upstream.requests) == 1, "the application has it")
        await revoked(passproxy, cookie)
        answer = await raw.answer()
        assert (answer.status, answer.json()["code"]) == (401, "PP-LOGIN-REQUIRED")
        await eventually(lambda: upstream.lines[0].is_gone, "the application's connection is closed")
        assert (await raw.ask(get("/.passproxy/health"))).status == 200


async def test_a_page_that_somebody_waits_for_becomes_a_login(passproxy: PassProxy, upstream: Upstream) -> None:
    upstream.script = silent
    cookie = passproxy.cookie()
    async with Raw(passproxy.address) as raw:
        await raw.send(navigation("/slow", cookie=cookie))
        await eventually(lambda: len(upstream.requests) == 1, "the application has it")
        await revoked(passproxy, cookie)
        # The provider of this configuration does not answer.
        assert (await raw.answer()).status == 503


async def test_what_may_have_happened_is_answered_first(passproxy: PassProxy, upstream: Upstream) -> None:
    """And then no more than that."""

    async def slow(seen: Seen, line: Line) -> None:
        await line.body()
        await revoked(passproxy, cookie)
        async with Raw(passproxy.address) as beside:
            await beside.send(get("/poll", cookie=other))
            await revoked(passproxy, other)
            assert (await beside.answer()).status == 401
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    async def script(seen: Seen, line: Line) -> None:
        await (silent if seen.target == b"/poll" else slow)(seen, line)

    upstream.script = script
    cookie, other = passproxy.cookie(), passproxy.cookie("bob")
    async with Raw(passproxy.address) as raw:
        answer = await raw.ask(request("POST", "/order", cookie=cookie, body=b"x"))
        assert (answer.status, answer.body) == (200, b"done")


async def test_what_cannot_be_judged_is_cut_and_all_others_are_judged(
    passproxy: PassProxy, upstream: Upstream, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = passproxy.cookie(), passproxy.cookie("bob")
    still_holds = Decider.still_holds

    def failing(self: Decider, known: Any) -> bool:
        assert b"alice" not in known.lines, "a mistake of ours"
        return still_holds(self, known)

    async def script(seen: Seen, line: Line) -> None:
        await (accepting if seen.target == b"/socket" else endless(STREAM))(seen, line)

    upstream.script = script
    async with Raw(passproxy.address) as raw, Raw(passproxy.address) as socket, Raw(passproxy.address) as other:
        await begun(raw, get("/events", cookie=broken))
        await socket.send(handshake(target="/socket", cookie=broken))
        await socket.head()
        await begun(other, get("/events", cookie=sound))
        monkeypatch.setattr(Decider, "still_holds", failing)
        assert await is_cut(raw)
        await eventually(lambda: bool(log.named("tunnel.failed")), "the tunnel is ended")
        assert log.named("answer.failed")
        await revoked(passproxy, sound)
        assert await other.rest() == b"0\r\n\r\n"


async def test_a_reload_that_takes_a_token_away_ends_what_it_began(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = endless(STREAM)
    listed = {"tokens": [TOKEN]}
    async with protecting(upstream.url, tmp_path, passthrough=listed) as passproxy, Raw(passproxy.address) as raw:
        await begun(raw, get("/events", f"X-Passproxy-Authorization: Bearer {TOKEN}"))
        passproxy.reload(passthrough={"tokens": ["another" + TOKEN, TOKEN]})
        async with Raw(passproxy.address) as beside:
            await begun(beside, get("/events", f"X-Passproxy-Authorization: Bearer {TOKEN}"))
        passproxy.reload(passthrough={"tokens": ["another" + TOKEN]})
        assert await raw.rest() == b"0\r\n\r\n"
