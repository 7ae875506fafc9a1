"""
What the rules say of one request: policy.py asked for a head, and for what a rule that only reports would do.

Performs nothing and words nothing before somebody needs the words: most requests are allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from passproxy.core.errors import RuleRefused, TargetAmbiguous, TargetUnreadable
from passproxy.core.headers import METHOD_OVERRIDE
from passproxy.core.http1 import RequestHead
from passproxy.core.identity import Identity
from passproxy.core.policy import DOMAIN_BIT, Address, Outcome, Policy, Verdict
from passproxy.core.routing import is_ambiguous

#: The client's address, of a peer and the values of X-Forwarded-For (forwarded.py).
Client = Callable[[str, list[bytes] | None], str]

_Ask = Callable[[bytes, bytes, int | None, Address], Verdict]


class Report(NamedTuple):
    """What a rule that only reports would have done: `allow`, `login` or `deny`, where `instead` was done."""

    rule: str
    verdict: str
    instead: str
    detail: str


class Judgement(NamedTuple):
    """The verdict on a request, and the other one that a rule which only reports would have made of it."""

    verdict: Verdict
    would: Verdict | None

    def is_refusal_of(self, *, has_own_paths: bool) -> bool:
        """For a token, which is in no group: what is denied, and what is required of people where nothing says its paths."""
        outcome = self.verdict.outcome
        return outcome is Outcome.DENY or (outcome is Outcome.UNMET and not has_own_paths)

    @property
    def is_refusal(self) -> bool:
        return self.verdict.outcome > Outcome.AUTHENTICATE


class Judge:
    """The policy of a domain, for requests. Ask only where `matters_to_...` says that there is something to ask."""

    def __init__(self, policy: Policy, client: Client) -> None:
        self._policy = policy
        self._client = client
        #: What a token is granted: as somebody of this domain who is in no group and has no attribute.
        self.granted_to_tokens = policy.granted(Identity("", "", {}, (), 0)) | DOMAIN_BIT
        self.matters_to_sessions = policy.restricts or policy.reports
        self.matters_to_strangers = policy.distinguishes or policy.reports

    def of_session(self, head: RequestHead, peer: str, granted: int) -> Judgement | None:
        """
        For a session; None where it may pass and there is nothing to tell.

        Raises:
            TargetUnreadable: rules require or deny something, and nobody can say which of them hold.
        """
        policy = self._policy
        verdict = self._asked(policy.judge if policy.restricts else policy.literal, head, peer, granted)
        would = self._would(head, peer, granted) if policy.reports else None
        return Judgement(verdict, would) if would is not None or verdict.outcome > Outcome.AUTHENTICATE else None

    def of_stranger(self, head: RequestHead, peer: str) -> Judgement:
        """
        For a request without a session: allowed is only what is in its one reading.

        Raises:
            TargetAmbiguous: what would be allowed can be read in two ways.
        """
        verdict = self._of_stranger(head, peer)
        return Judgement(verdict, self._would(head, peer, None) if self._policy.reports else None)

    def refusal(self, judgement: Judgement, identity: Identity | None) -> RuleRefused:
        """The error of a refusal. Without an identity nobody is there who would need the rule's name."""
        verdict = judgement.verdict
        detail = f"{verdict.rule.name}: {self._policy.why(verdict, identity)}"
        return RuleRefused(detail, None if identity is None else verdict.rule.name)

    def report(self, judgement: Judgement, identity: Identity | None) -> Report | None:
        """What is to be logged, if anything."""
        would = judgement.would
        if would is None:
            return None
        is_somebody = identity is not None
        done = (_done(each.outcome, is_somebody=is_somebody) for each in (would, judgement.verdict))
        return Report(would.rule.name, next(done), next(done), self._policy.why(would, identity))

    def _of_stranger(self, head: RequestHead, peer: str) -> Verdict:
        policy = self._policy
        literal = self._asked(policy.literal, head, peer, None)
        if literal.outcome == Outcome.ALLOW and is_ambiguous(head.path):
            raise TargetAmbiguous(f"{literal.rule.name} would allow a path that can be read in two ways")
        if literal.outcome == Outcome.AUTHENTICATE and not policy.denies:
            return literal  # no reading could be worse
        return self._asked(policy.judge, head, peer, None)

    def _would(self, head: RequestHead, peer: str, granted: int | None) -> Verdict | None:
        """Whatever it is, it changes nothing."""
        try:
            verdict = self._asked(self._policy.would, head, peer, granted)
        except TargetUnreadable:
            return None
        if not verdict.rule.is_report_only:
            return None
        if granted is None and verdict.outcome == Outcome.ALLOW and is_ambiguous(head.path):
            return verdict._replace(outcome=Outcome.DENY)
        return verdict

    def _asked(self, ask: _Ask, head: RequestHead, peer: str, granted: int | None) -> Verdict:
        address: Address = _nowhere
        if self._policy.asks_addresses:
            address = partial(self._client, peer, head.noted.get(b"x-forwarded-for"))
        verdict = ask(head.method, head.path, granted, address)
        if METHOD_OVERRIDE in head.noted and granted is not None:
            # Some applications take such a field for the method. Without a session it is not passed on.
            others = (ask(value.upper(), head.path, granted, address) for value in head.noted[METHOD_OVERRIDE])
            return max(verdict, *others, key=lambda each: each.outcome)
        return verdict


def _nowhere() -> str:
    return ""


def _done(outcome: Outcome, *, is_somebody: bool) -> str:
    if outcome > Outcome.AUTHENTICATE:
        return "deny"
    return "login" if outcome == Outcome.AUTHENTICATE and not is_somebody else "allow"
