"""One PassProxy for a whole table of attacks, with what every refusal must leave behind: nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.gateway import PassProxy, demo_idp, get, oidc_at, protecting
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream

#: What the catalogue's tables assume.
PASSTHROUGH = {"paths": ["/health", "/public/**", {"path": "/hook", "methods": ["POST"]}]}

CANARY = "/canary"


@dataclass
class Edge:
    upstream: Upstream
    passproxy: PassProxy

    @property
    def cookie(self) -> str:
        return self.passproxy.cookie()

    def raw(self) -> Raw:
        return Raw(self.passproxy.address)

    async def asked(self, request: bytes) -> Answer:
        async with self.raw() as raw:
            return await raw.ask(request)

    async def refuses(self, request: bytes, log: Log, *statuses: int) -> Answer:
        """
        The request gets one of these statuses and does not reach the application; no session
        is given, one line is logged (a plain login needs none), and the connection is in step.
        """
        before = self.upstream.received_bytes
        async with self.raw() as raw:
            answer = await raw.ask(request)
            assert answer.status in statuses, answer.head
            assert self.upstream.received_bytes == before, self.upstream.request_lines
            assert self.upstream.requests == []
            check_refusal(answer, log, self.passproxy)
            log.forget()
            await self.canary(raw)
        self.upstream.forget()
        return answer

    async def canary(self, raw: Raw) -> None:
        """The same connection gives the canary its own answer, or has ended."""
        self.upstream.forget()
        await raw.send(get(CANARY, cookie=self.cookie))
        try:
            first = await raw.more()
        except ConnectionResetError:
            first = False
        if first:
            answer = await raw.answer()
            assert (answer.status, answer.body) == (200, CANARY.encode()), answer
        assert self.upstream.request_lines in ([], [b"GET /canary HTTP/1.1"])
        assert self.upstream.nonsense == []


def check_refusal(answer: Answer, log: Log, passproxy: PassProxy) -> None:
    session = passproxy.names.session.encode() + b"="
    assert not [value for value in answer.all(b"set-cookie") if value.startswith(session) and b"Max-Age=0" not in value]
    # A tunnel of an earlier row may still be ending.
    events = [name for name, _ in log.events if name != "upgrade.closed"]
    assert len(events) == 1 or (answer.status == 302 and not events), log.events
    assert not log.tells("eyJ"), "a token is in the log"
    assert b"Traceback" not in answer.body
    assert not answer.all(b"server")
    assert answer.all(b"cache-control") == [b"no-store"]


@contextlib.asynccontextmanager
async def edge(folder: Path, **sections: Any) -> AsyncIterator[Edge]:
    sections.setdefault("passthrough", PASSTHROUGH)
    async with (
        demo_idp() as idp,
        Upstream() as upstream,
        protecting(upstream.url, folder, **oidc_at(idp), **sections) as passproxy,
    ):
        yield Edge(upstream, passproxy)
