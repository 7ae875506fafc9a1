"""`passproxy portal`: which files become tiles, what is wrong with the others, and what becomes of the page."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from passproxy.cli import main
from passproxy.core.formats import DESCRIPTION_LIMIT_CHARACTERS, ICON_LIMIT_CHARACTERS, LABEL_LIMIT_CHARACTERS
from passproxy.core.settings import SHOWN_GROUPS_LIMIT

SECRETS = ("the-client-secret", "backend.internal", "id.example.com", "the-client-id", "ops-admins", "hush")

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'

#: Seven lines; the section is from the eighth on.
DOMAIN = """\
domain: {name}.example.com
upstream: {{url: "http://backend.internal:3000"}}
oidc:
  issuer: https://id.example.com/realms/main
  client_id: the-client-id
  client_secret: the-client-secret
access: {{require_any_group: [ops-admins]}}
"""


def put(folder: Path, name: str, section: str = "") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(DOMAIN.format(name=name) + section)
    return file


def tiles(text: str) -> list[tuple[str | None, str | None]]:
    return [(link.text, link.get("href")) for link in html.document_fromstring(text).xpath("//main//a")]


@pytest.fixture
def portal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command for the folder of this test: exit code, standard output, standard error."""

    def run(*more: str) -> tuple[int, str, str]:
        code = main(["portal", str(tmp_path), *more])
        return (code, *capsys.readouterr())

    return run


def test_a_file_with_the_section_becomes_a_tile_and_one_without_does_not(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki", "portal: {name: Wiki}\n")
    put(tmp_path, "files", "portal: {}\n")
    put(tmp_path, "hidden")
    put(tmp_path, "commented", "portal:\n  #name: Off\n")
    code, page, problems = portal()
    assert (code, problems) == (0, "")
    assert tiles(page) == [("files.example.com", "https://files.example.com/"), ("Wiki", "https://wiki.example.com/")]
    assert "hidden.example.com" not in page


def test_a_tile_says_what_its_section_says_and_nothing_else_of_the_file(tmp_path: Path, portal: Any):
    (tmp_path / "hush.svg").write_text(SVG)
    put(
        tmp_path,
        "wiki",
        "portal:\n  name: Wiki\n  description: What we know\n  url: https://wiki.example.com/start?a=1\n"
        "  icon_file: hush.svg\n  groups: Everybody, Guests\n",
    )
    code, page, _ = portal("--title", "Everything")
    assert code == 0
    assert tiles(page) == [("Wiki", "https://wiki.example.com/start?a=1")]
    for shown in (
        "What we know",
        "Everybody",
        "Guests",
        "data:image/svg+xml;base64,",
        '<h1 dir="auto">Everything</h1>',
    ):
        assert shown in page
    for secret in (*SECRETS, str(tmp_path)):
        assert secret not in page


def test_no_file_with_a_secret_is_read(tmp_path: Path, portal: Any):
    secret = tmp_path / "secret"
    os.mkfifo(secret)  # whoever opens it waits for ever
    text = DOMAIN.format(name="wiki").replace("client_secret: the-client-secret", f"client_secret_file: {secret}")
    (tmp_path / "wiki.yaml").write_text(f"{text}passthrough: {{tokens_file: {secret}}}\nportal: {{}}\n")
    assert portal()[0] == 0


def test_the_environment_has_no_part_in_it(tmp_path: Path, portal: Any, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, "wiki", "portal: {name: Wiki}\n")
    monkeypatch.setenv("PASSPROXY_PORTAL_NAME", "Of another domain")
    monkeypatch.setenv("PASSPROXY_NONSENSE", "1")
    code, page, _ = portal()
    assert (code, tiles(page)) == (0, [("Wiki", "https://wiki.example.com/")])


def test_files_of_tokens_and_files_of_other_kinds_are_passed_over(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki", "portal: {}\n")
    (tmp_path / "wiki.tokens.yaml").write_text("# made by hand\n\n  # more\ntokens: []\n")
    (tmp_path / "wiki.yaml.bak").write_text("nonsense")
    (tmp_path / ".draft.yaml").write_text("nonsense")
    assert portal()[0] == 0


def test_every_mistake_of_every_file_is_listed_and_nothing_is_written(tmp_path: Path, portal: Any):
    page = tmp_path / "index.html"
    page.write_text("the last one")
    put(tmp_path, "good", "portal: {}\n")
    put(tmp_path, "a", "portal:\n  nmae: Wiki\n  url: javascript:alert(1)\n")
    put(tmp_path, "b", "portal:\n  name: Wiki\n  icon_file: none.svg\n")
    put(tmp_path, "c", "log: {level: loud}\n")
    (tmp_path / "d.yaml").write_bytes(b"domain: \xff")
    (tmp_path / "e.yaml").mkdir()
    code, out, problems = portal("-o", str(page))
    assert (code, out) == (78, "")
    lines = problems.splitlines()
    assert lines[:2] == [
        f"{tmp_path}/a.yaml:9: portal.nmae: unknown key; did you mean name?",
        f"{tmp_path}/a.yaml:10: portal.url: must be an https or http URL",
    ]
    assert lines[2] == f"{tmp_path}/b.yaml:10: portal.icon_file: none.svg is not there"
    assert lines[3].startswith(f"{tmp_path}/c.yaml:8: log.level: must be")
    assert lines[4:6] == [f"{tmp_path}/d.yaml: is not UTF-8 text", f"{tmp_path}/e.yaml: cannot be read: Is a directory"]
    assert page.read_text() == "the last one"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "java\\tscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//elsewhere.example.com/",
        "/start",
        "https:",
        "https://user:password@wiki.example.com/",
        "https://wiki.example.com/\\n<b>",
        "https://wiki.example.com/\\u202e",
    ],
)
def test_nothing_but_https_and_http_is_linked(tmp_path: Path, portal: Any, url: str):
    put(tmp_path, "wiki", f'portal: {{url: "{url}"}}\n')
    code, page, problems = portal()
    assert (code, page) == (78, "")
    assert f"{tmp_path}/wiki.yaml:8: portal.url: " in problems


