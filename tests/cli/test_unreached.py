"""Rules that never decide anything are named before anybody wonders."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.cli.unreached import unreached
from passproxy.core.config import settings_from
from tests.core.policy_cases import BASIS


def found(*rules: dict[str, Any], passthrough: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    named = [{"name": "abcdefgh"[n], **rule} for n, rule in enumerate(rules)]
    whole = {**BASIS, "access": {"rules": named}, "passthrough": {"paths": passthrough}}
    return unreached(settings_from(json.dumps(whole), "app.yaml", {}, str))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(({"path": "/x"}, {"path": "/x"}), id="the same"),
        pytest.param(({"path": "/x/**"}, {"path": "/x"}), id="a folder, then itself"),
        pytest.param(({"path": "/x/**"}, {"path": "/x/*/y"}), id="a folder, then a part of it"),
        pytest.param(({"path": "/x/**"}, {"path": "/x/**/y/**"}), id="a folder, then a deeper one"),
        pytest.param(({"path": "/**"}, {"path": "/x"}), id="everything, then something"),
        pytest.param(({"path": "/a*"}, {"path": "/ab*c"}), id="what begins alike"),
        pytest.param(({"path": "/x"}, {"path": "/x", "methods": ["POST"]}), id="all methods, then one"),
        pytest.param(({"path": "/x", "methods": ["GET"]}, {"path": "/x", "methods": ["HEAD"]}), id="HEAD behind GET"),
        pytest.param(({"path": "/x", "from": ["10.0.0.0/8"]}, {"path": "/x"}), id="a requirement of an address"),
        pytest.param(({"paths": ["/x", "/y/**"]}, {"paths": ["/y/z", "/x"]}), id="several paths"),
    ],
)
def test_a_rule_behind_one_that_covers_it_never_decides(rules: tuple[dict[str, Any], ...]) -> None:
    assert found(*rules) == [("b", "a")]


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(({"path": "/x"}, {"path": "/x/**"}), id="something, then its folder"),
        pytest.param(({"path": "/x/*"}, {"path": "/x/**"}), id="one level, then all"),
        pytest.param(({"path": "/x/*/*"}, {"path": "/x/**"}), id="two levels, then all"),
        pytest.param(({"path": "/x"}, {"path": "/X"}), id="another case"),
        pytest.param(({"path": "/a*b"}, {"path": "/a*"}), id="part of what begins alike"),
        pytest.param(({"path": "/x", "methods": ["GET"]}, {"path": "/x"}), id="one method, then all"),
        pytest.param(({"path": "/x", "report_only": True}, {"path": "/x"}), id="one that reports"),
        pytest.param(({"path": "/x"}, {"path": "/x", "report_only": True}), id="reporting behind another"),
        pytest.param(({"path": "/x", "action": "deny", "from": ["::/0"]}, {"path": "/x"}), id="one for some clients"),
        pytest.param(({"path": "/x"}, {"paths": ["/x", "/y"]}), id="one of two paths"),
    ],
)
def test_a_rule_that_decides_something_is_not_named(rules: tuple[dict[str, Any], ...]) -> None:
    assert found(*rules) == []


def test_public_paths_are_in_front_of_all_rules() -> None:
    reading = {"path": "/x/y", "methods": ["GET"]}
    assert found(reading, passthrough=("/x/**",)) == [("a", "passthrough.paths[0]")]
