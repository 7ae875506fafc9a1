"""
Bytes to a head, or a refusal: HTTP/1.x as RFC 9112 has it, and nothing that two parsers could read two ways.

The head is judged and forwarded as the very lines that arrived: no field is
decoded here, none is written anew. Invariant, tested against two independent
parsers: whatever is accepted here they accept too, and read identically
(method, target, fields, framing). Stricter is fine, different is a bug.

What a field name means to PassProxy is not known here: a `NameTable`, made by
headers.py, says which lines are kept, dropped or noted. Bodies are body.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from passproxy.core.errors import (
    CodingUnsupported,
    ExpectationUnknown,
    HeadTooLarge,
    MethodRefused,
    RequestMalformed,
    UpstreamMalformed,
    VersionUnsupported,
)

#: Request line and fields together. nginx passes at most 32 KiB (4 large buffers of 8 KiB).
HEAD_LIMIT_BYTES = 32 * 1024

#: Answers of applications carry fewer but longer fields (cookies, policies).
ANSWER_HEAD_LIMIT_BYTES = 64 * 1024

#: Field lines of one head. Browsers behind two proxies send about thirty.
FIELD_LIMIT = 200

#: Distinct spellings that a `NameTable` remembers; beyond them each is examined again.
NAME_LIMIT = 4096

#: Longest spelling that is remembered. The longest registered name has 45 bytes.
NAME_LIMIT_BYTES = 64

#: A body of unknown length in chunks, as the value of `RequestHead.body`.
CHUNKED: Final = -1
#: A body that ends with the connection, as the value of `AnswerHead.body`.
UNTIL_CLOSE: Final = -2

#: Registered methods (IANA) that proxies forward and that parsers agree on. CONNECT would
#: make a tunnel and TRACE would echo identity headers, so neither is here.
METHODS = frozenset(
    b"GET HEAD POST PUT DELETE PATCH OPTIONS PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH REPORT "
    b"MKCALENDAR ACL BIND REBIND UNBIND CHECKOUT MERGE MKACTIVITY SUBSCRIBE UNSUBSCRIBE NOTIFY LINK UNLINK PURGE QUERY".split()
)

# In a path, what browsers always escape is refused; in a query they leave more as it is.
_ORIGIN_FORM = rb"/[!$-;=@-\]_a-z|~]*(?:\?[!$-;=?-~]*)?"
_REQUEST_LINE = re.compile(
    rb"([A-Z][A-Z-]{0,31}) ((?:https?://[A-Za-z0-9.:\[\]-]+(?=[/ ?]))?(?:" + _ORIGIN_FORM + rb")?) HTTP/1\.([01])\r\n"
)
_OTHER_VERSION = re.compile(rb"[A-Z]+ \S+ HTTP/\d(?:\.\d)?\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_LENGTH = re.compile(rb"(?:0|[1-9]\d{0,17})\Z")

# Everything that may stand within a line: no control character but the tab.
_WITHIN_LINES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))


class Treatment:
    """What becomes of a field line, by its name."""

    __slots__ = ("keeps", "noted_as")

    def __init__(self, keeps: bool, noted_as: bytes | None) -> None:
        self.keeps = keeps
        self.noted_as = noted_as


KEEP: Final = Treatment(True, None)
DROP: Final = Treatment(False, None)


class NameTable:
    """
    Raw field name -> treatment, each spelling examined once.

    Bounded: when it is full, a further spelling is examined each time it comes.
    """

    def __init__(self, treat: Callable[[bytes], Treatment]) -> None:
        self._treat = treat
        self.known: dict[bytes, Treatment] = {}

    def examine(self, raw: bytes) -> Treatment | None:
        """The treatment of a name, or None when it is not a token (RFC 9110, 5.6.2)."""
        if not _TOKEN.match(raw):
            return None
        treatment = self._treat(raw)
        if len(self.known) < NAME_LIMIT and len(raw) <= NAME_LIMIT_BYTES:
            self.known[raw] = treatment
        return treatment


class RequestHead(NamedTuple):
    """
    A request line and its fields. All bytes are as they arrived.

    `target` is in origin form; an absolute form is split into `authority` and
    target. `lines` are the field lines that may pass, `noted` the stripped
    values of those that PassProxy reads itself, by lower-case name. `body` is
    a length in bytes, or `CHUNKED`.
    """

    method: bytes
    target: bytes
    path: bytes
    version: int
    authority: bytes | None
    lines: list[bytes]
    noted: dict[bytes, list[bytes]]
    body: int
    keep_alive: bool

    def value(self, name: bytes) -> bytes | None:
        """The value of a field among `lines` if it is there exactly once; looks each time."""
        found = [
            line for line in self.lines if line[: len(name)].lower() == name and line[len(name) : len(name) + 1] == b":"
        ]
        return found[0][len(name) + 1 :].strip(b" \t") if len(found) == 1 else None


class AnswerHead(NamedTuple):
    """A status line and its fields; `body` is a length in bytes, `CHUNKED` or `UNTIL_CLOSE`."""

    status: int
    line: bytes
    lines: list[bytes]
    noted: dict[bytes, list[bytes]]
    body: int
    keep_alive: bool


def request_head(data: bytes, names: NameTable) -> RequestHead:
    """
    Parse a request head: everything up to and including the CRLF of its last line, without the empty line.

    Raises:
        RequestMalformed: or a subclass that knows better what is wrong.
    """
    start = _REQUEST_LINE.match(data)
    if start is None:
        raise _request_line_refusal(data)
    method, target, minor = start.groups()
    if method not in METHODS:
        raise MethodRefused("method not forwarded")
    try:
        lines, noted = _fields(_lines(data, start.end()), names)
    except _NotAHead as error:
        raise RequestMalformed(str(error)) from None
    authority = None
    if target[:1] != b"/":
        authority, target = _absolute_form(target)
    hosts = noted.get(b"host")
    if hosts is None or len(hosts) != 1:
        raise RequestMalformed("not exactly one Host")
    version = minor[0] - 0x30
    body = _request_body(noted, version)
    options = noted.get(b"connection")
    keep_alive = version == 1 and (options is None or b"close" not in connection_options(options))
    return RequestHead(method, target, target.partition(b"?")[0], version, authority, lines, noted, body, keep_alive)


def answer_head(data: bytes, names: NameTable, method: bytes) -> AnswerHead:
    """
    Parse the head of an answer to a request of this method.

    Raises:
        UpstreamMalformed: it cannot be understood, or in two ways.
    """
    start = _STATUS_LINE.match(data)
    if start is None:
        raise UpstreamMalformed("the status line is not HTTP/1.x")
    try:
        lines, noted = _fields(_lines(data, start.end()), names)
    except (_NotAHead, HeadTooLarge) as error:
        raise UpstreamMalformed(str(error)) from None
    status = int(start[2])
    body = _answer_body(noted, status, method)
    options = connection_options(noted.get(b"connection", ()))
    keep_alive = b"close" not in options and (start[1] == b"1" or b"keep-alive" in options) and body != UNTIL_CLOSE
    if start[1] == b"0" and b"transfer-encoding" in noted:
        keep_alive = False  # RFC 9112, 6.1: faulty framing, so nothing behind it is believed
    return AnswerHead(status, data[: start.end()], lines, noted, body, keep_alive)


def connection_options(values: list[bytes] | tuple[bytes, ...]) -> frozenset[bytes]:
    """The options of all Connection fields (RFC 9110, 7.6.1), in lower case."""
    if not values:
        return _NO_OPTIONS
    if len(values) == 1 and (known := _COMMON_OPTIONS.get(values[0])) is not None:
        return known
    return frozenset(option.strip(b" \t").lower() for value in values for option in value.split(b",")) - {b""}


_NO_OPTIONS: frozenset[bytes] = frozenset()
_COMMON_OPTIONS = {
    b"keep-alive": frozenset({b"keep-alive"}),
    b"close": frozenset({b"close"}),
    b"Upgrade": frozenset({b"upgrade"}),
    b"upgrade": frozenset({b"upgrade"}),
}


class _NotAHead(Exception):
    """Why the bytes are not the field lines of a head."""


def _lines(data: bytes, start: int) -> list[bytes]:
    lines = data[start:].split(b"\r\n")
    if lines.pop():
        raise _NotAHead("the head does not end with a line end")
    if len(lines) > FIELD_LIMIT:
        raise HeadTooLarge(f"more than {FIELD_LIMIT} fields")
    # One pass over the bytes finds every control character and every bare CR or LF:
    # what is left without the ordinary bytes must be the line ends that were split at.
    if data.translate(None, _WITHIN_LINES) != b"\r\n" * (len(lines) + 1):
        raise _NotAHead("a control character, or a line end that is not CRLF")
    return lines


def _fields(found: list[bytes], names: NameTable) -> tuple[list[bytes], dict[bytes, list[bytes]]]:
    """Sort field lines by what their names mean: those that may pass, and the values to note."""
    lines: list[bytes] = []
    noted: dict[bytes, list[bytes]] = {}
    known, keep = names.known.get, lines.append
    for line in found:
        raw, colon, value = line.partition(b":")
        treatment = known(raw) or names.examine(raw)
        if treatment is KEEP and colon:
            keep(line)
            continue
        if treatment is None or not colon:
            raise _NotAHead("a line without a colon, a folded line, or a name that is not a token")
        if treatment.keeps:
            keep(line)
        if (name := treatment.noted_as) is not None:
            # Spaces only: llhttp takes a tab behind "chunked" for a part of the coding.
            noted.setdefault(name, []).append(value.strip(b" "))
    return lines, noted


def _absolute_form(target: bytes) -> tuple[bytes, bytes]:
    """RFC 9112, 3.2.2: split into authority and origin form."""
    _, separator, rest = target.partition(b"://")
    if not separator:
        raise RequestMalformed("the request target is not in origin or absolute form")
    end = min(position for position in (rest.find(b"/"), rest.find(b"?"), len(rest)) if position >= 0)
    origin_form = rest[end:]
    return rest[:end], origin_form if origin_form[:1] == b"/" else b"/" + origin_form


def _request_body(noted: dict[bytes, list[bytes]], version: int) -> int:
    """RFC 9112, 6.3, without its lenient readings."""
    coding, length = noted.get(b"transfer-encoding"), noted.get(b"content-length")
    if b"expect" in noted:
        _check_expectation(noted[b"expect"], version)
    if coding is None:
        if length is None:
            return 0
        if len(length) != 1 or not _LENGTH.match(length[0]):
            raise RequestMalformed("Content-Length is not one plain decimal number")
        return int(length[0])
    if length is not None:
        raise RequestMalformed("both Transfer-Encoding and Content-Length")
    if version == 0:
        raise RequestMalformed("Transfer-Encoding over HTTP/1.0")
    if len(coding) != 1 or coding[0].lower() != b"chunked":
        raise CodingUnsupported("Transfer-Encoding is not plain chunked")
    return CHUNKED


def _check_expectation(values: list[bytes], version: int) -> None:
    if len(values) != 1 or values[0].lower() != b"100-continue" or version == 0:
        raise ExpectationUnknown("Expect is not one 100-continue over HTTP/1.1")


def _answer_body(noted: dict[bytes, list[bytes]], status: int, method: bytes) -> int:
    coding, length = noted.get(b"transfer-encoding"), noted.get(b"content-length")
    if coding is not None and (length is not None or len(coding) != 1 or coding[0].lower() != b"chunked"):
        raise UpstreamMalformed("Transfer-Encoding beside Content-Length, or not plain chunked")
    if length is not None and (len(length) != 1 or not _LENGTH.match(length[0])):
        raise UpstreamMalformed("Content-Length is not one plain decimal number")
    # RFC 9112, 6.3 rules 1 and 2: these have no body whatever the fields say.
    if method == b"HEAD" or status in (204, 304) or status < 200:
        return 0
    if coding is not None:
        return CHUNKED
    return UNTIL_CLOSE if length is None else int(length[0])


def _request_line_refusal(data: bytes) -> RequestMalformed:
    if _OTHER_VERSION.match(data):
        return (
            VersionUnsupported("neither HTTP/1.1 nor HTTP/1.0")
            if b" HTTP/1." not in data
            else RequestMalformed("the request target or method")
        )
    return RequestMalformed("the request line")


def is_hopeless(data: bytes) -> bool:
    """
    Whether the beginning of a head, not complete yet, can become a request no more.

    Without it a client that ends lines with a bare LF, or speaks another
    protocol, would wait for its time limit instead of an answer.
    """
    line, separator, _ = data.partition(b"\r\n")
    if separator and not _REQUEST_LINE.match(line + b"\r\n"):
        return True
    return data.count(b"\n") != data.count(b"\r\n")