@pytest.mark.parametrize("url", ["https://wiki.example.com", "http://wiki.internal:8080/a?b=c#d", 'https://w/"><b>'])
def test_https_and_http_are_linked_as_they_are_written(tmp_path: Path, portal: Any, url: str):
    put(tmp_path, "wiki", f"portal: {{url: '{url}', name: Wiki}}\n")
    code, page, _ = portal()
    assert (code, tiles(page)) == (0, [("Wiki", url)])
    assert "<b>" not in page


LIMITS = [
    ("name", "x" * LABEL_LIMIT_CHARACTERS, "x"),
    ("description", "x" * DESCRIPTION_LIMIT_CHARACTERS, "x"),
    ("icon", "\U0001f600" * ICON_LIMIT_CHARACTERS, "\U0001f600"),
    ("icon", "Wik", "i"),
    ("groups", ",".join("abcdef"[:SHOWN_GROUPS_LIMIT]), ",g"),
    ("groups", "x" * LABEL_LIMIT_CHARACTERS, "x"),
]


@pytest.mark.parametrize(("key", "longest", "more"), LIMITS)
def test_the_limits_of_what_a_tile_holds_are_exact(tmp_path: Path, portal: Any, key: str, longest: str, more: str):
    put(tmp_path, "wiki", f'portal: {{{key}: "{longest}"}}\n')
    assert portal()[0] == 0
    put(tmp_path, "wiki", f'portal: {{{key}: "{longest}{more}"}}\n')
    code, _, problems = portal()
    assert code == 78
    assert f"portal.{key}" in problems


@pytest.mark.parametrize("key", ["name", "description", "groups"])
@pytest.mark.parametrize("text", ["Wiki\\u202eikiW", "Wiki\\nWiki", "Wiki\\u200b", "Wiki\\a", " "])
def test_what_looks_like_something_else_is_refused(tmp_path: Path, portal: Any, key: str, text: str):
    put(tmp_path, "wiki", f'portal: {{{key}: "{text}"}}\n')
    assert portal()[0] == 78


@pytest.mark.parametrize("icon", ["🛠️", "👩‍💻", "W", "Wi", "日本"])
def test_an_emoji_and_letters_are_shown_as_they_are(tmp_path: Path, portal: Any, icon: str):
    put(tmp_path, "wiki", f"portal: {{icon: {icon}}}\n")
    page = html.document_fromstring(portal()[1])
    assert [each.text_content() for each in page.xpath("//span[@aria-hidden]")] == [icon]


def test_without_an_icon_the_first_letter_of_the_name_is_shown(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki", "portal: {name: über uns}\n")
    page = html.document_fromstring(portal()[1])
    assert [each.text_content() for each in page.xpath("//span[@aria-hidden]")] == ["Ü"]


def test_a_tile_has_one_icon(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki", "portal: {icon: W, icon_file: w.svg}\n")
    code, _, problems = portal()
    assert code == 78
    assert "icon and icon_file are both given" in problems


def test_the_page_replaces_the_one_before_and_everybody_may_read_it(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki", "portal: {}\n")
    kept, link = tmp_path / "pages" / "real.html", tmp_path / "pages" / "index.html"
    kept.parent.mkdir()
    kept.write_text("old")
    kept.chmod(0o600)
    link.symlink_to(kept)
    assert portal("-o", str(link)) == (0, "", "")
    assert link.is_symlink()
    assert tiles(kept.read_text("utf-8")) == [("wiki.example.com", "https://wiki.example.com/")]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644
    assert sorted(file.name for file in kept.parent.iterdir()) == ["index.html", "real.html"]


def test_a_page_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki", "portal: {}\n")
    (tmp_path / "pages" / "index.html" / "inside").mkdir(parents=True)
    code, _, problems = portal("-o", str(tmp_path / "pages" / "index.html"))
    assert code == 1
    assert "index.html: cannot be written: Is a directory" in problems
    assert [file.name for file in (tmp_path / "pages").iterdir()] == ["index.html"]


def test_a_folder_without_a_section_leaves_the_page_as_it_is(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki")
    page = tmp_path / "index.html"
    page.write_text("the last one")
    code, _, problems = portal("-o", str(page))
    assert code == 1
    assert "no file here has a section `portal:`; nothing was written" in problems
    assert page.read_text() == "the last one"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["portal", str(tmp_path / "none")]) == 78
    assert f"{tmp_path}/none: cannot be read: No such file or directory" in capsys.readouterr().err


def test_an_address_of_its_own_is_where_a_tile_leads(tmp_path: Path, portal: Any):
    put(tmp_path, "wiki", "origin: https://wiki.example.com:8443\nportal: {}\n")
    assert tiles(portal()[1]) == [("wiki.example.com", "https://wiki.example.com:8443/")]
