"""Whose name for a request is taken, what is one, and that none of ours comes twice."""

from __future__ import annotations

import re

import pytest

from passproxy.core.forwarded import Forwarded
from passproxy.core.request_ids import PREFIX_BYTES, REQUEST_ID_LIMIT_BYTES, RequestIds, trace_id
from passproxy.core.urls import Origin
from tests.core.given import request

PROXY, STRANGER = "10.0.0.1", "192.0.2.9"
GIVEN = b"4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def ids(prefix: bytes = b"\x01" * PREFIX_BYTES) -> RequestIds:
    return RequestIds(Forwarded(Origin("https", "app.example.com", 443), ("10.0.0.0/8",)), prefix)


@pytest.mark.parametrize("value", [GIVEN, b"a", b"7b2e-11ee-be56", b"A" * REQUEST_ID_LIMIT_BYTES])
@pytest.mark.parametrize("peer", [PROXY, "", f"::ffff:{PROXY}"])
def test_the_name_that_a_trusted_proxy_gives_is_taken(peer, value):
    assert ids().of(peer, [value]) == value


@pytest.mark.parametrize("peer", [STRANGER, "2001:db8::1", "::ffff:192.0.2.9"])
def test_log_06_what_a_stranger_says_is_not(peer):
    assert ids().of(peer, [GIVEN]) != GIVEN


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"A" * (REQUEST_ID_LIMIT_BYTES + 1)],
        [b"a b"],
        [b'a"}{'],
        [b"a\n"],
        [b"a_b"],
        [b"\xe9"],
        [b"a,b"],
        [GIVEN, GIVEN],
        [],
    ],
)
def test_log_06_what_is_no_name_is_taken_from_nobody(values):
    made = ids().of(PROXY, values)
    assert made not in values
    assert re.fullmatch(rb"[0-9a-f]{20}", made)


def test_names_are_all_different_and_begin_with_the_prefix_of_the_process():
    mine, other = ids(), ids(b"\x02" * PREFIX_BYTES)
    made = [mine.of(STRANGER, None) for _ in range(1000)] + [other.of(STRANGER, None) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert all(name.startswith(b"010101010101") for name in made[:1000])


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-00",
        f"cc-{TRACE}-b7ad6b7169203331-01-what-the-future-brings",
    ],
)
def test_the_trace_is_read_where_it_is_well_formed(value):
    assert trace_id(request(f"traceparent: {value}".encode())) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        TRACE,
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-01x",
        f'00-{TRACE}"}}-b7ad6b7169203331-01',
    ],
)
def test_log_06_a_trace_that_is_none_is_not_told(value):
    assert trace_id(request(f"traceparent: {value}".encode())) is None


def test_of_two_traces_none_is_told():
    line = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01".encode()
    assert trace_id(request(line, line)) is None
    assert trace_id(request()) is None
