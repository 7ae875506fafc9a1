"""What is told of the freshness of a description, after successes and failures."""

from __future__ import annotations

from passproxy.core.errors import IdpUnavailable, LoginError
from passproxy.idp.standing import Freshness


def test_nothing_was_obtained_in_the_beginning():
    standing = Freshness().standing(is_known=False, signing_keys=0)
    assert (standing.is_known, standing.confirmed_at, standing.failures, standing.failure) == (False, None, 0, None)


def test_failures_are_counted_until_the_next_success():
    freshness = Freshness()
    freshness.confirmed(100.0)
    freshness.failed(LoginError("x"))
    freshness.failed(IdpUnavailable("y"))
    standing = freshness.standing(is_known=True, signing_keys=2, keys_expire_at=900.0)
    assert (standing.confirmed_at, standing.failures, standing.failure) == (100.0, 2, "PP-IDP-UNAVAILABLE")
    assert (standing.signing_keys, standing.keys_expire_at) == (2, 900.0)
    freshness.confirmed(200.0)
    standing = freshness.standing(is_known=True, signing_keys=2)
    assert (standing.confirmed_at, standing.failures, standing.failure) == (200.0, 0, None)
