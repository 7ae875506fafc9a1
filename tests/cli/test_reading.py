"""A configuration that a process of its own reads: the same settings, the same problems, within a limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from passproxy.cli import files, main
from passproxy.cli.files import ReadApart, ReadingFailed, loaded
from passproxy.core.errors import ConfigError
from passproxy.core.plain import written
from tests.cli.test_check import FIVE_MISTAKES, GOOD


def test_it_reads_what_would_be_read_here(tmp_path: Path):
    file = tmp_path / "app.yaml"
    file.write_text(GOOD)
    settings = ReadApart(str(file)).settings()
    assert settings.oidc is not None
    assert settings.oidc.client_secret is not None
    assert settings.oidc.client_secret.get_secret_value() == "correct-horse-battery"
    assert settings.session.lifetime == loaded(str(file)).session.lifetime


def test_the_environment_alone_may_say_everything(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PASSPROXY_DOMAIN", "app.example.com")
    monkeypatch.setenv("PASSPROXY_UPSTREAM_URL", "http://127.0.0.1:3000")
    monkeypatch.setenv("PASSPROXY_OIDC_ISSUER", "https://sso.example.com")
    monkeypatch.setenv("PASSPROXY_OIDC_CLIENT_ID", "app")
    assert ReadApart(None).settings().domain == "app.example.com"


@pytest.mark.parametrize("text", [FIVE_MISTAKES, "", "a: [", "domain: \x00"])
def test_its_problems_are_those_that_would_be_found_here(tmp_path: Path, text: str):
    file = tmp_path / "app.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as apart:
        ReadApart(str(file)).settings()
    with pytest.raises(ConfigError) as here:
        loaded(str(file))
    assert apart.value.problems == here.value.problems


def test_a_file_whose_name_looks_like_an_option_is_a_file():
    with pytest.raises(ConfigError, match=r"-x\.yaml: cannot be read"):
        ReadApart("-x.yaml").settings()


@pytest.mark.parametrize(
    ("code", "complaint"),
    [("import time; time.sleep(60)", "not read within"), ("import sys; sys.exit(3)", "ended with 3")],
)
def test_a_process_that_hangs_or_dies_is_no_hang_and_no_mistake_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, code, complaint
):
    monkeypatch.setattr(files, "_COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(files, "READING_SECONDS", 1)
    with pytest.raises(ReadingFailed, match=complaint):
        ReadApart("app.yaml").settings()
    assert main(["serve", "app.yaml"]) == 1  # and not 78, after which nobody starts it again


def test_what_serves_imports_no_library_of_the_configuration(tmp_path: Path):
    script = (
        "import sys, passproxy.cli.serving; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'pydantic', 'yaml', 'lxml', 'xmlsec'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"


def test_reading_is_a_program_that_prints_what_it_read(tmp_path: Path):
    file = tmp_path / "app.yaml"
    file.write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-m", "passproxy.cli.reading", str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout == written(loaded(str(file)))
