"""What the endpoint for pushed requests may answer; whole logins with it are in test_provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.core.errors import IdpUnavailable
from passproxy.idp.fetch import Answer
from passproxy.idp.oidc.errors import ClientRefused, PushRefused
from passproxy.idp.oidc.pushed_request import request_uri_from
from tests.fakes.idp_oidc import DROP, overlaid

URN = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"


def answer(body: object, status: int = 201, content_type: str = "application/json") -> Answer:
    return Answer(status, content_type, body if isinstance(body, bytes) else json.dumps(body).encode())


def good(**overlay: Any) -> Answer:
    return answer(overlaid({"request_uri": URN, "expires_in": 60}, overlay))


@pytest.mark.parametrize("request_uri", [URN, "https://idp.example/r?id=1", "urn:example:a-b_c~d", "x:" + "a" * 1000])
def test_the_reference_is_taken_as_it_is(request_uri):
    assert request_uri_from(good(request_uri=request_uri)) == request_uri


def test_a_status_that_is_nearly_right_will_do():
    assert request_uri_from(answer({"request_uri": URN, "expires_in": 1}, 200)) == URN


@pytest.mark.parametrize(
    "bad",
    [
        *(
            pytest.param(good(request_uri=value), id=f"reference {value!r:.30}")
            for value in (
                None, "", 7, [URN], "no-scheme", "/path", "urn:", "urn:a b", "urn:a\r\nX: y", "urn:a#b",
                "urn:a\"b", "urn:ä", "urn:a\\b", "x:" + "a" * 1001,
            )
        ),
        *(
            pytest.param(good(expires_in=value), id=f"lifetime {value!r}")
            for value in (None, 0, -1, True, "60", 1.5)
        ),
        pytest.param(good(request_uri=DROP), id="no reference"),
        pytest.param(good(expires_in=DROP), id="no lifetime"),
        pytest.param(good(error="invalid_request"), id="an error among the good"),
        pytest.param(answer({"error": "invalid_request"}, 400), id="a refusal"),
        pytest.param(answer({"request_uri": URN, "expires_in": 60}, 202), id="another status"),
        pytest.param(answer({"request_uri": URN, "expires_in": 60}, content_type="text/html"), id="a page"),
        pytest.param(answer(b'{"request_uri":"urn:a","request_uri":"urn:b","expires_in":9}'), id="two references"),
        pytest.param(answer(b""), id="nothing"),
        pytest.param(answer(b"", 405, ""), id="no such method"),
    ],
)  # fmt: skip
def test_another_answer_is_refused(bad):
    with pytest.raises(PushRefused):
        request_uri_from(bad)


@pytest.mark.parametrize(
    ("status", "error", "refusal"),
    [
        (401, "invalid_client", ClientRefused),
        (400, "unauthorized_client", ClientRefused),
        (400, "invalid_grant", PushRefused),
        (429, None, IdpUnavailable),
        (503, None, IdpUnavailable),
    ],
)
def test_each_refusal_has_its_own_explanation(status, error, refusal):
    with pytest.raises(refusal) as found:
        request_uri_from(answer({"error": error}, status))
    assert type(found.value) is refusal
