"""A configuration is complete and safe, or the application does not start."""

from __future__ import annotations

import pytest

from passproxy.trusted.errors import SettingsInvalid
from passproxy.trusted.settings import settings_from, variables

FOUR = {
    "TRUSTED_PROXY_ASSERTION_HEADER": "X-Passproxy-Assertion",
    "TRUSTED_PROXY_JWKS_URL": "https://app.example.com/.passproxy/jwks.json",
    "TRUSTED_PROXY_ISSUER": "https://app.example.com",
    "TRUSTED_PROXY_AUDIENCE": "https://app.example.com",
}


def problems(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as caught:
        settings_from(environ)
    return caught.value.problems


def test_four_variables_say_everything() -> None:
    found = settings_from({**FOUR, "PATH": "/bin"})
    assert found.preset.name == "passproxy", "the header says which proxy it is"
    assert found.header == "X-Passproxy-Assertion"
    assert found.issuer == "https://app.example.com"
    assert found.audiences == ("https://app.example.com",)
    assert found.jwks_url == "https://app.example.com/.passproxy/jwks.json"


def test_an_unknown_header_is_that_of_any_other_proxy() -> None:
    found = settings_from({**FOUR, "TRUSTED_PROXY_ASSERTION_HEADER": "X-Assertion"})
    assert found.preset.name == "generic"
    assert "HS256" not in found.preset.algorithms
    assert "none" not in found.preset.algorithms


def test_with_the_preset_of_passproxy_the_issuer_is_enough() -> None:
    short = {"TRUSTED_PROXY_PRESET": "passproxy", "TRUSTED_PROXY_ISSUER": "https://app.example.com"}
    assert settings_from(short) == settings_from(FOUR)


def test_without_anything_everything_is_missing_at_once() -> None:
    assert [problem.split()[0] for problem in problems({})] == [
        "TRUSTED_PROXY_ASSERTION_HEADER",
        "TRUSTED_PROXY_ISSUER",
        "TRUSTED_PROXY_AUDIENCE",
        "TRUSTED_PROXY_JWKS_URL",
    ]


@pytest.mark.parametrize("empty", ["", "  "])
def test_what_is_empty_is_missing(empty: str) -> None:
    for name in FOUR:
        if name == "TRUSTED_PROXY_ASSERTION_HEADER":
            assert problems({**FOUR, name: empty, "TRUSTED_PROXY_PRESET": "generic"})
    assert problems({**FOUR, "TRUSTED_PROXY_PRESET": "pomerium", "TRUSTED_PROXY_AUDIENCE": empty})
    assert problems({**FOUR, "TRUSTED_PROXY_AUDIENCE": ", ,", "TRUSTED_PROXY_PRESET": "generic"})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"TRUSTED_PROXY_JWKS_URL": "http://app.example.com/keys"}, "JWKS_URL"),
        ({"TRUSTED_PROXY_JWKS_URL": "file:///etc/keys.json"}, "JWKS_URL"),
        ({"TRUSTED_PROXY_ASSERTION_HEADER": "X Assertion"}, "ASSERTION_HEADER"),
        ({"TRUSTED_PROXY_ASSERTION_HEADER": "X-Assertion:"}, "ASSERTION_HEADER"),
        ({"TRUSTED_PROXY_ASSERTION_HEADER": "X_Assertion"}, "ASSERTION_HEADER"),
        ({"TRUSTED_PROXY_ISSUER": "https://app.example.com https://b.example"}, "ISSUER"),
        ({"TRUSTED_PROXY_AUDIENCE": "a b"}, "AUDIENCE"),
        ({"TRUSTED_PROXY_PRESET": "passprox"}, "PRESET"),
        ({"TRUSTED_PROXY_PRESET": "google-iap"}, "ISSUER"),
        ({"TRUSTED_PROXY_THUMBPRINTS": "abc"}, "THUMBPRINTS"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, str], named: str) -> None:
    (problem,) = problems({**FOUR, **changed})
    assert problem.startswith(f"TRUSTED_PROXY_{named} ")


def test_a_mistyped_variable_is_no_silent_default() -> None:
    assert problems({**FOUR, "TRUSTED_PROXY_AUDIENCES": "x"}) == (
        "TRUSTED_PROXY_AUDIENCES is not known; did you mean TRUSTED_PROXY_AUDIENCE?",
    )
    assert problems({**FOUR, "TRUSTED_PROXY_JWKS_URI": "x"})


@pytest.mark.parametrize("name", ["TRUSTED_PROXY_COUNT", "TRUSTED_PROXY_IPS", "TRUSTED_PROXIES", "TRUSTED_HOSTS"])
def test_a_variable_of_somebody_else_is_left_to_them(name: str) -> None:
    assert settings_from({**FOUR, name: "1"}) == settings_from(FOUR)


def test_settings_survive_being_written_down() -> None:
    full = {**FOUR, "TRUSTED_PROXY_AUDIENCE": "a,b", "TRUSTED_PROXY_THUMBPRINTS": "A" * 43 + "," + "B" * 43}
    found = settings_from(full)
    assert settings_from(variables(found)) == found
    assert found.audiences == ("a", "b")
