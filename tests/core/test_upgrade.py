"""A connection leaves HTTP only by a complete handshake, from our own pages, that the application accepts."""

from __future__ import annotations

import base64
import hashlib

import pytest

from passproxy.core.errors import OriginForeign, UpgradeRefused, UpgradeVersion
from passproxy.core.headers import answer_names
from passproxy.core.http1 import RequestHead, answer_head
from passproxy.core.upgrade import Upgrade, check_origin, upgrade_of
from tests.core.given import request

ORIGIN = b"https://app.example.com"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = [
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + KEY,
    b"Origin: " + ORIGIN,
]


def handshake(*changes: bytes, without: bytes = b"", start: bytes = b"GET /ws HTTP/1.1") -> RequestHead:
    """A good handshake with lines replaced by name, or left out."""
    names = [change.partition(b":")[0].lower() for change in changes]
    kept = [line for line in HANDSHAKE if line.partition(b":")[0].lower() not in (*names, without.lower())]
    return request(*kept, *changes, start=start)


def test_the_example_of_the_standard_is_a_websocket():
    """RFC 6455, 1.3."""
    upgrade = upgrade_of(handshake(), ORIGIN)
    assert upgrade == Upgrade(b"websocket", ACCEPT)
    assert upgrade.lines == b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()) == ACCEPT


@pytest.mark.parametrize(
    "changes",
    [
        [b"Connection: keep-alive, Upgrade"],
        [b"Connection: upgrade"],
        [b"Connection: keep-alive", b"Connection: \tUPGRADE"],
        [b"Upgrade: WebSocket"],
        [b"Content-Length: 0"],
    ],
)
def test_a_handshake_may_be_written(changes):
    assert upgrade_of(handshake(*changes), ORIGIN) == Upgrade(b"websocket", ACCEPT)


def test_a_client_that_is_no_browser_has_no_origin():
    assert upgrade_of(handshake(without=b"origin"), ORIGIN) is not None


