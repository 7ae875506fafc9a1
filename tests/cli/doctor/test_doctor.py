"""`passproxy doctor` as an operator and as a timer runs it, against the whole demo."""

from __future__ import annotations

import json
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
