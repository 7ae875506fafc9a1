"""`passproxy doctor` as an operator and as a timer runs it, against the whole demo."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from passproxy.cli import doctor, main
from passproxy.cli.doctor import examined
from passproxy.cli.doctor.probe import within
from tests.cli.doctor.given import results, settings
from tests.fakes.commands import free_port, running, wait_for
from tests.fakes.gateway import demo_idp, oidc_at
from tests.fakes.upstream import Upstream, hang

NAMES = ["configuration", "listen", "upstream", "bypass", "provider", "clock", "login"]
FRONT = ["public URL", "large cookies", "large answers", "forwarding"]


def asked(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "passproxy", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


@pytest.mark.parametrize("protocol", ["oidc", "saml"])
def test_of_the_demo_everything_is_fine(tmp_path, protocol):
    port = free_port()
    with running("demo", "--protocol", protocol, "--port", str(port), cwd=tmp_path) as process:
        wait_for(port)
        assert process.stdout is not None
        said = ""
        while "configuration" not in said:
            said = process.stdout.readline()
        file = said.split()[1]
        text = asked(file, cwd=tmp_path)
        data = asked("--format", "json", file, cwd=tmp_path)
    own = {"saml": (["signing"], []), "oidc": ([], ["client"])}[protocol]
    names = [*NAMES[:5], *own[0], *NAMES[5:], *own[1], *FRONT]
    assert text.returncode == data.returncode == 0
    assert text.stdout.splitlines()[0] == "127.0.0.1"
    assert text.stdout.splitlines()[-1] == f"{len(names)} checks: {len(names)} ok."
    assert text.stderr == data.stderr == ""
    facts = json.loads(data.stdout)
    assert [(each["check"], each["result"]) for each in facts["checks"]] == [(name, "ok") for name in names]
    assert facts["ok"] is True


def configuration(folder: Path) -> str:
    port = free_port()
    file = folder / "app.yaml"
    file.write_text(
        f"domain: 127.0.0.1\norigin: http://127.0.0.1:{port}\nlisten: 127.0.0.1:{port}\nstate_dir: {folder}/state\n"
        f"upstream: {{url: 'http://127.0.0.1:{free_port()}'}}\n"
        f"oidc: {{issuer: 'http://127.0.0.1:{free_port()}', client_id: app, client_secret: correct-horse-battery}}\n"
    )
    return str(file)


def test_where_nothing_is_there_everything_is_said_to_be_missing(tmp_path, capsys):
    file = configuration(tmp_path)
    assert main(["doctor", file]) == 1
    said = capsys.readouterr().out
    for name in ("upstream", "provider", "public URL"):
        assert f"  FAILED   {name:14}" in said
    assert "correct-horse-battery" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["app.yaml"]


def test_what_is_skipped_does_not_fail(tmp_path, capsys):
    skipped = [part for name in ("upstream", "provider", "public URL") for part in ("--skip", name)]
    assert main(["doctor", *skipped, configuration(tmp_path)]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_a_check_that_does_not_exist_cannot_be_skipped(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--skip", "publicURL", configuration(tmp_path)])
    assert end.value.code == 2
    assert "public URL" in capsys.readouterr().err


def test_every_check_is_explained_and_none_has_another_name():
    page = (Path(__file__).resolve().parents[3] / "docs" / "troubleshooting.md").read_text("utf-8")
    table = page.partition("| check |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == set(doctor.CHECKS)
    sources = "".join(path.read_text("utf-8") for path in Path(doctor.__file__).parent.glob("*.py"))
    named = re.findall(r'\b(?:ok|warning|failed|unknown|within)\(\s*"([^"]+)"', sources)
    assert set(named) | {"login", "client"} == set(doctor.CHECKS)


def test_a_socket_that_the_service_manager_passes_is_where_it_listens(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "SOCKETS", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(tmp_path / "app.sock"))
        main(["doctor", configuration(tmp_path)])
    assert f"unix:{tmp_path}/app.sock" in capsys.readouterr().out


def test_a_mistake_in_the_configuration_comes_first(tmp_path, capsys):
    (tmp_path / "app.yaml").write_text("domain: app.example.com\n")
    assert main(["doctor", str(tmp_path / "app.yaml")]) == 78
    assert "upstream: missing" in capsys.readouterr().err


async def test_a_slow_part_is_named_and_keeps_no_other_from_its_checks(monkeypatch):
    monkeypatch.setattr(doctor, "PATIENCE_SECONDS", 0.05)
    waited: list[str] = []
    shown: list[str] = []
    async with demo_idp() as idp, Upstream(hang) as silent:
        monkeypatch.setattr(doctor, "within", lambda check, work, seconds=1.0: within(check, work, seconds))
        configured = settings(upstream={"url": silent.url}, listen=f"127.0.0.1:{free_port()}", **oidc_at(idp))
        found = await examined(configured, time.time, lambda each: shown.append(each.check), waited.append)
    assert results(found)["upstream"] == "failed"
    assert results(found)["login"] == "ok"
    assert "the application" in waited
    assert shown == [each.check for each in found]
