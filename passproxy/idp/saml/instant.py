"""
Times as SAML writes them (Core 1.3.3): xs:dateTime in UTC with a final Z.

Stricter than xs:dateTime, which also knows offsets, leap seconds and years of
five digits: what python3-saml cannot read is not accepted here either.
"""

from __future__ import annotations

import re
from datetime import datetime

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.\d{1,12})?Z", re.ASCII)


def seconds(instant: str) -> float:
    """
    Since the epoch; fractions are dropped.

    Raises:
        ValueError: not of that form, or no such time.
    """
    match = _INSTANT.fullmatch(instant)
    if not match:
        raise ValueError("not a time in UTC with a final Z")
    return datetime.fromisoformat(match[1] + "+00:00").timestamp()
