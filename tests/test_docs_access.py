"""What docs/access.md shows works as it is shown: its configurations are valid, its commands print what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from passproxy.cli import main
from passproxy.core.config import settings_from
from passproxy.core.errors import PassProxyError
from passproxy.core.settings import AccessRule
from tests.core.policy_cases import BASIS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "access.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CONFIGURATIONS = [text for kind, text in BLOCKS if kind == "yaml" and text.startswith("access:")]
(EXPECTATIONS,) = (text for kind, text in BLOCKS if kind == "yaml" and not text.startswith("access:"))
COMMANDS = [text for kind, text in BLOCKS if kind == "console"]


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=["the example", "a rule in front"])
def test_a_configuration_on_the_page_is_valid(text: str) -> None:
    settings_from(json.dumps({**BASIS, **yaml.safe_load(text)}), "app.yaml", {}, lambda path: "")


@pytest.mark.parametrize("text", COMMANDS, ids=lambda text: text.partition("\n")[0])
def test_a_command_on_the_page_prints_what_is_shown(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.yaml").write_text(json.dumps({**BASIS, **yaml.safe_load(CONFIGURATIONS[0])}))
    Path("expectations.yaml").write_text(EXPECTATIONS)
    command, _, shown = text.partition("\n")
    main(shlex.split(command.removeprefix("$ passproxy ")))
    assert capsys.readouterr().out == shown


def test_the_page_has_a_row_for_each_key_of_a_rule() -> None:
    table = PAGE.partition("## A rule\n")[2].partition("\nAll requirements")[0]
    named = set(re.findall(r"`([a-z_]+)`", "\n".join(row.split("|")[1] for row in table.splitlines() if row)))
    assert named == {info.alias or name for name, info in AccessRule.model_fields.items()}


def test_the_codes_on_the_page_are_codes() -> None:
    def codes(kind: type[PassProxyError]) -> set[str]:
        return {kind.code}.union(*map(codes, kind.__subclasses__()))

    assert set(re.findall(r"PP-[A-Z-]+[A-Z]", PAGE)) <= codes(PassProxyError)
