"""Pauses grow after failures, and no two instances wait equally long."""

from __future__ import annotations

import pytest

from passproxy.idp.oidc.pauses import LAST_RETRY_SECONDS, REFRESH_SECONDS, pause_seconds


@pytest.mark.parametrize(
    ("failures", "shortest", "longest"),
    [
        (0, 0.9 * REFRESH_SECONDS, 1.1 * REFRESH_SECONDS),
        (1, 1.5, 2.5),
        (2, 3, 5),
        (3, 6, 10),
        (50, 0.75 * LAST_RETRY_SECONDS, 1.25 * LAST_RETRY_SECONDS),
        (10**9, 0.75 * LAST_RETRY_SECONDS, 1.25 * LAST_RETRY_SECONDS),
    ],
)
def test_pauses_grow_and_differ(failures: int, shortest: float, longest: float) -> None:
    assert pause_seconds(failures, 0.0) == pytest.approx(shortest)
    assert pause_seconds(failures, 1.0) == pytest.approx(longest)
