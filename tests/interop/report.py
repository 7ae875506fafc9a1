"""The table of what passed, and below it what did not, with the words of those who were there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.interop.provider import Case


@dataclass(slots=True)
class Row:
    """
    The checks of one installation.

    A problem is empty when the check passed; a check without an entry does not
    apply. `logs` is what PassProxy and the provider wrote last, for when something failed.
    """

    provider: str
    case: Case
    problems: dict[str, str] = field(default_factory=dict)
    logs: str = ""

    @property
    def title(self) -> tuple[str, ...]:
        return self.provider, self.case.protocol, self.case.name, self.case.stand.name


def report(rows: Sequence[Row], names: Iterable[str], seconds: float) -> int:
    """Print it; the number of failures, of which having checked nothing is one."""
    columns = tuple(names)
    widths = [max((len(row.title[index]) for row in rows), default=0) for index in range(4)]
    print("\n" + " " * (sum(widths) + 2 * len(widths)) + "  ".join(columns))
    for row in rows:
        title = "".join(f"{text:{width}}  " for text, width in zip(row.title, widths, strict=True))
        print((title + "  ".join(f"{_mark(row.problems, name):{len(name)}}" for name in columns)).rstrip())
    for row in rows:
        for name, problem in row.problems.items():
            if problem:
                print(f"\n{', '.join(row.title)}: {name}\n    " + problem.replace("\n", "\n    "))
        if any(row.problems.values()):
            print("\n    what they wrote last\n    " + row.logs.replace("\n", "\n    "))
    results = [bool(problem) for row in rows for problem in row.problems.values()]
    print(f"\n{results.count(False)} passed, {results.count(True)} failed in {seconds:.0f} s")
    return results.count(True) if results else 1


def _mark(problems: Mapping[str, str], name: str) -> str:
    if name not in problems:
        return "-"
    return "FAIL" if problems[name] else "pass"
