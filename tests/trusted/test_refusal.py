"""What a refused visitor is told, and what the log is."""

from __future__ import annotations

import json

import pytest

from passproxy.trusted import errors
from passproxy.trusted.errors import AssertionRefused, AudienceWrong, KeysUnavailable, TrustError
from passproxy.trusted.refusal import refusal_from
from tests.fakes.log import Log
from tests.trusted.given import Installation

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TrustError)]


def test_each_condition_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", [AssertionRefused, *AssertionRefused.__subclasses__(), KeysUnavailable])
def test_the_private_side_stays_in_the_log(kind: type[TrustError], caplog: pytest.LogCaptureFixture) -> None:
    refusal = refusal_from(kind("the private side"))
    problem = json.loads(refusal.body)
    assert problem["status"] == refusal.status == kind.status
    assert problem["code"] == kind.code
    assert "private" not in refusal.body.decode()
    assert f"refused: {kind.code} the private side" in caplog.text


def test_no_assertion_gets_into_the_log(site: Installation, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    token = site.proxy.assertion(aud="https://other.example.com")
    with pytest.raises(AudienceWrong) as caught:
        site.verifier.verify(token)
    refusal_from(caught.value)
    assert "https://other.example.com" in caplog.text, "what is needed to mend it is there"
    for part in (*token.decode().split("."), "alice"):
        assert part not in caplog.text
        assert part not in repr(caught.value)


@pytest.mark.parametrize("kid", ["a\r\nrefused: nothing", "\x1b[31m", "k" * 1000])
def test_nothing_in_a_token_forges_a_line_of_the_log(
    site: Installation, kid: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(errors.KeyUnknown) as caught:
        site.verifier.verify(site.proxy.assertion({"kid": kid}))
    refusal_from(caught.value)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "passproxy.trusted"]
    assert line.isprintable()
    assert len(line) < 400
