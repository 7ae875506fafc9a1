"""A login ends on our own origin, whoever reads the target; and forms are read in one way or not at all."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passproxy.core.errors import CallbackMalformed
from passproxy.core.urls import FIELD_LIMIT, RETURN_TO_LIMIT_BYTES, Origin, fields, return_to, with_fragment
from tests.core.given import ORIGIN, examples, lines_of

HOSTILE = lines_of("return_to_hostile.txt")
GOOD = lines_of("return_to_good.txt")


def browser_origin(base: str, reference: str) -> str:
    """
    Scheme and authority of what a browser makes of a reference, after the URL standard of the WHATWG.

    Only what matters to a host: white space and control characters trimmed,
    tabs and line ends removed wherever they are, backslashes as slashes, and any
    number of slashes before the authority of a special scheme.
    """
    scheme, _, rest = base.partition("://")
    text = re.sub(r"[\t\n\r]", "", reference.strip("".join(map(chr, range(0x21)))))
    special = re.match(r"(?i)(https?|ftp|wss?|file):", text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", text) and not special:
        return text.partition(":")[0].lower()
    if (special and special[1].lower() != scheme) or re.match(r"(?i)[a-z]+:[/\\]", text):
        scheme, text = text.partition(":")[0].lower(), "//" + text.partition(":")[2].lstrip("/\\")
    elif special:
        text = text.partition(":")[2]
    text = text.replace("\\", "/")
    if not text.startswith("//"):
        return f"{scheme}://{rest.partition('/')[0]}"
    authority = re.split(r"[/?#]", text.lstrip("/"), maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2].lower()}"


@pytest.mark.parametrize(
    ("reference", "origin"),
    [
        ("/x", "https://app.example.com"),
        ("//evil.example/x", "https://evil.example"),
        ("/\\evil.example", "https://evil.example"),
        ("/\t/evil.example", "https://evil.example"),
        ("\x01 //evil.example", "https://evil.example"),
        ("https:x", "https://app.example.com"),
        ("https:/evil.example", "https://evil.example"),
        ("http:evil.example", "http://evil.example"),
        ("https://a@evil.example", "https://evil.example"),
        ("javascript:alert(1)", "javascript"),
        ("x//y", "https://app.example.com"),
    ],
)
def test_the_browser_of_these_tests_reads_as_browsers_do(reference, origin):
    assert browser_origin(str(ORIGIN), reference) == origin


def without_dots(path: str) -> str:
    """Dot segments resolved and parameters dropped, keeping every empty segment: the most dangerous reading."""
    kept: list[str] = []
    for segment in re.sub(r"(?i)%2e", ".", path).split("/"):
        bare = segment.partition(";")[0]
        if bare == "..":
            if len(kept) > 1:
                kept.pop()
        elif bare != ".":
            kept.append(segment)
    return "/".join(kept)


def assert_stays_here(target: str) -> None:
    assert target.startswith("/")
    assert not target.startswith(("//", "/\\"))
    assert re.fullmatch(r"[!-~]+", target)
    assert len(target) <= RETURN_TO_LIMIT_BYTES
    absolute = ORIGIN.url(target)
    parts = urlsplit(absolute)
    assert (parts.scheme, parts.netloc) == ("https", "app.example.com")
    assert browser_origin(str(ORIGIN), absolute) == str(ORIGIN)
    # As a relative reference too, and after whoever normalises it on the way.
    path = target.partition("?")[0]
    for reading in (target, without_dots(path)):
        assert urlsplit(urljoin(f"{ORIGIN}/a/b", reading)).netloc == "app.example.com"
        assert browser_origin(str(ORIGIN), reading) == str(ORIGIN)


def test_there_are_many_hostile_targets():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 100


@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_a_hostile_target_becomes_the_front_page(target):
    assert return_to(target) == "/"


@pytest.mark.parametrize("target", GOOD)
def test_a_plain_local_target_is_kept_as_it_is(target):
    assert return_to(target) == target
    assert_stays_here(target)


_PIECES = st.sampled_from(
    [
        "/",
        "//",
        "\\",
        ".",
        "..",
        ";",
        "?",
        "#",
        "@",
        ":",
        "%2f",
        "%5c",
        "%2e",
        "%09",
        "%0a",
        "%00",
        "%20",
        "%252f",
        "\t",
        "\n",
        "\r",
        "\0",
        " ",
        "evil.example",
        "http:",
        "https://",
        "javascript:",
        "\u2028",
        "\uff0f",
        "\u3002",
        "a",
        "..;",
        "%3b",
        "%7f",
    ]
)


@examples(300)
@given(
    st.one_of(
        st.lists(_PIECES, max_size=7).map("".join),
        st.lists(_PIECES, max_size=6).map(lambda p: "/" + "".join(p)),
        st.text(),
    )
)
@example("/a/..//evil.example")
def test_whatever_was_asked_for_the_login_ends_here(target):
    """The result starts with one slash, is visible ASCII, and names our origin to urllib and to a browser."""
    result = return_to(target)
    assert_stays_here(result)
    assert result in (target, "/")
    assert return_to(result) == result


def test_no_two_characters_behind_the_slash_lead_elsewhere():
    alphabet = [chr(code) for code in (*range(0x80), 0x85, 0xA0, 0x2028, 0xFEFF, 0xFF0F)]
    for first in alphabet:
        for second in "/\\.;%?#@:\t a":
            for tail in ("evil.example", "/evil.example", "2fevil.example"):
                assert_stays_here(return_to(f"/{first}{second}{tail}"))


def test_a_target_that_does_not_fit_a_cookie_is_dropped_and_never_cut():
    assert return_to("/" + "x" * (RETURN_TO_LIMIT_BYTES - 1)) != "/"
    assert return_to("/" + "x" * RETURN_TO_LIMIT_BYTES) == "/"


def test_a_long_target_is_judged_at_once():
    for piece in ("/", ".;", "%2f", "/.", "/;", "/..;"):
        return_to("/" + piece * (RETURN_TO_LIMIT_BYTES // len(piece) - 1) + "x")


# --- origins ---


@pytest.mark.parametrize(
    ("origin", "text", "hosts"),
    [
        (Origin("https", "a.example", 443), "https://a.example", {b"a.example", b"a.example:443"}),
        (Origin("https", "a.example", 8443), "https://a.example:8443", {b"a.example", b"a.example:8443"}),
        (Origin("http", "localhost", 80), "http://localhost", {b"localhost", b"localhost:80"}),
        (Origin("http", "[::1]", 8080), "http://[::1]:8080", {b"[::1]", b"[::1]:8080"}),
    ],
)
def test_an_origin_has_one_spelling(origin, text, hosts):
    assert str(origin) == text
    assert origin.hosts() == hosts
    assert origin.url("/a?b") == f"{text}/a?b"
    assert origin.is_secure is text.startswith("https:")


# --- forms ---


@pytest.mark.parametrize(
    ("encoded", "found"),
    [
        (b"", {}),
        (b"a=b", {"a": "b"}),
        (b"a=", {"a": ""}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a=b&c=d", {"a": "b", "c": "d"}),
        (b"a=x+y%2B%26%3D", {"a": "x y+&="}),
        (b"a=%C3%A4", {"a": "ä"}),
        (b"a=\xc3\xa4", {"a": "ä"}),
        (b"SAMLResponse=x&RelayState=y", {"SAMLResponse": "x", "RelayState": "y"}),
        (b"a=b;c=d", {"a": "b;c=d"}),
    ],
)
def test_a_form_is_read(encoded, found):
    assert fields(encoded) == found


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"a=1&a=2", id="a name twice"),
        pytest.param(b"a", id="no equals sign"),
        pytest.param(b"=b", id="no name"),
        pytest.param(b"&", id="nothing at all"),
        pytest.param(b"a=b&", id="an empty piece at the end"),
        pytest.param(b"&a=b", id="an empty piece at the start"),
        pytest.param(b"a=1&&b=2", id="an empty piece within"),
        pytest.param(b"SAML%52equest=x", id="an escaped letter in a name"),
        pytest.param(b"a b=c", id="a space in a name"),
        pytest.param(b"a+b=c", id="a plus in a name"),
        pytest.param(b"a[]=c", id="brackets in a name"),
        pytest.param(b"\xc3\xa4=c", id="a name that is not ASCII"),
        pytest.param(b"a\x00=c", id="a NUL in a name"),
        pytest.param(b"a\n=c", id="a line end in a name"),
        pytest.param(b"a" * 65 + b"=c", id="a long name"),
        pytest.param(b"a=%", id="a bare percent sign"),
        pytest.param(b"a=%2", id="half an escape"),
        pytest.param(b"a=%zz", id="no escape"),
        pytest.param(b"a=%u0041", id="an escape of old scripts"),
        pytest.param(b"a=%ff", id="no UTF-8"),
        pytest.param(b"a=\xff", id="raw bytes that are no UTF-8"),
        pytest.param(b"a=%c0%af", id="an overlong form"),
        pytest.param(b"a=%ed%a0%80", id="a surrogate"),
        pytest.param(b"&".join(b"f%d=" % n for n in range(FIELD_LIMIT + 1)), id="too many fields"),
        pytest.param(b"&" * 1_000_000, id="a million of nothing"),
    ],
)
def test_a_form_that_could_be_read_in_two_ways_is_refused(encoded):
    with pytest.raises(CallbackMalformed):
        fields(encoded)


def test_a_form_may_have_as_many_fields_as_the_limit():
    assert len(fields(b"&".join(b"f%d=" % n for n in range(FIELD_LIMIT)))) == FIELD_LIMIT


@examples(100)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_form_or_refused(encoded):
    try:
        found = fields(encoded)
    except CallbackMalformed:
        return
    assert all(isinstance(value, str) and value.encode() is not None for value in found.values())


@pytest.mark.parametrize(
    ("target", "landing"),
    [
        ("/d#/x?y=1", "/d#/x?y=1"),
        ("/d?a=b#", "/d?a=b#"),
        ("/d#a#b", "/d#a#b"),
        ("/d", "/d"),
        ("//evil.example#x", "/"),
        ("/d#<script>", "/d"),
        ("/d#a b", "/d"),
        ("/d#a\r\nSet-Cookie: x=y", "/d"),
        ("#x", "/"),
        ("/d#" + "x" * RETURN_TO_LIMIT_BYTES, "/d"),
    ],
)
def test_a_fragment_that_is_handed_to_the_login_comes_back(target, landing):
    assert with_fragment(target) == landing


_PIECE = st.one_of(
    st.binary(max_size=3),
    st.integers(0, 255).map(lambda one: b"%%%02x" % one),
    st.sampled_from(
        [
            b"=",
            b"==",
            b"=3D",
            b"=\n",
            b" \n",
            b"\t\r\n",
            b"\r\n",
            b"_",
            b"+",
            b".",
            b"%3D%0A",
            b"=\r\n=",
            b"%25",
            b"%zz",
        ]
    ),
)


@examples(300)
@given(st.lists(_PIECE, max_size=12).map(b"".join))
def test_a_value_is_what_urllib_makes_of_it(value):
    value = value.replace(b"&", b"")
    try:
        expected = unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        expected = None
    if re.search(rb"%(?![0-9A-Fa-f]{2})", value):
        expected = None
    try:
        assert fields(b"f=" + value) == {"f": expected}
    except CallbackMalformed:
        assert expected is None
