"""One line a step: its name when it begins, ok or FAILED when it ends, what was found, and how long it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


class StepFailed(Exception):
    """A step that the following ones need did not succeed; its line is written."""


@dataclass(slots=True)
class Finding:
    """What a step tells beside its name."""

    text: str = ""


@dataclass(slots=True)
class Report:
    passed: int = 0
    failed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str, *, is_needed: bool = False) -> Iterator[Finding]:
        """
        A step, which fails by an exception. What `is_needed` ends the run with it.

        Raises:
            StepFailed: it failed, and is needed.
        """
        print(f"{name} ... ", end="", flush=True)
        begun, finding = time.monotonic(), Finding()
        try:
            yield finding
        except Exception as error:
            self.failed.append(name)
            _close("FAILED", f"{type(error).__name__}: {error}", begun)
            if is_needed:
                raise StepFailed(name) from error
        else:
            self.passed += 1
            _close("ok", finding.text, begun)


def _close(outcome: str, text: str, begun: float) -> None:
    said = f": {text}" if text else ""
    print(f"{outcome}{said} ({time.monotonic() - begun:.1f} s)", flush=True)
