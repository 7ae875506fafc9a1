"""For whoever folds names, what leaves says exactly what PassProxy says, whatever came in."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passproxy.core.errors import RequestMalformed
from passproxy.core.headers import (
    answer_names,
    is_asserted,
    is_reserved,
    normal_form,
    outgoing,
    read_anew,
    request_names,
    without_nominated,
)
from passproxy.core.http1 import RequestHead, answer_head, request_head
from passproxy.core.identity import Identity
from passproxy.core.identity_headers import IdentityHeaders
from passproxy.core.profiles import PROFILES
from tests.core.given import ALICE, NOW, examples, lines_of, request

IDENTITY = IdentityHeaders().lines(ALICE, NOW + 60)
FORWARDED = (
    b"X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: app.example.com\r\nX-Forwarded-Port: 443\r\n"
)
REQUEST_ID = b"X-Request-Id: r-1\r\n"
HOSTILE = lines_of("headers_hostile.txt")


def leaving(head: RequestHead, identity: bytes = IDENTITY, cookies: tuple[bytes, ...] = (), **more: bytes) -> bytes:
    return outgoing(
        head,
        host=b"app.example.com",
        cookies=list(cookies),
        identity=identity,
        forwarded=FORWARDED,
        request_id=b"r-1",
        is_public=not identity,
        **more,
    )


def pairs(wire: bytes) -> list[tuple[bytes, bytes]]:
    head, _, rest = wire.partition(b"\r\n\r\n")
    assert rest == b""
    return [(line.partition(b":")[0], line.partition(b":")[2].strip()) for line in head.split(b"\r\n")[1:]]


def as_cgi(wire: bytes) -> dict[bytes, list[bytes]]:
    """Every variable that a CGI-style application can make of a head: runs of anything but letters and digits are one `_`."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in pairs(wire):
        found.setdefault(re.sub(rb"[^A-Z0-9]+", b"_", name.upper()).strip(b"_"), []).append(value)
    return found


def our_view() -> dict[bytes, list[bytes]]:
    start = b"GET / HTTP/1.1\r\n"
    return as_cgi(start + IDENTITY + FORWARDED + REQUEST_ID + b"\r\n")


_SEPARATOR = st.sampled_from(["-", "_", ".", "--", "_-", "~", "!", "+", "|", "-_-", "'"])
_ASSERTED_NAME = st.sampled_from([*HOSTILE, "Host", "Content-Length", "Cookie", "Connection", "X-Passproxy-Groups"])


@st.composite
def _spellings(draw: st.DrawFn) -> bytes:
    """A name with any separators between its words, any case, and perhaps separators around it."""
    words = re.findall("[A-Za-z0-9]+", draw(_ASSERTED_NAME))
    text = words[0]
    for word in words[1:]:
        text += draw(_SEPARATOR) + word
    text = draw(st.sampled_from(["", "", "-", "_"])) + text + draw(st.sampled_from(["", "", "-", "_"]))
    return "".join(c.upper() if draw(st.booleans()) else c.lower() for c in text).encode()


_LINES = st.lists(
    st.tuples(
        st.one_of(_spellings(), st.sampled_from([b"Accept", b"X-Other", b"Connection", b"User-Agent"])),
        st.sampled_from([b"admin", b"", b"x-passproxy-user, x-other", b"X-Passproxy-Groups, close", b"evil"]),
    ).map(lambda pair: pair[0] + b": " + pair[1]),
    max_size=6,
)


@examples(120)
@given(_LINES)
@example([b"Connection: X-Passproxy-User, X-Forwarded-For, Cookie", b"X_Passproxy_User: admin"])
def test_what_leaves_says_only_what_we_say(lines):
    """For any field lines: the folded view of what leaves has exactly our values for every asserted name."""
    try:
        head = request(*lines)
    except RequestMalformed:
        return
    view = as_cgi(leaving(head))
    ours = our_view()
    for name, values in ours.items():
        assert view[name] == values, name
    for name in view.keys() - ours.keys():
        assert not is_asserted(name.lower().replace(b"_", b"-")), name
    assert view[b"HOST"] == [b"app.example.com"]
    assert len(view.get(b"CONTENT_LENGTH", [])) <= 1
    assert view.keys().isdisjoint({b"CONNECTION", b"TRANSFER_ENCODING", b"UPGRADE", b"TE", b"PROXY", b"FORWARDED"})


