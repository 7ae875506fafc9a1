"""Every condition that can be refused for is one that is met: raised somewhere, and expected by some test."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from passproxy.core.errors import PassProxyError

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("core.errors", "idp.oidc.errors", "idp.saml.errors")

#: Bases, which say what is common to those below them.
BASES = {"PassProxyError", "RequestRefused", "UpstreamError"}


def classes() -> Iterator[type[PassProxyError]]:
    for name in MODULES:
        module = importlib.import_module(f"passproxy.{name}")
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, PassProxyError) and thing.__module__ == module.__name__:
                yield thing


def text_of(folder: str, *but: str) -> str:
    files = (path for path in (ROOT / folder).rglob("*.py") if path.name not in but)
    return "\n".join(path.read_text("utf-8") for path in files)


SOURCES = text_of("passproxy", "errors.py")
TESTS = text_of("tests", "test_errors.py", Path(__file__).name)
NAMES = {folder: set(re.findall(r"\w+", text)) for folder, text in (("passproxy", SOURCES), ("tests", TESTS))}
CODES = set(re.findall(r"PP(?:-[A-Z0-9]+)+", TESTS))
CLASSES = [kind for kind in classes() if kind.__name__ not in BASES]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__.split('.')[-2]}-{kind.__name__}")
def test_a_condition_is_raised_and_some_test_expects_it(kind: type[PassProxyError]) -> None:
    assert kind.__name__ in NAMES["passproxy"]
    assert kind.__name__ in NAMES["tests"] or kind.code in CODES
