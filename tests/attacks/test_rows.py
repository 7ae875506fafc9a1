"""Every row of the attack catalogue is a test here, or is explained where users read it."""

from __future__ import annotations

import pytest

from tests.attacks.rows import covered_by, explained, ids_in, rows, wire_kind


def test_every_row_has_a_test_or_a_reason(request: pytest.FixtureRequest):
    found = covered_by(item.nodeid for item in request.session.items)
    if len({item.path for item in request.session.items if item.path.parent.name == "attacks"}) < 2:
        pytest.skip("only with the tests of the attacks beside it")
    left_out = rows().keys() - found - explained().keys()
    assert left_out == set(), sorted(left_out)


def test_a_reason_is_given_for_rows_that_there_are_and_is_one():
    assert explained().keys() <= rows().keys()
    assert all(len(reason) > 40 for reason in explained().values())


def test_the_list_of_rows_is_whole():
    assert len(rows()) == 357
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
