"""
How fresh what is held of an identity provider is, for those who watch. Values; nothing is asked here.
"""

from __future__ import annotations

from dataclasses import dataclass

from passproxy.core.errors import LoginError


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What is held of the identity provider's description. Times are seconds since the epoch.

    It `is_known` from the provider, or from an earlier run. `confirmed_at` is when the provider last gave
    it to this process, None for never; `failures` counts the attempts since then, and `failure` is the code
    of the last of them. `signing_keys` may sign its answers; the last certificate among them ends at
    `keys_expire_at`, None where keys have no end.
    """

    is_known: bool
    confirmed_at: float | None
    failures: int
    failure: str | None
    signing_keys: int
    keys_expire_at: float | None


class Freshness:
    """Remembers how attempts to obtain a description went."""

    def __init__(self) -> None:
        self._confirmed_at: float | None = None
        self._failures = 0
        self._failure: str | None = None

    def confirmed(self, now: float) -> None:
        self._confirmed_at, self._failures, self._failure = now, 0, None

    def failed(self, error: LoginError) -> None:
        self._failures += 1
        self._failure = error.code

    def standing(self, *, is_known: bool, signing_keys: int, keys_expire_at: float | None = None) -> Standing:
        return Standing(is_known, self._confirmed_at, self._failures, self._failure, signing_keys, keys_expire_at)
