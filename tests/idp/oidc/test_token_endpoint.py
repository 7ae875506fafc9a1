"""What the token endpoint's answer is taken for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.core.errors import IdpUnavailable
from passproxy.idp.fetch import Answer
from passproxy.idp.oidc.errors import ClientRefused, CodeRefused, TokenEndpointRefused
from passproxy.idp.oidc.token_endpoint import tokens_from
from tests.fakes.idp_oidc import DROP, overlaid

GOOD = {"access_token": "at", "token_type": "Bearer", "id_token": "a.b.c"}


def answer(body: object, status: int = 200, content_type: str = "application/json") -> Answer:
    return Answer(status, content_type, body if isinstance(body, bytes) else json.dumps(body).encode())


def good(**overlay: Any) -> Answer:
    return answer(overlaid(GOOD, overlay))


def test_a_good_answer_has_tokens():
    tokens = tokens_from(good(token_type="bearer", expires_in=300, refresh_token="x", unknown=[1]))
    assert (tokens.id_token, tokens.access_token) == ("a.b.c", "at")


def test_tokens_do_not_show_in_a_traceback():
    assert "a.b.c" not in repr(tokens_from(good()))


def test_an_answer_may_lack_an_access_token():
    assert tokens_from(good(access_token=DROP)).access_token is None


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(good(refresh_token=""), id="an empty refresh token"),
        pytest.param(good(refresh_token="a b"), id="a refresh token with a space"),
        pytest.param(good(id_token=""), id="an empty ID token"),
        pytest.param(good(id_token=["a.b.c"]), id="a list of ID tokens"),
        pytest.param(good(token_type="mac"), id="another token type"),
        pytest.param(good(token_type=DROP), id="no token type"),
        pytest.param(good(token_type=["bearer"]), id="a list of token types"),
        pytest.param(good(access_token=""), id="an empty access token"),
        pytest.param(good(access_token="a\r\nX: y"), id="an access token with a line end"),
        pytest.param(good(access_token="a b"), id="an access token with a space"),
        pytest.param(good(access_token=7), id="an access token that is a number"),
        pytest.param(good(error="server_error"), id="an error among the tokens"),
        pytest.param(answer(GOOD, content_type="text/html"), id="a page"),
        pytest.param(answer(GOOD, content_type="application/x-www-form-urlencoded"), id="a form"),
        pytest.param(answer(b"<html>"), id="a page that calls itself JSON"),
        pytest.param(answer([GOOD]), id="a list"),
        pytest.param(answer(b'{"id_token":"a","id_token":"b"}'), id="two ID tokens"),
        pytest.param(answer(GOOD, status=201), id="created"),
        pytest.param(answer(GOOD, status=400), id="an error status around tokens"),
        pytest.param(answer({"error": "invalid_request"}, status=400), id="a refusal"),
        pytest.param(answer({"error": ["invalid_grant"]}, status=400), id="a list of errors"),
        pytest.param(answer(b"", status=500, content_type=""), id="nothing"),
    ],
)
def test_another_answer_is_refused(bad):
    with pytest.raises(TokenEndpointRefused):
        tokens_from(bad)


@pytest.mark.parametrize(
    ("status", "error", "refusal"),
    [
        (400, "invalid_grant", CodeRefused),
        (401, "invalid_grant", CodeRefused),
        (401, "invalid_client", ClientRefused),
        (400, "invalid_client", ClientRefused),
        (400, "unauthorized_client", ClientRefused),
        (401, None, ClientRefused),
        (200, "invalid_grant", CodeRefused),
        (429, None, IdpUnavailable),
        (503, "temporarily_unavailable", IdpUnavailable),
    ],
)
def test_each_refusal_has_its_own_explanation(status, error, refusal):
    with pytest.raises(refusal):
        tokens_from(answer({"error": error} if error else {"a": 1}, status))


def test_what_the_provider_says_is_escaped_and_cut_for_the_log():
    with pytest.raises(CodeRefused) as refusal:
        tokens_from(answer({"error": "invalid_grant", "error_description": "\x1b[31m\n" + "é" * 1000}, 400))
    assert refusal.value.detail.isascii()
    assert "\n" not in refusal.value.detail
    assert len(refusal.value.detail) < 1200
