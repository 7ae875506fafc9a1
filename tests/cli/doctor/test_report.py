"""Findings as people and machines read them."""

from __future__ import annotations

import json

import pytest

from passproxy.cli.doctor.report import as_json, as_text, exit_code, failed, ok, quoted, summary, unknown, warning

ALL = [ok("a", "Fine."), warning("b", "Odd.", "Look."), unknown("c", "Who knows."), failed("d", "Broken.", "Mend it.")]


def test_columns_are_aligned_and_hints_stand_below():
    text = "".join(map(as_text, ALL))
    assert text.splitlines() == [
        "  ok       a             Fine.",
        "  warning  b             Odd.",
        "                         > Look.",
        "  unknown  c             Who knows.",
        "  FAILED   d             Broken.",
        "                         > Mend it.",
    ]


def test_long_sentences_stay_in_their_column():
    lines = as_text(ok("listen", "word " * 60)).splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 110 for line in lines)
    assert all(line.startswith(" " * 25) for line in lines[1:])


def test_there_are_no_colours():
    assert "\x1b" not in "".join(map(as_text, ALL)) + summary(ALL)


def test_the_summary_counts():
    assert summary(ALL) == "4 checks: 1 ok, 1 warning, 1 FAILED, 1 unknown.\n"


def test_machines_get_the_same():
    facts = json.loads(as_json("app.example.com", ALL))
    assert facts["domain"] == "app.example.com"
    assert facts["ok"] is False
    assert facts["checks"][3] == {"check": "d", "result": "failed", "text": "Broken.", "hint": "Mend it."}


@pytest.mark.parametrize(("findings", "code"), [(ALL, 1), (ALL[:3], 0), ([], 0)])
def test_only_a_failure_is_one(findings, code):
    assert exit_code(findings) == code


def test_what_others_wrote_commands_no_terminal_and_fills_no_screen():
    assert quoted("a\x1b[2J\nb\u202e") == "a?[2J b?"
    assert len(quoted("x" * 10_000)) < 300
