"""What the guides say can be done: links lead somewhere, configurations are accepted, generated parts are fresh."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import errors
from passproxy.cli import COMMANDS
from passproxy.cli.explain import catalogue
from passproxy.core.config import settings_from
from passproxy.core.identity_headers import PLACEHOLDERS
from passproxy.core.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Of profile `passproxy`.
HEADERS = {name.lower() for name in PROFILES["passproxy"].fields}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_blocks(page: Path) -> str:
    return _BLOCK.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_link_leads_to_something_that_exists(page):
    for link in _LINK.findall(without_blocks(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link}"
        assert ROOT in target.parents, f"{name(page)}: {link} leads out of the project"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link}"


def configurations() -> list[tuple[str, str]]:
    """Every YAML block that begins like a whole configuration, with a name for it."""
    return [
        (f"{name(page)}:{text[: match.start()].count(chr(10)) + 1}", match[2])
        for page in PAGES
        for text in [page.read_text("utf-8")]
        for match in _BLOCK.finditer(text)
        if match[1] == "yaml" and re.match(r"(?:#.*\n)*domain:", match[2])
    ]


@pytest.mark.parametrize(("where", "text"), configurations(), ids=[where for where, _ in configurations()])
def test_each_whole_configuration_is_accepted(where, text):
    assert settings_from(text, where, {}, lambda path: f"content of {path}")


def test_there_are_configurations_to_look_at():
    assert len(configurations()) >= 6


def test_the_codes_are_those_of_the_classes():
    """Stale? `make docs` writes them anew."""
    text = errors.PAGE.read_text("utf-8")
    assert errors.page(text) == text
    for code in catalogue():
        assert f"\n### {code}\n" in text


def test_a_page_that_lost_its_mark_is_not_overwritten():
    with pytest.raises(ValueError, match="has lost the line"):
        errors.page("# By hand\n")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_codes_that_are_named_exist(page):
    named = set(re.findall(r"\bPP(?:-[A-Z0-9]+)+\b", page.read_text("utf-8")))
    assert named <= {*catalogue(), "PP-SAML", "PP-OIDC"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_named_exist(page):
    named = set(re.findall(r"(?:`|# |\$ |ExecStart=)passproxy ([a-z]\w*)", page.read_text("utf-8")))
    assert named <= set(COMMANDS)


def test_headers_that_applications_are_told_to_read_are_those_that_are_sent():
    text = (ROOT / "docs" / "applications.md").read_text("utf-8")
    named = {found.lower().replace("_", "-") for found in re.findall(r"(?i)\bx[-_]passproxy[-_][a-z_-]+[a-z]", text)}
    assert {"x-passproxy-user", "x-passproxy-groups", "x-passproxy-email"} <= named
    assert named <= HEADERS


def test_the_page_of_headers_has_every_name_of_every_profile():
    text = (ROOT / "docs" / "headers.md").read_text("utf-8")
    for profile, (fields, separator, is_quoted) in PROFILES.items():
        assert f"`{profile}`" in text
        for field in fields:
            short = re.sub("^X-(?:Passproxy|Passbeyond)", "", field)
            assert f"`{field}`" in text or f"`{short}`" in text, field
        (column,) = [n for n, cell in enumerate(_row(text, f"`{profile}`", "told")) if cell == f"`{profile}`"] or [0]
        if column:
            between = _row(text, f"`{profile}`", "between")[column].replace("\\|", "|")
            assert between == f"`{separator}`" + (', each in `"`' if is_quoted else "")


def _row(text: str, head: str, first: str) -> list[str]:
    """The cells of the row that begins like this, in the table that has this head."""
    table = next((t for t in text.split("\n\n") if t.startswith("| told |") and f"| {head} |" in t), "| |")
    row = next((line for line in table.splitlines() if line.startswith(f"| {first} |")), "| |")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


@pytest.mark.parametrize("file", ["docs/headers.md", "etc/passproxy/example.yaml"])
def test_the_placeholders_that_are_listed_are_those_that_there_are(file):
    text = re.sub(r"[\s#`]+", " ", (ROOT / file).read_text("utf-8"))
    listed = re.search(r"In braces: ((?:\w+ ?, )+\w+) ?[.;]", text)
    assert listed is not None
    assert tuple(name.strip() for name in listed[1].split(",")) == PLACEHOLDERS


def test_every_guide_is_in_the_index():
    text = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page.name != "README.md":
            assert f"]({page.relative_to(ROOT / 'docs')})" in text, name(page)
