"""`passproxy check`, as an administrator runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from passproxy.cli import main

GOOD = """\
domain: app.example.com
upstream:
  url: http://127.0.0.1:3000
oidc:
  issuer: https://sso.example.com
  client_id: app
  client_secret: correct-horse-battery
"""

FIVE_MISTAKES = """\
domain: https://app.example.com
upstream:
  url: http://127.0.0.1:3000
  connect_timout: 5s
oidc:
  issuer: http://sso.example.com
  client_id: app
session:
  lifetime: 24
passthrough:
  paths: ["/a.*b$"]
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> str:
        file = tmp_path / "app.yaml"
        file.write_text(text)
        file.chmod(0o600)
        return str(file)

    return write


def test_a_good_file_is_explained(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", written(GOOD)]) == 0
    shown = capsys.readouterr()
    assert "https://app.example.com/.passproxy/oidc/callback" in shown.out
    assert "__Host-passproxy" in shown.out
    assert "correct-horse-battery" not in shown.out + shown.err


def test_five_mistakes_are_reported_at_once_with_their_lines(written, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(FIVE_MISTAKES)
    assert main(["check", file]) == 78
    error = capsys.readouterr().err
    for line, key in (
        (1, "domain"),
        (4, "upstream.connect_timout"),
        (6, "oidc.issuer"),
        (9, "session.lifetime"),
        (11, "passthrough.paths[0]"),
    ):
        assert f"{file}:{line}: {key}: " in error
    assert "did you mean connect_timeout?" in error
    assert "5 problems" in error


def test_a_missing_file_is_a_configuration_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nothing.yaml")]) == 78
    assert "cannot be read" in capsys.readouterr().err


def test_a_complete_environment_needs_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "DOMAIN": "app.example.com",
        "UPSTREAM_URL": "http://127.0.0.1:3000",
        "SAML_METADATA_URL": "https://sso.example.com/metadata",
    }.items():
        monkeypatch.setenv(f"PASSPROXY_{name}", value)
    assert main(["check"]) == 0
    assert "https://app.example.com/.passproxy/saml/acs" in capsys.readouterr().out


def test_a_secret_that_others_can_read_is_warned_about(written, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(GOOD)
    Path(file).chmod(0o644)
    assert main(["check", file]) == 0
    assert "client_secret and can be read by others" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ("listen: 0.0.0.0:8123\n", "open to every network"),
        ("session: {lifetime: 7d}\n", "above 24h"),
    ],
)
def test_dangerous_switches_are_warned_about(
    written, capsys: pytest.CaptureFixture[str], more: str, warning: str
) -> None:
    assert main(["check", written(GOOD + more)]) == 0
    assert warning in capsys.readouterr().err


def test_upstream_certificates_that_are_not_verified_are_warned_about(
    written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", written(GOOD.replace("3000", "3000\n  verify_tls: false"))]) == 0
    assert "verify_tls is off" in capsys.readouterr().err


def test_a_private_key_that_cannot_be_read_is_found_before_the_start(
    written, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(GOOD.replace("client_secret: correct-horse-battery", "private_key_file: /nowhere/key.pem"))
    assert main(["check", file]) == 78
    assert "oidc.private_key_file: /nowhere/key.pem" in capsys.readouterr().err
