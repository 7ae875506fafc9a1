"""`passproxy token new`: the secret once, and the entry that a configuration takes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from passproxy.cli import main
from passproxy.cli.files import loaded

CONFIGURATION = """\
domain: app.example.com
upstream: {url: "http://127.0.0.1:3000"}
oidc: {issuer: "https://sso.example.com", client_id: app}
passthrough:
"""


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """The entry, and the token."""
    assert main(["token", "new", *arguments]) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err.partition("Bearer ")[2].strip()


def test_what_it_prints_is_an_entry_and_the_token_is_not_in_it(tmp_path: Path, capsys):
    entry, token = made(capsys, "backup", "--path", "/api/**", "--method", "GET", "--from", "10.0.0.0/8")
    assert len(token) >= 43
    assert token not in entry
    (tmp_path / "app.yaml").write_text(f"{CONFIGURATION}  tokens:\n  {entry}")
    (found,) = loaded(str(tmp_path / "app.yaml")).passthrough.tokens
    assert (found.name, found.paths, found.methods, found.networks) == (
        "backup",
        ("/api/**",),
        ("GET",),
        ("10.0.0.0/8",),
    )
    assert found.hash == f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def test_a_file_of_tokens_is_read_beside_those_of_the_configuration(tmp_path: Path, capsys):
    file = tmp_path / "tokens.yaml"
    file.write_text("tokens:\n" + made(capsys, "backup", "--expires", "2027-01-31T00:00:00Z")[0])
    own = made(capsys, "probe")[0]
    (tmp_path / "app.yaml").write_text(f"{CONFIGURATION}  tokens_file: {file}\n  tokens:\n  {own}")
    names = [token.name for token in loaded(str(tmp_path / "app.yaml")).passthrough.tokens]
    assert names == ["probe", "backup"]


def test_each_is_another_one(capsys):
    assert len({made(capsys, "backup")[1] for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--path", "nonsense"], "paths"),
        (["--method", "get"], "methods"),
        (["--from", "x"], "from"),
        (["--expires", "soon"], "expires"),
    ],
)
def test_a_scope_that_no_configuration_takes_makes_no_token(capsys, arguments, key):
    assert main(["token", "new", "backup", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert key in shown.err
    assert "Bearer" not in shown.err


def test_the_entry_is_one_line_of_json(capsys):
    entry, _ = made(capsys, "a name")
    assert json.loads(entry.removeprefix("  - "))["name"] == "a name"
