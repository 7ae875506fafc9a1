"""Which references to groups are followed, and what a page of groups may be; whole logins are in test_provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.idp.fetch import Answer
from passproxy.idp.oidc.errors import GroupsRefused
from passproxy.idp.oidc.overage import group_source, is_permitted, page_from

URL = "https://graph.example/v1.0/users/1/getMemberObjects"


def referring(**overlay: Any) -> dict[str, Any]:
    return {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": URL}}, **overlay}


def page(body: object, status: int = 200, content_type: str = "application/json") -> Answer:
    return Answer(status, content_type, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_reference_is_found():
    assert group_source(referring(), {}) == ("groups", URL)
    assert group_source(referring(groups=[], _claim_names={"roles": "src1"}), {}) == ("roles", URL)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"_claim_names": {"groups": "src1"}},
        {"hasgroups": True},
        referring(groups=["a"]),
        referring(memberOf=["a"]),
        referring(_claim_names={"payment": "src1"}),
        referring(_claim_names=["groups"]),
        referring(_claim_names={"groups": ["src1"]}),
        referring(_claim_names={"groups": "src2"}),
        referring(_claim_sources=[URL]),
        referring(_claim_sources={"src1": URL}),
        referring(_claim_sources={"src1": {"endpoint": [URL]}}),
        referring(_claim_sources={"src1": {"JWT": "a.b.c"}}),
    ],
)
def test_anything_else_is_no_reference(claims):
    assert group_source(claims, {}) is None


def test_a_reference_of_userinfo_is_none():
    assert group_source({}, referring()) is None


@pytest.mark.parametrize("permitted", [URL, "https://graph.example/", "https://graph.example/v1.0/users/"])
def test_an_address_is_permitted_whole_or_below_a_slash(permitted):
    assert is_permitted(URL, ("https://other.example/", permitted))


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "https://graph.example", "https://graph.example/v1.0/users", "https://graph.example/v1.0/users2/1",
        "https://graph.example/v1.0/users/../../evil", "https://graph.example/v1.0/users/./1",
        "https://graph.example/v1.0/users/%2e%2e/evil", "https://graph.example/v1.0/users/1?x=y",
        "https://graph.example/v1.0/users/1#x", "https://graph.example/v1.0/users/\\evil",
        "https://graph.example/v1.0/users/\r\nX: y", "https://graph.example/v1.0/users/" + "x" * 1001,
        "http://graph.example/v1.0/users/1", "HTTPS://graph.example/v1.0/users/1", "https://graph.example.evil/v1.0/users/1",
        "https://graph.example@evil.example/v1.0/users/1", "https://graph.example:8443/v1.0/users/1",
        "https://exact.example/groups/", "https://exact.example/groupsevil", "file:///v1.0/users/1",
    ],
)  # fmt: skip
def test_no_other_address_is_permitted(endpoint):
    assert not is_permitted(endpoint, ("https://graph.example/v1.0/users/", "https://exact.example/groups"))


def test_nothing_is_permitted_by_nothing():
    assert not is_permitted(URL, ())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"value": ["a", "b"]}, (["a", "b"], None)),
        ({"value": [], "@odata.context": "x", "@odata.nextLink": None}, ([], None)),
        ({"value": ["a"], "@odata.nextLink": f"{URL}?$skiptoken=x%20y"}, (["a"], f"{URL}?$skiptoken=x%20y")),
    ],
)
def test_a_page_is_read(body, expected):
    assert page_from(page(body), URL) == expected


@pytest.mark.parametrize(
    "bad",
    [
        *(
            pytest.param(page({"value": value}), id=f"value {value!r}")
            for value in (None, "a", {}, [1], [["a"]], [{"id": "a"}], ["a", None], [""])
        ),
        *(
            pytest.param(page({"value": [], "@odata.nextLink": url}), id=f"next page at {url!r:.50}")
            for url in (
                "", URL, URL + "?", 7, [URL + "?a"], "https://evil.example/?a", URL + "/x?a", URL + "?a\r\nb",
                URL + "?a#b", URL + "?" + "a" * 4097, "http" + URL[5:] + "?a",
            )
        ),
        pytest.param(page({}), id="no value"),
        pytest.param(page(["a"]), id="a list"),
        pytest.param(page(b'{"value":["a"],"value":["admins"]}'), id="two values"),
        pytest.param(page({"value": ["a"]}, 201), id="another status"),
        pytest.param(page({"error": {"code": "Authorization_RequestDenied"}}, 403), id="a refusal"),
        pytest.param(page({"value": ["a"]}, content_type="text/html"), id="a page for people"),
    ],
)  # fmt: skip
def test_another_answer_is_refused(bad):
    with pytest.raises(GroupsRefused):
        page_from(bad, URL)
