"""
Who may do what: ordered rules about paths and methods, compiled once.

The first rule that covers a request decides, and without one the default does. A path that can be read
in several ways is judged in all of its readings (readings.py), and the strictest verdict holds. What a
rule requires of a person is answered once for each session, as one bit of a number (`granted`); what is
left for a request is to find its rule, and to look at that bit. Of a client's address nothing is asked
until a rule with networks covers the request.

A rule that only reports is no part of what is enforced. `would` tells the verdict if it were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, NamedTuple

from passproxy.core.identity import Identity
from passproxy.core.order import Chain, Covered, Order

#: Numbers that sessions share: about as many as there are sets of groups that make a difference.
GRANTED_LIMIT = 1024

#: The bit of `granted` for the whole domain; that of rule n is 2 << n.
DOMAIN_BIT = 1

Action = Literal["allow", "authenticate", "deny"]

#: The client's address, "" or anything that is none when it is not known.
Address = Callable[[], str]


class Outcome(IntEnum):
    """What a rule says of a request. The greater, the stricter."""

    ALLOW = 0
    AUTHENTICATE = 1
    UNMET = 2
    DENY = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule. It covers what its patterns and methods say (no methods: all of them).

    With `authenticate`, all that it names is required: one of `any_group`, all of `all_groups`, one of
    `any_role`, for each attribute one of the values (`*@` and a domain: any address there), and an
    address in `networks`. With `allow` and `deny` nothing is required, and `networks` narrow what the
    rule covers.
    """

    name: str
    paths: tuple[str, ...]
    methods: tuple[str, ...] = ()
    action: Action = "authenticate"
    any_group: frozenset[str] = frozenset()
    all_groups: frozenset[str] = frozenset()
    any_role: frozenset[str] = frozenset()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    is_report_only: bool = False

    def unmet(self, identity: Identity, roles: Iterable[str]) -> str | None:
        """Which requirement somebody does not meet, in words for the log; the address is not asked for."""
        if self.any_group and self.any_group.isdisjoint(identity.groups):
            return f"in none of the groups {_listed(self.any_group)}"
        if not self.all_groups.issubset(identity.groups):
            return f"not in all of the groups {_listed(self.all_groups)}"
        if self.any_role and self.any_role.isdisjoint(roles):
            return f"none of the roles {_listed(self.any_role)}"
        for name, values in self.attributes.items():
            if not any(_is_value(name, identity.attributes.get(name), wanted) for wanted in values):
                return f"the attribute {name} has none of the values that are required"
        return None


class Verdict(NamedTuple):
    """What a request meets, and the rule that says so."""

    outcome: Outcome
    rule: Rule


class Judged(NamedTuple):
    """One reading of a path with its verdict, for whoever wants to know why."""

    reading: bytes
    verdict: Verdict


