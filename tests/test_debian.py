"""
What the Debian package says is what the project says: version, dependencies, files.

Whether it builds, installs and lives is tried on a booted Debian, in tests/deb.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import passproxy

ROOT = Path(__file__).parent.parent
DEBIAN = ROOT / "debian"

#: Debian's packages of what has another name there than `python3-` and its own.
NAMES = {"pyjwt": "python3-jwt", "python3-saml": "python3-onelogin-saml2", "pyyaml": "python3-yaml"}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def dependencies() -> set[str]:
    """The Debian packages of what the project runs on."""
    named = {re.split(r"[<>=~! ]", each)[0].lower() for each in PROJECT["project"]["dependencies"]}
    return {NAMES.get(name, f"python3-{name}") for name in named}


def field(name: str) -> set[str]:
    """The packages in a field of debian/control."""
    text = (DEBIAN / "control").read_text("utf-8")
    listed = re.search(rf"^{name}:\n((?: .*\n)+)", text, re.MULTILINE)
    assert listed is not None
    return {line.split()[0].rstrip(",") for line in listed[1].splitlines()}


def test_the_version_is_the_projects() -> None:
    first = (DEBIAN / "changelog").read_text("utf-8").splitlines()[0]
    assert re.match(rf"passproxy \({re.escape(passproxy.__version__)}-\d+\) ", first)


@pytest.mark.parametrize("name", ["Build-Depends", "Depends"])
def test_everything_that_it_runs_on_is_depended_on(name: str) -> None:
    assert dependencies() - field(name) == set()


def test_what_it_can_use_besides_is_suggested() -> None:
    optional = {
        re.split(r"[<>=~! ]", each)[0]
        for extra in PROJECT["project"]["optional-dependencies"].values()
        for each in extra
    }
    assert {f"python3-{name}" for name in optional} == field("Suggests")


def test_the_suite_there_has_what_the_suite_here_needs() -> None:
    needed = set(PROJECT["dependency-groups"]["dev"][1:]) - {
        *("lxml-stubs", "mypy", "ruff", "types-PyYAML"),  # they judge the source, not the package
        *("playwright", "pytest-cov"),  # for other targets
    }
    text = (DEBIAN / "tests" / "control").read_text("utf-8")
    assert {f"python3-{name}" for name in needed} - set(re.findall(r"python3-[\w-]+", text)) == set()


def test_what_a_purge_removes_is_what_the_units_make() -> None:
    unit = (ROOT / "systemd" / "passproxy@.service").read_text("utf-8")
    socket = (ROOT / "systemd" / "passproxy@.socket").read_text("utf-8")
    purge = (DEBIAN / "passproxy.postrm").read_text("utf-8")
    assert "StateDirectory=passproxy/%i\n" in unit
    assert "BindReadOnlyPaths=-/run/passproxy-etc/%i:/etc/passproxy\n" in unit
    assert "ListenStream=/run/passproxy/%i.sock\n" in socket
    for path in (
        "/etc/passproxy",
        "/var/lib/private/passproxy",
        "/var/lib/passproxy",
        "/run/passproxy",
        "/run/passproxy-etc",
    ):
        assert path in purge.split()
