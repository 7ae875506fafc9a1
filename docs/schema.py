"""
The JSON Schema of the configuration, which `passproxy schema` prints.

Which keys there are, of which kind and within which bounds, says the model
(passproxy/core/settings.py). What they mean, and what holds without them, says
etc/passproxy/example.yaml; tests/test_etc.py holds the two together. Nothing is
said here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from passproxy.core.formats import Off, Written, duration_text
from passproxy.core.settings import PassthroughPath, Settings

#: In the example: a key or a list item behind a `#`. Prose has a space there.
HIDDEN = re.compile(r"^( *)#(?=\S)", re.MULTILINE)

#: Models that are also written in short, as the text of their first key.
SHORT_FORMS: tuple[type[BaseModel], ...] = (PassthroughPath,)

#: What a text is, by the end of its key.
PLACES = {"_file": "path of a file", "_dir": "path of a folder"}

#: What involves several keys, as far as a schema can say it.
TOGETHER: dict[str, dict[str, Any]] = {
    "": {"oneOf": [{"required": ["oidc"]}, {"required": ["saml"]}]},
    "upstream.basic_auth": {"oneOf": [{"required": ["password"]}, {"required": ["password_file"]}]},
    "portal": {"not": {"required": ["icon", "icon_file"]}},
    "saml": {
        "oneOf": [{"required": ["metadata_url"]}, {"required": ["metadata_file"]}],
        "dependencies": {
            "key_file": ["certificate_file"],
            "certificate_file": ["key_file"],
            "next_key_file": ["next_certificate_file", "key_file"],
            "next_certificate_file": ["next_key_file"],
        },
    },
}


# --- the prose


@dataclass(frozen=True, slots=True)
class Said:
    """What the example says of a key: its comment, and the value that it shows (None for a section)."""

    prose: str
    shown: Any
    is_example: bool


def said(text: str) -> dict[str, Said]:
    """Dotted path -> what the example says, in its order; the levels below a value that is a map or a list are left out."""
    node = yaml.compose(HIDDEN.sub(r"\1", text), Loader=yaml.BaseLoader)
    return dict(_said_below(node, Settings, "", text.splitlines()))


def _said_below(node: yaml.Node, model: type[BaseModel], prefix: str, lines: list[str]) -> Iterator[tuple[str, Said]]:
    for key, value in node.value:
        comment = comment_above(lines, key.start_mark.line)
        info = model.model_fields.get(key.value)
        section = None if info is None else section_of(info.annotation)
        shown = None if section else yaml.load(yaml.serialize(value), Loader=yaml.BaseLoader)  # noqa: S506 - all text
        is_example = "(example)" in comment
        prose = re.sub(r" ?\(example\)", "", comment).strip()
        yield f"{prefix}{key.value}", Said(prose, shown, is_example)
        if section is not None:
            yield from _said_below(value, section, f"{prefix}{key.value}.", lines)


def comment_above(lines: list[str], line: int) -> str:
    """The lines of prose directly above a line, as one."""
    above: list[str] = []
    for previous in reversed(lines[:line]):
        if not previous.strip().startswith("# "):
            break
        above.insert(0, previous.strip().removeprefix("# "))
    return " ".join(above)


# --- the kinds of values


def section_of(annotation: Any) -> type[BaseModel] | None:
    direct = (annotation, *get_args(annotation))
    return next((part for part in direct if isinstance(part, type) and issubclass(part, BaseModel)), None)


def kind_of(annotation: Any, metadata: tuple[Any, ...] = ()) -> dict[str, Any]:
    """
    The schema of one kind of value.

    Raises:
        TypeError: a kind that is not known here yet.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(parts[0], (*parts[1:], *metadata))
    if origin in (Union, UnionType):
        (only,) = (part for part in parts if part is not NoneType)
        return kind_of(only, metadata)
    found = _plain_kind(annotation, origin, parts, metadata)
    return {"anyOf": [found, {"const": "off"}], "title": f"{found['title']}, or off"} if Off in metadata else found


