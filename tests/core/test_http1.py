"""
Whatever is accepted, two other parsers accept too, and read identically.

The oracles are h11 and llhttp. Stricter than both is fine; different from one
is a request that could be smuggled past us.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passproxy.core.errors import (
    CodingUnsupported,
    ExpectationUnknown,
    HeadTooLarge,
    MethodRefused,
    RequestMalformed,
    UpstreamMalformed,
    VersionUnsupported,
)
from passproxy.core.headers import answer_names, request_names
from passproxy.core.http1 import (
    ANSWER_HEAD_LIMIT_BYTES,
    CHUNKED,
    FIELD_LIMIT,
    HEAD_LIMIT_BYTES,
    KEEP,
    METHODS,
    NAME_LIMIT,
    UNTIL_CLOSE,
    AnswerHead,
    NameTable,
    RequestHead,
    Treatment,
    answer_head,
    connection_options,
    is_hopeless,
    request_head,
)
from tests.core.given import REQUEST_NAMES, examples, request
from tests.core.oracles import Reading, answer_readings, framed, request_oracles

_NOTED = frozenset(b"host connection content-length transfer-encoding expect upgrade".split())


def _keep_all(raw: bytes) -> Treatment:
    return Treatment(True, lower if (lower := raw.lower()) in _NOTED else None)


#: Drops nothing, so that the fields can be compared as they are.
EVERY_NAME = NameTable(_keep_all)


# --- what the oracles must agree with ---


def accepted(data: bytes) -> RequestHead | None:
    try:
        return request_head(data, EVERY_NAME)
    except RequestMalformed:
        return None


def fields_of(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    pairs = [line.split(b":", 1) for line in lines]
    return [(name, value.strip(b" \t")) for name, value in pairs]


def without_coding_case(reading: Reading) -> Reading:
    # h11 folds the case of the one coding that it knows.
    fields = [(n, v.lower() if n.lower() == b"transfer-encoding" else v) for n, v in reading.fields]
    return reading._replace(fields=fields)


def assert_oracles_agree(data: bytes, head: RequestHead) -> None:
    target = head.target
    if head.authority is not None:
        target = data.split(b" ")[1]
        assert target in {
            b"%s://%s%s" % (scheme, head.authority, rest)
            for scheme in (b"http", b"https")
            for rest in (head.target, head.target[1:])
        }
    content, complete = framed(None if head.body == CHUNKED else head.body)
    ours = without_coding_case(Reading((head.method, target), fields_of(head.lines), content, complete))
    for oracle in request_oracles():
        reading = oracle(data)
        assert reading is not None, f"{oracle.__name__} refuses what was accepted: {data!r}"
        assert without_coding_case(reading) == ours, oracle.__name__


def accepted_answer(data: bytes, method: bytes = b"GET") -> AnswerHead | None:
    try:
        return answer_head(data, EVERY_NAME, method)
    except UpstreamMalformed:
        return None


def assert_oracles_agree_on_answer(data: bytes, head: AnswerHead) -> None:
    if head.status == 101:
        return  # what follows is no HTTP; upgrade.py's business
    content, complete = framed({CHUNKED: None, UNTIL_CLOSE: -1}.get(head.body, head.body))
    ours = without_coding_case(Reading(head.status, fields_of(head.lines), content, complete))
    for reading in answer_readings(data, b"GET"):
        assert reading is not None, f"refused by an oracle: {data!r}"
        assert without_coding_case(reading) == ours


HEADS = [
    b"GET /a/b?c=d HTTP/1.1\r\nHost: app.example.com\r\nAccept: text/html\r\nCookie: a=b; c=d\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\n",
    b"PUT / HTTP/1.1\r\nhost: a:80\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n",
    b"GET http://a.example:8080/x?y HTTP/1.1\r\nHost: a.example:8080\r\nX-Empty:\r\n",
    b"HEAD / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
    b"DELETE /%2e%2f;x HTTP/1.1\r\nHost:a\r\nX-Obs: \xe4\xff\r\nX-Tab: a\tb\t\r\n",
]

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nSet-Cookie: a=b\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n",
    b"HTTP/1.0 404 Not Found\r\nServer: x\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n",
    b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 900\r\n',
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n",
    b"HTTP/1.1 500\r\nContent-Length: 3\r\n",
    b"HTTP/1.1 200 Gr\xfc\xdfe\r\nX:\r\n",
]


#: Every control character and sign, and one of each kind of the others.
BYTES = [byte for byte in range(256) if not (chr(byte).isalnum() or byte > 0x80)] + list(b"059aefgzAEFGZ\x85\xa0\xff")


def with_each_byte_changed(data: bytes) -> list[bytes]:
    """Every byte that matters at every place, in place of what was there and before it; and each byte left out."""
    changed = [data[:at] + data[at + 1 :] for at in range(len(data))]
    for at in range(len(data)):
        for byte in BYTES:
            one = bytes([byte])
            changed.append(data[:at] + one + data[at + 1 :])
            changed.append(data[:at] + one + data[at:])
    return changed


@pytest.mark.parametrize("data", HEADS)
def test_the_oracles_read_good_heads_as_we_do(data):
    head = accepted(data)
    assert head is not None
    assert_oracles_agree(data, head)


@pytest.mark.parametrize("data", ANSWERS)
def test_the_oracles_read_good_answers_as_we_do(data):
    head = accepted_answer(data)
    assert head is not None
    assert_oracles_agree_on_answer(data, head)


#: Where framing is decided, no single byte may part us from the oracles.
DENSE_HEADS = [
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
]


@pytest.mark.parametrize("data", DENSE_HEADS)
def test_no_single_byte_parts_us_from_the_oracles(data):
    read = 0
    for changed in with_each_byte_changed(data):
        head = accepted(changed)
        if head is not None:
            assert_oracles_agree(changed, head)
            read += 1
    assert read > 200


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"]
)
def test_no_single_byte_of_an_answer_parts_us_from_the_oracles(data):
    read = 0
    for changed in with_each_byte_changed(data):
        head = accepted_answer(changed)
        if head is not None:
            assert_oracles_agree_on_answer(changed, head)
            read += 1
    assert read > 200


_FRAGMENTS = st.sampled_from(
    [
        b"\r\n", b"\r", b"\n", b"\x00", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\x85", b"\xa0", b"\xff", b" ", b"\t", b":",
        b",", b";", b"#", b"\\", b'"', b"  ", b"\r\n ", b"\r\n\t", b"\n\r\n", b"\r\r\n", b"HTTP/1.1", b" HTTP/1.1\r\n",
        b"chunked", b", chunked", b"identity", b"0", b"00", b"+", b"-", b"_", b"0x", b"18446744073709551616",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n", b"Content-Length: 5\r\n", b"content-length:12\r\n", b"Content_Length: 1\r\n",
        b"Content-Length: 5, 5\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
        b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"http://b/", b"https://", b"GET / HTTP/1.1\r\nHost: b\r\n",
    ]
)  # fmt: skip
_CUTS = st.tuples(st.integers(0, 200), st.integers(0, 12), _FRAGMENTS)


def spliced(data: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, fragment in cuts:
        position = at % (len(data) + 1)
        data = data[:position] + fragment + data[position + length :]
    return data


@examples(250)
@given(st.sampled_from(HEADS), st.lists(_CUTS, min_size=1, max_size=3))
@example(HEADS[2], [(36, 15, b"Transfer-Encoding: CHUNKED\t")])
def test_hostile_splices_are_refused_or_read_alike(data, cuts):
    """Accepted means accepted by h11 and llhttp, with the same method, target, fields and end of body."""
    changed = spliced(data, cuts)
    head = accepted(changed)
    if head is not None:
        assert_oracles_agree(changed, head)


@examples(150)
@given(st.sampled_from(ANSWERS), st.lists(_CUTS, min_size=1, max_size=3))
def test_hostile_splices_into_answers_are_refused_or_read_alike(data, cuts):
    changed = spliced(data, cuts)
    head = accepted_answer(changed)
    if head is not None:
        assert_oracles_agree_on_answer(changed, head)


_SPACE = st.text(" \t", max_size=2).map(str.encode)
_NAME = st.one_of(
    st.sampled_from(
        b"Host Content-Length content-length Transfer-Encoding TRANSFER-ENCODING Connection Expect Upgrade X Content_Length".split()
    ),
    st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode),
)
_VALUE = st.one_of(
    st.sampled_from(
        b"a 0 5 05 +5 5,5 chunked CHUNKED Chunked identity chunked,chunked close upgrade 100-continue".split()
    ),
    st.binary(max_size=12),
)
_LINE = st.tuples(_NAME, _SPACE, _VALUE, _SPACE).map(lambda p: p[0] + b":" + p[1] + p[2] + p[3] + b"\r\n")
_TARGET = st.one_of(
    st.sampled_from([b"/", b"/a?b", b"http://a", b"https://a:1/b?c", b"http://a?b", b"http:///x", b"*", b"//b/c"]),
    st.binary(max_size=10).map(lambda tail: b"/" + tail),
)


@examples(150)
@given(st.sampled_from(sorted(METHODS)), _TARGET, st.sampled_from([b"1.1", b"1.0"]), st.lists(_LINE, max_size=4))
def test_generated_heads_are_refused_or_read_alike(method, target, version, lines):
    """The same invariant, from the grammar's side: built from names and values that matter to framing."""
    data = method + b" " + target + b" HTTP/" + version + b"\r\nHost: a\r\n" + b"".join(lines)
    head = accepted(data)
    if head is not None:
        assert_oracles_agree(data, head)