@examples(60)
@given(_LINES)
def test_what_leaves_without_a_session_says_nothing_of_anybody(lines):
    """Public paths and requests without a session are stripped alike (HDR-05)."""
    try:
        head = request(*lines)
    except RequestMalformed:
        return
    view = as_cgi(leaving(head, identity=b""))
    assert not any(name.startswith(b"X_PASSPROXY") or name.startswith(b"REMOTE_") for name in view)


def test_there_are_many_spellings():
    assert len(HOSTILE) >= 60
    assert len(set(HOSTILE)) == len(HOSTILE)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_spoofed_field_is_dropped(name):
    line = name.encode() + b": admin"
    for head in (request(line), request(line, line), request(b"Accept: a", line, b"Accept: b")):
        assert b"admin" not in leaving(head)
        assert not any(b"admin" in kept for kept in head.lines)


@pytest.mark.parametrize(
    "name",
    [
        "Content_Length", "Content.Length", "content-length-", "Transfer_Encoding", "Transfer.Encoding", "Host_", "_Host",
        "Cookie_", "Authorization_", "_authorization", "Connection_", "Upgrade_", "Expect_", "Content_Type", "TE_", "Trailer_",
        "X_Forwarded_For", "Keep_Alive", "Via_", "Date_", "Origin_", "Referer.",
    ],
)  # fmt: skip
def test_http_41_an_alias_of_a_field_that_decides_something_is_dropped(name):
    head = request(name.encode() + b": 5", b"Content-Length: 0")
    assert head.lines == [b"Content-Length: 0"]
    assert head.body == 0


