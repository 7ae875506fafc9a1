"""
Which of several rules covers a request first: once for each reading of its path, and remembered.

A rule is a number here, with its patterns and methods. What it says is policy.py's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from passproxy.core.readings import is_plain, readings
from passproxy.core.routing import Routes

#: Requests whose rules are remembered, by method and path, and their longest path. About as many
#: addresses as an application has that are asked for again and again.
REMEMBERED_LIMIT = 4096
REMEMBERED_LIMIT_BYTES = 256

#: Numbers of rules in order. All but the last are narrowed: they cover some clients only.
Chain = tuple[int, ...]


class Covered(NamedTuple):
    """What a rule covers; no methods mean all of them."""

    number: int
    patterns: tuple[str, ...]
    methods: tuple[str, ...]
    is_narrowed: bool


class Order:
    """Rules in their order; the last of them covers everything, whatever its patterns."""

    def __init__(self, rules: Sequence[Covered]) -> None:
        *listed, default = rules
        self._exact = _Spelling(listed, default.number, is_folded=False)
        self._folded = _Spelling(listed, default.number, is_folded=True)
        patterns = [pattern for rule in listed for pattern in rule.patterns]
        self._folds_always = any(pattern != pattern.lower() or pattern[1:].endswith("/") for pattern in patterns)
        self._known: dict[tuple[bytes, bytes], tuple[Chain, ...]] = {}

    def chains(self, method: bytes, path: bytes) -> tuple[Chain, ...]:
        """
        The rules that cover a request, once for each reading that is covered differently.

        Raises:
            TargetUnreadable: the path has too many readings.
        """
        return self._known.get((method, path)) or self._found(method, path)

    def chain(self, method: bytes, path: bytes) -> Chain:
        """The rules that cover a path exactly as it is."""
        return self._exact.chain(method, path)

    def read(self, method: bytes, path: bytes) -> Iterator[tuple[bytes, Chain]]:
        """Each reading with its rules, the path as it came first; raises as `chains` does."""
        plain = is_plain(path)
        for reading in (path,) if plain else readings(path):
            yield reading, self.chain(method, reading)
            # For applications that do not distinguish case, or a slash at the end.
            if not plain or self._folds_always:
                folded = reading.lower()
                yield folded, self._folded.chain(method, folded)

    def _found(self, method: bytes, path: bytes) -> tuple[Chain, ...]:
        chains = tuple(dict.fromkeys(chain for _, chain in self.read(method, path)))
        if len(path) <= REMEMBERED_LIMIT_BYTES:
            if len(self._known) >= REMEMBERED_LIMIT:
                self._known.clear()
            self._known[method, path] = chains
        return chains


class _Spelling:
    """The rules in one of two spellings: as they are written, or folded."""

    def __init__(self, rules: Sequence[Covered], default: int, *, is_folded: bool) -> None:
        def routes(*chosen: Covered) -> Routes:
            return Routes([(rule.patterns, rule.methods) for rule in chosen], is_folded=is_folded)

        settled = [rule for rule in rules if not rule.is_narrowed]
        narrowed = [rule for rule in rules if rule.is_narrowed]
        self._default = default
        self._numbers = [rule.number for rule in settled]
        self._settled = routes(*settled)
        self._any_narrowed = routes(*narrowed) if narrowed else None
        self._narrowed = [(rule.number, routes(rule)) for rule in narrowed]

    def chain(self, method: bytes, path: bytes) -> Chain:
        found = self._settled.first(method, path)
        last = self._default if found is None else self._numbers[found]
        if self._any_narrowed is None or self._any_narrowed.first(method, path) is None:
            return (last,)
        before = (n for n, routes in self._narrowed if n < last and routes.first(method, path) is not None)
        return (*before, last)
