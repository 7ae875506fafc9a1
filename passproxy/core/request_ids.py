"""
One name for each request, for the log, the error page and the application; and the trace that it belongs to.

A name comes from a trusted proxy, when it is one, so that the same request has the same name in all
logs; from anybody else it would be a way to write into them, and a name is made here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from passproxy.core.forwarded import Forwarded
from passproxy.core.http1 import RequestHead

#: nginx and Envoy use 32 and 36 characters.
REQUEST_ID_LIMIT_BYTES = 64

#: Random bytes in front of the counter: a million starts of a process meet with a chance of 1 in 500.
PREFIX_BYTES = 6

_REQUEST_ID = re.compile(rb"[A-Za-z0-9-]{1,%d}\Z" % REQUEST_ID_LIMIT_BYTES)

# W3C Trace Context, 3.2: version 00 is exactly this long, later ones may go on after a hyphen.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|\Z)")


class RequestIds:
    """Names requests. `prefix` is that of this process: random, `PREFIX_BYTES` long."""

    def __init__(self, forwarded: Forwarded, prefix: bytes) -> None:
        self._forwarded = forwarded
        # One call into C for each.
        self._made: Iterator[bytes] = map((prefix.hex().encode() + b"%08x").__mod__, itertools.count())

    def of(self, peer: str, values: list[bytes] | None) -> bytes:
        """
        The name of a request that came from `peer` with these X-Request-Id values.

        One value that is a name, of a trusted proxy, is taken; everything else is overlooked.
        """
        if values is None or len(values) != 1 or not _REQUEST_ID.match(values[0]) or not self._forwarded.trusts(peer):
            return next(self._made)
        return values[0]


def trace_id(head: RequestHead) -> str | None:
    """The trace that a request says it belongs to (W3C Trace Context), where it says so in due form."""
    value = head.value(b"traceparent")
    found = None if value is None else _TRACEPARENT.match(value)
    return None if found is None else found[1].decode()
