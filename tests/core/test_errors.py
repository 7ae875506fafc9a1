"""Every condition has a face for the visitor, a code of its own, and keeps its detail to itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from passproxy.core import errors as module
from passproxy.core.errors import ConfigError, LoginError, PassProxyError, RequestMalformed, TokenInvalid


def below(kind: type[PassProxyError]) -> Iterator[type[PassProxyError]]:
    for child in kind.__subclasses__():
        if child.__module__ == module.__name__:
            yield child
            yield from below(child)


CLASSES = [PassProxyError, *below(PassProxyError)]


def test_every_code_is_stable_in_shape_and_says_one_thing():
    codes = [kind.code for kind in CLASSES]
    assert all(re.fullmatch(r"PP(-[A-Z]+)+", code) for code in codes)
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_condition_says_what_it_is_and_what_to_do(kind):
    assert 400 <= kind.status < 600
    for text in (kind.title, kind.sentence, kind.hint):
        assert text
        assert text == text.strip()
        assert "{" not in text
    assert kind.sentence.endswith(".")
    assert not kind.title.endswith(".")


def test_what_is_no_http_is_refused_with_the_connection_and_never_a_server_error_of_ours():
    for kind in (RequestMalformed, *below(RequestMalformed)):
        assert kind.status < 500 or kind.status in (501, 505)


def test_a_login_that_failed_is_forbidden_or_a_bad_request_or_a_loop_or_a_bad_day():
    assert {kind.status for kind in (LoginError, *below(LoginError))} == {400, 403, 503, 508}


def test_the_detail_is_on_the_instance_alone():
    error = TokenInvalid("private")
    assert (error.detail, str(error)) == ("private", "private")
    assert "private" not in type(error).sentence
    assert TokenInvalid().detail == ""


def test_a_configuration_error_carries_all_problems():
    error = ConfigError(("a: x", "b: y"))
    assert error.problems == ("a: x", "b: y")
    assert error.detail == "a: x\nb: y"


def test_the_drawing_of_the_tree_names_every_class():
    drawn = re.findall(r"\b[A-Z][A-Za-z]+\b", module.__doc__ or "")
    assert {kind.__name__ for kind in CLASSES} <= set(drawn)