def _plain_kind(annotation: Any, origin: Any, parts: tuple[Any, ...], metadata: tuple[Any, ...]) -> dict[str, Any]:
    written = next((mark for mark in reversed(metadata) if isinstance(mark, Written)), None)
    if written is not None:
        return _written_kind(written, metadata)
    if origin is Literal:
        return {"enum": list(parts), "title": "one of " + ", ".join(f"`{part}`" for part in parts)}
    if origin is tuple:
        return _list_kind(kind_of(parts[0]))
    if origin is dict:
        keys, values = kind_of(parts[0]), kind_of(parts[1])
        return {"type": "object", "propertyNames": _bare(keys), "additionalProperties": values, "title": "map"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model_kind(annotation)
    if annotation is bool:
        return {"type": "boolean", "title": "`true` or `false`"}
    if annotation is int:
        low, high = _bounds(metadata)
        return {"type": "integer", "minimum": low, "maximum": high, "title": f"{low} to {high}"}
    if annotation is str:
        return {"type": ["string", "number"], "title": "text"}
    raise TypeError(f"{annotation}: a schema for it is to be written here")


def _written_kind(written: Written, metadata: tuple[Any, ...]) -> dict[str, Any]:
    low, high = _bounds(metadata)
    words = written.words
    if low is not None and high is not None:
        words += f", {duration_text(low)} to {duration_text(high)}"
    # A number is text as well, where it can be: `client_id: 1234` is nothing to complain about.
    kind = ["string", "number"] if written.pattern == r"\S" else "string"
    return {"type": kind, "pattern": written.pattern, "title": words}


def _list_kind(items: dict[str, Any]) -> dict[str, Any]:
    items = dict(items)
    title = items.pop("title", "map")
    plural = f"list: {title}" if title.startswith("one of") else f"list of: {title}"
    # One string is split at its commas.
    return {"anyOf": [{"type": "array", "items": items}, {"type": "string"}], "title": plural}


def _model_kind(model: type[BaseModel]) -> dict[str, Any]:
    """An item of a list that is a map of its own."""
    whole = {
        "type": "object",
        "properties": {
            info.alias or name: _bare(kind_of(info.annotation, tuple(info.metadata)))
            for name, info in model.model_fields.items()
        },
        "required": [name for name, info in model.model_fields.items() if info.is_required()],
        "additionalProperties": False,
    }
    first = next(iter(model.model_fields.values()))
    if model not in SHORT_FORMS:
        return whole
    short = kind_of(first.annotation, tuple(first.metadata))
    return {"anyOf": [_bare(short), whole], "title": f"{short['title']}, or map of {', '.join(model.model_fields)}"}


def _bounds(metadata: tuple[Any, ...]) -> tuple[Any, Any]:
    flat = [each for mark in metadata for each in (mark, *getattr(mark, "metadata", ()))]
    low = next((mark.ge for mark in flat if isinstance(mark, Ge)), None)
    return low, next((mark.le for mark in flat if isinstance(mark, Le)), None)


def _bare(kind: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kind.items() if name != "title"}


# --- the schema


def schema(text: str) -> dict[str, Any]:
    """The JSON Schema (draft 7, which editors know best) of a configuration file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "PassProxy: one protected domain",
        **_section_schema(Settings, "", said(text)),
    }


def _section_schema(model: type[BaseModel], path: str, sayings: dict[str, Said]) -> dict[str, Any]:
    prefix = f"{path}." if path else ""
    properties: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        here = sayings[prefix + name]
        section = section_of(info.annotation)
        if section is not None:
            below = _section_schema(section, prefix + name, sayings)
            # A section whose keys are all commented out says nothing.
            empty = {} if info.is_required() or prefix + name in ("saml", "oidc") else {"type": ["object", "null"]}
            properties[name] = {"description": here.prose} | below | empty if here.prose else below | empty
            continue
        kind = kind_of(info.annotation, tuple(info.metadata))
        if place := next((place for end, place in PLACES.items() if name.endswith(end)), None):
            kind["title"] = place
        properties[name] = _property(kind, here, has_default(info) and not here.is_example)
        if info.annotation is not None and SecretStr in _all_parts(info.annotation):
            twin = {"type": "string", "pattern": r"\S", "title": "path of a file with the secret"}
            properties[f"{name}_file"] = _property(twin, sayings[f"{prefix}{name}_file"], is_default=False)
    required = [name for name, info in model.model_fields.items() if info.is_required()]
    twins = [name for name in properties if f"{name}_file" in properties and name in model.model_fields]
    apart = {"allOf": [{"not": {"required": [name, f"{name}_file"]}} for name in twins]} if twins else {}
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
        **apart,
        **TOGETHER.get(path, {}),
    }


def has_default(info: FieldInfo) -> bool:
    """Whether something holds without the key that can be written down."""
    return not info.is_required() and info.get_default(call_default_factory=True) is not None


def _property(kind: dict[str, Any], here: Said, is_default: bool) -> dict[str, Any]:
    value = _typed(here.shown, kind)
    return {**kind, "description": here.prose, **({"default": value} if is_default else {"examples": [value]})}


def _typed(value: Any, kind: dict[str, Any]) -> Any:
    """What the example shows, which is all text, as YAML 1.2 reads it."""
    if kind.get("type") == "boolean":
        return value == "true"
    return int(value) if kind.get("type") == "integer" else value


def _all_parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _all_parts(part)
