"""What userinfo may add, and when it is asked."""

from __future__ import annotations

import json

import pytest

from passproxy.idp.fetch import Answer
from passproxy.idp.oidc.errors import UserinfoRefused
from passproxy.idp.oidc.userinfo import SubjectForeign, claims_from, is_needed

FULL = {"preferred_username": "a", "email": "a@b", "name": "A", "groups": ["g"]}


def answer(body: object, content_type: str = "application/json", status: int = 200) -> Answer:
    return Answer(status, content_type, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize("missing", FULL)
def test_in_auto_it_is_asked_when_a_claim_is_missing(missing):
    assert not is_needed("auto", FULL)
    assert is_needed("auto", {name: value for name, value in FULL.items() if name != missing})
    assert is_needed("auto", {**FULL, missing: None})


def test_another_name_of_a_claim_will_do():
    assert not is_needed("auto", {"uid": "a", "mail": "a@b", "displayName": "A", "roles": ["g"]})


def test_always_and_never():
    assert is_needed("always", FULL)
    assert not is_needed("never", {})


def test_the_claims_about_the_same_subject_are_accepted():
    assert claims_from(answer({"sub": "1", "name": "A"}), "1") == {"sub": "1", "name": "A"}


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(answer({"name": "A"}), id="no subject"),
        pytest.param(answer({"sub": None}), id="a subject that is null"),
        pytest.param(answer({"sub": ["1"]}), id="a list of subjects"),
        pytest.param(answer({"sub": 1}), id="a subject that is a number"),
        pytest.param(answer(["sub", "1"]), id="a list"),
        pytest.param(answer(b'{"sub":"1","sub":"2"}'), id="two subjects"),
        pytest.param(answer(b'{"sub":"1","name":"ad\\udcffmin"}'), id="a lone surrogate"),
        pytest.param(answer({"sub": "1"}, "text/html"), id="a page"),
        pytest.param(answer({"sub": "1"}, "application/jwt"), id="a signed answer"),
        pytest.param(answer({"sub": "1"}, status=401), id="an error"),
        pytest.param(answer({"sub": "1"}, status=204), id="no content"),
    ],
)
def test_another_answer_is_refused(bad):
    with pytest.raises(UserinfoRefused):
        claims_from(bad, "1")


@pytest.mark.parametrize("sub", ["2", "", "1 ", "01"])
def test_a_foreign_subject_is_refused_in_particular(sub):
    with pytest.raises(SubjectForeign):
        claims_from(answer({"sub": sub}), "1")
