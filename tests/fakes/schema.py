"""
What a JSON Schema refuses, for the keywords that ours uses; any other is an error.

Ours is compared with the real validators of editors by hand; this one runs everywhere.
"""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_SAY_NOTHING = {"$schema", "title", "description", "default", "examples"}


def complaints(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """Each a dotted path and the keyword that refuses, in no order; empty where all is well."""
    found: list[str] = []
    for keyword, wanted in schema.items():
        if keyword not in _SAY_NOTHING:
            found += _refused(keyword, wanted, value, schema, path)
    return found


def _refused(keyword: str, wanted: Any, value: Any, schema: dict[str, Any], path: str) -> list[str]:
    here = [f"{path}: {keyword}"]
    match keyword:
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            return [] if any(_is_a(value, kind) for kind in kinds) else here
        case "enum":
            return [] if value in wanted else here
        case "const":
            return [] if value == wanted else here
        case "pattern":
            return [] if not isinstance(value, str) or re.search(wanted, value) else here
        case "minimum":
            return here if _is_a(value, "number") and value < wanted else []
        case "maximum":
            return here if _is_a(value, "number") and value > wanted else []
        case "anyOf" | "oneOf":
            count = sum(not complaints(value, each) for each in wanted)
            return [] if count == 1 or (count and keyword == "anyOf") else here
        case "allOf":
            return [each for below in wanted for each in complaints(value, below, path)]
        case "not":
            return [] if complaints(value, wanted) else here
    return _refused_parts(keyword, wanted, value, schema, path)


def _refused_parts(keyword: str, wanted: Any, value: Any, schema: dict[str, Any], path: str) -> list[str]:
    if keyword == "items":
        return (
            [each for item in value for each in complaints(item, wanted, f"{path}[]")] if _is_a(value, "array") else []
        )
    if not isinstance(value, dict):
        return []
    match keyword:
        case "required":
            return [f"{path}.{name}: required" for name in wanted if name not in value]
        case "properties":
            return [e for n, below in wanted.items() if n in value for e in complaints(value[n], below, f"{path}.{n}")]
        case "additionalProperties":
            more = value.keys() - schema.get("properties", {}).keys()
            if wanted is False:
                return [f"{path}.{name}: unknown" for name in more]
            return [each for name in more for each in complaints(value[name], wanted, f"{path}.{name}")]
        case "propertyNames":
            return [each for name in value for each in complaints(name, wanted, f"{path}.{name}")]
        case "dependencies":
            return [
                f"{path}.{n}: needed" for k, needed in wanted.items() if k in value for n in needed if n not in value
            ]
    raise AssertionError(f"{keyword}: not known here")


def _is_a(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
