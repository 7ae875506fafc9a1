"""The unit that the package installs: what an instance may be called, what it may do, what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from passproxy.idp.saml.pool import COMMAND
from tests.test_systemd_units import SERVICE, own_files


@pytest.mark.parametrize("name", ["..", ".", "", ".hidden", "../../x", "a/b", "/etc"])
@pytest.mark.parametrize("action", ["take", "drop"])
def test_cfg_15_a_name_that_leads_elsewhere_touches_nothing(action: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "copies").mkdir()
    (tmp_path / "x.yaml").write_text("domain: app.example.com\n")
    before = sorted(tmp_path.rglob("*"))
    result = own_files(action, name, tmp_path)
    assert result.returncode == 78
    assert "cannot be the name of an instance" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["grafana.example.com", "-rf", "a b", "$(id)", "%", "*", "a\\x2db"])
def test_cfg_15_a_strange_name_is_only_a_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / f"{name}.yaml").write_text("domain: app.example.com\n")
    (tmp_path / "etc" / "other.yaml").write_text("domain: other.example.com\n")
    assert own_files("take", name, tmp_path).returncode == 0
    copies = tmp_path / "copies"
    assert {path for path in copies.rglob("*") if path.is_file()} == {copies / name / f"{name}.yaml"}
    assert own_files("drop", name, tmp_path).returncode == 0
    assert list(copies.iterdir()) == []


def test_cfg_15_every_path_of_the_unit_has_the_escaped_name() -> None:
    assert "%I" not in " ".join(value for values in SERVICE.values() for value in values)


@pytest.mark.parametrize(
    ("directive", "value"),
    [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("LimitCORE", "0"),
        ("MemoryMax", "1G"),
    ],
)
def test_cfg_15_an_instance_may_do_little(directive: str, value: str) -> None:
    assert SERVICE[directive] == [value]


def test_cfg_15_an_instance_has_system_calls_of_a_service_and_none_of_an_administrator() -> None:
    assert SERVICE["SystemCallFilter"][:2] == ["@system-service", "~@privileged @resources"]


def test_sc_08_nothing_is_imported_from_where_others_may_write(tmp_path: Path) -> None:
    (command,) = SERVICE["ExecStart"]
    assert command.startswith("/usr/bin/python3 -I -m passproxy ")
    # What -I promises, of this Python: neither the folder nor the environment has a say.
    (tmp_path / "yaml.py").write_text("raise SystemExit('imported')")
    (tmp_path / "passproxy_startup.py").write_text("raise SystemExit('started')")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "passproxy_startup.py")}
    for flags in (["-I"], list(COMMAND[1:2])):
        checked = {} if flags == ["-P"] else environment
        result = subprocess.run(
            [sys.executable, *flags, "-c", "import sys, yaml; print(yaml.__file__)"],
            cwd=tmp_path,
            env=checked,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert str(tmp_path) not in result.stdout