#: Lines that decide, or pretend to decide, where a body ends; every two of them meet below, in both orders.
FRAMING_LINES = [
    *(name + b":" + value for name in (b"Content-Length", b"content-LENGTH ", b"Content_Length") for value in
      (b"5", b" 5", b"\t5", b"5\t", b"5 ", b"+5", b"-5", b"05", b"0", b"", b"5,5", b"0x5", b"5\xa0", b"18446744073709551616")),
    *(b"Transfer-Encoding:" + value for value in
      (b"chunked", b" chunked", b"\tchunked", b"chunked ", b"CHUNKED", b"", b"identity", b"gzip, chunked", b",chunked",
       b"chunked,", b"chunked;a=b", b"\x0bchunked", b"x")),
    b"Transfer-Encoding", b" chunked", b"\tX: y", b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket",
    b"Connection: Transfer-Encoding", b"Expect: 100-continue", b"Host: b", b"X:", b"", b":", b"X: a\r", b"X: a\nY: b",
]  # fmt: skip


def test_no_two_framing_lines_part_us_from_the_oracles():
    read = 0
    for one, other in itertools.product(FRAMING_LINES, repeat=2):
        for version in (b"1.1", b"1.0"):
            data = _post(one, other, version=version)
            head = accepted(data)
            if head is not None:
                assert_oracles_agree(data, head)
                read += 1
    assert read > 300