class Policy:
    """
    The rules of one domain. `roles` are names and the groups that have each; `require_any_group` is for the whole domain.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        default: Action = "authenticate",
        *,
        roles: Mapping[str, Iterable[str]] | None = None,
        require_any_group: Iterable[str] = (),
    ) -> None:
        self.default = Rule("access.default", (), action=default)
        self._rules = (*rules, self.default)
        self._roles = {role: frozenset(groups) for role, groups in (roles or {}).items()}
        self._required = frozenset(require_any_group)
        self._says = [_Says(rule) for rule in self._rules]
        enforced = [n for n, rule in enumerate(self._rules) if not rule.is_report_only]
        self._enforced = _order_of(self._rules, enforced)
        self._trial = None if len(enforced) == len(self._rules) else _order_of(self._rules, range(len(self._rules)))
        active = [self._rules[n] for n in enforced]
        self._granted: dict[int, int] = {}
        self.reports = self._trial is not None
        self.asks_addresses = any(rule.networks for rule in self._rules)
        self.denies = any(rule.action == "deny" for rule in active)
        #: Whether a session can be refused anything, and somebody without one meet anything but the login.
        self.restricts = self.denies or any(map(_requires, active))
        self.distinguishes = any(rule.action != "authenticate" for rule in active)

    def roles_of(self, groups: Iterable[str]) -> tuple[str, ...]:
        """The roles that somebody in these groups has, in the order of the configuration."""
        held = frozenset(groups)
        return tuple(role for role, named in self._roles.items() if not held.isdisjoint(named))

    def granted(self, identity: Identity, more_roles: Iterable[str] = ()) -> int:
        """For each rule whether somebody meets what it requires of a person, as bits; the first is the domain's."""
        roles = frozenset((*self.roles_of(identity.groups), *more_roles))
        bits = DOMAIN_BIT if not self._required or not self._required.isdisjoint(identity.groups) else 0
        for number, rule in enumerate(self._rules):
            if rule.unmet(identity, roles) is None:
                bits |= 2 << number
        if len(self._granted) >= GRANTED_LIMIT:
            self._granted.clear()
        # People in the same groups have the same number, and need only one of it.
        return self._granted.setdefault(bits, bits)

    def judge(self, method: bytes, path: bytes, granted: int | None, address: Address) -> Verdict:
        """
        The strictest verdict on all readings of a path. `granted` is None without a session.

        Raises:
            TargetUnreadable: the path has too many readings.
        """
        return self._strictest(self._enforced, method, path, granted, address)

    def literal(self, method: bytes, path: bytes, granted: int | None, address: Address) -> Verdict:
        """The verdict on the path exactly as it came, which is no permission by itself."""
        return self._applied(self._enforced.chain(method, path), granted, address)

    def would(self, method: bytes, path: bytes, granted: int | None, address: Address) -> Verdict:
        """The verdict if the rules that only report were enforced."""
        return self._strictest(self._trial or self._enforced, method, path, granted, address)

    def explained(self, method: bytes, path: bytes, granted: int | None, address: Address) -> list[Judged]:
        """Each reading of a path that has a verdict of its own, the path as it came first."""
        return [
            Judged(reading, self._applied(chain, granted, address))
            for reading, chain in self._enforced.read(method, path)
        ]

    def why(self, verdict: Verdict, identity: Identity | None, more_roles: Iterable[str] = ()) -> str:
        """For the log: what is missing, or what the rule does."""
        rule = verdict.rule
        if verdict.outcome != Outcome.UNMET or identity is None:
            return f"action {rule.action}"
        missing = rule.unmet(identity, (*self.roles_of(identity.groups), *more_roles))
        return missing or f"from an address outside {_listed(rule.networks)}"

    def _strictest(self, order: Order, method: bytes, path: bytes, granted: int | None, address: Address) -> Verdict:
        chains = order.chains(method, path)
        if len(chains) == 1:
            return self._applied(chains[0], granted, address)
        return max((self._applied(chain, granted, address) for chain in chains), key=lambda verdict: verdict.outcome)

    def _applied(self, chain: Chain, granted: int | None, address: Address) -> Verdict:
        for number in chain:
            says = self._says[number]
            if not says.networks:
                return says.of_somebody(number, granted)
            if not says.is_narrowed:
                verdict = says.of_somebody(number, granted)
                is_asked = verdict is says.met and granted is not None
                return says.unmet if is_asked and not says.is_within(address, unknown=False) else verdict
            # An address that is not known is outside where that allows, and inside where it denies.
            if says.is_within(address, unknown=says.met.outcome == Outcome.DENY):
                return says.met
        raise AssertionError("a chain ends with a rule that applies")


class _Says:
    """The verdicts of one rule, made once."""

    __slots__ = ("is_narrowed", "met", "networks", "stranger", "unmet")

    def __init__(self, rule: Rule) -> None:
        self.networks = [ip_network(text, strict=False) for text in rule.networks]
        self.is_narrowed = _is_narrowed(rule)
        if rule.action == "authenticate":
            self.met = self.stranger = Verdict(Outcome.AUTHENTICATE, rule)
            self.unmet = Verdict(Outcome.UNMET, rule)
        else:
            outcome = Outcome.DENY if rule.action == "deny" else Outcome.ALLOW
            self.met = self.stranger = self.unmet = Verdict(outcome, rule)

    def of_somebody(self, number: int, granted: int | None) -> Verdict:
        if granted is None:
            return self.stranger
        return self.met if granted >> number & 2 else self.unmet

    def is_within(self, address: Address, *, unknown: bool) -> bool:
        try:
            client: IPv4Address | IPv6Address = ip_address(address())
        except ValueError:
            return unknown
        if isinstance(client, IPv6Address):
            client = client.ipv4_mapped or client
        return any(client in network for network in self.networks)


def _order_of(rules: tuple[Rule, ...], numbers: Iterable[int]) -> Order:
    return Order([Covered(n, rules[n].paths, rules[n].methods, _is_narrowed(rules[n])) for n in numbers])


def _is_narrowed(rule: Rule) -> bool:
    return bool(rule.networks) and rule.action != "authenticate"


def _requires(rule: Rule) -> bool:
    return bool(rule.any_group or rule.all_groups or rule.any_role or rule.attributes or rule.networks)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _is_value(name: str, value: str | None, wanted: str) -> bool:
    if value is None:
        return False
    if name in ("email", "upn") and value.isascii():
        value, wanted = value.lower(), wanted.lower()
    if not wanted.startswith("*@"):
        return value == wanted
    local, separator, domain = value.partition("@")
    return bool(local and separator) and domain == wanted[2:]
