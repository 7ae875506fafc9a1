"""
JSON objects that every reader understands alike (RFC 7493, I-JSON).

Two members of one name, lone surrogates, NaN, other encodings than UTF-8 and
deep nesting are refused: what one parser judged and the next one passed on
would differ. Whether the members mean anything is for the caller to judge.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

#: A claim has three levels at most in practice (Keycloak's resource_access).
DEPTH_LIMIT = 16


class JsonRefused(ValueError):
    """Not one unambiguous JSON object. The message quotes nothing of it."""


def json_object(document: bytes) -> dict[str, Any]:
    """
    The one object that the document is.

    Raises:
        JsonRefused: for anything else.
    """
    try:
        # From text: given bytes, json.loads would guess UTF-16 and UTF-32 as well.
        read = json.loads(document.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse_constant)
        _check_strings(read, DEPTH_LIMIT)
    except JsonRefused:
        raise
    except UnicodeError:
        raise JsonRefused("text that is not valid Unicode") from None
    except RecursionError:
        raise JsonRefused("nested too deeply") from None
    except ValueError:
        # Numbers of thousands of digits end here too (sys.int_info).
        raise JsonRefused("not JSON") from None
    if not isinstance(read, dict):
        raise JsonRefused("JSON, but not an object")
    return read


def _distinct(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise JsonRefused("a member is repeated")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise JsonRefused("NaN or Infinity")


def _check_strings(value: Any, depth: int) -> None:
    # "ad\udcffmin" survives until somebody writes it with errors ignored: as "admin".
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise JsonRefused("nested too deeply")
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_strings(inner, depth - 1)
