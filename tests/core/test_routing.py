"""What is public is public to every reader of the path, whatever it decodes, drops or resolves."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import re
import time
import unicodedata
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passproxy.core.errors import RequestMalformed
from passproxy.core.routing import PREFIX, Routes, endpoint, is_ambiguous
from tests.core.given import examples, lines_of, request

ROUTES = Routes([(["/health"], ("GET", "HEAD")), (["/public/**"], ("GET", "HEAD")), (["/hook"], ("POST",))])


def arrives(path: bytes) -> bool:
    """Whether the parser lets a path through at all; `#` and control characters end there."""
    try:
        return request(start=b"GET " + path + b" HTTP/1.1").path == path
    except RequestMalformed:
        return False


def covers(routes: Routes, method: bytes, path: bytes) -> bool:
    return routes.first(method, path) is not None


def is_passed(path: bytes, routes: Routes = ROUTES, method: bytes = b"GET") -> bool:
    """Both, or it is not public (decision.py)."""
    return covers(routes, method, path) and not is_ambiguous(path)


# --- every reader ---


def decoded(path: bytes) -> bytes:
    return unquote_to_bytes(path)


def decoded_twice(path: bytes) -> bytes:
    return unquote_to_bytes(unquote_to_bytes(path))


def without_parameters(path: bytes) -> bytes:
    return re.sub(rb";[^/]*", b"", path)


def with_slashes(path: bytes) -> bytes:
    return path.replace(b"\\", b"/")


def collapsed(path: bytes) -> bytes:
    return re.sub(rb"/{2,}", b"/", path)


def resolved(path: bytes) -> bytes:
    """Dot segments removed, as RFC 3986, 5.2.4 and every file system do."""
    slash = b"/" if path.endswith((b"/", b"/.", b"/..")) else b""
    return (posixpath.normpath(b"/" + path.lstrip(b"/")) + slash).replace(b"//", b"/")


def folded(path: bytes) -> bytes:
    """Unicode compatibility forms made plain, as some frameworks do with a decoded path."""
    return unicodedata.normalize("NFKC", path.decode("utf-8", "replace")).encode()


def until_nul(path: bytes) -> bytes:
    """C strings end there."""
    return path.partition(b"\0")[0]


def until_separator(path: bytes) -> bytes:
    """What is decoded and then parsed as a URL ends where the query or fragment begins."""
    return re.split(rb"[?#]", path)[0]


READERS = [
    decoded, decoded_twice, without_parameters, with_slashes, collapsed, resolved, folded, until_nul, until_separator,
]  # fmt: skip


def readings(path: bytes) -> set[bytes]:
    """What any three readers in a row make of a path, in any order."""
    found = {path}
    for _ in range(3):
        found |= {reader(reading) for reading in found for reader in READERS}
    return found


def is_within(path: bytes) -> bool:
    """The meaning of the patterns above, written differently."""
    return path in (b"/health", b"/public") or path.startswith(b"/public/")


_PIECES = st.sampled_from(
    [
        b"/",
        b"//",
        b".",
        b"..",
        b";",
        b";x=1",
        b"\\",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%5c",
        b"%25",
        b"%252e",
        b"%3b",
        b"%3f",
        b"%23",
        b"%00",
        b"%c0%ae",
        b"%ef%bc%8e",
        b"%ef%bc%8f",
        b"%e2%80%a5",
        b"%61",
        b"%",
        b"%u002e",
        b"%20",
        b"admin",
        b"public",
        b"x",
        b"health",
        b"%70",
        b"~",
        b"*",
        b"%c3%a4",
        b"\xff",
        b"..;",
        b"%0a",
        b"%0d",
        b"%09",
        b"%7f",
    ]
)
_PATHS = st.one_of(
    st.lists(_PIECES, max_size=7).map(lambda pieces: b"/public/" + b"".join(pieces)),
    st.lists(_PIECES, max_size=7).map(lambda pieces: b"/" + b"".join(pieces)),
    st.binary(max_size=14).map(lambda tail: b"/public/" + tail.translate(None, b"?\r\n")),
)


@examples(250)
@given(_PATHS)
@example(b"/public/%2e%2e/admin")
@example(b"/public/x%20y")
def test_what_is_public_stays_within_its_pattern_for_every_reader(path):
    """Covered and not ambiguous: then no reader, nor any three in a row, leaves the pattern."""
    if is_passed(path) and arrives(path):
        assert all(is_within(reading) for reading in readings(path)), readings(path)


def test_no_three_bytes_behind_a_public_folder_lead_out_of_it():
    """All short tails over the bytes that mean something to somebody."""
    alphabet = [bytes([byte]) for byte in b"/.\\;%25eEcCfF3bB*~a"]
    for tail in itertools.product(alphabet, repeat=3):
        path = b"/public/" + b"".join(tail)
        if is_passed(path) and arrives(path):
            assert all(is_within(reading) for reading in readings(path)), path


@pytest.mark.parametrize("escape", [b"%%%02x" % byte for byte in range(256)])
def test_an_escape_in_a_public_path_is_plain_or_ambiguous(escape):
    for path in (b"/public/" + escape + b"x", b"/public/" + escape.upper() + b"x", b"/public/.." + escape + b"admin"):
        if is_passed(path):
            assert all(is_within(reading) for reading in readings(path))


@pytest.mark.parametrize("line", lines_of("passthrough_hostile.txt"))
def test_a_hostile_target_is_not_public(line):
    target = line.partition(" ")[2].encode("latin-1")
    path = target.partition(b"?")[0]
    assert not is_passed(path)
    assert not is_passed(path, method=b"HEAD")
    with contextlib.suppress(RequestMalformed):
        assert not is_passed(request(start=b"GET " + target + b" HTTP/1.1").path)


@pytest.mark.parametrize(
    "path",
    [
        b"/health",
        b"/public",
        b"/public/",
        b"/public/x",
        b"/public/a/b.c/d-e_f~g",
        b"/public/...",
        b"/public/..x",
        b"/public/x..",
        b"/public/.well-known",
        b"/public/%20",
        b"/public/%c3%a4",
        b"/public/a:b@c,d=e&f+g!$'()*",
        b"/public/[x]|y",
    ],
)
def test_a_plain_path_within_a_pattern_is_public(path):
    assert is_passed(path)


# --- methods ---


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND", b"get", b""])
def test_path_18_a_pattern_is_public_for_its_methods_alone(method):
    assert not is_passed(b"/public/x", method=method)


def test_path_18_each_pattern_has_its_own_methods():
    assert is_passed(b"/hook", method=b"POST")
    assert not is_passed(b"/hook", method=b"GET")
    assert not is_passed(b"/health", method=b"POST")


# --- patterns ---


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a", b"/a", True),
        ("/a", b"/a/", False),
        ("/a", b"/ab", False),
        ("/a/", b"/a/", True),
        ("/a/", b"/a", False),
        ("/a/*", b"/a/b", True),
        ("/a/*", b"/a/b/c", False),
        ("/a/*", b"/a", False),
        ("/a/*/c", b"/a/b/c", True),
        ("/a/*/c", b"/a/b/b/c", False),
        ("/a/*.css", b"/a/x.css", True),
        ("/a/*.css", b"/a/x.css.html", False),
        ("/a/*.css", b"/a/x/y.css", False),
        ("/a/*.css", b"/a/xZcss", False),
        ("/a/x*y*z", b"/a/x1y2z", True),
        ("/a/x*y*z", b"/a/xyyz", True),
        ("/a/x*y*z", b"/a/xzy", False),
        ("/a/**", b"/a", True),
        ("/a/**", b"/a/", True),
        ("/a/**", b"/a/b/c", True),
        ("/a/**", b"/ab", False),
        ("/a/**/z", b"/a/b/c/z", True),
        ("/a/**/z", b"/a/b/z", True),
        ("/a/**/z", b"/a/b/zz", False),
        ("/a/**/x*z", b"/a/b/x/xyz", True),
        ("/a/**/b/**/c", b"/a/1/b/2/b/3/c", True),
        ("/a/**/b/**", b"/a/1/b", True),
        ("/a/**/b*/**", b"/a/b/bc/d", True),
        ("/a.b", b"/axb", False),
        ("/a+b", b"/aab", False),
    ],
)
def test_a_pattern_matches(pattern, path, matches):
    assert covers(Routes([([pattern], ("GET",))]), b"GET", path) is matches


def reference(pattern: str, path: str) -> bool:
    """The same meaning by plain recursion: `*` within a segment, `**` across, a trailing `/**` and its folder."""

    def match(p: str, t: str) -> bool:
        if not p:
            return not t
        if p.startswith("**"):
            return any(match(p[2:], t[n:]) for n in range(len(t) + 1))
        if p[0] == "*":
            segment = t.partition("/")[0]
            return any(match(p[1:], t[n:]) for n in range(len(segment) + 1))
        return bool(t) and t[0] == p[0] and match(p[1:], t[1:])

    return match(pattern, path) or (pattern.endswith("/**") and match(pattern[:-3], path))


@examples(150)
@given(
    st.lists(st.sampled_from(["a", "b", "*", "a*", "*b", "a*b", "*a*", "**"]), min_size=1, max_size=4),
    st.text("ab/", max_size=9),
)
def test_a_pattern_means_what_plain_recursion_says(segments, tail):
    pattern, path = "/" + "/".join(segments), "/" + tail
    assert covers(Routes([([pattern], ("GET",))]), b"GET", path.encode()) is reference(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        pytest.param("/static/*-*.js", b"/static/" + b"-" * 8000, id="two stars in a segment"),
        pytest.param("/s/*-*-*", b"/s/" + b"-" * 400 + b"/", id="three stars in a segment"),
        pytest.param("/a/**/b/**/c", b"/a/" + b"b/" * 4000, id="two double stars"),
        pytest.param("/a/**/*b*/**/c", b"/a/" + b"b/b" * 2500, id="both"),
        pytest.param("/a/**/x*y", b"/a" + b"/x" * 4000, id="a star behind a double star"),
        pytest.param("/**/a/**", b"/" * 8000, id="nothing but slashes"),
    ],
)
def test_path_22_no_path_takes_a_pattern_long(pattern, path):
    """Before any login: a pattern with two wildcards must not be tried at every pair of places."""
    routes = Routes([([pattern], ("GET",))])
    started = time.process_time()
    assert not covers(routes, b"GET", path)
    assert time.process_time() - started < 0.02


def test_path_22_many_patterns_and_a_long_path_are_decided_at_once():
    routes = Routes([([f"/folder-{number}/**"], ("GET",)) for number in range(100)])
    path = b"/" + b"x/" * 8000
    started = time.process_time()
    assert not covers(routes, b"GET", path)
    is_ambiguous(b"/" + b"%41/" * 4000)
    assert time.process_time() - started < 0.02


def test_without_patterns_nothing_is_public():
    assert not covers(Routes(), b"GET", b"/")


# --- our own pages ---


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/.passproxy/login", "login"),
        (b"/.passproxy/saml/acs", "saml/acs"),
        (b"/.passproxy/", ""),
        (b"/.passproxy", ""),
        (b"/.passproxy//login", "/login"),
        (b"/.passproxy/\xff", "\xff"),
        (b"/.passproxyx", None),
        (b"/.Passproxy/login", None),
        (b"/x/.passproxy/login", None),
        (b"//.passproxy/login", None),
        (b"/%2epassproxy/login", None),
        (b"/", None),
    ],
)
def test_our_own_pages_are_below_one_prefix(path, name):
    assert endpoint(path) == name


def test_the_prefix_is_a_folder():
    assert PREFIX.startswith("/.")
    assert PREFIX.endswith("/")
