"""How claims become attributes, and which of them must be read exactly or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from passproxy.idp.oidc.claims import attributes_from
from passproxy.idp.oidc.errors import GroupsRefused


def attributes(
    id_token: dict[str, Any], userinfo: dict[str, Any] | None = None, allow_unverified_email: bool = False
) -> dict[str, tuple[str, ...]]:
    return attributes_from(id_token, userinfo or {}, allow_unverified_email=allow_unverified_email)


@pytest.mark.parametrize(
    ("value", "values"),
    [
        pytest.param("a", ("a",), id="a text"),
        pytest.param("a,b c", ("a,b c",), id="a text with separators"),
        pytest.param(7, ("7",), id="a number"),
        pytest.param(1.5, ("1.5",), id="a fraction"),
        pytest.param(True, ("true",), id="a truth value"),
        pytest.param(["a", "b"], ("a", "b"), id="a list"),
        pytest.param([7, "b", False], ("7", "b", "false"), id="a mixed list"),
    ],
)
def test_a_plain_value_becomes_an_attribute(value, values):
    assert attributes({"x": value}) == {"x": values}


@pytest.mark.parametrize(
    "value", [None, "", [], {}, {"roles": ["a"]}, ["a", ["b"]], ["a", None], [{}], float("inf"), [""]]
)
def test_a_value_without_a_plain_form_is_left_out(value):
    assert attributes({"x": value}) == {}


def test_claims_about_the_token_are_no_attributes():
    assert attributes({"iss": "x", "sub": "1", "aud": "a", "exp": 1, "nonce": "n", "at_hash": "h", "name": "A"}) == {
        "name": ("A",)
    }


def test_the_id_token_goes_before_userinfo():
    assert attributes({"name": "A"}, {"name": "B", "phone": "1"}) == {"name": ("A",), "phone": ("1",)}


@pytest.mark.parametrize("verified", [False, "false", "False", " FALSE ", 0, None, "no", []])
@pytest.mark.parametrize("is_in_id_token", [True, False])
def test_an_unverified_address_is_dropped(verified, is_in_id_token):
    said = {"email": "victim@example.com", "mail": "victim@example.com", "name": "A"}
    flag = {"email_verified": verified}
    found = attributes({**said, **flag}) if is_in_id_token else attributes(said, flag)
    assert "email" not in found
    assert "mail" not in found
    assert found["name"] == ("A",)


@pytest.mark.parametrize("flag", [{}, {"email_verified": True}, {"email_verified": "true"}, {"email_verified": "True"}])
def test_an_address_is_kept_when_nobody_calls_it_unverified(flag):
    assert attributes({"email": "a@example.com", **flag})["email"] == ("a@example.com",)


def test_an_unverified_address_is_kept_when_the_configuration_says_so():
    found = attributes({"email": "a@example.com", "email_verified": False}, allow_unverified_email=True)
    assert found["email"] == ("a@example.com",)


@pytest.mark.parametrize(
    ("groups", "values"),
    [
        pytest.param("admins", ("admins",), id="one text"),
        pytest.param("users admins", ("users admins",), id="a text with a space is one group"),
        pytest.param("users,admins", ("users,admins",), id="a text with a comma is one group"),
        pytest.param(["a", "b"], ("a", "b"), id="a list"),
        pytest.param(["", "a"], ("", "a"), id="an empty name, which is sorted out later"),
        pytest.param([str(n) for n in range(5000)], tuple(str(n) for n in range(5000)), id="five thousand"),
    ],
)
def test_groups_are_read_exactly(groups, values):
    assert attributes({"groups": groups}) == {"groups": values}


@pytest.mark.parametrize("groups", [{}, {"admins": 1}, [["admins"]], ["a", 7], ["a", None], 7, True, False, 0, [{}]])
@pytest.mark.parametrize("name", ["groups", "roles", "memberOf"])
def test_groups_in_another_form_are_refused(name, groups):
    with pytest.raises(GroupsRefused):
        attributes({name: groups})
    with pytest.raises(GroupsRefused):
        attributes({}, {name: groups})


def test_a_strange_value_under_a_name_that_is_not_used_does_no_harm():
    assert attributes({"groups": ["a"], "roles": {"b": {}}}) == {"groups": ("a",)}


@pytest.mark.parametrize("groups", [None, [], ""])
def test_no_groups_are_no_groups(groups):
    assert attributes({"groups": groups}) == {}


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(
            {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}}, id="Entra ID"
        ),
        pytest.param({"hasgroups": True}, id="Entra ID, short form"),
        pytest.param({"_claim_names": {"roles": "src1"}}, id="roles"),
        pytest.param({"_claim_names": ["groups"]}, id="a list of names"),
        pytest.param({"_claim_names": "groups"}, id="a text"),
        pytest.param({"_claim_names": {"groups": "src1"}, "groups": []}, id="beside an empty list"),
    ],
)
def test_groups_that_are_only_referred_to_are_refused(claims):
    with pytest.raises(GroupsRefused):
        attributes(claims)


def test_a_reference_does_no_harm_when_the_groups_came_or_it_is_about_something_else():
    assert attributes({"_claim_names": {"groups": "s"}}, {"groups": ["a"]}) == {"groups": ("a",)}
    assert attributes({"_claim_names": {"payment": "s"}, "name": "A"}) == {"name": ("A",)}
