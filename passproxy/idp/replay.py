"""
Which assertions were used, so that none is used twice (SAML Profiles 4.1.4.5).

In memory and bounded: an assertion is remembered for as long as it could be
used again. It knows nothing of other replicas; there the login's own proof,
which is bound to one browser, limits what a copy is good for.
"""

from __future__ import annotations

import hashlib

#: Six minutes of three hundred logins a second. Each takes some 150 bytes.
REPLAY_LIMIT = 100_000

_SWEEP_SECONDS = 60.0


class ReplayCache:
    def __init__(self, limit: int = REPLAY_LIMIT) -> None:
        self._limit = limit
        self._used: dict[bytes, tuple[float, float]] = {}
        self._next_sweep = 0.0

    def is_full(self) -> bool:
        """Then nothing further may be spent: forgetting an entry would let its assertion in again."""
        return len(self._used) >= self._limit

    def spend(self, issuer: str, assertion_id: str, until: float, now: float, monotonic: float) -> bool:
        """
        Whether this assertion was unused and there was room to remember it; it is used from now on.

        `until` and `now` are wall time. An entry goes when both clocks say so: a
        wall clock that jumps ahead and back would revive it otherwise (CLK-02).
        """
        self._sweep(now, monotonic)
        key = hashlib.sha256(f"{len(issuer)}:{issuer}{assertion_id}".encode()).digest()
        if key in self._used or self.is_full():
            return False
        self._used[key] = (until, monotonic + max(0.0, until - now))
        return True

    def _sweep(self, now: float, monotonic: float) -> None:
        if monotonic < self._next_sweep and not self.is_full():
            return
        self._next_sweep = monotonic + _SWEEP_SECONDS
        self._used = {
            key: (wall, steady) for key, (wall, steady) in self._used.items() if wall > now or steady > monotonic
        }
