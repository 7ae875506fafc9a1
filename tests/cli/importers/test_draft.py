"""A translated configuration: where its values come from, and that no secret is among them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from passproxy.cli.importers.draft import Draft


def draft(folder: str = "/etc/passproxy") -> Draft:
    made = Draft("Other", folder)
    made.set("domain", "wiki.example.com", "fqdn")
    made.set("upstream.url", "http://127.0.0.1:3000", "target")
    made.set("oidc.issuer", "https://sso.example.com", "issuer")
    made.set("oidc.client_id", "wiki", "id")
    return made


def test_it_is_yaml_with_a_comment_for_each_source_and_note() -> None:
    made = draft()
    made.note("changed", "timeout", "minutes were meant")
    text = made.text()
    assert "# changed: timeout: minutes were meant\n" in text
    assert "  url: http://127.0.0.1:3000  # target\n" in text
    assert "  issuer: https://sso.example.com\n" in text
    assert yaml.safe_load(text)["oidc"] == {"issuer": "https://sso.example.com", "client_id": "wiki"}
    assert made.problems(str) == []


def test_a_secret_is_a_file_and_nowhere_else(tmp_path: Path) -> None:
    made = draft(str(tmp_path))
    made.secret("oidc.client_secret", "correct-horse", "secret")
    assert "correct-horse" not in made.text() + repr(made)
    file = tmp_path / "wiki.client_secret"
    assert f"client_secret_file: {file}" in made.text()
    assert made.problems(lambda path: "") == []
    assert made.write_secrets() == [str(file)]
    assert file.read_text() == "correct-horse\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_file_is_written_over(tmp_path: Path) -> None:
    made = draft(str(tmp_path))
    made.secret("oidc.client_secret", "correct-horse", "secret")
    (tmp_path / "wiki.client_secret").write_text("of somebody else")
    with pytest.raises(FileExistsError):
        made.write_secrets()


@pytest.mark.parametrize(
    "hostile", ["x\ny: 1", "x\rdomain: evil", "x # y", "a: b", "[1", "\x1b[2J", "off", "'", "&a", "!!x"]
)
def test_whatever_was_written_stays_one_value_and_one_comment(hostile: str) -> None:
    made = draft()
    made.set("support.footer", hostile, hostile)
    made.note("no equal", hostile, hostile)
    data = yaml.safe_load(made.text())
    assert data["support"] == {"footer": hostile}
    assert data.keys() == {"domain", "upstream", "oidc", "support"}
    assert "\x1b" not in made.text().replace("\\e", "")


def test_what_is_known_is_set_and_the_rest_is_said() -> None:
    made = draft()
    made.set_if_known("log.level", "debug", "verbose", "not to be had")
    made.set_if_known("log.level_of_detail", 9, "detail", "no such key")
    made.set_if_known("headers.profile", "of-another-product", "headers", "no such profile")
    assert made.values["log.level"] == "debug"
    assert [(note.option, note.text) for note in made.notes] == [
        ("detail", "no such key"),
        ("headers", "no such profile"),
    ]


def test_a_path_that_cannot_be_one_is_said() -> None:
    made = draft()
    assert made.public("/public/*", "paths[0]")
    assert made.public("/public/*", "paths[1]")
    assert made.public({"path": "/hook", "methods": ["POST"]}, "paths[2]")
    for bad in ("/a.*b$", "public", "/**", "/.passproxy/login"):
        assert not made.public(bad, "paths[3]")
    assert made.values["passthrough.paths"] == ["/public/*", {"path": "/hook", "methods": ["POST"]}]
    assert len(made.notes) == 4


def test_what_check_would_refuse_is_known() -> None:
    made = draft()
    made.set("session.lifetime", "1s", "timeout")
    assert made.problems(str) == ["session.lifetime: must be greater than or equal to 60"]
