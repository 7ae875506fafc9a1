"""Which regular expressions of oauth2-proxy are paths; no other one opens anything."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.cli.importers.draft import Draft
from passproxy.cli.importers.oauth2_proxy_routes import add_routes
from passproxy.core.routing import Routes
from tests.core.given import examples


def opened(route: str, option: str = "skip_auth_routes") -> tuple[list[Any], list[str]]:
    draft = Draft("oauth2-proxy")
    add_routes(draft, {option: [route]})
    return draft.values.get("passthrough.paths", []), [note.kind for note in draft.notes]


@pytest.mark.parametrize(
    ("route", "entry"),
    [
        ("GET=^/health$", "/health"),
        ("HEAD=^/health$", "/health"),
        (r"GET=^/robots\.txt$", "/robots.txt"),
        ("POST=^/hook$", {"path": "/hook", "methods": ["POST"]}),
        ("GET=^/public/", "/public/**"),
        ("GET=^/public/.*", "/public/**"),
        ("GET=^/public/.*$", "/public/**"),
        ("GET=^/public/$", "/public/"),
    ],
)
def test_plain_text_between_its_ends_is_a_path(route: str, entry: Any) -> None:
    assert opened(route) == ([entry], [])


@pytest.mark.parametrize(("route", "entry"), [("^/health$", "/health"), ("GET=^/health", "/health"), ("GET=^/", "/")])
def test_what_was_open_beyond_the_path_is_said(route: str, entry: Any) -> None:
    assert opened(route) == ([entry], ["changed"])


@pytest.mark.parametrize(
    "route",
    [
        "/health", "GET=/health$", "^/a|^/b$", "^/a.b$", r"^/\d+$", "^/(a|b)$", "^/a?$", "^/a+$", "^/[ab]$", "^/a{2}$",
        "GET!=^/admin$", "^/static/.*\\.css$", ".*", "^/.*$x", "^/a$\n", "",
    ],
)  # fmt: skip
def test_any_other_expression_opens_nothing_and_is_to_be_decided(route: str) -> None:
    assert opened(route) == ([], ["decide"])


@pytest.mark.parametrize("route", ["GET=^/.*$", "GET=^/.passproxy/login$", r"GET=^/\.passproxy/login$", "GET=^/a//b$"])
def test_nor_what_would_open_everything_or_our_own_pages(route: str) -> None:
    entries, kinds = opened(route)
    assert entries == []
    assert kinds in (["decide"], ["no equal"])


@given(st.from_regex(r"\^/[a-c/.*\\+$]{0,8}\$?", fullmatch=True), st.text("/abc.", max_size=6))
@examples(500)
def test_no_path_is_opened_that_was_not_open(expression: str, path: str) -> None:
    entries, _ = opened(f"GET={expression}")
    path = f"/{path}"
    if entries and Routes([([entries[0]], ("GET",))]).first(b"GET", path.encode()) is not None:
        is_the_folder_itself = entries[0] == f"{path}/**"
        assert re.search(expression, path) or is_the_folder_itself


def test_preflights_are_kept_or_said() -> None:
    draft = Draft("oauth2-proxy")
    add_routes(draft, {"skip_auth_preflight": True})
    assert draft.values.get("passthrough.preflight") or [note.option for note in draft.notes] == ["skip_auth_preflight"]


def test_expressions_of_the_older_option_have_no_method() -> None:
    assert opened("^/a=b$", "skip_auth_regex") == (["/a=b"], ["changed"])
