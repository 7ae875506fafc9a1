"""docs/trusted.md says what holds: names, numbers, lines of code and the contract itself."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from passproxy.trusted import enrolment, errors, fetching, jwk, keys, presets, settings, verifier
from passproxy.trusted.__main__ import main
from passproxy.trusted.enrolment import description_from
from passproxy.trusted.errors import TrustError
from passproxy.trusted.presets import PRESETS
from tests.trusted.given import HEADER, TYPE

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "trusted.md").read_text("utf-8")
FLAT = " ".join(GUIDE.split())


def test_every_variable_and_no_other_is_explained() -> None:
    assert set(re.findall(r"^\| `TRUSTED_PROXY_(\w+)`", GUIDE, re.MULTILINE)) == set(settings.VARIABLES)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_has_a_row_that_is_true(preset: presets.Preset) -> None:
    (row,) = [line for line in GUIDE.splitlines() if line.startswith(f"| `{preset.name}` |")]
    assert not preset.header or f"`{preset.header}`" in row
    assert (" ".join(preset.algorithms) if len(preset.algorithms) == 1 else "asymmetric") in row
    assert preset.is_bearer == ("Bearer" in row)


def test_every_code_that_a_visitor_can_meet_is_explained() -> None:
    refused = [errors.KeysUnavailable, *errors.AssertionRefused.__subclasses__()]
    assert set(re.findall(r"`(TP-[A-Z]+)`", GUIDE)) == {kind.code for kind in refused}
    assert all(issubclass(kind, TrustError) for kind in refused)


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("at most 16 KiB", verifier.ASSERTION_LIMIT_BYTES == 16 * 1024),
        ("with 30 seconds of tolerance", settings.LEEWAY_SECONDS == 30),
        ("then every five minutes", keys.REFRESH_SECONDS == 300),
        ("At most one fetch begins in a minute", keys.INTERVAL_SECONDS == 60),
        ("at most 15 seconds", keys.WAIT_SECONDS == 15),
        ("5 seconds to connect and 5 to answer, 256 KiB", fetching.FETCH_SECONDS == 5),
        ("at most 256 KiB", fetching.DOCUMENT_LIMIT_BYTES == 256 * 1024),
        ("the last ones hold for 24 hours", keys.STALE_LIMIT_SECONDS == 86400),
        ("60 seconds by default, at most 3600;", PRESETS["passproxy"].lifetime_limit_seconds == 3600),
        ("of at most 100 keys", jwk.KEY_LIMIT == 100),
        ("(`iat` + 60; at most 300)", enrolment.PROOF_LIFETIME_LIMIT_SECONDS == 300),
        ("verifiers send 43: 256 random bits", enrolment.CHALLENGE_BYTES * 8 == 256),
        (f"`typ` `{TYPE}`", PRESETS["passproxy"].types == {TYPE}),
        (f"`typ` `{enrolment.PROOF_TYPE}`", True),
        (f"One header `{HEADER}`", PRESETS["passproxy"].header == HEADER),
        (f"`ORIGIN{enrolment.JWKS_PATH}`", PRESETS["passproxy"].jwks == enrolment.JWKS_PATH),
        (f"`ORIGIN{enrolment.TRUST_PATH}`", True),
    ],
)
def test_every_number_and_name_is_that_of_the_code(sentence: str, value: bool) -> None:
    assert sentence in FLAT
    assert value


def test_the_description_that_is_shown_is_one() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    found = description_from(json.dumps({**json.loads(shown), "proof": "x"}).encode())
    assert found.jwks_url == found.issuer + enrolment.JWKS_PATH
    assert found.algorithms == ("ES256",)


@pytest.mark.parametrize("example", sorted((ROOT / "etc" / "trusted").glob("*.py")), ids=lambda path: path.name)
def test_an_example_says_its_lines_as_the_guide_does(example: Path) -> None:
    """The line that protects the application is in both, and what it imports exists."""
    text = example.read_text("utf-8")
    lines = [
        line.strip()
        for line in text.splitlines()
        if re.search(r"TrustedProxyMiddleware, |TrustedProxyMiddleware\(app|trusted_proxy\(\)", line)
    ]
    assert lines
    assert any(re.sub(r"^app = ", "", line) in GUIDE for line in lines), lines
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("passproxy."):
            module = __import__(node.module or "", fromlist=["_"])
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_example_in_javascript_is_the_one_that_is_named() -> None:
    text = (ROOT / "etc" / "trusted" / "express_app.mjs").read_text("utf-8")
    assert "    app.use(trustedProxy());\n" in text
    assert "`app.use(trustedProxy())`" in GUIDE
    assert f"typ: '{TYPE}'" in text
    assert f"const HEADER = '{HEADER.lower()}'" in text
    assert "INTERVAL = 60 * SECOND, REFRESH = 300 * SECOND, STALE_LIMIT = 86400 * SECOND" in text


def test_the_commands_that_are_shown_are_understood() -> None:
    shown = re.findall(r"python -m passproxy\.trusted (\w+) ([^\n`]*)", GUIDE)
    assert {name for name, _ in shown} == {"enroll", "verify"}
    for name in ("enroll", "verify"):
        options = set(re.findall(r"--\w+", " ".join(rest for found, rest in shown if found == name)))
        assert options <= options_of(name)


def options_of(command: str) -> set[str]:
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main([command, "--help"])
    return set(re.findall(r"--\w+", printed.getvalue()))
