"""What is kept for an adapter comes back for the same session, whole, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.kept import disclosed, enclosed
from passproxy.core.tokens import Purpose
from tests.core.given import RING, examples


@examples(50)
@given(st.text("abcXYZ-_09", min_size=1, max_size=30), st.binary(min_size=1, max_size=500))
def test_what_was_enclosed_comes_back_for_its_session_alone(session_id, kept):
    value = enclosed(RING, session_id, kept)
    assert value is not None
    assert disclosed(RING, session_id, value.encode()) == kept
    assert disclosed(RING, session_id + "x", value.encode()) == b""


def test_nothing_is_nothing_and_too_much_is_said():
    assert enclosed(RING, "id", b"") == ""
    assert enclosed(RING, "id", b"x" * 3000) is None


@pytest.mark.parametrize("value", [None, b"", b"x", b"new.AAAA"])
def test_anything_else_is_as_if_nothing_was_kept(value):
    assert disclosed(RING, "id", value) == b""


def test_jwt_05_what_was_enclosed_for_another_purpose_is_not_taken():
    for purpose in (Purpose.PENDING, Purpose.LOGOUT):
        assert disclosed(RING, "id", RING.enclose(purpose, b"id\0secret").encode()) == b""
