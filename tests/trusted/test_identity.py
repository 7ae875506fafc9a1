"""An identity is made of claims, whatever the proxy calls them."""

from __future__ import annotations

from typing import Any

import pytest

from passproxy.trusted.errors import ClaimWrong
from passproxy.trusted.identity import ClaimNames, Identity, identity_from

NAMES = ClaimNames()


def identity(**claims: Any) -> Identity:
    return identity_from({"iss": "https://idp.example.com", "sub": "7", **claims}, NAMES, 99)


def test_the_first_claim_that_has_a_value_wins() -> None:
    assert identity().user == "7"
    assert identity(email="a@example.com").user == "a@example.com"
    assert identity(email="a@example.com", preferred_username="alice").user == "alice"
    assert identity(email="a@example.com", preferred_username="").user == "a@example.com"


@pytest.mark.parametrize("marked", [False, "false"])
def test_an_address_that_is_not_verified_is_nobodys(marked: Any) -> None:
    found = identity(email="root@example.com", email_verified=marked)
    assert found.email == ""
    assert found.user == "7"
    assert found.claims["email"] == "root@example.com"


def test_an_address_counts_when_nothing_is_said_about_it() -> None:
    assert identity(email="a@example.com").email == "a@example.com"
    assert identity(email="a@example.com", email_verified=True).email == "a@example.com"


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        (["staff", "ops"], ("staff", "ops")),
        ("staff", ("staff",)),
        (["staff", 7, None, "", ["ops"]], ("staff",)),
        ({"staff": True}, ()),
        (None, ()),
    ],
)
def test_groups_are_texts(claim: Any, groups: tuple[str, ...]) -> None:
    assert identity(groups=claim).groups == groups


def test_values_of_another_type_are_not_made_into_texts() -> None:
    found = identity(name={"given": "Alice"}, email=["a@example.com"])
    assert (found.name, found.email) == ("", "")


@pytest.mark.parametrize("subject", [None, "", 7, ["7"]])
def test_nobody_is_refused(subject: Any) -> None:
    with pytest.raises(ClaimWrong):
        identity(sub=subject)


def test_an_identity_cannot_be_changed_and_does_not_print_its_claims() -> None:
    found = identity(phone="+49 30 1234")
    with pytest.raises(AttributeError):
        found.user = "admin"  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.claims["sub"] = "admin"  # type: ignore[index]
    assert "1234" not in repr(found)
