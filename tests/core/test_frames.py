"""Where frames begin and end, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.frames import FRAMES_LIMIT, REASON_LIMIT_BYTES, SESSION_OVER, FrameCursor, close_frame
from tests.core.given import examples


def frame(length: int, *, is_masked: bool = False) -> bytes:
    mask = 0x80 if is_masked else 0
    if length < 126:
        head = bytes((0x82, mask | length))
    elif length < 65536:
        head = bytes((0x82, mask | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x82, mask | 127)) + length.to_bytes(8, "big")
    return head + (b"mask" if is_masked else b"") + b"x" * length


LENGTHS = st.sampled_from([0, 1, 5, 125, 126, 127, 1000, 65535, 65536, 70_000])


@given(st.lists(st.tuples(LENGTHS, st.booleans()), max_size=5), st.lists(st.integers(1, 5000), min_size=1, max_size=20))
@examples(300)
def test_however_they_are_cut_it_is_between_two_where_one_ends(frames, cuts):
    cursor, whole = FrameCursor(), b"".join(frame(length, is_masked=masked) for length, masked in frames)
    ends, at = {0}, 0
    for length, masked in frames:
        at += len(frame(length, is_masked=masked))
        ends.add(at)
    at, turn = 0, 0
    while at < len(whole):
        piece = whole[at : at + cuts[turn % len(cuts)]]
        cursor.advance(piece)
        at, turn = at + len(piece), turn + 1
        assert cursor.is_between == (at in ends)
    assert not cursor.is_lost


@given(LENGTHS, st.integers(1, 70_000), LENGTHS)
@examples(300)
def test_the_rest_of_a_frame_is_told_from_what_follows(first, cut, second):
    cursor, one = FrameCursor(), frame(first)
    cut = min(cut, len(one) - 1)
    cursor.advance(one[:cut])
    assert not cursor.is_between
    assert cursor.rest(one[cut:] + frame(second)) == len(one) - cut
    assert cursor.is_between


def test_of_too_many_in_one_piece_the_end_is_not_looked_for():
    cursor = FrameCursor()
    cursor.advance(frame(0) * FRAMES_LIMIT)
    assert cursor.is_between
    cursor.advance(frame(0) * (FRAMES_LIMIT + 1))
    assert cursor.is_lost
    assert not cursor.is_between


def test_a_length_of_sixty_four_bits_is_read():
    cursor = FrameCursor()
    cursor.advance(b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff" + b"x" * 100)
    assert not cursor.is_between
    assert not cursor.is_lost


@pytest.mark.parametrize("reason", ["the session ended", "", "x" * 500])
def test_a_closing_frame_is_a_control_frame_with_a_code(reason):
    made = close_frame(SESSION_OVER, reason)
    assert made[:4] == bytes((0x88, len(made) - 2)) + (4401).to_bytes(2, "big")
    assert made[4:].decode() == reason[:REASON_LIMIT_BYTES]
    cursor = FrameCursor()
    cursor.advance(made)
    assert cursor.is_between
