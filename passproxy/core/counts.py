"""
What happened so far, in numbers: plain integers, counted up where it happens.

Counting costs a few dozen nanoseconds and is always done; what the numbers are called outside, and
that somebody may ask for them, is for web/metrics.py. Keys of a `Counter` are codes and reasons from the
source, never anything of a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

#: Upper ends of the buckets, in seconds: from a static page to a report that is computed.
LATENCY_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """How many observations fell into each bucket, the last one without an end, and their sum."""

    __slots__ = ("buckets", "ends", "sum")

    def __init__(self, ends: tuple[float, ...]) -> None:
        self.ends = ends
        self.buckets = [0] * (len(ends) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        # An end belongs to its bucket: Prometheus' `le` is "less than or equal".
        self.buckets[bisect_left(self.ends, value)] += 1
        self.sum += value


class Counts:
    """
    One for a process. Lists of answers are by the first digit of the status.

    `forwarded` with a session or a bearer token, `public` without one, and `outcomes` for all others are what became of each
    request. `tokens` and `bearers` are by configured name, `errors` by code, `sessions_refused` by reason, `logins` and `renewals` by outcome: a code,
    or a word for what went well.
    """

    __slots__ = (
        "answers",
        "bearers",
        "errors",
        "forwarded",
        "latency",
        "logins",
        "outcomes",
        "own_answers",
        "public",
        "renewals",
        "repeated",
        "sessions_refused",
        "tokens",
        "truncated",
        "turned_away",
    )

    def __init__(self) -> None:
        self.forwarded = self.public = 0
        self.outcomes: Counter[str] = Counter()
        self.answers = [0] * 6
        self.own_answers = [0] * 6
        self.latency = Histogram(LATENCY_BUCKETS_SECONDS)
        self.errors: Counter[str] = Counter()
        self.logins: Counter[str] = Counter()
        self.renewals: Counter[str] = Counter()
        self.sessions_refused: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.bearers: Counter[str] = Counter()
        self.repeated = self.truncated = self.turned_away = 0
