"""What is remembered of a login comes back byte for byte, or is as if nothing was."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.kept import KEPT_LIMIT_BYTES
from passproxy.idp.oidc.remembered import INFLATED_LIMIT_BYTES, Remembered, packed, remembered_from
from tests.core.given import examples
from tests.fakes.idp_oidc import SigningKey, base64url, signed

TOKEN = signed({"alg": "RS256"}, {"sub": "s", "groups": [f"group-{n}" for n in range(60)]}, SigningKey())

_PIECE = st.binary(min_size=1, max_size=60).map(base64url)
_ID_TOKEN = st.one_of(st.none(), st.tuples(_PIECE, _PIECE, _PIECE).map(".".join))
_REFRESH_TOKEN = st.one_of(st.none(), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))


@examples(80)
@given(_REFRESH_TOKEN, _ID_TOKEN)
def test_what_is_packed_comes_back(refresh_token, id_token):
    known = Remembered(refresh_token, id_token)
    assert remembered_from(packed(known)) == known


def test_an_id_token_takes_less_than_its_length():
    assert len(packed(Remembered("refresh", TOKEN))) < len(TOKEN) * 2 // 3


def test_what_is_too_large_goes_the_id_token_first():
    noise = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(100))
    large = signed({"alg": "RS256"}, {"x": noise}, SigningKey())
    assert remembered_from(packed(Remembered("refresh", large))) == Remembered("refresh")
    assert packed(Remembered(noise, TOKEN)) == b""
    assert packed(Remembered("x" * (INFLATED_LIMIT_BYTES + 1))) == b""
    assert packed(Remembered()) == b""
    assert len(packed(Remembered(noise[:2000], TOKEN))) <= KEPT_LIMIT_BYTES


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x01",
        b"\x02" + zlib.compress(b""),
        b"\x01" + zlib.compress(b"\0\0\1x"),
        b"\x01" + zlib.compress(b"\0\0\1x" * 5),
        b"\x01" + zlib.compress(b"\0\0\1x" * 3 + b"\0\0\2x"),
        b"\x01" + zlib.compress(b"\0\0\1\xff" + b"\0\0\1x" * 3),
        b"\x01" + zlib.compress(b"\0\0\1x" * 4)[:-5],
        b"\x01" + zlib.compress(b"\0" * (INFLATED_LIMIT_BYTES + 1)),
        b"\x01not deflated",
    ],
)
def test_anything_else_is_nothing(value):
    assert remembered_from(value) == Remembered()


def test_an_id_token_that_cannot_be_taken_apart_is_left_out():
    assert remembered_from(packed(Remembered("r", "only.two"))) == Remembered("r")
    assert remembered_from(packed(Remembered("r", "x.y.z"))) == Remembered("r")
