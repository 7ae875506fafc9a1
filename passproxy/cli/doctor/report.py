"""
What the doctor found, and how it is told: lines for people, JSON for machines.

What a server said is shown cut and without anything that could command a
terminal. Nothing here asks anybody.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Result = Literal["ok", "warning", "failed", "unknown"]

#: How a result is written in the first column; what needs somebody stands out without colours.
_SHOWN: dict[Result, str] = {"ok": "ok", "warning": "warning", "failed": "FAILED", "unknown": "unknown"}

_WIDTH = 110
_QUOTE_LIMIT_CHARACTERS = 200

EXIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check: a sentence, and a hint where something is to be done."""

    check: str
    result: Result
    text: str
    hint: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def warning(check: str, text: str, hint: str) -> Finding:
    return Finding(check, "warning", text, hint)


def failed(check: str, text: str, hint: str) -> Finding:
    return Finding(check, "failed", text, hint)


def unknown(check: str, text: str, hint: str = "") -> Finding:
    return Finding(check, "unknown", text, hint)


def quoted(text: str) -> str:
    """What somebody else wrote, in one line without control characters."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= _QUOTE_LIMIT_CHARACTERS else line[:_QUOTE_LIMIT_CHARACTERS].rstrip(". ") + " [...]"


def as_text(finding: Finding) -> str:
    """Lines of one finding, its sentence and its hint in a column of their own."""
    label = f"  {_SHOWN[finding.result]:9}{finding.check:14}"
    indent = " " * len(label)
    lines = _wrapped(finding.text, label, indent)
    if finding.hint:
        lines += _wrapped(finding.hint, f"{indent}> ", f"{indent}  ")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str, further: str) -> list[str]:
    # Paths and addresses stay whole, to be copied.
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=further, break_on_hyphens=False, break_long_words=False
    )


def summary(findings: Sequence[Finding]) -> str:
    """One line about all of them."""
    counts = [(sum(each.result == result for each in findings), _SHOWN[result]) for result in _SHOWN]
    told = ", ".join(f"{count} {name}" for count, name in counts if count)
    return f"{len(findings)} checks: {told}.\n"


def as_json(domain: str, findings: Iterable[Finding]) -> str:
    listed = list(findings)
    facts = {"domain": domain, "ok": exit_code(listed) == 0, "checks": [asdict(each) for each in listed]}
    return json.dumps(facts, indent=1) + "\n"


def exit_code(findings: Iterable[Finding]) -> int:
    """0 unless something failed; what could not be told is no failure."""
    return EXIT_FAILED if any(each.result == "failed" for each in findings) else 0
