"""A request that nobody makes, decided as the server would: what `passproxy policy` asks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import partial

from passproxy.core.access import policy_of
from passproxy.core.cookies import cookie_names
from passproxy.core.decision import Decider, Decision, Forward, Refuse, Serve, Site
from passproxy.core.errors import IdentityTooLarge, LoginRequired, RequestRefused, RuleRefused
from passproxy.core.forwarded import Forwarded
from passproxy.core.headers import request_names
from passproxy.core.http1 import RequestHead, request_head
from passproxy.core.identity import Identity
from passproxy.core.judging import Report
from passproxy.core.policy import Outcome
from passproxy.core.session import SessionRules, Sessions
from passproxy.core.session_claims import Session
from passproxy.core.settings import Settings
from passproxy.core.tokens import Key, KeyRing
from passproxy.core.urls import Origin

#: Any time will do: the sessions of a trial begin and end around it.
_NOW = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, or with no user nobody. `roles` are further ones than those that the groups have."""

    user: str | None = None
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    address: str = ""

    def __str__(self) -> str:
        who = "nobody" if self.user is None else self.user
        more = ", ".join((*self.groups, *self.roles, *map("=".join, self.attributes.items())))
        return who + (f" ({more})" if more else "") + (f" from {self.address}" if self.address else "")


@dataclass(frozen=True, slots=True)
class Read:
    """One reading of the path, with what the rules say of it."""

    path: str
    verdict: str
    rule: str


@dataclass(frozen=True, slots=True)
class Tried:
    """
    The verdict is `allow`, `login` or `deny`.

    `rule` is None where no rule is responsible, and `code` the error that a refusal shows. The readings
    are those of a path that has several.
    """

    verdict: str
    rule: str | None
    why: str
    code: str | None = None
    roles: tuple[str, ...] = ()
    readings: tuple[Read, ...] = ()
    report: Report | None = None


class Trial:
    """The decision point of a configuration, with a key of its own, which dies with it."""

    def __init__(self, settings: Settings) -> None:
        self._origin = Origin.of(settings.domain, settings.origin)
        self._names = cookie_names(settings.session.cookie_name, self._origin)
        self._ring = KeyRing((Key("trial", secrets.token_bytes(32), _NOW),), str(self._origin))
        self._forwarded = Forwarded(self._origin, settings.trusted_proxies)
        self._policy = policy_of(settings)
        self.roles = frozenset(settings.access.roles)

    def of(self, asker: Asker, method: str, target: str) -> Tried:
        """What the server would do."""
        identity = _identity_of(asker)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {str(self._origin).partition('://')[2]}", "Accept: text/html"]
        rules = SessionRules(grants=partial(self._policy.granted, more_roles=asker.roles))
        sessions = Sessions(self._ring, 3600, lambda session: b"", rules)
        decider = Decider(Site(self._origin, self._names, self._policy, sessions, self._forwarded.client))
        try:
            if identity is not None:
                token = sessions.seal(Session("trial", identity, _NOW, _NOW + 60))
                lines.append(f"Cookie: {self._names.session}={token}")
            head = request_head("".join(f"{line}\r\n" for line in lines).encode("utf-8"), request_names())
        except (RequestRefused, IdentityTooLarge) as error:
            return Tried("deny", None, error.detail or error.sentence, error.code)
        return self._told(decider.decide(head, _NOW, asker.address), head, asker, identity)

    def _told(self, decision: Decision, head: RequestHead, asker: Asker, identity: Identity | None) -> Tried:
        if isinstance(decision, Serve):
            return Tried("allow", None, "a page of PassProxy itself")
        report = getattr(decision, "report", None)
        roles = () if identity is None else (*self._policy.roles_of(identity.groups), *asker.roles)
        if isinstance(decision, Refuse) and not isinstance(decision.error, (RuleRefused, LoginRequired)):
            error = decision.error
            readings = self._readings(head, asker, identity)
            return Tried("deny", None, error.detail, error.code, roles, readings, report)
        granted, address = self._granted(asker, identity), lambda: asker.address
        verdict = self._policy.judge(head.method, head.path, granted, address)
        why, code = self._policy.why(verdict, identity, asker.roles), None
        done = "login"
        if isinstance(decision, Forward):
            done = "allow"
        elif isinstance(decision, Refuse) and isinstance(decision.error, RuleRefused):
            done, code = "deny", decision.error.code
        return Tried(done, verdict.rule.name, why, code, roles, self._readings(head, asker, identity), report)

    def _granted(self, asker: Asker, identity: Identity | None) -> int | None:
        return None if identity is None else self._policy.granted(identity, asker.roles)

    def _readings(self, head: RequestHead, asker: Asker, identity: Identity | None) -> tuple[Read, ...]:
        try:
            judged = self._policy.explained(
                head.method, head.path, self._granted(asker, identity), lambda: asker.address
            )
        except RequestRefused:
            return ()
        found = dict.fromkeys(
            Read(
                each.reading.decode("utf-8", "backslashreplace"),
                _word(each.verdict.outcome, identity),
                each.verdict.rule.name,
            )
            for each in judged
        )
        return tuple(found) if len(found) > 1 else ()


def _word(outcome: Outcome, identity: Identity | None) -> str:
    if outcome > Outcome.AUTHENTICATE:
        return "deny"
    return "login" if outcome == Outcome.AUTHENTICATE and identity is None else "allow"


def _identity_of(asker: Asker) -> Identity | None:
    if asker.user is None:
        return None
    return Identity("trial", asker.user, {"user": asker.user, **asker.attributes}, asker.groups, _NOW)
