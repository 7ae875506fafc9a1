"""Browsers that the identity provider remembers."""

from __future__ import annotations

from passproxy.demo.sessions import LIFETIME_SECONDS, SESSION_LIMIT, Sessions, SignIn
from passproxy.demo.users import USERS


def test_the_oldest_browser_is_forgotten_first() -> None:
    sessions = Sessions()
    first = sessions.remember(SignIn(USERS[0], 0))
    others = [sessions.remember(SignIn(USERS[1], 0)) for _ in range(SESSION_LIMIT)]
    assert sessions.find(first, 0) is None
    assert sessions.find(others[0], 0) is not None


def test_a_session_ends_after_its_lifetime() -> None:
    sessions = Sessions()
    session_id = sessions.remember(SignIn(USERS[0], 100))
    assert sessions.find(session_id, 99 + LIFETIME_SECONDS) is not None
    assert sessions.find(session_id, 100 + LIFETIME_SECONDS) is None