@pytest.mark.parametrize(
    ("head", "error"),
    [
        pytest.param(handshake(without=b"connection"), UpgradeRefused, id="without Connection"),
        pytest.param(handshake(b"Connection: close"), UpgradeRefused, id="with another Connection"),
        pytest.param(handshake(b"Connection: upgraded"), UpgradeRefused, id="with something like it"),
        pytest.param(handshake(start=b"POST /ws HTTP/1.1"), UpgradeRefused, id="as a POST"),
        pytest.param(handshake(start=b"HEAD /ws HTTP/1.1"), UpgradeRefused, id="as a HEAD"),
        pytest.param(handshake(start=b"GET /ws HTTP/1.0"), UpgradeRefused, id="over HTTP/1.0"),
        pytest.param(handshake(b"Content-Length: 1"), UpgradeRefused, id="with a body"),
        pytest.param(handshake(b"Transfer-Encoding: chunked"), UpgradeRefused, id="with chunks"),
        pytest.param(handshake(without=b"sec-websocket-version"), UpgradeVersion, id="without a version"),
        pytest.param(handshake(b"Sec-WebSocket-Version: 8"), UpgradeVersion, id="of version 8"),
        pytest.param(handshake(b"Sec-WebSocket-Version: 13, 8"), UpgradeVersion, id="of two versions"),
        pytest.param(handshake(*[b"Sec-WebSocket-Version: 13"] * 2), UpgradeVersion, id="with its version twice"),
        pytest.param(handshake(without=b"sec-websocket-key"), UpgradeRefused, id="without a key"),
        pytest.param(handshake(b"Sec-WebSocket-Key:"), UpgradeRefused, id="with an empty key"),
        pytest.param(handshake(b"Sec-WebSocket-Key: c2hvcnQ="), UpgradeRefused, id="with a short key"),
        pytest.param(
            handshake(b"Sec-WebSocket-Key: " + KEY[:-3] + b"B=="), UpgradeRefused, id="with a key of another spelling"
        ),
        pytest.param(handshake(b"Sec-WebSocket-Key: " + KEY + b"x"), UpgradeRefused, id="with a long key"),
        pytest.param(handshake(*[b"Sec-WebSocket-Key: " + KEY] * 2), UpgradeRefused, id="with two keys"),
        pytest.param(handshake(b"Origin: https://evil.example"), OriginForeign, id="from another site"),
        pytest.param(handshake(b"Origin: null"), OriginForeign, id="from nowhere"),
        pytest.param(handshake(b"Origin:"), OriginForeign, id="from an empty origin"),
        pytest.param(handshake(b"Origin: http://app.example.com"), OriginForeign, id="from another scheme"),
        pytest.param(handshake(b"Origin: https://app.example.com:8443"), OriginForeign, id="from another port"),
        pytest.param(
            handshake(b"Origin: https://app.example.com.evil.example"), OriginForeign, id="from a longer name"
        ),
        pytest.param(handshake(b"Origin: https://x.app.example.com"), OriginForeign, id="from a name below"),
        pytest.param(handshake(b"Origin: https://app.example.com/"), OriginForeign, id="from an origin with a path"),
        pytest.param(handshake(*[b"Origin: " + ORIGIN] * 2), OriginForeign, id="from two origins"),
        pytest.param(
            handshake(b"Origin: " + ORIGIN, b"Origin: https://evil.example"), OriginForeign, id="from ours and another"
        ),
    ],
)
def test_a_handshake_is_refused(head, error):
    with pytest.raises(UpgradeRefused) as refusal:
        upgrade_of(head, ORIGIN)
    assert type(refusal.value) is error


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(
            [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"], id="HTTP/2 in clear"
        ),
        pytest.param([b"Connection: Upgrade", b"Upgrade: H2C"], id="in capitals"),
        pytest.param([b"Connection: Upgrade", b"Upgrade: h2"], id="HTTP/2"),
        pytest.param([b"Connection: Upgrade", b"Upgrade: HTTP/2.0"], id="by its name"),
        pytest.param([b"Connection: Upgrade", b"Upgrade: TLS/1.3"], id="TLS"),
        pytest.param([b"Connection: Upgrade", b"Upgrade: connect-udp"], id="a tunnel"),
        pytest.param([b"Connection: Upgrade", b"Upgrade: websocket, h2c"], id="a choice"),
        pytest.param([b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"], id="a choice in two fields"),
        pytest.param([b"Connection: Upgrade", b"Upgrade:"], id="nothing"),
        pytest.param([b"Connection: Upgrade", b"Upgrade: a b"], id="no protocol"),
        pytest.param([b"Connection: keep-alive", b"Upgrade: foo/1"], id="not asked by Connection"),
    ],
)
def test_an_offer_that_need_not_be_taken_leaves_an_ordinary_request(lines):
    assert upgrade_of(request(*lines), ORIGIN) is None


def test_another_protocol_is_passed_on_by_its_name():
    upgrade = upgrade_of(request(b"Connection: upgrade", b"Upgrade: foo/1.2", start=b"POST /x HTTP/1.1"), ORIGIN)
    assert upgrade == Upgrade(b"foo/1.2", None)
    assert upgrade.lines == b"Connection: Upgrade\r\nUpgrade: foo/1.2\r\n"


@pytest.mark.parametrize(
    ("lines", "start", "error"),
    [
        ([b"Content-Length: 3"], b"POST / HTTP/1.1", UpgradeRefused),
        ([], b"GET / HTTP/1.0", UpgradeRefused),
        ([b"Origin: https://evil.example"], b"GET / HTTP/1.1", OriginForeign),
    ],
)
def test_another_protocol_has_the_same_conditions(lines, start, error):
    head = request(b"Connection: upgrade", b"Upgrade: foo", *lines, start=start)
    with pytest.raises(UpgradeRefused) as refusal:
        upgrade_of(head, ORIGIN)
    assert type(refusal.value) is error


def test_an_origin_is_checked_byte_for_byte():
    check_origin(request(b"Origin: " + ORIGIN), ORIGIN)
    check_origin(request(), ORIGIN)
    with pytest.raises(OriginForeign):
        check_origin(request(b"Origin: HTTPS://APP.EXAMPLE.COM"), ORIGIN)


# --- the answer ---

ACCEPTED = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: " + ACCEPT]


def answered(*lines: bytes) -> bool:
    data = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 101 Switching Protocols", *lines))
    return Upgrade(b"websocket", ACCEPT).is_accepted_by(answer_head(data, answer_names(True), b"GET"))


def test_an_answer_that_proves_itself_is_accepted():
    assert answered(*ACCEPTED)
    assert answered(b"connection: keep-alive, upgrade", b"UPGRADE: WebSocket", ACCEPTED[2])


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="nothing"),
        pytest.param(ACCEPTED[1:], id="without Connection"),
        pytest.param([b"Connection: close", *ACCEPTED[1:]], id="with another Connection"),
        pytest.param([ACCEPTED[0], ACCEPTED[2]], id="without Upgrade"),
        pytest.param([ACCEPTED[0], b"Upgrade: h2c", ACCEPTED[2]], id="to another protocol"),
        pytest.param([*ACCEPTED, b"Upgrade: websocket"], id="with Upgrade twice"),
        pytest.param([ACCEPTED[0], b"Upgrade: websocket, h2c", ACCEPTED[2]], id="to two protocols"),
        pytest.param(ACCEPTED[:2], id="without proof"),
        pytest.param([*ACCEPTED[:2], b"Sec-WebSocket-Accept: " + KEY], id="with the proof of another key"),
        pytest.param([*ACCEPTED[:2], b"Sec-WebSocket-Accept: " + ACCEPT.lower()], id="with a proof in lower case"),
        pytest.param([*ACCEPTED, b"Sec-WebSocket-Accept: " + ACCEPT], id="with two proofs"),
    ],
)
def test_an_answer_is_not_accepted(lines):
    assert not answered(*lines)


def test_another_protocol_needs_no_proof_but_its_name():
    data = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: FOO\r\n"
    head = answer_head(data, answer_names(True), b"GET")
    assert Upgrade(b"foo", None).is_accepted_by(head)
    assert not Upgrade(b"bar", None).is_accepted_by(head)


@pytest.mark.parametrize(
    ("offered", "chosen", "is_accepted"),
    [
        (["chat"], ["chat"], True),
        (["a, chat", "b"], ["b"], True),
        (["chat"], [], True),
        ([], [], True),
        ([], ["chat"], False),
        (["chat"], ["Chat"], False),
        (["chat"], ["other"], False),
        (["chat"], ["chat", "chat"], False),
        (["a, b"], ["a, b"], False),
        (["a,,b"], [""], False),
    ],
)
def test_ws_15_the_answer_names_a_subprotocol_that_was_offered(offered, chosen, is_accepted):
    upgrade = upgrade_of(handshake(*(b"Sec-WebSocket-Protocol: " + line.encode() for line in offered)), ORIGIN)
    lines = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + ACCEPT]
    lines += [b"Sec-WebSocket-Protocol: " + line.encode() for line in chosen]
    head = b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b""])
    assert upgrade is not None
    assert upgrade.is_accepted_by(answer_head(head, answer_names(True), b"GET")) is is_accepted
