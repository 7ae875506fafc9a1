"""
What a request is judged and served with, made by the composition root. A value; a reload replaces it whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from passproxy.core.assertion import Assertions
from passproxy.core.cleanup import Cleanup
from passproxy.core.counts import Counts
from passproxy.core.decision import Decider
from passproxy.core.forwarded import Forwarded
from passproxy.core.forwarded_target import WebServer
from passproxy.core.http1 import NameTable
from passproxy.core.request_ids import RequestIds
from passproxy.core.urls import Origin
from passproxy.idp.renewal import Renewals
from passproxy.web.endpoints import Endpoints
from passproxy.web.pool import UpstreamPool
from passproxy.web.responses import Pages
from passproxy.web.watch import Watch


@dataclass(frozen=True, slots=True)
class Parts:
    """
    `clock` is seconds since the epoch, and `host` replaces the Host field if given.

    `names` says which fields of a request may pass, `public_lines` are told where nobody was asked for.
    """

    origin: Origin
    names: NameTable
    public_lines: bytes
    decider: Decider
    forwarded: Forwarded
    request_ids: RequestIds
    endpoints: Endpoints
    renewals: Renewals
    pages: Pages
    pool: UpstreamPool
    watch: Watch
    clock: Callable[[], float]
    host: bytes | None
    assertions: Assertions | None
    counts: Counts
    cleanup: Cleanup | None = None
    #: Who may ask what becomes of a request that it serves itself.
    web_server: WebServer | None = None
