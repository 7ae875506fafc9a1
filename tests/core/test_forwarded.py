"""Only a trusted proxy's word about the client counts, and nobody's about scheme and host."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core import forwarded as module
from passproxy.core.forwarded import HOP_LIMIT, Forwarded
from passproxy.core.urls import Origin
from tests.core.given import ORIGIN, examples

TRUSTED = ("127.0.0.0/8", "::1", "10.0.0.0/8")
FORWARDED = Forwarded(ORIGIN, TRUSTED)


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        pytest.param("127.0.0.1", [b"192.0.2.1"], "192.0.2.1", id="what the proxy says"),
        pytest.param("127.0.0.1", None, "127.0.0.1", id="the proxy itself, when it says nothing"),
        pytest.param("127.0.0.1", [b""], "127.0.0.1", id="or nothing of use"),
        pytest.param("192.0.2.9", [b"192.0.2.1"], "192.0.2.9", id="nothing that a stranger says"),
        pytest.param("192.0.2.9", [b"127.0.0.1"], "192.0.2.9", id="not even that it is us"),
        pytest.param("127.0.0.1", [b"203.0.113.7, 192.0.2.1"], "192.0.2.1", id="not what the client says of itself"),
        pytest.param("127.0.0.1", [b"127.0.0.1, 192.0.2.1"], "192.0.2.1", id="not that it is local"),
        pytest.param("127.0.0.1", [b"192.0.2.1, 10.0.0.5"], "192.0.2.1", id="through two trusted proxies"),
        pytest.param("127.0.0.1", [b"203.0.113.7", b"192.0.2.1, 10.0.0.5"], "192.0.2.1", id="over two fields"),
        pytest.param("127.0.0.1", [b"192.0.2.1", b"203.0.113.7"], "203.0.113.7", id="the last field counts"),
        pytest.param("127.0.0.1", [b"192.0.2.1, garbage"], "127.0.0.1", id="garbage hides what is behind it"),
        pytest.param("127.0.0.1", [b"192.0.2.1, unknown, 10.0.0.5"], "10.0.0.5", id="so does an unknown hop"),
        pytest.param("127.0.0.1", [b"192.0.2.1:4711"], "192.0.2.1", id="a port is dropped"),
        pytest.param("127.0.0.1", [b"[2001:db8::1]:4711"], "2001:db8::1", id="also of IPv6"),
        pytest.param("::1", [b"2001:DB8:0::1"], "2001:db8::1", id="an address has one spelling"),
        pytest.param("", [b"192.0.2.1"], "192.0.2.1", id="behind a unix socket is a local proxy"),
        pytest.param("", None, "unix:", id="which may say nothing"),
        pytest.param("127.0.0.1", [b"192.0.2.1\t , \t10.0.0.5"], "192.0.2.1", id="white space is none"),
    ],
)
def test_the_client_is(peer, values, client):
    assert FORWARDED.client(peer, values) == client
    assert f"X-Real-IP: {client}\r\n".encode() in FORWARDED.lines(peer, values)


@pytest.mark.parametrize(
    "entry",
    [
        b"0177.0.0.1", b"127.1", b"2130706433", b"0x7f000001", b"192.0.2.1/24", b"192.0.2.1 192.0.2.2", b"192.0.2.256",
        b"::ffff:999.0.0.1", b"\xd9\xa1.0.0.1", b"localhost", b"_hidden", b'"192.0.2.1"', b"for=192.0.2.1",
        b"192.0.2.1;proto=http", b"<script>", b"fe80::1%<script>", b"fe80::1%eth0", b"2001:db8::1%a b", b"::1::",
    ],
)  # fmt: skip
def test_what_is_no_plain_address_is_not_believed(entry):
    """An IPv6 zone may be any text (RFC 4007), and means nothing on another machine."""
    assert FORWARDED.client("127.0.0.1", [entry]) == "127.0.0.1"


def test_the_chain_is_that_of_the_believed():
    lines = FORWARDED.lines("127.0.0.1", [b"203.0.113.7, 192.0.2.1, 10.0.0.5"])
    assert b"X-Forwarded-For: 192.0.2.1, 10.0.0.5, 127.0.0.1\r\n" in lines


def test_scheme_host_and_port_are_configured():
    lines = FORWARDED.lines("192.0.2.1", None)
    assert b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.example.com\r\nX-Forwarded-Port: 443\r\n" in lines
    other = Forwarded(Origin("http", "localhost", 8080), ()).lines("192.0.2.1", None)
    assert b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: localhost:8080\r\nX-Forwarded-Port: 8080\r\n" in other


def test_hdr_13_a_list_of_a_thousand_is_read_from_the_right_to_a_limit():
    value = b", ".join([b"192.0.2.1", *[b"10.0.0.1"] * 1000])
    assert FORWARDED.client("127.0.0.1", [value]) == "10.0.0.1"
    assert FORWARDED.lines("127.0.0.1", [value]).count(b"10.0.0.1") == HOP_LIMIT + 1


@examples(150)
@given(
    st.sampled_from(["127.0.0.1", "192.0.2.9", "10.1.2.3", "2001:db8::9", ""]),
    st.lists(
        st.one_of(
            st.binary(max_size=20).map(lambda b: b.translate(None, b"\r\n\0")),
            st.sampled_from([b"192.0.2.1, 10.0.0.1", b"::1", b"garbage", b"1.2.3.4, x"]),
        ),
        max_size=3,
    ),
)
def test_whatever_is_said_the_lines_are_six_and_hold_addresses(peer, values):
    lines = FORWARDED.lines(peer, values).decode("ascii").split("\r\n")
    assert [line.partition(":")[0] for line in lines] == [
        "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Via", "",
    ]  # fmt: skip
    for line in lines[:2]:
        for address in line.partition(": ")[2].split(", "):
            assert address == "unix:" or ipaddress.ip_address(address)


def test_lines_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 2)
    forwarded = Forwarded(ORIGIN, TRUSTED)
    first = forwarded.lines("192.0.2.1", None)
    assert forwarded.lines("192.0.2.1", None) is first
    for number in range(2, 5):
        forwarded.lines(f"192.0.2.{number}", None)
    assert forwarded.lines("192.0.2.1", None) == first
    assert forwarded.lines("192.0.2.1", None) is not first


def test_what_a_stranger_says_is_not_even_remembered():
    """It has no effect, so it must not take memory: a different value with each request, 32 KiB each."""
    forwarded = Forwarded(ORIGIN, TRUSTED)
    first = forwarded.lines("192.0.2.9", [b"1" * 30_000])
    assert forwarded.lines("192.0.2.9", [b"2" * 30_000]) is first


def test_an_ipv4_client_of_a_dual_stack_listener_is_judged_by_its_ipv4_address():
    """There the peer is `::ffff:127.0.0.1`, and the trusted network is still 127.0.0.0/8."""
    assert FORWARDED.client("::ffff:127.0.0.1", [b"192.0.2.1"]) == "192.0.2.1"
    assert FORWARDED.client("::ffff:192.0.2.9", [b"127.0.0.1"]).endswith("192.0.2.9")


def test_who_forwards_is_named_unless_that_is_turned_off():
    assert FORWARDED.lines("192.0.2.1", None).endswith(b"Via: 1.1 " + module.pseudonym(ORIGIN) + b"\r\n")
    assert b"Via" not in Forwarded(ORIGIN, TRUSTED, False).lines("192.0.2.1", None)


def test_each_domain_has_its_own_name():
    assert module.pseudonym(ORIGIN) != module.pseudonym(Origin("https", "other.example.com", 443))


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [("", True), ("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("192.0.2.9", False), ("2001:db8::1", False)],
)
def test_a_peer_is_trusted_by_its_address_and_a_local_socket_always(peer, is_trusted):
    assert [FORWARDED.trusts(peer) for _ in range(2)] == [is_trusted] * 2


def test_peers_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 2)
    forwarded = Forwarded(ORIGIN, TRUSTED)
    for number in range(10):
        assert not forwarded.trusts(f"192.0.2.{number}")
    assert len(forwarded._trusts) <= 2
    assert forwarded.trusts("")