@pytest.mark.parametrize("space", [b"", b" ", b"\t", b"  ", b" \t", b"\t ", b"\t\t"])
@pytest.mark.parametrize("coding", [b"chunked", b"CHUNKED", b"Chunked"])
def test_white_space_around_the_coding_is_read_alike_or_refused(space, coding):
    """llhttp takes a tab behind the coding for part of it (HTTP-03)."""
    for line in (b"Transfer-Encoding:" + space + coding, b"Transfer-Encoding: " + coding + space):
        data = b"POST / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n"
        head = accepted(data)
        if head is not None:
            assert_oracles_agree(data, head)


def test_a_target_may_have_only_bytes_on_which_the_oracles_agree():
    for byte in range(256):
        for place in (b"/a%sb", b"/a?b%sc"):
            data = b"GET " + place % bytes([byte]) + b" HTTP/1.1\r\nHost: a\r\n"
            head = accepted(data)
            if head is not None:
                assert_oracles_agree(data, head)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_forwarded_method_is_known_to_both_oracles(method):
    data = method + b" / HTTP/1.1\r\nHost: a\r\n"
    head = accepted(data)
    assert head is not None
    assert_oracles_agree(data, head)


# --- the rows of the catalogue ---


def _post(*lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST / HTTP/" + version + b"\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines)


def _start(line: bytes) -> bytes:
    return line + b"\r\nHost: a\r\n"


def _row(identifier, data, error):
    return pytest.param(data, error, id=identifier)


_TE_FORMS = {
    b"Transfer-Encoding: xchunked": CodingUnsupported,
    b"Transfer-Encoding: chunked, identity": CodingUnsupported,
    b"Transfer-Encoding: identity": CodingUnsupported,
    b"Transfer-Encoding: chunked, chunked": CodingUnsupported,
    b'Transfer-Encoding: "chunked"': CodingUnsupported,
    b"Transfer-Encoding: chunked;q=1": CodingUnsupported,
    b"Transfer-Encoding: ,chunked": CodingUnsupported,
    b"Transfer-Encoding: chunked,": CodingUnsupported,
    b"Transfer-Encoding:": CodingUnsupported,
    b"Transfer-Encoding: ": CodingUnsupported,
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked": CodingUnsupported,
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked": CodingUnsupported,
    b"Transfer-Encoding: chunked\xa0": CodingUnsupported,
    b"Transfer-Encoding: chunke\xc4\x8f": CodingUnsupported,
    b"Transfer-Encoding : chunked": RequestMalformed,
    b"Transfer-Encoding\t: chunked": RequestMalformed,
    b" Transfer-Encoding: chunked": RequestMalformed,
    b"Transfer-Encoding:\x0bchunked": RequestMalformed,
    b"Transfer-Encoding: chunked\x0c": RequestMalformed,
    b"Transfer-Encoding: chunked\x00": RequestMalformed,
    b"Transfer-Encoding:\r\n chunked": RequestMalformed,
    b"Transfer-Encoding:\r\n\tchunked": RequestMalformed,
    b"Transfer-Encoding:\nchunked": RequestMalformed,
    b"X: y\rTransfer-Encoding: chunked": RequestMalformed,
    b"X: y\nTransfer-Encoding: chunked": RequestMalformed,
    b"Transfer-Encoding:\r\nContent-Length: 3": RequestMalformed,
    b"Content-Length: 3\r\nTransfer-Encoding:": RequestMalformed,
    b"Content-Length: 3\r\nTransfer-Encoding: identity": RequestMalformed,
}

