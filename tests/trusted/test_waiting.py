"""Waiting for the keys holds up nobody else, and ends for each request by itself."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from passproxy.trusted.errors import KeysUnavailable
from passproxy.trusted.waiting import verified
from tests.trusted.given import Installation, body


class Gate:
    """Holds the answer of the key server back until it is opened."""

    def __init__(self, site: Installation) -> None:
        self.asked, self._open, self._answer = threading.Event(), threading.Event(), site.server.script
        site.server.script = self._script

    def _script(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.set()
        self._open.wait(5)
        self._answer(handler)

    def open(self) -> None:
        self._open.set()


async def test_everybody_waits_for_the_same_fetch_and_the_loop_goes_on(site: Installation) -> None:
    gate, token = Gate(site), site.proxy.assertion()
    waiting = [asyncio.ensure_future(verified(site.verifier, token)) for _ in range(50)]
    assert await asyncio.to_thread(gate.asked.wait, 20)
    turns = 0
    while turns < 100:
        await asyncio.sleep(0)
        turns += 1
    assert not any(task.done() for task in waiting)
    gate.open()
    assert {identity.user for identity in await asyncio.gather(*waiting)} == {"alice"}
    assert len(site.server.asked) == 1


async def test_a_request_that_is_given_up_does_not_end_the_fetch_of_others(site: Installation) -> None:
    gate, token = Gate(site), site.proxy.assertion()
    first, second = (asyncio.ensure_future(verified(site.verifier, token)) for _ in range(2))
    assert await asyncio.to_thread(gate.asked.wait, 20)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open()
    assert (await second).user == "alice"


async def test_a_fetch_that_failed_is_the_end_of_the_wait(site: Installation) -> None:
    site.server.script = body(b"", 500)
    with pytest.raises(KeysUnavailable):
        await verified(site.verifier, site.proxy.assertion())


async def test_a_key_that_is_known_needs_no_wait(site: Installation) -> None:
    assert await verified(site.verifier, site.proxy.assertion())
    gate = Gate(site)
    assert (await verified(site.verifier, site.proxy.assertion())).user == "alice"
    assert not gate.asked.is_set()
