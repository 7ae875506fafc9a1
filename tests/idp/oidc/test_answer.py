"""What is taken for a code; each error's page is in test_provider."""

from __future__ import annotations

import pytest

from passproxy.core.errors import CallbackMalformed, LoginError
from passproxy.idp.oidc.answer import code_from
from passproxy.idp.oidc.errors import AnswerAmbiguous, IssuerRefused

ISSUER = "https://idp.example.com"


@pytest.mark.parametrize("code", ["a", "a b", "~" * 8192])
@pytest.mark.parametrize("more", [{}, {"iss": ISSUER}, {"session_state": "x", "id_token": "a.b.c"}])
def test_a_code_is_taken_as_it_is(code, more):
    assert code_from({"code": code, **more}, ISSUER) == code


@pytest.mark.parametrize("code", ["", "ä", "a\n", "a\x00", "\x7f", "a" * 8193])
def test_what_no_code_looks_like_is_refused(code):
    with pytest.raises(CallbackMalformed):
        code_from({"code": code}, ISSUER)


def test_an_answer_of_another_issuer_is_refused_before_its_error_is_read():
    for fields in ({"code": "a"}, {"error": "access_denied"}):
        with pytest.raises(IssuerRefused):
            code_from({**fields, "iss": "https://evil.example"}, ISSUER)


def test_an_error_beside_a_code_wins_and_the_code_is_not_told():
    with pytest.raises(AnswerAmbiguous) as refusal:
        code_from({"code": "very-secret-code", "error": "x"}, ISSUER)
    assert "very-secret-code" not in refusal.value.detail


@pytest.mark.parametrize("error", ["access_denied", "server_error", "", "\x1b[31m\n"])
def test_an_error_is_a_refusal_whose_words_are_escaped(error):
    with pytest.raises(LoginError) as refusal:
        code_from({"error": error, "error_description": "\n<b>"}, ISSUER)
    assert refusal.value.detail.isprintable()
