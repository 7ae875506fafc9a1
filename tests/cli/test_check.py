"""`passproxy check`, as an administrator runs it."""

from __future__ import annotations

import json
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


def test_who_may_ask_about_requests_is_told(written, capsys: pytest.CaptureFixture[str]) -> None:
    for more, peers in (
        ("", "127.0.0.0/8, ::1"),
        ("listen: unix:/run/a.sock\n", "127.0.0.0/8, ::1, who may write to it"),
    ):
        assert main(["check", written(f"{GOOD}{more}forward_auth: {{web_server: caddy}}\n")]) == 0
        assert f"may ask            caddy, from {peers}\n" in capsys.readouterr().out
    assert main(["check", written(GOOD)]) == 0
    assert "may ask" not in capsys.readouterr().out


def test_everybody_may_not_ask(written, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{GOOD}trusted_proxies: [0.0.0.0/0]\nforward_auth: {{web_server: caddy}}\n"
    assert main(["check", written(text)]) == 78
    assert "name the web server" in capsys.readouterr().err


def test_the_password_for_the_application_is_not_shown(
    written, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = '  basic_auth: {username: "{user}", password: s3same-open}\n'
    text = GOOD.replace("oidc:", credentials + 'headers: {profile: vouch, set: {X-A: "{name}"}}\noidc:')
    file = written(text)
    Path(file).chmod(0o644)
    for form in ("text", "json"):
        assert main(["check", file, "--format", form]) == 0
        said = capsys.readouterr()
        assert "profile vouch and X-A; Basic credentials" in said.out
        assert "s3same" not in said.out + said.err
    assert main(["check", file]) == 0
    assert "upstream.basic_auth.password" in capsys.readouterr().err
    Path(file).write_text(text.replace("password: s3same-open", "password_file: /dev/null"))
    assert main(["check", file]) == 78
    assert "upstream.basic_auth.password_file: the file is empty" in capsys.readouterr().err
    monkeypatch.setenv("PASSPROXY_UPSTREAM_BASIC_AUTH_PASSWORD", "s3same-open")
    Path(file).write_text(text.replace(", password: s3same-open", ""))
    assert main(["check", file]) == 0
    said = capsys.readouterr()
    assert "basic_auth.password" not in said.err
    assert "s3same" not in said.out + said.err


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


def test_what_is_public_is_told_with_what_fits_as_well(written, capsys: pytest.CaptureFixture[str]) -> None:
    paths = "passthrough: {paths: [/health, /static*, {path: /hook, methods: [POST]}]}\n"
    assert main(["check", written(GOOD + paths)]) == 0
    shown = capsys.readouterr().out
    assert "/health   GET HEAD  this path alone" in shown
    assert "such as /static-admin" in shown
    assert "anybody can send POST to it" in shown


def test_what_rules_make_public_is_told_with_their_number(written, capsys: pytest.CaptureFixture[str]) -> None:
    rules = (
        "access: {rules: [{name: health, path: /health, action: allow}, {name: in, path: /in/**, action: allow, "
        "methods: [GET], from: [10.0.0.0/8]}, {name: x, path: /x, action: allow, report_only: true}]}\n"
    )
    assert main(["check", written(GOOD + rules)]) == 0
    shown = capsys.readouterr().out
    assert "access             3 rules, 1 of them only reporting; otherwise authenticate" in shown
    assert "/health  any method  this path alone" in shown
    assert "anybody can send POST and DELETE to it" in shown
    assert "/in/**   GET HEAD    /in and everything below it, from 10.0.0.0/8" in shown
    assert "  /x " not in shown


def test_an_application_that_is_open_is_said_to_be(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", written(GOOD + "access: {default: allow, rules: [{name: a, path: /a}]}\n")]) == 0
    shown = capsys.readouterr()
    assert "Public without a login: all that no rule protects." in shown.out
    assert "Public without a login: nothing." not in shown.out
    assert "DANGER: access.default: allow" in shown.err


def test_nothing_public_is_said_too(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", written(GOOD)]) == 0
    assert "Public without a login: nothing." in capsys.readouterr().out


def test_sizes_and_what_to_set_in_front_are_told(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", written(GOOD)]) == 0
    shown = capsys.readouterr().out
    assert "22,080 bytes in one line" in shown
    assert "large_client_header_buffers" in shown


def test_a_program_gets_all_of_it_as_json(written, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(GOOD + "passthrough: {paths: [/public/**]}\nlisten: 0.0.0.0:8123\n")
    assert main(["check", "--format", "json", file]) == 0
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert report["valid"]
    assert report["meaning"]["register there"] == "https://app.example.com/.passproxy/oidc/callback"
    assert ["a segment behind it", "/public/x/y/admin"] in report["public"][0]["also"]
    assert report["sizes"]["cookie_line"] == 22080
    assert {"key": "listen", "is_grave": True} in [
        {k: v for k, v in d.items() if k != "text"} for d in report["dangers"]
    ]
    assert shown.err == ""
    assert "correct-horse-battery" not in shown.out


def test_a_program_gets_every_problem_as_json(written, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "json", written(FIVE_MISTAKES)]) == 78
    report = json.loads(capsys.readouterr().out)
    assert not report["valid"]
    assert len(report["problems"]) == 5


def test_nothing_is_made_or_changed(written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(GOOD + f"state_dir: {tmp_path}/state\nrevocation: {{store: 'file:{tmp_path}/ended'}}\n")
    assert main(["check", file]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["app.yaml"]
    assert "state does not exist yet" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("listen", "is_open"), [("0.0.0.0:9123", True), ("[::]:9123", True), ("127.0.0.1:9123", False)]
)
def test_an_admin_listener_that_everybody_reaches_is_warned_of(
    written, capsys: pytest.CaptureFixture[str], listen: str, is_open: bool
) -> None:
    assert main(["check", written(f"{GOOD}admin: {{listen: '{listen}'}}\n")]) == 0
    shown = capsys.readouterr()
    assert listen in shown.out
    assert ("admin.listen is open" in " ".join(shown.err.split())) is is_open
