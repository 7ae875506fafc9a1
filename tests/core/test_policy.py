"""Who may do what: a table that was written by hand, and what holds for every policy and every path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passproxy.core.access import policy_of
from passproxy.core.decision import Decider, Forward, Refuse, Rescue, Site, StartLogin
from passproxy.core.errors import (
    AccessDenied,
    LoginRequired,
    RequestMalformed,
    RuleRefused,
    TargetAmbiguous,
    TargetUnreadable,
)
from passproxy.core.forwarded import Forwarded
from passproxy.core.identity import Identity
from passproxy.core.order import REMEMBERED_LIMIT, REMEMBERED_LIMIT_BYTES
from passproxy.core.policy import GRANTED_LIMIT, Outcome, Policy, Rule
from passproxy.core.readings import READINGS_LIMIT, is_plain, readings
from passproxy.core.routing import is_ambiguous
from passproxy.core.session import SessionRules, Sessions
from passproxy.core.session_claims import Session
from tests.core.given import ALICE, NAMES, NOW, ORIGIN, RING, examples, request
from tests.core.policy_cases import Case, cases, settings_of

HTML = b"Accept: text/html"

#: Each of these marks doubles the readings.
MANY_READINGS = b"/a;b/c%3bd%2fe%5cf%3fg%23h/../i//j%0a%2561%00k."


def decider_of(policy: Policy) -> Decider:
    sessions = Sessions(RING, 3600, lambda session: b"", SessionRules(grants=policy.granted))
    return Decider(Site(ORIGIN, NAMES, policy, sessions, Forwarded(ORIGIN, ["127.0.0.0/8"]).client))


@cache
def decider_for(configuration: str) -> Decider:
    return decider_of(policy_of(settings_of(configuration)))


def cookie_of(decider: Decider, identity: Identity) -> bytes:
    token = decider._site.sessions.seal(Session("id", identity, NOW, NOW + 3600))
    return f"Cookie: {NAMES.session}={token}".encode()


def somebody(*groups: str, **attributes: str) -> Identity:
    return Identity("https://idp.example.com", "subject", {"user": "somebody", **attributes}, groups, NOW)


def decided(case: Case):
    decider = decider_for(case.configuration)
    lines = [HTML]
    if case.is_signed_in:
        lines.append(cookie_of(decider, somebody(*case.groups, **case.attributes)))
    # Behind a trusted proxy, which is where the address comes from.
    forwarded = b"X-Forwarded-For: " + (case.peer or "unknown").encode()
    peer = "127.0.0.1" if case.peer else "unix:"
    head = request(*lines, forwarded, start=f"{case.method} {case.target} HTTP/1.1".encode("latin-1"))
    return decider.decide(head, NOW, peer if case.peer else "")


def rule_of(case: Case) -> str:
    """The rule that a policy names; a decision that forwards has no need to."""
    policy = policy_of(settings_of(case.configuration))
    granted = policy.granted(somebody(*case.groups, **case.attributes)) if case.is_signed_in else None
    path = case.target.partition("?")[0].encode("latin-1")
    return policy.judge(case.method.encode(), path, granted, lambda: case.peer).rule.name


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_request_gets_the_verdict_of_the_table(case: Case) -> None:
    decision = decided(case)
    if case.rule.startswith("PP-"):
        assert isinstance(decision, Refuse)
        assert decision.error.code == case.rule
        assert case.verdict == "deny"
        return
    assert rule_of(case) == case.rule
    if case.verdict == "allow":
        assert isinstance(decision, Forward)
        assert (decision.session is not None) is case.is_signed_in
    elif case.verdict == "login":
        is_asked = isinstance(decision, Refuse) and isinstance(decision.error, LoginRequired)
        assert isinstance(decision, StartLogin) or (is_asked and case.method not in ("GET", "HEAD"))
    else:
        assert isinstance(decision, Refuse)
        assert isinstance(decision.error, RuleRefused)
        assert decision.error.rule == (case.rule if case.is_signed_in else None)
        assert decision.error.detail.startswith(f"{case.rule}: ")


def test_the_table_is_large_and_holds_each_kind() -> None:
    table = cases()
    assert len(table) > 200
    assert {case.verdict for case in table} == {"allow", "login", "deny"}
    assert sum(is_ambiguous(case.target.encode()) for case in table) > 60
    assert len({case.configuration for case in table}) >= 8


# --- whom a rule asks for ---


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (Rule("r", ("/x",), any_group=frozenset({"b", "a"})), "in none of the groups a, b"),
        (Rule("r", ("/x",), all_groups=frozenset({"staff", "a"})), "not in all of the groups a, staff"),
        (Rule("r", ("/x",), any_role=frozenset({"boss"})), "none of the roles boss"),
        (Rule("r", ("/x",), attributes={"company": ("X",)}), "the attribute company has none of the values"),
        (Rule("r", ("/x",), networks=("10.0.0.0/8",)), "from an address outside 10.0.0.0/8"),
    ],
)
def test_the_log_says_what_is_missing_and_the_page_does_not(rule: Rule, missing: str) -> None:
    decider = decider_of(Policy([rule]))
    decision = decider.decide(request(cookie_of(decider, ALICE), start=b"GET /x HTTP/1.1"), NOW, "192.0.2.1")
    assert isinstance(decision, Refuse)
    assert missing in decision.error.detail
    assert missing not in decision.error.sentence + decision.error.hint
    assert "@" not in decision.error.detail


def test_roles_come_from_groups_in_the_order_of_the_configuration() -> None:
    policy = Policy(roles={"boss": ["board", "owners"], "viewer": ["staff"], "editor": ["staff", "press"]})
    assert policy.roles_of(["staff", "owners"]) == ("boss", "viewer", "editor")
    assert policy.roles_of(["press"]) == ("editor",)
    assert policy.roles_of([]) == ()


def test_a_websocket_is_refused_by_a_rule_before_the_upgrade() -> None:
    decider = decider_of(Policy([Rule("sockets", ("/ws/**",), any_group=frozenset({"board"}))]))
    handshake = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    for path, kind in ((b"/ws/x", Refuse), (b"/other", Forward)):
        decision = decider.decide(request(cookie_of(decider, ALICE), *handshake, start=b"GET %s HTTP/1.1" % path), NOW)
        assert isinstance(decision, kind)


def test_a_websocket_without_a_session_is_refused_where_everything_is_allowed() -> None:
    decider = decider_of(Policy(default="allow"))
    lines = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    decision = decider.decide(request(*lines, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), NOW)
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, LoginRequired)


@pytest.mark.parametrize("field", [b"X-HTTP-Method-Override", b"X-Method-Override", b"X_HTTP_Method", b"x-http-method"])
def test_a_field_that_changes_the_method_is_judged_as_the_method(field: bytes) -> None:
    decider = decider_of(Policy([Rule("deleting", ("/x",), ("DELETE",), "deny")]))
    cookie = cookie_of(decider, ALICE)
    for value, kind in ((b"DELETE", Refuse), (b"delete", Refuse), (b"PUT", Forward)):
        head = request(cookie, field + b": " + value, start=b"POST /x HTTP/1.1")
        assert isinstance(decider.decide(head, NOW), kind)


def test_somebody_outside_of_the_domains_groups_is_refused_before_any_rule() -> None:
    decider = decider_of(Policy([Rule("open", ("/x",), action="allow")], require_any_group=["board"]))
    decision = decider.decide(request(cookie_of(decider, ALICE), start=b"GET /x HTTP/1.1"), NOW)
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, AccessDenied)


def test_an_address_is_asked_for_only_where_a_rule_needs_it() -> None:
    asked = []

    def client(peer: str, values: list[bytes] | None) -> str:
        asked.append((peer, values))
        return "10.0.0.1"

    policy = Policy([Rule("office", ("/office",), networks=("10.0.0.0/8",))])
    sessions = Sessions(RING, 3600, lambda session: b"", SessionRules(grants=policy.granted))
    decider = Decider(Site(ORIGIN, NAMES, policy, sessions, client))
    cookie = cookie_of(decider, ALICE)
    assert isinstance(decider.decide(request(cookie, start=b"GET /x HTTP/1.1"), NOW, "peer"), Forward)
    assert asked == []
    head = request(cookie, b"X-Forwarded-For: 1.2.3.4", start=b"GET /office HTTP/1.1")
    assert isinstance(decider.decide(head, NOW, "peer"), Forward)
    assert asked == [("peer", [b"1.2.3.4"])]


# --- rules that only report ---


@pytest.mark.parametrize(
    ("start", "groups", "report"),
    [
        (b"GET /old HTTP/1.1", (), ("closed", "deny", "allow")),
        (b"GET /old HTTP/1.1", None, ("closed", "deny", "login")),
        (b"GET /new HTTP/1.1", (), ("opened", "allow", "allow")),
        (b"GET /new HTTP/1.1", None, ("opened", "allow", "login")),
        (b"GET /reports HTTP/1.1", (), ("reports", "deny", "allow")),
        (b"GET /reports HTTP/1.1", None, ("reports", "login", "login")),
        (b"GET /reports HTTP/1.1", ("platform-eng",), ("reports", "allow", "allow")),
        (b"GET /x/..%2fold HTTP/1.1", (), ("closed", "deny", "allow")),
        (b"POST /old HTTP/1.1", None, ("closed", "deny", "login")),
        (b"GET /new/%2e HTTP/1.1", None, ("opened", "deny", "login")),
        (b"GET /new/%2e HTTP/1.1", (), ("opened", "allow", "allow")),
        (b"GET /admin HTTP/1.1", (), None),
        (b"GET /other HTTP/1.1", (), None),
        (b"GET /other HTTP/1.1", None, None),
    ],
)
def test_a_rule_that_only_reports_says_what_it_would_have_done(start, groups, report) -> None:
    decider = decider_for("reporting")
    lines = [HTML] if groups is None else [HTML, cookie_of(decider, somebody(*groups))]
    decision = decider.decide(request(*lines, start=start), NOW, "10.0.0.1")
    assert isinstance(decision, (Forward, StartLogin, Refuse, Rescue))
    assert (decision.report and decision.report[:3]) == report


def test_a_report_says_why() -> None:
    decider = decider_for("reporting")
    decision = decider.decide(request(cookie_of(decider, somebody()), start=b"GET /reports HTTP/1.1"), NOW, "10.0.0.1")
    assert isinstance(decision, Forward)
    assert decision.report is not None
    assert decision.report.detail == "none of the roles administrator"


# --- what holds for every policy ---

_PIECES = [
    "/", "//", "a", "b", "A", ".", "..", ";", ";x", "\\", "%2e", "%2f", "%5c", "%252e", "%61", "%2561", "%3b",
    "%00", "%c0%ae", "%ef%bc%8e", "%20", "%0a", "%3f", "%23", "%u0061", "%",
]  # fmt: skip
_PATHS = st.lists(st.sampled_from(_PIECES), max_size=7).map(lambda pieces: ("/" + "".join(pieces)).encode())
_PATTERNS = st.sampled_from(["/a", "/a/**", "/b/*", "/A/b", "/a/", "/**/b", "/b/**/a", "/", "/**"])
_RULES = st.builds(
    Rule,
    st.just("rule"),
    st.lists(_PATTERNS, min_size=1, max_size=2).map(tuple),
    st.sampled_from([(), ("GET",), ("POST",), ("GET", "POST")]),
    st.sampled_from(["allow", "authenticate", "deny"]),
    st.sampled_from([frozenset(), frozenset({"staff"}), frozenset({"board"})]),
    networks=st.sampled_from([(), (), ("10.0.0.0/8",), ("::/0", "0.0.0.0/0")]),
    is_report_only=st.sampled_from([False, False, False, True]),
)
_LISTS = st.lists(_RULES, max_size=5)
_DEFAULTS = st.sampled_from(["allow", "authenticate", "deny"])
_METHODS = st.sampled_from([b"GET", b"POST"])
_ADDRESSES = st.sampled_from(["10.1.1.1", "192.0.2.1", "", "unix:"])


def judged(policy: Policy, path: bytes, method: bytes, address: str, *, is_signed_in: bool) -> Outcome:
    granted = policy.granted(ALICE) if is_signed_in else None
    try:
        return policy.judge(method, path, granted, lambda: address).outcome
    except TargetUnreadable:
        return Outcome.DENY


@examples(300)
@given(_LISTS, _RULES, _DEFAULTS, _PATHS, _METHODS, _ADDRESSES, st.booleans())
def test_a_rule_that_denies_in_front_never_lets_more_through(
    rules, rule, default, path, method, address, signed
) -> None:
    denial = Rule("denial", rule.paths, rule.methods, "deny", networks=rule.networks)
    before, after = Policy(rules, default), Policy([denial, *rules], default)
    assert judged(after, path, method, address, is_signed_in=signed) >= judged(
        before, path, method, address, is_signed_in=signed
    )


@examples(300)
@given(_LISTS, _DEFAULTS, _PATHS, _METHODS, _ADDRESSES, st.booleans())
def test_no_verdict_is_weaker_than_that_of_a_reading(rules, default, path, method, address, signed) -> None:
    policy = Policy(rules, default)
    outcome = judged(policy, path, method, address, is_signed_in=signed)
    if outcome == Outcome.DENY:
        return
    granted = policy.granted(ALICE) if signed else None
    for reading in readings(path):
        for spelling in (reading, reading.lower()):
            assert outcome >= policy.literal(method, spelling, granted, lambda: address).outcome
            # Whoever reads it so may read it on from there.
            assert outcome >= judged(policy, spelling, method, address, is_signed_in=signed)


@examples(300)
@given(_LISTS, _DEFAULTS, _PATHS, _METHODS, _ADDRESSES)
def test_without_a_session_nothing_passes_but_what_is_allowed_in_its_only_reading(
    rules, default, path, method, address
) -> None:
    policy = Policy(rules, default)
    decider = decider_of(policy)
    decision = decider.decide(request(HTML, start=method + b" " + path + b" HTTP/1.1"), NOW, address)
    if isinstance(decision, Forward):
        assert decision.session is None
        assert not is_ambiguous(path)
        literal = policy.literal(method, path, None, lambda: address)
        assert literal.outcome == Outcome.ALLOW
        assert literal.rule.action == "allow"
        assert not literal.rule.is_report_only
        assert judged(policy, path, method, address, is_signed_in=False) == Outcome.ALLOW


@examples(300)
@given(_LISTS, _DEFAULTS, _PATHS | st.just(MANY_READINGS), _METHODS, _ADDRESSES, st.booleans())
def test_a_rule_that_only_reports_changes_nothing(rules, default, path, method, address, signed) -> None:
    with_them, without = (decider_of(Policy(each, default)) for each in (rules, _enforced(rules)))
    decisions = []
    for decider in (with_them, without):
        lines = [HTML, cookie_of(decider, ALICE)] if signed else [HTML]
        try:
            head = request(*lines, start=method + b" " + path + b" HTTP/1.1")
        except RequestMalformed:
            return
        decisions.append(decider.decide(head, NOW, address))
    kinds = [(type(each), type(each.error) if isinstance(each, Refuse) else None) for each in decisions]
    assert kinds[0] == kinds[1]
    assert decisions[1].report is None


def _enforced(rules: list[Rule]) -> list[Rule]:
    return [rule for rule in rules if not rule.is_report_only]


@examples(200)
@given(_LISTS, _DEFAULTS, _PATHS, _METHODS, _ADDRESSES)
def test_the_first_rule_that_covers_a_plain_path_decides(rules, default, path, method, address) -> None:
    """The compiled expressions say what going through the list says."""
    if not is_plain(path):
        return
    numbered = [
        Rule(str(n), rule.paths, rule.methods, rule.action, rule.any_group, networks=rule.networks)
        for n, rule in enumerate(rules)
    ]

    def covers(rule: Rule) -> bool:
        alone = Policy([Rule("alone", rule.paths, rule.methods)], "deny")
        is_within = address.startswith("10.") or (address and address != "unix:" and len(rule.networks) != 1)
        is_known = address not in ("", "unix:")
        applies = bool(is_within) if is_known else rule.action == "deny"
        narrows = bool(rule.networks) and rule.action != "authenticate"
        return alone.literal(method, path, None, lambda: "").rule.name == "alone" and (not narrows or applies)

    expected = next((rule.name for rule in numbered if covers(rule)), "access.default")
    assert Policy(numbered, default).literal(method, path, None, lambda: address).rule.name == expected


# --- bounds ---


def test_path_22_a_path_with_too_many_readings_is_refused_at_once() -> None:
    decider = decider_of(Policy([Rule("r", ("/admin",), action="deny")]))
    for lines in ((HTML,), (HTML, cookie_of(decider, ALICE))):
        decision = decider.decide(request(*lines, start=b"GET " + MANY_READINGS + b" HTTP/1.1"), NOW)
        assert isinstance(decision, Refuse)
        assert isinstance(decision.error, TargetUnreadable)


def test_where_nothing_is_denied_a_path_with_many_readings_is_no_concern() -> None:
    decider = decider_of(Policy([Rule("r", ("/public",), action="allow")]))
    for lines, kind in (((HTML, cookie_of(decider, ALICE)), Forward), ((HTML,), StartLogin)):
        decision = decider.decide(request(*lines, start=b"GET " + MANY_READINGS + b" HTTP/1.1"), NOW)
        assert isinstance(decision, kind)


def test_what_is_remembered_of_paths_is_bounded() -> None:
    policy = Policy([Rule("r", ("/admin/**",), action="deny")])
    for number in range(REMEMBERED_LIMIT + 10):
        policy.judge(b"GET", b"/x/%d" % number, 1, lambda: "")
    policy.judge(b"GET", b"/" + b"x" * REMEMBERED_LIMIT_BYTES, 1, lambda: "")
    known = policy._enforced._known
    assert len(known) == 10
    assert policy.judge(b"GET", b"/admin/x", 1, lambda: "").outcome == Outcome.DENY


def test_what_a_session_remembers_of_five_hundred_rules_fits_into_a_hundred_bytes() -> None:
    rules = [Rule(f"r{n}", (f"/area-{n}/**",), any_group=frozenset({f"g{n}", "staff"})) for n in range(500)]
    sessions = Sessions(RING, 3600, lambda session: b"", SessionRules(grants=Policy(rules).granted))
    known = sessions.open(sessions.seal(Session("id", ALICE, NOW, NOW + 3600)).encode(), NOW)
    assert known.granted.bit_count() == 502
    assert sys.getsizeof(known.granted) < 100


def test_people_in_the_same_groups_share_what_is_remembered_of_them() -> None:
    policy = Policy([Rule(f"r{n}", (f"/area-{n}/**",), any_group=frozenset({f"g{n}"})) for n in range(40)])
    groups = [f"g{n}" for n in range(20)]
    assert policy.granted(somebody(*groups)) is policy.granted(somebody(*groups, "other"))
    for number in range(GRANTED_LIMIT + 10):
        policy.granted(somebody(*(f"g{bit}" for bit in range(11) if number >> bit & 1)))
    assert len(policy._granted) <= GRANTED_LIMIT


def test_the_number_of_rules_hardly_matters() -> None:
    """Counted, not timed: one look at what is remembered, and at most two matches before."""
    rules = [Rule(f"r{n}", (f"/area-{n}/**",), any_group=frozenset({"staff"})) for n in range(500)]
    policy = Policy(rules)
    counted: list[bytes] = []
    order = policy._enforced
    first: Callable[[bytes, bytes], int | None] = order._exact._settled.first

    def counting(method: bytes, path: bytes) -> int | None:
        counted.append(path)
        return first(method, path)

    order._exact._settled.first = counting  # type: ignore[method-assign]
    for _ in range(5):
        assert policy.judge(b"GET", b"/area-499/x", 0, lambda: "").rule.name == "r499"
    assert counted == [b"/area-499/x"]


def test_a_path_that_is_ambiguous_and_allowed_names_its_rule_in_the_log() -> None:
    decision = decider_for("example").decide(request(HTML, start=b"GET /public/..%2fx HTTP/1.1"), NOW)
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, TargetAmbiguous)
    assert decision.error.detail.startswith("passthrough.paths[0] ")
    assert len(readings(b"/public/..%2fx")) <= READINGS_LIMIT
