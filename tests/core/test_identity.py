"""What a provider said becomes ours under our names: safe for a header, or refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.errors import IdentityIncomplete, IdentityUnsafe, LoginError
from passproxy.core.identity import (
    ALIASES,
    USER_ORDER,
    VALUE_LIMIT_CHARACTERS,
    AttributeRules,
    Authentication,
    extended_aliases,
    identity_from,
)
from passproxy.core.identity_headers import IdentityHeaders
from tests.core.given import NOW, examples

RULES = AttributeRules()
UNSAFE = [
    "\x00", "\x01", "\t", "\n", "\r", "\r\n", "\x0b", "\x0c", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\u2028", "\u2029",
    "\u202a", "\u202e", "\u2066", "\u2069", "\ud800", "\udcff", "\udfff",
]  # fmt: skip


def said(subject="s-1", **attributes):
    return Authentication("https://idp", subject, {name: tuple(values) for name, values in attributes.items()}, NOW)


def identity(subject="s-1", rules=RULES, **attributes):
    return identity_from(said(subject, **attributes), rules)


def test_attributes_come_under_our_names():
    found = identity(preferred_username=["alice"], mail=["a@example.com"], givenName=["Alice"], groups=["b", "a", "b"])
    assert found.attributes == {"user": "alice", "login": "alice", "email": "a@example.com", "given_name": "Alice"}
    assert found.groups == ("b", "a")
    assert (found.issuer, found.subject, found.authenticated_at) == ("https://idp", "s-1", NOW)


@pytest.mark.parametrize("name", [(ours, theirs) for ours, names in ALIASES.items() for theirs in names], ids=" ".join)
def test_every_alias_is_recognised(name):
    ours, theirs = name
    found = identity_from(Authentication("i", "s", {theirs: ("value",)}, NOW), RULES)
    assert found.groups == ("value",) if ours == "groups" else found.attributes[ours] == "value"


@pytest.mark.parametrize("ours", [ours for ours in ALIASES if ours != "groups"])
def test_the_first_alias_wins_whatever_the_order_of_the_answer(ours):
    names = ALIASES[ours]
    attributes = {name: (name,) for name in reversed(names)}
    assert identity_from(Authentication("i", "s", attributes, NOW), RULES).attributes[ours] == names[0]


def test_of_several_values_the_first_that_is_not_empty_counts():
    assert identity(mail=["", "  ", " a@example.com ", "b@example.com"]).attributes["email"] == "a@example.com"
    assert identity(mail=[""], email=["b@example.com"]).attributes["email"] == "b@example.com"
    assert "email" not in identity(mail=["", " "]).attributes


@pytest.mark.parametrize(
    ("attributes", "user"),
    [
        ({"preferred_username": ["l"], "sAMAccountName": ["a"], "upn": ["u"]}, "l"),
        ({"sAMAccountName": ["a"], "upn": ["u"], "mail": ["m"]}, "a"),
        ({"upn": ["u"], "mail": ["m"]}, "u"),
        ({"mail": ["m"], "name": ["n"]}, "s-1"),
        ({"preferred_username": [" "]}, "s-1"),
    ],
)
def test_the_user_is_what_a_person_logs_in_as(attributes, user):
    """Never the address: an address can be given to somebody else."""
    assert USER_ORDER == ("login", "account", "upn")
    assert identity(**attributes).attributes["user"] == user


@pytest.mark.parametrize("subject", ["", " ", "   "])
def test_nobody_is_refused(subject):
    with pytest.raises(IdentityIncomplete):
        identity(subject, preferred_username=["alice"])


@pytest.mark.parametrize("character", UNSAFE, ids=ascii)
@pytest.mark.parametrize("place", ["subject", "preferred_username", "mail", "displayName"])
def test_a_character_that_no_header_carries_faithfully_refuses_the_login(character, place):
    """Release blocker 6: one that is dropped while writing makes `ad?min` somebody else."""
    for value in (f"ad{character}min", f"{character}admin", f"admin{character}"):
        said_so = {"subject": value} if place == "subject" else {place: [value]}
        with pytest.raises(IdentityUnsafe) as refusal:
            identity(**said_so)
        assert "admin" not in refusal.value.detail


@pytest.mark.parametrize("character", UNSAFE, ids=ascii)
def test_such_a_group_is_dropped_and_takes_only_access_away(character):
    assert identity(groups=["ok", f"ad{character}mins", f"{character}admins", "also"]).groups == ("ok", "also")


@pytest.mark.parametrize("character", "äß漢🙂:;=\"'<>&\\%@#€\u00a0\u200b")
def test_other_characters_are_kept(character):
    assert identity(displayName=[f"a{character}b"]).attributes["name"] == f"a{character}b"


def test_values_are_bounded():
    longest = "x" * VALUE_LIMIT_CHARACTERS
    assert identity(longest, mail=[longest], groups=[longest, longest + "y", "z"]).groups == (longest, "z")
    with pytest.raises(IdentityUnsafe):
        identity(longest + "x")
    with pytest.raises(IdentityUnsafe):
        identity(mail=[longest + "x"])


# --- groups ---


@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_a_group_that_reads_as_two_is_dropped(separator):
    rules = AttributeRules(list_separator=separator)
    assert identity(rules=rules, groups=["a", f"b{separator}admins", f"{separator}admins", "c"]).groups == ("a", "c")


@pytest.mark.parametrize("group", ["", " ", " admins", "admins ", "\u00a0admins"])
def test_a_group_with_space_around_it_is_dropped(group):
    """Whoever trims the list would read another group."""
    assert identity(groups=["a", group]).groups == ("a",)


def test_groups_are_those_of_the_first_name_that_has_any():
    assert identity(**{ALIASES["groups"][0]: [], ALIASES["groups"][-1]: ["a"]}).groups == ("a",)


def test_groups_can_be_chosen_and_shortened():
    rules = AttributeRules(group_include=(re.compile("^app-"), re.compile("^ops$")), group_strip_prefix="app-")
    assert identity(rules=rules, groups=["app-a", "x-app-b", "ops", "app-", "app-a", "ops2"]).groups == ("a", "ops")


@pytest.mark.parametrize("group", ["app- admins", "app-\u00a0admins"])
def test_a_shortened_group_has_no_space_around_it_either(group):
    rules = AttributeRules(group_strip_prefix="app-")
    assert identity(rules=rules, groups=[group]).groups == ()


def test_two_groups_that_are_shortened_to_one_are_one():
    assert identity(rules=AttributeRules(group_strip_prefix="app-"), groups=["app-a", "a"]).groups == ("a",)


# --- rules ---


def test_further_names_come_after_the_built_in_ones():
    aliases = extended_aliases({"email": ["work_mail", "mail"], "login": ["short"]})
    assert aliases["email"] == (*ALIASES["email"], "work_mail")
    assert aliases["login"][-1] == "short"
    assert aliases["name"] == ALIASES["name"]
    rules = AttributeRules(aliases)
    assert identity(rules=rules, work_mail=["w"]).attributes["email"] == "w"
    assert identity(rules=rules, work_mail=["w"], mail=["m"]).attributes["email"] == "m"


def test_no_provider_name_means_two_things_of_ours():
    seen: dict[str, str] = {}
    for ours, names in ALIASES.items():
        for name in names:
            assert seen.setdefault(name, ours) == ours


_VALUES = st.lists(st.text(max_size=12), max_size=3)


@examples(200)
@given(
    st.text(max_size=12),
    st.dictionaries(
        st.sampled_from([names[0] for names in ALIASES.values()] + ["mail", "groups"]), _VALUES, max_size=6
    ),
)
def test_whatever_a_provider_says_the_header_lines_are_whole(subject, attributes):
    """Either the login is refused, or each value stands on one line and comes back from it as it was."""
    answer = Authentication("i", subject, {name: tuple(values) for name, values in attributes.items()}, NOW)
    try:
        found = identity_from(answer, RULES)
    except LoginError:
        return
    lines = IdentityHeaders().lines(found, NOW).decode("utf-8").split("\r\n")
    assert len(lines) == len(found.attributes) - ("login" in found.attributes) + 2 + bool(found.groups) + 1
    by_name = dict(line.split(": ", 1) for line in lines[:-1])
    assert by_name["X-Passproxy-Subject"] == found.subject
    assert tuple(filter(None, by_name.get("X-Passproxy-Groups", "").split(","))) == found.groups
