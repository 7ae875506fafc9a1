"""
A configuration that is being translated from another product's.

Each value remembers which option it comes from, and everything that could not
be said the same way becomes a note. A secret never becomes a value: it is set
aside, with the file that it belongs in, and only `write_secrets` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from passproxy.core.config import settings_from, variables
from passproxy.core.errors import ConfigError
from passproxy.core.settings import PassthroughPath

#: Where secrets are expected, unless somebody asks for them to be written elsewhere.
SECRETS_FOLDER = "/etc/passproxy"

#: Whoever is not in a group of this name, which is nobody, gets in only when somebody has decided.
NOBODY_YET = "CHANGE-ME: who may use it"

#: In the order in which they matter.
Kind = Literal["decide", "changed", "no equal", "secret", "not needed"]
KINDS: tuple[Kind, ...] = ("decide", "secret", "changed", "no equal", "not needed")

_KEYS = frozenset(tuple(map(str, path)) for path in variables().values())


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one option, where it is more than a new name for the same."""

    kind: Kind
    option: str
    text: str


@dataclass(slots=True)
class Draft:
    """`product` names where it comes from, `folder` is where secrets go. Keys are dotted paths."""

    product: str
    folder: str = SECRETS_FOLDER
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return str(self.values.get("domain", "app")).partition(".")[0]

    def set(self, key: str, value: Any, source: str) -> None:
        self.values[key] = value
        self.sources[key] = source

    def set_if_known(self, key: str, value: Any, source: str, otherwise: str) -> None:
        """For what not every version of PassProxy can: set it where this one accepts it, else say so."""
        if tuple(key.split(".")) in _KEYS and self._is_accepted(key, value):
            self.set(key, value, source)
        else:
            self.note("no equal", source, otherwise)

    def note(self, kind: Kind, option: str, text: str) -> None:
        self.notes.append(Note(kind, option, text))

    def secret(self, key: str, text: str, source: str) -> None:
        """The configuration refers to a file; what belongs in it is kept apart."""
        file = f"{self.folder}/{self.name}.{key.rpartition('.')[2]}"
        self.set(f"{key}_file", file, source)
        self.secrets[file] = text
        self.note("secret", source, f"belongs into {file}, which only PassProxy can read (chmod 600)")

    def public(self, entry: str | dict[str, Any], source: str) -> bool:
        """Add a passthrough path; says whether it can be one."""
        try:
            PassthroughPath.model_validate({"path": entry} if isinstance(entry, str) else entry)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            self.note("no equal", source, f"{entry}: {reason}")
            return False
        known = self.values.setdefault("passthrough.paths", [])
        self.sources["passthrough.paths"] = source.partition("[")[0]
        if entry not in known:
            known.append(entry)
        return True

    def write_secrets(self) -> list[str]:
        """
        Write what was set aside, each into a new file that only its owner can read; their names.

        Raises:
            OSError: one cannot be written, or is there already.
        """
        for file, text in self.secrets.items():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text + "\n")
        return list(self.secrets)

    def text(self) -> str:
        """The configuration as YAML, with a comment for each note."""
        lines = [f"# Translated from a configuration of {self.product} by `passproxy import`.", "#"]
        lines += [f"# {note.kind}: {_comment(note.option)}: {_comment(note.text)}" for note in self.sorted_notes()]
        lines.append("")
        for section, below in _nested(self.values).items():
            lines += self._section(section, below)
        return "\n".join(lines) + "\n"

    def sorted_notes(self) -> list[Note]:
        return sorted(self.notes, key=lambda note: KINDS.index(note.kind))

    def problems(self, read_file: Callable[[str], str]) -> list[str]:
        """What `check` would refuse of it, secrets that are not there yet left aside."""
        try:
            settings_from(self.text(), "draft", {}, lambda path: "x" if path in self.secrets else read_file(path))
        except ConfigError as error:
            return [problem.partition(": ")[2] for problem in error.problems]
        return []

    def _section(self, name: str, value: Any, indent: str = "", path: str = "") -> Iterable[str]:
        path = f"{path}.{name}" if path else name
        if not isinstance(value, dict) or path in self.values:
            yield f"{indent}{name}: {_flow(value)}{self._source(path)}"
            return
        yield f"{indent}{name}:"
        for below, content in value.items():
            yield from self._section(below, content, indent + "  ", path)

    def _source(self, path: str) -> str:
        source = self.sources.get(path, "")
        return f"  # {_comment(source)}" if source not in ("", path, path.rpartition(".")[2]) else ""

    def _is_accepted(self, key: str, value: Any) -> bool:
        probe = {
            "domain": "app.example.com",
            "upstream.url": "http://127.0.0.1:3000",
            "oidc.issuer": "https://sso.example.com",
            "oidc.client_id": "app",
            key: value,
        }
        try:
            settings_from(yaml.safe_dump(_nested(probe)), "probe", {}, str)
        except ConfigError:
            return False
        return True


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        below = nested
        *sections, last = key.split(".")
        for section in sections:
            below = below.setdefault(section, {})
        below[last] = value
    return nested


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str) -> str:
    """One line, and nothing that ends a comment or moves a cursor."""
    return "".join(c if c.isprintable() else " " for c in text)