@pytest.mark.parametrize(
    "name",
    ["Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "TE", "Trailer", "HTTP2-Settings"],
)
def test_hdr_26_hop_by_hop_fields_end_here_in_both_directions(name):
    assert request(name.encode() + b": x").lines == []
    answer = f"HTTP/1.1 200 OK\r\n{name}: x\r\n".encode()
    assert answer_head(answer, answer_names(False), b"GET").lines == []


@pytest.mark.parametrize(
    "name",
    [
        "Accept",
        "User-Agent",
        "Authorization",
        "Content-Type",
        "Origin",
        "Referer",
        "Range",
        "If-None-Match",
        "X-Requested-With",
        "Sec-WebSocket-Key",
        "X-CSRF-Token",
        "X_Custom_Field",
        "X-User-Agent",
        "Date",
        "Via",
        "X-Passprox",
        "Remote",
        "X-Auth",
    ],
)
def test_what_is_not_asserted_passes_as_it_came(name):
    line = f"{name}:  value \xff\t".encode("latin-1")
    head = request(line)
    assert head.lines == [line]
    assert line + b"\r\n" in leaving(head)


def test_hdr_23_values_that_are_not_ascii_pass_byte_for_byte():
    line = b"Authorization: Bea\xffrer \xc3\x28"
    assert line in leaving(request(line))


# --- Connection ---


@pytest.mark.parametrize(
    "connection",
    [
        [b"close, X-Passproxy-User, X-Forwarded-For, Cookie"],
        [b"x-passproxy-user", b"X-PASSPROXY-GROUPS"],
        [b"", b"X-Passproxy-User"],
        [b"X_Passproxy_User, X-Real-IP, Host, X-Forwarded-Proto"],
        [b"keep-alive", b"upgrade , \tX-Passproxy-Email\t"],
    ],
)
def test_hdr_08_nothing_that_we_assert_can_be_nominated_away(connection):
    head = request(b"Accept: a", *(b"Connection: " + value for value in connection))
    wire = leaving(head, cookies=(b"a=1",))
    assert IDENTITY in wire
    assert FORWARDED in wire
    assert wire.startswith(b"GET / HTTP/1.1\r\nHost: app.example.com\r\n")
    assert b"Cookie: a=1\r\n" in wire


def test_what_a_client_nominates_of_its_own_is_dropped():
    head = request(b"Connection: X-Hop, x-other", b"X-HOP: 1", b"X-Other: 2", b"X-Third: 3")
    assert b"X-HOP" not in leaving(head)
    assert b"X-Other" not in leaving(head)
    assert b"X-Third: 3" in leaving(head)


def test_the_length_of_a_body_cannot_be_nominated_away():
    head = request(b"Connection: Content-Length", b"Content-Length: 5", start=b"POST / HTTP/1.1")
    assert b"Content-Length: 5\r\n" in leaving(head)


def test_without_a_nomination_the_lines_are_the_same_object():
    lines = [b"A: b"]
    assert without_nominated(lines, [b"close, keep-alive, Upgrade"]) is lines
    assert without_nominated(lines, [b"a"]) == []


# --- what is asserted ---


def test_hdr_04_an_attribute_that_is_absent_has_no_line():
    lines = IdentityHeaders().lines(Identity("i", "s", {"user": "u"}, (), NOW), 17)
    assert lines == b"X-Passproxy-User: u\r\nX-Passproxy-Subject: s\r\nX-Passproxy-Session-Expires: 17\r\n"
    wire = leaving(request(b"X-Passproxy-Groups: admins", b"X-Passproxy-Email: evil@example.com"), identity=lines)
    assert as_cgi(wire).keys() & {b"X_PASSPROXY_GROUPS", b"X_PASSPROXY_EMAIL"} == set()


@pytest.mark.parametrize(
    "name", [name for profile in PROFILES.values() for name in profile.fields], ids=lambda name: f"HDR-10 {name}"
)
def test_every_name_of_every_profile_is_one_that_clients_cannot_send(name):
    spellings = {
        name,
        name.upper(),
        name.replace("-", "_"),
        name.replace("-", "."),
        f"_{name}_",
        name.replace("_", "-"),
    }
    for spelling in spellings:
        assert is_asserted(normal_form(spelling.encode()))
        assert request(spelling.encode() + b": admin").lines == []


def test_a_configured_name_is_dropped_in_every_spelling_and_no_other():
    names = request_names(("X-Staff", "Authorization"))
    lines = (b"X-Staff: admin", b"x_staff: admin", b"X.STAFF_: admin", b"Authorization: Basic YTpi", b"X-Staffing: yes")
    head = request_head(b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", b"Host: a", *lines)), names)
    assert head.lines == [b"X-Staffing: yes"]


def test_a_head_that_was_read_before_a_name_was_configured_is_read_anew():
    head = request(b"X-Staff: admin", b"Accept: a", b"x_staff: admin", b"Cookie: c=1", b"Content-Length: 3")
    anew = read_anew(head, request_names(("x_staff",)))
    assert anew.lines == [b"Accept: a", b"Content-Length: 3"]
    assert anew._replace(lines=head.lines) == head
    assert read_anew(head, request_names()) == head


@pytest.mark.parametrize("name", [b"host", b"cookie", b"content-type", b"x-forwarded-for", b"te", b"x-passproxy-user"])
def test_what_has_a_meaning_in_every_request_is_reserved(name):
    assert is_reserved(name)
    assert not is_reserved(b"x-webauth-user")


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (b"X-Passproxy-User", b"x-passproxy-user"),
        (b"__X..Passproxy~User--", b"x-passproxy-user"),
        (b"A", b"a"),
        (b"---", b""),
        (b"x1_2", b"x1-2"),
    ],
)
def test_the_normal_form_of_a_name_is(raw, normal):
    assert normal_form(raw) == normal


# --- the head that leaves ---


