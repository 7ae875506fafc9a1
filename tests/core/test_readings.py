"""What a path may be read as: at least whatever any three programs in a row make of it."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yarl
from hypothesis import given

from passproxy.core.errors import TargetUnreadable
from passproxy.core.readings import READINGS_LIMIT, READINGS_LIMIT_BYTES, is_plain, readings
from passproxy.core.routing import Routes, is_ambiguous
from tests.core import test_routing
from tests.core.given import examples, lines_of


@pytest.mark.parametrize(
    ("path", "others"),
    [
        (b"/", []),
        (b"/a/b", []),
        (b"/a/b.html", []),
        (b"/a%20b", [b"/a b"]),
        (b"/%61", [b"/a"]),
        (b"/%2561", [b"/%61", b"/a"]),
        (b"/a%2fb", [b"/a/b"]),
        (b"/a%2fb%61", [b"/a/ba", b"/a%2fba"]),
        (b"/a/../b", [b"/b"]),
        (b"/a/./b", [b"/a/b"]),
        (b"/a/..", [b"/"]),
        (b"/..", [b"/"]),
        (b"/../../a", [b"/a"]),
        (b"/a/b/.", [b"/a/b/"]),
        (b"/a//../b", [b"/a/b", b"/a/../b", b"/b"]),
        (b"//a", [b"/a"]),
        (b"/a;b/c", [b"/a/c"]),
        (b"/a\\b", [b"/a/b"]),
        (b"/a%3fb", [b"/a?b", b"/a"]),
        (b"/a%00b", [b"/a\0b", b"/a"]),
        (b"/a%09b", [b"/a\tb", b"/ab"]),
        (b"/a%01", [b"/a\x01", b"/a"]),
        (b"/a%23/%2e", [b"/a#/.", b"/a#/", b"/a", b"/a%23/.", b"/a%23/"]),
        (b"/a.", [b"/a"]),
        (b"/a./b", [b"/a/b"]),
        (b"/a%u0062", [b"/ab"]),
        (b"/%c0%ae", [b"/\xc0\xae", b"/.", b"/\xef\xbf\xbd\xef\xbf\xbd", b"/"]),
        (b"/%ef%bd%81", [b"/\xef\xbd\x81", b"/a"]),
        (b"/%e2%84%aa", [b"/\xe2\x84\xaa", b"/k"]),
        (b"/caf%c3%a9", [b"/caf\xc3\xa9"]),
    ],
)
def test_a_path_has_these_readings_and_no_others(path: bytes, others: list[bytes]) -> None:
    found = readings(path)
    assert found[0] == path
    assert sorted(found[1:]) == sorted(others)


@examples(250)
@given(test_routing._PATHS)
def test_what_three_programs_in_a_row_make_of_a_path_is_among_its_readings(path: bytes) -> None:
    try:
        found = {reading.lower() for reading in readings(path)}
    except TargetUnreadable:
        return
    for reading in test_routing.readings(path):
        # The fold of letters that are not ASCII differs where the bytes are no UTF-8 at all.
        assert reading.lower() in found or not reading.isascii(), (path, reading)


PATTERNS = ["/admin", "/admin/**", "/public/admin", "/public/*", "/x/**", "/*/x", "/**/admin", "/public/**/x"]
EXACT, FOLDED = ([Routes([([each], ())], is_folded=fold) for each in PATTERNS] for fold in (False, True))


def covering(routes: list[Routes], path: bytes) -> set[int]:
    return {number for number, each in enumerate(routes) if each.first(b"GET", path) is not None}


def libraries(path: bytes) -> Iterator[bytes]:
    """What applications written in Python are given, or make of it."""
    text = path.decode("latin-1")
    decoded = unquote(text)
    url = yarl.URL("http://x" + text)
    yield from (each.encode("utf-8", "surrogateescape") for each in (decoded, url.path, url.raw_path))
    # Two slashes in front mean something to POSIX, and nothing here.
    yield posixpath.normpath("/" + decoded.lstrip("/")).encode("utf-8", "surrogateescape")
    yield urlsplit(urljoin("http://x/y", text.lstrip("/") or "/")).path.encode("latin-1") or b"/"


@examples(400)
@given(test_routing._PATHS)
def test_a_pattern_that_covers_what_a_library_reads_covers_one_of_the_readings(path: bytes) -> None:
    try:
        found = [covering(EXACT, each) | covering(FOLDED, each.lower()) for each in readings(path)]
    except TargetUnreadable:
        return
    if path.isascii():
        for reading in libraries(path):
            assert covering(EXACT, reading) <= set().union(*found), reading


@examples(250)
@given(test_routing._PATHS)
def test_a_plain_path_is_one_that_nobody_changes(path: bytes) -> None:
    if is_plain(path):
        assert readings(path) == (path,)
        assert not is_ambiguous(path)
        assert path == path.lower()
        assert path == b"/" or not path.endswith(b"/")


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a/b-c_d~e", b"/a.b/c.d.e", b"/a@b:c=d,e+f", b"/a'(b)*!$&", b"/[x]|y"])
def test_most_paths_are_plain(path: bytes) -> None:
    assert is_plain(path)


@pytest.mark.parametrize(
    "path", [b"", b"a", b"/a/", b"//", b"/A", b"/.", b"/..", b"/.a", b"/a.", b"/a..b", b"/%", b"/;", b"/\\", b"/a?", b"/\xff", b"/ "]
)  # fmt: skip
def test_what_anybody_could_change_is_not_plain(path: bytes) -> None:
    assert not is_plain(path)


@pytest.mark.parametrize("line", lines_of("passthrough_hostile.txt"))
def test_a_hostile_target_is_not_plain_unless_it_is_another_one(line: str) -> None:
    path = line.partition(" ")[2].encode("latin-1").partition(b"?")[0]
    assert not is_plain(path) or not (path + b"/").startswith((b"/public/", b"/health/"))


def test_path_22_readings_are_bounded_in_number_and_in_bytes() -> None:
    assert len(readings(b"/a%2fb;x//../c\\d")) <= READINGS_LIMIT
    readings(b"/" + b"%41" * (READINGS_LIMIT_BYTES // 5))
    with pytest.raises(TargetUnreadable, match=str(READINGS_LIMIT)):
        readings(b"/" + b"%41" * (READINGS_LIMIT_BYTES // 3))
    with pytest.raises(TargetUnreadable):
        readings(b"/a;b/c%3bd%2fe%5cf%3fg%23h/../i//j%0a%2561%00k.")


@pytest.mark.parametrize("piece", [b"%2e;/", b"%25", b"/..", b"//", b";", b"\\", b"%2f", b". ", b"%c0%ae", b"a%00"])
def test_path_22_the_work_for_a_long_path_is_bounded(piece: bytes) -> None:
    path = b"/" + piece * (READINGS_LIMIT_BYTES // len(piece))
    for each in (path, path[: READINGS_LIMIT_BYTES // 8]):
        with contextlib.suppress(TargetUnreadable):
            others = readings(each)[1:]
            assert len(each) + sum(map(len, others)) <= READINGS_LIMIT_BYTES or not others
