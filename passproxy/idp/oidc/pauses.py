"""How long to wait before what an issuer publishes is read again."""

from __future__ import annotations

#: How often descriptions and keys are read again.
REFRESH_SECONDS = 3600.0

#: Pauses after failures: 2, 4, 8 ... seconds, then every five minutes.
FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 300.0


def pause_seconds(failures: int, chance: float) -> float:
    """Before the next refresh; spread, so that a hundred instances do not ask in step. `chance` is from 0 to 1."""
    if failures == 0:
        return REFRESH_SECONDS * (0.9 + 0.2 * chance)
    doubled: float = FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16)
    return min(doubled, LAST_RETRY_SECONDS) * (0.75 + 0.5 * chance)