_LENGTHS = [
    b"5, 5", b"5,5", b"5, 6", b"+5", b"-1", b"-0", b"0x5", b"5_0", b"5 6", b"", b" ", b"05", b"00", b"1e1", b'"5"', b"5;",
    b"5.0", b"18446744073709551616", b"1000000000000000000", b"9" * 5000, b"\xef\xbc\x95", b"\xd9\xa5", b"5\xa0", b"five",
]  # fmt: skip

_BAD_STARTS = {
    "HTTP-12 HTTP/0.9": (b"GET /admin HTTP/0.9", VersionUnsupported),
    "HTTP-12 no version": (b"GET /admin", RequestMalformed),
    "HTTP-12 HTTP/2.0": (b"GET / HTTP/2.0", VersionUnsupported),
    "HTTP-12 HTTP/2": (b"GET / HTTP/2", VersionUnsupported),
    "HTTP-12 HTTP/3.0": (b"GET / HTTP/3.0", VersionUnsupported),
    "HTTP-12 HTTP/1.10": (b"GET / HTTP/1.10", RequestMalformed),
    "HTTP-12 HTTP/1.2": (b"GET / HTTP/1.2", RequestMalformed),
    "HTTP-12 HTTP/01.1": (b"GET / HTTP/01.1", RequestMalformed),
    "HTTP-12 HTTP/1": (b"GET / HTTP/1", VersionUnsupported),
    "HTTP-12 lower case": (b"GET / http/1.1", RequestMalformed),
    "HTTP-12 space behind": (b"GET / HTTP/1.1 ", RequestMalformed),
    "HTTP-12 text behind": (b"GET / HTTP/1.1x", RequestMalformed),
    "HTTP-12 preface of HTTP/2": (b"PRI * HTTP/2.0", VersionUnsupported),
    "HTTP-12 RTSP": (b"GET /admin RTSP/1.0", RequestMalformed),
    "HTTP-12 DESCRIBE": (b"DESCRIBE /admin RTSP/1.0", RequestMalformed),
    "HTTP-12 ICE": (b"SOURCE /admin ICE/1.0", RequestMalformed),
    "HTTP-12 two spaces before the target": (b"GET  / HTTP/1.1", RequestMalformed),
    "HTTP-12 two spaces behind the target": (b"GET /  HTTP/1.1", RequestMalformed),
    "HTTP-12 a tab": (b"GET /\tHTTP/1.1", RequestMalformed),
    "HTTP-10 leading space": (b" GET / HTTP/1.1", RequestMalformed),
    "HTTP-10 leading empty line": (b"\r\nGET / HTTP/1.1", RequestMalformed),
    "HTTP-10 NUL in the target": (b"GET /\x00 HTTP/1.1", RequestMalformed),
    "HTTP-10 CR in the target": (b"GET /\r HTTP/1.1", RequestMalformed),
    "HTTP-10 LF in the target": (b"GET /\n HTTP/1.1", RequestMalformed),
    "HTTP-13 a fragment": (b"GET /public#/../admin HTTP/1.1", RequestMalformed),
    "HTTP-13 a fragment in the query": (b"GET /public?a#b HTTP/1.1", RequestMalformed),
    "HTTP-13 high bytes": (b"GET /\xc3\xa4 HTTP/1.1", RequestMalformed),
    "HTTP-13 high bytes in the query": (b"GET /?\xc3\xa4 HTTP/1.1", RequestMalformed),
    "HTTP-13 a quote": (b'GET /" HTTP/1.1', RequestMalformed),
    "HTTP-13 angle brackets": (b"GET /<> HTTP/1.1", RequestMalformed),
    "HTTP-13 a caret": (b"GET /^ HTTP/1.1", RequestMalformed),
    "HTTP-13 braces": (b"GET /{} HTTP/1.1", RequestMalformed),
    "HTTP-13 a backtick": (b"GET /` HTTP/1.1", RequestMalformed),
    "HTTP-13 a space": (b"GET /a b HTTP/1.1", RequestMalformed),
    "HTTP-13 no target": (b"GET  HTTP/1.1", RequestMalformed),
    "PATH-16 asterisk": (b"OPTIONS * HTTP/1.1", RequestMalformed),
    "PATH-16 authority": (b"CONNECT app:443 HTTP/1.1", RequestMalformed),
    "PATH-16 relative": (b"GET foo HTTP/1.1", RequestMalformed),
    "PATH-16 user information": (b"GET @evil.example/ HTTP/1.1", RequestMalformed),
    "PATH-16 port and user information": (b"GET :80@evil/ HTTP/1.1", RequestMalformed),
    "PATH-16 dots": (b"GET .evil.example/ HTTP/1.1", RequestMalformed),
    "PATH-16 another scheme": (b"GET ftp://a/ HTTP/1.1", RequestMalformed),
    "PATH-16 a scheme and no authority": (b"GET http:///x HTTP/1.1", RequestMalformed),
    "PATH-16 a scheme and one slash": (b"GET http:/x HTTP/1.1", RequestMalformed),
    "PATH-16 user information in absolute form": (b"GET http://u@a/ HTTP/1.1", RequestMalformed),
    "PATH-16 a query behind the authority": (b"GET http://a?x HTTP/1.1", RequestMalformed),
    "PATH-16 a fragment behind the authority": (b"GET http://a#x HTTP/1.1", RequestMalformed),
    "PATH-16 a backslash behind the authority": (b"GET http://a\\@b/ HTTP/1.1", RequestMalformed),
    "HTTP-14 lower case": (b"get / HTTP/1.1", RequestMalformed),
    "HTTP-14 a tab": (b"GET\t/ HTTP/1.1", RequestMalformed),
    "HTTP-14 64 KB": (b"G" * 65536 + b" / HTTP/1.1", RequestMalformed),
    "HTTP-14 not ASCII": (b"G\xe2\x82\xacT / HTTP/1.1", RequestMalformed),
    "HTTP-14 CONNECT": (b"CONNECT / HTTP/1.1", MethodRefused),
    "HTTP-14 TRACE": (b"TRACE / HTTP/1.1", MethodRefused),
    "HTTP-14 TRACK": (b"TRACK / HTTP/1.1", MethodRefused),
    "HTTP-14 DEBUG": (b"DEBUG / HTTP/1.1", MethodRefused),
    "HTTP-14 unregistered": (b"BREW / HTTP/1.1", MethodRefused),
    "HTTP-14 empty": (b" / HTTP/1.1", RequestMalformed),
}