def test_the_head_that_leaves_is_complete_and_in_order():
    head = request(b"Accept: a", b"Content-Length: 3", b"B: c", start=b"POST /a;b?c=%2F HTTP/1.1")
    wire = leaving(head, cookies=(b"x=1", b"y=2"), connection=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    assert wire == (
        b"POST /a;b?c=%2F HTTP/1.1\r\nHost: app.example.com\r\nAccept: a\r\nContent-Length: 3\r\nB: c\r\n"
        b"Cookie: x=1\r\nCookie: y=2\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        + IDENTITY
        + FORWARDED
        + REQUEST_ID
        + b"\r\n"
    )


def test_a_head_of_nothing_but_a_host_leaves_too():
    assert (
        leaving(request(), identity=b"")
        == b"GET / HTTP/1.1\r\nHost: app.example.com\r\n" + FORWARDED + REQUEST_ID + b"\r\n"
    )


def test_an_absolute_form_leaves_in_origin_form():
    head = request(start=b"GET http://app.example.com/a?b HTTP/1.1")
    assert leaving(head).startswith(b"GET /a?b HTTP/1.1\r\nHost: app.example.com\r\n")


@examples(60)
@given(_LINES, st.lists(st.binary(max_size=10).filter(lambda b: not set(b) & set(b"\r\n\0")), max_size=2))
def test_what_leaves_is_one_head_that_our_own_parser_accepts(lines, cookies):
    try:
        head = request(*lines)
    except RequestMalformed:
        return
    wire = leaving(head, cookies=tuple(re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", cookie) for cookie in cookies))
    assert wire.count(b"\r\n\r\n") == 1
    again = request_head(wire.removesuffix(b"\r\n"), request_names())
    assert (again.method, again.target, again.body) == (head.method, head.target, head.body)


# --- answers ---


def _answer(*lines: bytes, strip: bool = True) -> list[bytes]:
    data = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 200 OK", *lines))
    return answer_head(data, answer_names(strip), b"GET").lines


def test_version_fields_of_the_application_are_dropped_if_that_is_wanted():
    lines = [b"Server: x", b"X-Powered-By: y", b"X-AspNet-Version: z", b"Via: proxy"]
    assert _answer(*lines) == [b"Via: proxy"]
    assert _answer(*lines, strip=False) == lines


@pytest.mark.parametrize("name", [b"X-Passproxy-User", b"x_passproxy_assertion", b"X.Passproxy.Groups"])
def test_hdr_19_the_identity_is_not_echoed_to_the_client(name):
    assert _answer(name + b": alice") == []


def test_other_fields_of_an_answer_pass_in_order_and_are_noted():
    lines = [b"Set-Cookie: a=1", b"Content-Length: 0", b"Set-Cookie: b=2", b"Link: </a>", b"Remote-User: x"]
    head = answer_head(b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(lines) + b"\r\n", answer_names(True), b"GET")
    assert head.lines == lines
    assert head.noted == {b"set-cookie": [b"a=1", b"b=2"], b"content-length": [b"0"]}
    assert (
        _answer(b"Connection: close", b"Transfer-Encoding: chunked", b"Upgrade: h2c", b"Sec-WebSocket-Accept: x") == []
    )


# --- public paths, and bodies in chunks ---


@pytest.mark.parametrize(
    "name", [b"X-HTTP-Method-Override", b"x_http_method_override", b"X-Method-Override", b"X.HTTP.Method"]
)
def test_hdr_15_on_a_public_path_no_field_changes_the_method(name):
    head = request(name + b": DELETE", b"Accept: a")
    assert b"DELETE" not in leaving(head, identity=b"")
    assert b"Accept: a\r\n" in leaving(head, identity=b"")
    assert name + b": DELETE\r\n" in leaving(head)


def test_a_body_in_chunks_is_announced_once_whatever_the_client_nominates():
    head = request(b"Connection: Transfer-Encoding", b"Transfer-Encoding: CHUNKED", start=b"POST / HTTP/1.1")
    assert as_cgi(leaving(head))[b"TRANSFER_ENCODING"] == [b"chunked"]
    assert b"Transfer-Encoding" not in leaving(request())
