"""The people of the demo."""

from __future__ import annotations

import pytest

from passproxy.demo.users import USERS, user_with


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.login)
def test_a_name_with_its_password_is_its_user(user) -> None:
    assert user_with(user.login, user.password) is user


@pytest.mark.parametrize(
    ("login", "password"),
    [("alice", "bob"), ("alice", ""), ("alice", "älice"), ("ALICE", "alice"), ("", ""), ("carol", "carol")],
)
def test_any_other_pair_is_nobody(login: str, password: str) -> None:
    assert user_with(login, password) is None


def test_no_identifier_gives_the_login_name_away() -> None:
    assert len({user.subject for user in USERS}) == len(USERS)
    assert all(user.login not in user.subject for user in USERS)