REFUSED = [
    _row("HTTP-01 CL.TE", _post(b"Content-Length: 6", b"Transfer-Encoding: chunked"), RequestMalformed),
    _row("HTTP-02 TE.CL", _post(b"Transfer-Encoding: chunked", b"Content-Length: 4"), RequestMalformed),
    *(_row(f"HTTP-03 {line!r}", _post(line), error) for line, error in _TE_FORMS.items()),
    _row("HTTP-04 gzip, chunked", _post(b"Transfer-Encoding: gzip, chunked"), CodingUnsupported),
    _row("HTTP-05 chunked over 1.0", _post(b"Transfer-Encoding: chunked", version=b"1.0"), RequestMalformed),
    _row(
        "HTTP-05 and keep-alive",
        _post(b"Connection: keep-alive", b"Transfer-Encoding: chunked", version=b"1.0"),
        RequestMalformed,
    ),
    _row("HTTP-06 equal twice", _post(b"Content-Length: 5", b"Content-Length: 5"), RequestMalformed),
    _row("HTTP-06 different", _post(b"Content-Length: 5", b"content-length: 6"), RequestMalformed),
    *(_row(f"HTTP-06 {value[:24]!r}", _post(b"Content-Length: " + value), RequestMalformed) for value in _LENGTHS),
    _row("HTTP-10 bare LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n", RequestMalformed),
    _row("HTTP-10 bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n", RequestMalformed),
    _row("HTTP-10 bare CR in a field", b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n", RequestMalformed),
    _row("HTTP-10 CR and LF apart", b"GET / HTTP/1.1\r\nHost: a\rb\nX: y\r\n", RequestMalformed),
    _row("HTTP-10 LF CR", b"GET / HTTP/1.1\r\nHost: a\n\rX: y\r\n", RequestMalformed),
    _row("HTTP-10 CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\r\nX: y\r\n", RequestMalformed),
    _row("HTTP-10 CR CR LF behind the request line", b"GET / HTTP/1.1\r\r\nHost: a\r\n", RequestMalformed),
    _row("HTTP-10 NUL in a value", _post(b"X: a\x00b"), RequestMalformed),
    _row("HTTP-10 NUL in a name", _post(b"X\x00: a"), RequestMalformed),
    _row("HTTP-10 DEL in a value", _post(b"X: \x7f"), RequestMalformed),
    _row("HTTP-10 an empty line within", _post(b"X: y", b"", b"Z: z"), RequestMalformed),
    _row("HTTP-10 no last line end", b"GET / HTTP/1.1\r\nHost: a", RequestMalformed),
    _row("HTTP-11 space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n", RequestMalformed),
    _row("HTTP-11 space before the first name", b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n", RequestMalformed),
    _row("HTTP-11 folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n", RequestMalformed),
    _row("HTTP-11 folded with a tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz: w\r\n", RequestMalformed),
    _row("HTTP-11 tab before the colon", b"GET / HTTP/1.1\r\nHost\t: a\r\n", RequestMalformed),
    _row("HTTP-11 no colon", _post(b"Host"), RequestMalformed),
    _row("HTTP-11 no name", _post(b": x"), RequestMalformed),
    _row("HTTP-11 a name with brackets", _post(b"X(y): z"), RequestMalformed),
    _row("HTTP-11 a name that is not ASCII", _post(b"X\xc3\xa4: z"), RequestMalformed),
    *(_row(name, _start(start), error) for name, (start, error) in _BAD_STARTS.items()),
    _row("HDR-21 no Host", b"GET / HTTP/1.1\r\nX: y\r\n", RequestMalformed),
    _row("HDR-21 no field at all", b"GET / HTTP/1.1\r\n", RequestMalformed),
    _row("HDR-21 no Host over 1.0", b"GET / HTTP/1.0\r\n", RequestMalformed),
    _row("HDR-21 two", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", RequestMalformed),
    _row("HDR-21 two spellings", b"GET / HTTP/1.1\r\nhost: a\r\nHOST: b\r\n", RequestMalformed),
    _row("HTTP-18 obfuscated", _post(b"Content-Length: 1", b"Expect: y 100-continue"), ExpectationUnknown),
    _row("HTTP-18 two lines", _post(b"Content-Length: 1", *2 * (b"Expect: 100-continue",)), ExpectationUnknown),
    _row("HTTP-18 a list", _post(b"Content-Length: 1", b"Expect: 100-continue, 100-continue"), ExpectationUnknown),
    _row("HTTP-18 empty", _post(b"Content-Length: 1", b"Expect:"), ExpectationUnknown),
    _row("HTTP-18 over 1.0", _post(b"Content-Length: 1", b"Expect: 100-continue", version=b"1.0"), ExpectationUnknown),
    _row("HTTP-35 too many fields", _post(*[b"X: y"] * FIELD_LIMIT), HeadTooLarge),
]  # fmt: skip


@pytest.mark.parametrize(("data", "error"), REFUSED)
def test_a_hostile_head_is_refused(data, error):
    with pytest.raises(RequestMalformed) as refusal:
        request_head(data, request_names())
    assert type(refusal.value) is error


@pytest.mark.parametrize(
    ("data", "read_as"),
    [
        pytest.param(_post(b"Content-Length: 0"), 0, id="no content, said so"),
        pytest.param(_post(), 0, id="no content, not said"),
        pytest.param(_post(b"Content-Length: 999999999999999999"), 10**18 - 1, id="the longest length"),
        pytest.param(_post(b"Content-Length:5"), 5, id="no space behind the colon"),
        pytest.param(_post(b"Content-Length:  5 "), 5, id="spaces around the value"),
        pytest.param(_post(b"Transfer-Encoding: chunked"), CHUNKED, id="chunked"),
        pytest.param(_post(b"transfer-encoding: CHUNKED"), CHUNKED, id="chunked in capitals"),
        pytest.param(_post(b"Content_Length: 7"), 0, id="an alias decides nothing"),
        pytest.param(_post(b"Transfer_Encoding: chunked", b"Content-Length: 7"), 7, id="nor does this one"),
    ],
)
def test_the_framing_of_a_request_is(data, read_as):
    assert request_head(data, REQUEST_NAMES).body == read_as


def test_expect_is_noted_and_never_passed_on():
    head = request(b"Content-Length: 1", b"Expect: 100-Continue", start=b"POST / HTTP/1.1")
    assert head.noted[b"expect"] == [b"100-Continue"]
    assert not any(b"xpect" in line for line in head.lines)


def test_lines_pass_as_the_very_bytes_that_arrived():
    lines = [b"X-a:  b\t ", b"x-A:", b"!#$%&'*+-.^_`|~: \xff\xfe", b"Content-Length: 0"]
    assert request(*lines).lines == lines


def test_an_absolute_form_is_taken_apart():
    head = request(start=b"GET http://app.example.com:443/a?b HTTP/1.1")
    assert (head.authority, head.target, head.path) == (b"app.example.com:443", b"/a?b", b"/a")
    head = request(start=b"GET https://app.example.com HTTP/1.1")
    assert (head.authority, head.target, head.path) == (b"app.example.com", b"/", b"/")


def test_the_path_ends_at_the_first_question_mark():
    assert request(start=b"GET /a?b?/c HTTP/1.1").path == b"/a"


@pytest.mark.parametrize(
    ("start", "lines", "keeps"),
    [
        (b"GET / HTTP/1.1", [], True),
        (b"GET / HTTP/1.1", [b"Connection: keep-alive"], True),
        (b"GET / HTTP/1.1", [b"Connection: close"], False),
        (b"GET / HTTP/1.1", [b"Connection: x, CLOSE"], False),
        (b"GET / HTTP/1.1", [b"Connection:", b"Connection: \tClose\t,y"], False),
        (b"GET / HTTP/1.1", [b"Connection: closed"], True),
        (b"GET / HTTP/1.0", [], False),
        (b"GET / HTTP/1.0", [b"Connection: keep-alive"], False),
    ],
)
def test_a_connection_is_kept_when(start, lines, keeps):
    assert request(*lines, start=start).keep_alive is keeps


def test_a_value_is_given_only_for_a_field_that_came_once():
    head = request(b"A: 1", b"B: 2", b"b: 3", b"AA: 4")
    assert head.value(b"a") == b"1"
    assert head.value(b"aa") == b"4"
    assert head.value(b"b") is None
    assert head.value(b"c") is None


def test_connection_options_are_a_set_in_lower_case():
    assert connection_options([]) == frozenset()
    assert connection_options([b"Keep-Alive, ,Upgrade", b"\tX-A "]) == {b"keep-alive", b"upgrade", b"x-a"}
    assert connection_options((b"close",)) == {b"close"}


def test_the_limits_of_a_head_hold_to_the_field():
    good = [b"X: y"] * (FIELD_LIMIT - 1)
    assert len(request(*good).lines) == FIELD_LIMIT - 1
    with pytest.raises(HeadTooLarge):
        request(*good, b"X: y")
    assert HEAD_LIMIT_BYTES == 32 * 1024
    assert ANSWER_HEAD_LIMIT_BYTES == 64 * 1024


def test_a_name_table_is_bounded_and_right_beyond_its_bound():
    table = NameTable(lambda raw: KEEP)
    for number in range(NAME_LIMIT + 10):
        assert table.examine(b"x-%d" % number) is KEEP
    assert len(table.known) == NAME_LIMIT
    assert table.examine(b"not a token") is None
    assert b"not a token" not in table.known
    data = b"GET / HTTP/1.1\r\nHost: a\r\nBeyond-The-Bound: y\r\n"
    table = NameTable(_keep_all)
    table.known.update({b"x-%d" % number: KEEP for number in range(NAME_LIMIT)})
    assert request_head(data, table).lines[1] == b"Beyond-The-Bound: y"


# --- the beginning of a head ---


@examples(100)
@given(st.sampled_from(HEADS), st.lists(_CUTS, max_size=1), st.integers(0, 300))
def test_no_beginning_of_an_acceptable_head_is_hopeless(data, cuts, length):
    """What is accepted whole was never given up while it arrived, whatever its pieces were."""
    whole = spliced(data, cuts)
    if accepted(whole) is not None:
        assert not is_hopeless((whole + b"\r\n")[:length])


@pytest.mark.parametrize("data", HEADS)
def test_no_prefix_of_a_good_head_is_hopeless(data):
    for end in range(len(data) + 3):
        assert not is_hopeless((data + b"\r\n")[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n",
        b"GET /\r\n",
        b"GET / HTTP/0.9\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
        b"SSH-2.0-x\r\n",
        b"\r\n\r\n",
    ],
)
def test_a_beginning_that_cannot_become_a_request_is_hopeless(data):
    assert is_hopeless(data)


# --- answers ---


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 099 X\r\n", id="HTTP-25 099"),
        pytest.param(b"HTTP/1.1 600 X\r\n", id="HTTP-25 600"),
        pytest.param(b"HTTP/1.1 999 X\r\n", id="HTTP-25 999"),
        pytest.param(b"HTTP/1.1 20 OK\r\n", id="HTTP-25 two digits"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n", id="HTTP-25 four digits"),
        pytest.param(b"HTTP/1.1 +20 OK\r\n", id="HTTP-25 a sign"),
        pytest.param(b"HTTP/1.1  200 OK\r\n", id="HTTP-25 two spaces"),
        pytest.param(b"HTTP/1.1\t200 OK\r\n", id="HTTP-25 a tab"),
        pytest.param(b"HTTP/1.1 200OK\r\n", id="HTTP-25 no space"),
        pytest.param(b"HTTP/1.1 200 O\rK\r\n", id="HTTP-25 CR in the reason"),
        pytest.param(b"HTTP/1.1 200 O\x00K\r\n", id="HTTP-25 NUL in the reason"),
        pytest.param(b"HTTP/1.1 200 OK\n", id="HTTP-25 bare LF"),
        pytest.param(b"HTTP/2 200\r\n", id="HTTP-25 HTTP/2"),
        pytest.param(b"HTTP/1.2 200 OK\r\n", id="HTTP-25 HTTP/1.2"),
        pytest.param(b"http/1.1 200 OK\r\n", id="HTTP-25 lower case"),
        pytest.param(b"ICY 200 OK\r\n", id="HTTP-25 ICY"),
        pytest.param(b"", id="HTTP-25 nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", id="HTTP-04 two codings"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n", id="HTTP-04 identity"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n", id="HTTP-03 an empty coding"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", id="HTTP-03 twice"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", id="HTTP-01 both"),
        pytest.param(b"HTTP/1.1 204 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", id="HTTP-01 without a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n", id="HTTP-06 twice"),
        pytest.param(b"HTTP/1.1 304 OK\r\nContent-Length: 5, 5\r\n", id="HTTP-06 a list"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 05\r\n", id="HTTP-06 a leading zero"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A : 2\r\n", id="HDR-24 space before the colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\n X: 2\r\n", id="HTTP-11 space before a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n", id="HTTP-11 folded"),
        pytest.param(b"HTTP/1.1 200 OK\r\nLocation: /x\rSet-Cookie: a=b\r\n", id="HTTP-40 bare CR"),
        pytest.param(b"HTTP/1.1 200 OK\r\nLocation: /x\nSet-Cookie: a=b\r\n", id="HTTP-40 bare LF"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n", id="HTTP-11 no colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (FIELD_LIMIT + 1), id="HTTP-35 too many fields"),
    ],
)  # fmt: skip
def test_a_hostile_answer_is_refused(data):
    with pytest.raises(UpstreamMalformed):
        answer_head(data, answer_names(True), b"GET")


@pytest.mark.parametrize(
    ("data", "method", "body"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"GET", UNTIL_CLOSE, id="no framing: until the connection closes"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", b"GET", 7, id="a length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n", b"GET", CHUNKED, id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", b"HEAD", 0, id="HEAD, whatever the length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", b"HEAD", 0, id="HEAD, whatever the coding"),
        pytest.param(b"HTTP/1.1 204 X\r\n", b"GET", 0, id="204"),
        pytest.param(b"HTTP/1.1 304 X\r\nContent-Length: 7\r\n", b"GET", 0, id="304"),
        pytest.param(b"HTTP/1.1 100 X\r\n", b"GET", 0, id="100"),
        pytest.param(b"HTTP/1.1 205 X\r\nContent-Length: 0\r\n", b"GET", 0, id="205"),
    ],
)
def test_the_framing_of_an_answer_is(data, method, body):
    assert answer_head(data, answer_names(True), method).body == body


@pytest.mark.parametrize(
    ("data", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, close\r\n", False),
    ],
)
def test_an_upstream_connection_is_kept_when(data, keeps):
    assert answer_head(data, answer_names(True), b"GET").keep_alive is keeps


def test_chunks_over_http_1_0_end_the_upstream_connection():
    """RFC 9112, 6.1: framing that is faulty by definition; what follows on the connection is not believed."""
    data = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n"
    head = accepted_answer(data)
    assert head is None or not head.keep_alive
