"""
The shipped units and the script that copies an instance's files.

Whether systemd takes them as they are meant is asked of a booted Debian, in
tests/deb.
"""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest

from passproxy.cli import EXIT_CONFIG
from passproxy.cli.serving import OTHER_FILES
from passproxy.core.settings import UpstreamSettings
from passproxy.web.server import CONNECTION_LIMIT, DRAIN_SECONDS

FOLDER = Path(__file__).parent.parent / "systemd"
OWN_FILES = FOLDER / "own-files"


def directives(unit: str) -> dict[str, list[str]]:
    """Each directive with its values, in their order."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / unit).read_text("utf-8").splitlines():
        if matched := re.match(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(matched[1], []).append(matched[2])
    return found


SERVICE = directives("passproxy@.service")


def own_files(action: str, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(OWN_FILES), action, name, str(folder / "etc"), str(folder / "copies")]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_it_is_restarted_unless_its_configuration_is_wrong() -> None:
    assert SERVICE["Restart"] == ["on-failure"]
    assert SERVICE["RestartPreventExitStatus"] == [str(EXIT_CONFIG)]
    assert SERVICE["Type"] == ["notify"]


def test_it_is_given_the_time_and_the_descriptors_that_it_may_need() -> None:
    assert int(SERVICE["TimeoutStopSec"][0].removesuffix("s")) > DRAIN_SECONDS
    connections = 2 * CONNECTION_LIMIT + UpstreamSettings(url="http://127.0.0.1:1").max_connections
    assert int(SERVICE["LimitNOFILE"][0]) >= connections + OTHER_FILES


def test_a_reload_reads_new_copies_and_checks_them_before_anything_changes() -> None:
    copy, check, signal = SERVICE["ExecReload"]
    assert copy == SERVICE["ExecStartPre"][0]
    assert " -m passproxy check " in check
    assert check.endswith(" /etc/passproxy/%i.yaml")
    assert "kill -HUP" in signal


def test_its_socket_is_the_one_that_the_web_servers_snippet_names() -> None:
    snippet = (FOLDER.parent / "etc" / "nginx" / "passproxy.conf").read_text("utf-8")
    (socket,) = directives("passproxy@.socket")["ListenStream"]
    assert f"server unix:{socket.replace('%i', 'app')};" in snippet


def test_an_instance_gets_its_configuration_and_what_that_names(folder: Path) -> None:
    etc, copies = folder / "etc", folder / "copies" / "app"
    (etc / "keys").mkdir()
    for name in ("app.secret", "other.yaml", "other.secret", "keys/saml.key"):
        (etc / name).write_text(name)
        (etc / name).chmod(0o600)
    (etc / "app.yaml").write_text(
        f"oidc: {{client_secret_file: {etc}/app.secret}}\n"
        f"saml: {{key_file: '{etc}/keys/saml.key', certificate_file: \"{etc}/gone.crt\"}}\n"
        f"state_dir: {etc}/../etc/other.secret  # {etc}/other.yaml/\n"
    )
    assert own_files("take", "app", folder).returncode == 0
    taken = {str(path.relative_to(copies)) for path in copies.rglob("*") if path.is_file()}
    assert taken == {"app.yaml", "app.secret", "keys/saml.key"}
    assert {stat.S_IMODE((copies / name).stat().st_mode) for name in taken} == {0o444}
    assert stat.S_IMODE(copies.stat().st_mode) == 0o755
    # Nobody but root comes this far.
    assert stat.S_IMODE(copies.parent.stat().st_mode) == 0o700


def test_taking_again_brings_what_was_changed_into_the_same_folder(folder: Path) -> None:
    file, copies = folder / "etc" / "app.yaml", folder / "copies" / "app"
    file.write_text("domain: old.example.com\n")
    own_files("take", "app", folder)
    before = copies.stat().st_ino
    file.write_text("domain: new.example.com\n")
    assert own_files("take", "app", folder).returncode == 0
    assert (copies / "app.yaml").read_text() == "domain: new.example.com\n"
    assert copies.stat().st_ino == before
    file.unlink()
    assert own_files("take", "app", folder).returncode == 0
    assert list(copies.iterdir()) == []
    own_files("drop", "app", folder)
    assert not copies.exists()
