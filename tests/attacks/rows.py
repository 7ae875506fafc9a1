"""
Which rows of the attack catalogue have a test: `rows.txt` names the rows, tests name theirs.

A test is one of a row when the row's ID is in its name, `test_sem_28_...`, or among its parameters,
`[SEM-28 a sentence]`. What is deliberately treated otherwise is said row by row in docs/security.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROWS_FILE = Path(__file__).with_name("rows.txt")
SECURITY = Path(__file__).resolve().parents[2] / "docs" / "security.md"

_ID = re.compile(
    r"(?<![A-Za-z0-9])(SAML|SEM|XML|SLO|OIDC|JWT|CK|HDR|PATH|HTTP|WS|LF|XSS|LOG|INFO|DOS|SSRF|CLK|PT|CFG|SC)[-_](\d{2})(?!\d)",
    re.IGNORECASE,
)


def ids_in(text: str) -> set[str]:
    return {f"{kind.upper()}-{number}" for kind, number in _ID.findall(text)}


def rows() -> dict[str, str]:
    """ID -> title of every row."""
    lines = (line.partition(" ") for line in ROWS_FILE.read_text("utf-8").splitlines() if line[:1] not in ("", "#"))
    return {name: title for name, _, title in lines}


def covered_by(node_ids: Iterable[str]) -> set[str]:
    """The rows of these tests."""
    return {row for node_id in node_ids if "tests/attacks/" in node_id for row in ids_in(node_id.partition("::")[2])}


#: Kinds of rows whose cases are bytes on a connection, and the files in which some have no ID of their own.
WIRE = {
    "HTTP": ("requests and answers", "test_smuggling.py"),
    "WS": ("WebSockets", "test_websocket.py"),
    "PATH": ("paths", "test_paths.py"),
    "HDR": ("identity headers", "test_spoofed_headers.py"),
}


def wire_kind(node_id: str) -> str | None:
    """Which of these kinds a test of the attacks belongs to."""
    path, _, name = node_id.partition("::")
    if "tests/attacks/" not in path:
        return None
    kinds = {row.partition("-")[0] for row in ids_in(name)}
    return next((kind for kind, (_, file) in WIRE.items() if kind in kinds or path.endswith(f"/{file}")), None)


def explained() -> dict[str, str]:
    """The rows that the page about security says are treated otherwise, and its reason."""
    table = SECURITY.read_text("utf-8").partition("Rows of the attack catalogue")[2]
    found = re.findall(r"^\| ([A-Z]+-\d{2}) \| ([^|]+) \|", table, re.MULTILINE)
    return {row: reason.strip() for row, reason in found}
