"""Every row of the attack catalogue is a test here, or is explained where users read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.rows import covered_by, explained, ids_in, rows, wire_kind

FOLDER = Path(__file__).parent


def node_ids(request: pytest.FixtureRequest) -> list[str]:
    """Of all tests here; where only some were asked for, pytest is asked for the others."""
    if set(FOLDER.glob("test_*.py")) <= {item.path for item in request.session.items}:
        return [item.nodeid for item in request.session.items]
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", str(FOLDER)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=FOLDER.parents[1]
    ).stdout.splitlines()


def test_every_row_has_a_test_or_a_reason(request: pytest.FixtureRequest):
    found = covered_by(node_ids(request))
    left_out = rows().keys() - found - explained().keys()
    assert left_out == set(), sorted(left_out)


def test_a_reason_is_given_for_rows_that_there_are_and_is_one():
    assert explained().keys() <= rows().keys()
    assert all(len(reason) > 40 for reason in explained().values())


def test_the_list_of_rows_is_whole():
    assert len(rows()) == 387
    assert all(title for title in rows().values())


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("test_sem_28_a_sentence", {"SEM-28"}),
        ("test_x[SAML-06 forged]", {"SAML-06"}),
        ("test_lf_03_and_xss_02", {"LF-03", "XSS-02"}),
        ("test_x[False-HTTP-24 a sentence]", {"HTTP-24"}),
        ("test_ws_01_x[PATH-19 y]", {"WS-01", "PATH-19"}),
        ("test_xml_1_and_elf_03_and_saml_123", set()),
    ],
)
def test_ids_are_read_from_names(text: str, ids: set[str]):
    assert ids_in(text) == ids


@pytest.mark.parametrize(
    ("node_id", "kind"),
    [
        ("tests/attacks/test_x.py::test_y[HTTP-24 a sentence]", "HTTP"),
        ("tests/attacks/test_x.py::test_ws_10_y", "WS"),
        ("tests/attacks/test_paths.py::test_y[/admin]", "PATH"),
        ("tests/attacks/test_x.py::test_lf_03_y", None),
        ("tests/core/test_x.py::test_http_41_y", None),
    ],
)
def test_cases_on_a_connection_are_told_from_others(node_id: str, kind: str | None):
    assert wire_kind(node_id) == kind
