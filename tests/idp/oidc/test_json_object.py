"""JSON that two readers could understand differently is not read at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passproxy.idp.oidc.json_object import DEPTH_LIMIT, JsonRefused, json_object


def test_an_ordinary_object_is_read():
    assert json_object('{"name":"Zoë \\ud83d\\ude00","groups":["a"],"n":1}'.encode()) == {
        "name": "Zoë \U0001f600",
        "groups": ["a"],
        "n": 1,
    }


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="a string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(b'{"a":1}x', id="something behind it"),
        pytest.param(b'{"a":1,"a":2}', id="a repeated member"),
        pytest.param(b'{"a":{"b":1,"b":1}}', id="a repeated member further inside"),
        pytest.param(b'{"a":1,"\\u0061":2}', id="a member repeated in another spelling"),
        pytest.param(b'{"a":"ad\\udcffmin"}', id="a lone surrogate in a value"),
        pytest.param(b'{"\\ud800":1}', id="a lone surrogate in a name"),
        pytest.param(b'{"a":[{"b":["\\udfff"]}]}', id="a lone surrogate further inside"),
        pytest.param(b'{"a":NaN}', id="not a number"),
        pytest.param(b'{"a":-Infinity}', id="infinity"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", id="a number of five thousand digits"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="a byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), id="utf-16"),
        pytest.param('{"a":1}'.encode("utf-32-le"), id="utf-32"),
        pytest.param(b'{"a":"\xff"}', id="bytes that are not utf-8"),
        pytest.param(b'{"a":"\xed\xb3\xbf"}', id="a surrogate encoded as bytes"),
        pytest.param(b'{"a":"\n"}', id="a raw control character"),
        pytest.param(b'{"a":' + b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT + b"}", id="nested too deeply"),
        pytest.param(b"[" * 500_000, id="half a million brackets"),
        pytest.param(b'{"a":' * 100_000, id="a hundred thousand braces"),
    ],
)
def test_it_is_refused(document):
    with pytest.raises(JsonRefused):
        json_object(document)


@settings(deadline=None)
@given(
    st.binary(max_size=64) | st.text(alphabet='{}[]",:\\ud0a1 \ud800').map(lambda t: t.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_an_object_or_refused(document):
    """Whatever is read can be written as UTF-8 again, and nothing but JsonRefused is raised."""
    try:
        read = json_object(document)
    except JsonRefused:
        return
    json.dumps(read, ensure_ascii=False).encode("utf-8")
