"""The command line as a whole."""

from __future__ import annotations

import pytest

import passproxy
from passproxy.cli import main


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"passproxy {passproxy.__version__}\n"


@pytest.mark.parametrize("command", ["serve", "check", "demo", "explain", "metadata", "keys", "revoke"])
def test_each_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"example: passproxy {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["demo", "--port", "0"], ["demo", "--protocol", "ldap"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: passproxy" in capsys.readouterr().err
