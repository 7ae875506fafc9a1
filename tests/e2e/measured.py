"""What the tests measured, shown at the end of a run whether they pass or fail."""

from __future__ import annotations

LINES: list[str] = []


def measured(line: str) -> None:
    print(f"\n{line}")
    LINES.append(line)
