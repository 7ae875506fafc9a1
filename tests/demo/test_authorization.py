"""What an authorization request must have, and when it asks for a password."""

from __future__ import annotations

import pytest

from passproxy.demo.authorization import Client, authorization_request
from passproxy.demo.refusals import Answerable, Unanswerable
from passproxy.demo.sessions import SignIn
from passproxy.demo.users import USERS

CLIENT = Client("id", "secret", "https://app.example/callback", "https://app.example/out")
FIELDS = {
    "client_id": "id",
    "redirect_uri": "https://app.example/callback",
    "response_type": "code",
    "scope": "openid email offline_access",
    "state": "s",
    "nonce": "n",
    "code_challenge": "c" * 43,
    "code_challenge_method": "S256",
}


def test_scopes_that_are_not_offered_are_left_out() -> None:
    assert authorization_request(FIELDS, CLIENT).scopes == {"openid", "email"}


def test_who_asks_is_judged_before_what_is_asked() -> None:
    """An error must never be sent to an address that nobody registered."""
    with pytest.raises(Unanswerable):
        authorization_request({"redirect_uri": "https://evil.example/"}, CLIENT)
    with pytest.raises(Answerable):
        authorization_request({"client_id": "id", "redirect_uri": CLIENT.redirect_uri}, CLIENT)


@pytest.mark.parametrize(
    ("changes", "signed_in_at", "needed"),
    [
        pytest.param({}, None, True, id="nobody is signed in"),
        pytest.param({}, 0, False, id="somebody is"),
        pytest.param({"prompt": "login"}, 1000, True, id="the password is asked for"),
        pytest.param({"prompt": "consent select_account"}, 1000, True, id="another user may be chosen"),
        pytest.param({"prompt": "none"}, 0, False, id="silence is asked for"),
        pytest.param({"max_age": "60"}, 941, False, id="young enough"),
        pytest.param({"max_age": "60"}, 939, True, id="too old"),
        pytest.param({"max_age": "0"}, 999, True, id="no age is young enough"),
    ],
)
def test_a_password_is_needed(changes: dict[str, str], signed_in_at: float | None, needed: bool) -> None:
    sign_in = None if signed_in_at is None else SignIn(USERS[0], signed_in_at)
    assert authorization_request({**FIELDS, **changes}, CLIENT).needs_password(sign_in, 1000) is needed
