"""
Settings as plain values: what one process read and checked, as text for another.

The models and their library take fourteen megabytes, and reading a file stops
everything else for as long as it takes; a process that serves needs neither.
`written` gives a document with all values, secrets included, that only ever
goes through a pipe; `settings_from_plain` gives an object with the same names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# What JSON has no word for: a section, a secret, and a mapping whose keys are data.
_SECTION, _GIVEN, _SECRET, _MAPPING = "section", "given", "secret", "mapping"


class Secret:
    """A text that no representation shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret('**********')"

    def get_secret_value(self) -> str:
        return self._text


class Section:
    """One section: its keys are attributes and do not change; it yields them with their values, as the models do."""

    __slots__ = ("_values", "model_fields_set")

    _values: Mapping[str, Any]
    model_fields_set: frozenset[str]

    def __init__(self, values: Mapping[str, Any], given: frozenset[str]) -> None:
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "model_fields_set", given)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} does not change")

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._values.items())

    def __repr__(self) -> str:
        return f"Section({dict(self._values)!r})"


def written(settings: Any) -> str:
    """All of the settings as one JSON document. It contains the secrets."""
    return json.dumps(_written(settings))


def settings_from_plain(document: str) -> Any:
    """From what `written` gave, the same to whoever reads them."""
    return _read(json.loads(document))


def _written(value: Any) -> Any:
    if hasattr(value, "get_secret_value"):
        return {_SECRET: value.get_secret_value()}
    if hasattr(value, "model_fields_set"):
        return {_SECTION: {name: _written(item) for name, item in value}, _GIVEN: sorted(value.model_fields_set)}
    if isinstance(value, Mapping):
        return {_MAPPING: {name: _written(item) for name, item in value.items()}}
    return [_written(item) for item in value] if isinstance(value, tuple) else value


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_read(item) for item in value)
    if not isinstance(value, dict):
        return value
    if _SECRET in value:
        return Secret(value[_SECRET])
    if _MAPPING in value:
        return {name: _read(item) for name, item in value[_MAPPING].items()}
    return Section({name: _read(item) for name, item in value[_SECTION].items()}, frozenset(value[_GIVEN]))
