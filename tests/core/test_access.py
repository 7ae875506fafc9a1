"""From the access section to a policy: what is written, what holds, and what is refused at the start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.core.access import attribute_rules_of, policy_of, trusts_of
from passproxy.core.config import settings_from
from passproxy.core.errors import ConfigError
from passproxy.core.identity import Authentication, identity_from
from passproxy.core.plain import settings_from_plain, written
from passproxy.core.policy import Outcome
from passproxy.core.settings import RULES_LIMIT, Settings
from tests.core.policy_cases import BASIS

RULE = {"name": "r", "path": "/x"}


def settings(access: dict[str, Any], **sections: Any) -> Settings:
    return settings_from(json.dumps({**BASIS, "access": access, **sections}), "test.yaml", {}, lambda path: "")


def problems(access: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(access)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("access", "complaint"),
    [
        ({"default": "permit"}, "access.default: must be 'allow', 'authenticate' or 'deny'"),
        ({"rules": [{"path": "/x"}]}, "access.rules[0].name: missing"),
        ({"rules": [{"name": "r"}]}, "access.rules[0]: needs exactly one of path and paths"),
        ({"rules": [{**RULE, "paths": ["/y"]}]}, "exactly one of path and paths"),
        ({"rules": [RULE, RULE]}, "access: two rules are named r"),
        ({"rules": [{**RULE, "name": "access.default"}]}, "names that begin like keys"),
        ({"rules": [{**RULE, "name": "a\nb"}]}, "printable characters only"),
        ({"rules": [{**RULE, "name": "x" * 65}]}, "64 at most"),
        ({"rules": [{**RULE, "name": " "}]}, "must not be empty"),
        ({"rules": [{**RULE, "path": "x"}]}, "access.rules[0].path: a path pattern starts with /"),
        ({"rules": [{**RULE, "path": "/x%2f"}]}, "only literal characters"),
        ({"rules": [{**RULE, "path": "/.passproxy/userinfo"}]}, "/.passproxy/ is PassProxy's own"),
        ({"rules": [{**RULE, "methods": []}]}, "access.rules[0].methods"),
        ({"rules": [{**RULE, "methods": ["get"]}]}, "a request method such as GET"),
        ({"rules": [{**RULE, "method": ["GET"]}]}, "access.rules[0].method: unknown key; did you mean methods?"),
        ({"rules": [{**RULE, "networks": ["10.0.0.0/8"]}]}, "access.rules[0].networks: unknown key"),
        ({"rules": [{**RULE, "from": ["ten"]}]}, "access.rules[0].from[0]: not an address or network"),
        ({"rules": [{**RULE, "action": "refuse"}]}, "access.rules[0].action"),
        ({"rules": [{**RULE, "require_any_group": []}]}, "access.rules[0].require_any_group"),
        ({"rules": [{**RULE, "require_any_group": [""]}]}, "must not be empty"),
        ({"rules": [{**RULE, "require_any_role": ["boss"]}]}, "requires a role that access.roles does not have"),
        ({"rules": [{**RULE, "require_attribute": {"mail": ["x"]}}]}, "access.rules[0].require_attribute.mail"),
        ({"rules": [{**RULE, "require_attribute": {"email": []}}]}, "access.rules[0].require_attribute.email"),
        ({"rules": [{**RULE, "require_attribute": {"email": ["*"]}}]}, "*@example.com"),
        ({"rules": [{**RULE, "require_attribute": {"email": ["*example.com"]}}]}, "*@example.com"),
        ({"rules": [{**RULE, "require_attribute": {"email": ["a*@example.com"]}}]}, "*@example.com"),
        ({"rules": [{**RULE, "action": "deny", "require_any_group": ["a"]}]}, "action deny asks nobody who they are"),
        ({"rules": [{**RULE, "action": "allow", "require_attribute": {"email": ["a@b"]}}]}, "action allow asks nobody"),
        ({"rules": [{"name": "r", "path": "/**", "action": "allow"}]}, "this would open the whole application"),
        ({"rules": ["/x"]}, "access.rules[0]: must be a section"),
        ({"roles": {"a,b": ["c"]}}, "a role is named without"),
        ({"roles": {"a": []}}, "access.roles.a"),
        ({"default": "allow", "require_any_group": ["a"]}, "contradict each other"),
        ({"rules": [{"name": f"r{n}", "path": "/x"} for n in range(RULES_LIMIT + 1)]}, f"{RULES_LIMIT}"),
    ],
)
def test_a_mistake_is_refused_at_the_start_and_named(access: dict[str, Any], complaint: str) -> None:
    assert complaint in problems(access)


def test_as_many_rules_as_the_limit_says_are_fine() -> None:
    rules = [{"name": f"r{n}", "path": f"/area-{n}/**"} for n in range(RULES_LIMIT)]
    policy = policy_of(settings({"rules": rules}))
    assert policy.judge(b"GET", b"/area-499/x", 0, lambda: "").rule.name == "r499"


def test_one_name_is_enough_for_a_list_and_all_methods_are_meant_where_none_is_named() -> None:
    policy = policy_of(settings({"rules": [{**RULE, "require_any_group": "ops"}]}))
    for method in (b"GET", b"PROPFIND", b"DELETE"):
        assert policy.judge(method, b"/x", 0, lambda: "").outcome == Outcome.UNMET


def test_everything_may_be_opened_for_a_network() -> None:
    access = {"rules": [{"name": "inside", "path": "/**", "action": "allow", "from": ["10.0.0.0/8"]}]}
    policy = policy_of(settings(access))
    assert policy.judge(b"GET", b"/x", None, lambda: "10.0.0.1").outcome == Outcome.ALLOW
    assert policy.judge(b"GET", b"/x", None, lambda: "11.0.0.1").outcome == Outcome.AUTHENTICATE


def test_rules_may_come_from_the_environment() -> None:
    environment = {
        "PASSPROXY_ACCESS_DEFAULT": "deny",
        "PASSPROXY_ACCESS_RULES": '[{"name": "r", "path": "/x", "require_any_role": ["boss"]}]',
        "PASSPROXY_ACCESS_ROLES": '{"boss": ["board"]}',
    }
    policy = policy_of(settings_from(json.dumps(BASIS), "test.yaml", environment, lambda path: ""))
    assert policy.judge(b"GET", b"/y", 1, lambda: "").outcome == Outcome.DENY
    assert policy.judge(b"GET", b"/x", 1, lambda: "").rule.name == "r"


def test_only_groups_that_something_uses_are_kept() -> None:
    access = {
        "require_any_group": ["staff"],
        "roles": {"boss": ["board"]},
        "rules": [
            {"name": "any", "path": "/x", "require_any_group": ["ops"]},
            {"name": "all", "path": "/y", "require_all_groups": ["auditors"]},
        ],
    }
    rules = attribute_rules_of(settings(access, identity={"groups": {"include": ["^app-"], "strip_prefix": "app-"}}))
    said = ("staff", "board", "ops", "auditors", "app-editors", "everybody", "vpn-users")
    identity = identity_from(Authentication("i", "s", {"groups": said}, 0), rules)
    assert identity.groups == ("staff", "board", "ops", "auditors", "editors")


def test_without_rules_all_groups_are_kept() -> None:
    identity = identity_from(Authentication("i", "s", {"groups": ("a", "b")}, 0), attribute_rules_of(settings({})))
    assert identity.groups == ("a", "b")


def test_issuers_become_trusts_also_from_the_plain_settings():
    entry = {
        "name": "ci",
        "issuer": "https://ci.example.com",
        "audience": ["api", "web"],
        "require": {"azp": "nightly"},
        "claims": {"groups": ["realm_access.roles"]},
        "methods": ["GET"],
        "from": ["192.0.2.0/24"],
    }
    made = settings({}, bearer={"issuers": [entry]})
    (trust,) = trusts_of(made)
    assert (trust.audiences, trust.required) == (("api", "web"), {"azp": ("nightly",)})
    assert (trust.claims, trust.networks) == ({"groups": ("realm_access.roles",)}, ("192.0.2.0/24",))
    assert set(trust.methods) == {"GET", "HEAD"}
    assert trusts_of(settings_from_plain(written(made))) == (trust,)
