"""What is counted up, and into which bucket an observation falls."""

from __future__ import annotations

import pytest

from passproxy.core.counts import LATENCY_BUCKETS_SECONDS, Counts, Histogram


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.0, 0), (0.9, 0), (1.0, 0), (1.1, 1), (2.0, 1), (2.1, 2), (1e9, 2), (-1.0, 0)]
)
def test_an_end_belongs_to_its_bucket_and_the_last_bucket_has_none(value, bucket):
    histogram = Histogram((1.0, 2.0))
    histogram.observe(value)
    assert histogram.buckets == [int(number == bucket) for number in range(3)]


def test_observations_add_up():
    histogram = Histogram(LATENCY_BUCKETS_SECONDS)
    for value in (0.001, 0.5, 100.0):
        histogram.observe(value)
    assert (sum(histogram.buckets), histogram.sum) == (3, 100.501)


def test_buckets_ascend():
    assert list(LATENCY_BUCKETS_SECONDS) == sorted(set(LATENCY_BUCKETS_SECONDS))


def test_everything_begins_with_nothing():
    counts = Counts()
    assert (counts.forwarded, counts.public, sum(counts.answers), counts.errors["PP-X"]) == (0, 0, 0, 0)
    assert len(counts.answers) > 599 // 100
