"""What a passthrough pattern opens, told before anybody tries it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.cli.patterns import SPELLINGS, Opened, filled, opened
from passproxy.core.config import settings_from
from passproxy.core.routing import Routes, is_ambiguous
from passproxy.core.settings import Settings


def settings(*paths: Any, **sections: Any) -> Settings:
    configuration = {
        "domain": "app.example.com",
        "upstream": {"url": "http://127.0.0.1:3000"},
        "oidc": {"issuer": "https://sso.example.com", "client_id": "app"},
        "passthrough": {"paths": paths},
        **sections,
    }
    return settings_from(json.dumps(configuration), "app.yaml", {}, str)


def of(*paths: Any) -> Opened:
    """What the first of some patterns opens."""
    return opened(settings(*paths))[0]


def test_a_plain_path_opens_itself_and_no_other_spelling() -> None:
    found = of("/api/health")
    assert (found.meaning, found.also, found.doubts) == ("this path alone", (), ())
    assert found.tried == len(SPELLINGS)


def test_what_fits_a_folder_is_listed_and_nothing_that_leaves_it() -> None:
    found = of("/public/**")
    assert dict(found.also)["a segment behind it"] == "/public/x/y/admin"
    assert all(path.startswith("/public/") and ".." not in path and "%2" not in path[:-2] for _, path in found.also)


@pytest.mark.parametrize("pattern", ["/", "/health", "/public/**", "/a/*/b", "/**/x", "/x*", "/*.css", "/f/"])
def test_no_spelling_that_can_be_read_in_two_ways_is_ever_public(pattern: str) -> None:
    two_ways = {name for name in SPELLINGS if name.startswith(("up ", "from ", "two slashes", "a dot segment"))}
    two_ways |= {"an escaped slash", "a parameter", "a parameter in front", "an escaped semicolon", "half an escape"}
    two_ways |= {"an escaped question mark", "an escaped number sign", "a zero byte behind it", "a line end behind it"}
    assert two_ways.isdisjoint(name for name, _ in of(pattern).also)


@pytest.mark.parametrize(
    "trick",
    [
        "/../",
        "%2e%2e",
        "%252e",
        "%2f",
        "\\..\\",
        "%5c",
        "..;",
        ";x",
        "%3b",
        "%23",
        "%3f",
        "//",
        "%00",
        "%0a",
        "%c0%ae",
        "%ef%bc%8e",
        "%u002e",
        "/.",
        "ä",
    ],
)
def test_the_tricks_of_the_catalogue_are_tried(trick: str) -> None:
    assert trick in " ".join(spell("/public/x") for spell in SPELLINGS.values())


@pytest.mark.parametrize(
    ("paths", "doubt"),
    [
        ([{"path": "/hook", "methods": ["POST", "GET"]}], "anybody can send POST to it"),
        (["/static*"], "such as /static-admin"),
        (["/**/*.css"], "/admin.css"),
        (["/**/*.css"], "/admin/x.css"),
        (["/**/health"], "/admin/health too"),
        (["/*/health"], "/admin/health too"),
        (["/public/"], "what is below it is /public/**"),
        (["/public/x", "/public/**"], "/public/** opens it anyway"),
    ],
)
def test_what_may_not_have_been_meant_is_said(paths: list[Any], doubt: str) -> None:
    assert any(doubt in said for said in of(*paths).doubts)


@pytest.mark.parametrize(
    "paths", [["/health"], ["/public/**"], ["/a/*"], ["/", "/public/**"], ["/publicity", "/public/**"]]
)
def test_and_nothing_about_what_surely_was(paths: list[Any]) -> None:
    assert of(*paths).doubts == ()


@pytest.mark.parametrize(
    ("pattern", "named"), [("/static*", "/static-admin"), ("/**/*.css", "/admin/x.css"), ("/*/b", "/admin/b")]
)
def test_what_a_doubt_names_is_public(pattern: str, named: str) -> None:
    found = of(pattern)
    assert any(named in doubt for doubt in found.doubts)
    routes = Routes([([pattern], ("GET",))])
    assert routes.first(b"GET", named.encode()) == 0
    assert not is_ambiguous(named.encode())


@pytest.mark.parametrize(("pattern", "path"), [("/a/**", "/a/x/y"), ("/a/*.css", "/a/x.css"), ("/**/b", "/x/y/b")])
def test_a_pattern_is_filled_in(pattern: str, path: str) -> None:
    assert filled(pattern) == path


# --- access rules


def rules(*rules: dict[str, Any]) -> list[Opened]:
    named = [{"name": f"r{number}", **rule} for number, rule in enumerate(rules)]
    return opened(settings(access={"rules": named}))


def test_a_rule_that_allows_is_public_too() -> None:
    (found,) = rules({"path": "/api/health", "action": "allow", "methods": ["GET"]})
    assert (found.path, found.also, found.doubts) == ("/api/health", (), ())


def test_a_rule_for_some_networks_is_asked_from_there() -> None:
    (found,) = rules({"path": "/internal/**", "action": "allow", "methods": ["GET"], "from": ["10.0.0.0/8"]})
    assert "10.0.0.0/8" in found.meaning
    assert "/internal/x/y/admin" in dict(found.also).values()
    assert found.doubts == ()


@pytest.mark.parametrize(
    "first", [{"path": "/admin/**"}, {"path": "/admin/**", "action": "deny"}, {"path": "/admin/*", "methods": ["GET"]}]
)
def test_a_rule_that_comes_too_late_is_said(first: dict[str, Any]) -> None:
    (found,) = rules(first, {"path": "/admin/health", "action": "allow", "methods": ["GET"]})
    assert found.doubts == ("/admin/health is not public: a rule before it says otherwise",)


def test_rules_that_ask_who_it_is_or_only_report_open_nothing() -> None:
    reporting = {"path": "/c", "action": "allow", "report_only": True}
    assert rules({"path": "/a"}, {"path": "/b", "action": "deny"}, reporting) == []
