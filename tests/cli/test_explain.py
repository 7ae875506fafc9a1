"""`passproxy explain`: each condition has a code of its own, and words that help."""

from __future__ import annotations

import pytest

from passproxy.cli import main
from passproxy.cli.explain import _conditions, catalogue
from passproxy.core.errors import PassProxyError


def test_each_code_means_one_thing() -> None:
    codes = [kind.code for kind in _conditions(PassProxyError)]
    assert sorted(codes) == sorted(set(codes))
    assert len(codes) > 60


@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.code)
def test_each_condition_has_words_for_whoever_meets_it(kind: type[PassProxyError]) -> None:
    assert kind.code.startswith("PP-")
    assert 400 <= kind.status <= 599
    assert kind.title
    assert not kind.title.endswith(".")
    for text in (kind.sentence, kind.hint):
        assert text.endswith((".", "?"))


def test_a_code_is_explained_in_either_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "pp-saml-audience"]) == 0
    shown = capsys.readouterr().out
    assert "PP-SAML-AUDIENCE" in shown
    assert "HTTP 403" in shown


def test_an_unknown_code_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "PP-SAML-AUDIENC"]) == 1
    assert "did you mean PP-SAML-AUDIENCE?" in capsys.readouterr().err


def test_without_a_code_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert "PP-LOGIN-REQUIRED" in capsys.readouterr().out
