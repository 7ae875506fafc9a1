"""
What becomes of a request: the decision point.

`decide` is pure and total. Its result is one of seven values, and performing it
is somebody else's work (gateway.py). Order: who is asked (host), ourselves
(endpoint), who asks (session), what the rules say (policy), and only then the
login or the refusal. A missing session is never a permission: `Forward`
without one exists for what a rule allows alone, and for no address that can be
read in two ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from passproxy.core.bearer import AUTHORIZATION, FIELD, Token, Tokens
from passproxy.core.cookies import NO_CRUMBS, CookieNames, Crumbs
from passproxy.core.errors import (
    AccessDenied,
    HopsExhausted,
    HostUnknown,
    LoginRequired,
    RequestLoops,
    RequestRefused,
    RevocationsUnknown,
    TokenInvalid,
)
from passproxy.core.forwarded_target import ENDPOINT
from passproxy.core.headers import hops_left
from passproxy.core.http1 import RequestHead
from passproxy.core.issuers import AwaitKeys, Bearer, BearerTokens
from passproxy.core.judging import Client, Judge, Report
from passproxy.core.policy import Outcome, Policy
from passproxy.core.rescue import is_rescuable
from passproxy.core.routing import endpoint
from passproxy.core.session import Known, Sessions
from passproxy.core.upgrade import Upgrade, upgrade_of
from passproxy.core.urls import Origin, return_to


@dataclass(frozen=True, slots=True)
class Site:
    """What a decision depends on besides the request; made once. `client` tells addresses."""

    origin: Origin
    names: CookieNames
    policy: Policy
    sessions: Sessions
    client: Client = lambda peer, values: peer
    pseudonym: bytes = b"passproxy"
    tokens: Tokens | None = None
    bearers: BearerTokens | None = None
    #: Whether more of a session is needed than what is remembered, because something is made of it.
    needs_whole: bool = False
    #: Whether a web server may ask about requests that it serves itself, under whatever name it reaches us.
    answers_questions: bool = False
    #: Whether the list of revoked sessions is too old to let anybody in by a session.
    is_uninformed: Callable[[], bool] | None = None


class Forward(NamedTuple):
    """
    Pass it on, with the identity of a session, or without any on a public path.

    `cookies` are the Cookie values that are left for the application.
    `rejected` says why a session cookie that came along was not one.
    `report` is for the log, here and in the others that have one.
    `token` is the passthrough token of a request that has no other identity, or the bearer token that is its
    identity; with `drops_authorization` one is in that field, which the application then does not get.
    """

    session: Known | None
    cookies: Sequence[bytes]
    upgrade: Upgrade | None
    rejected: str | None
    report: Report | None = None
    token: Token | Bearer | None = None
    drops_authorization: bool = False


class Renew(NamedTuple):
    """Ask the provider whether the session still holds, then `forward` or, if not, decide `without` it."""

    session: Known
    crumbs: Crumbs
    upgrade: Upgrade | None


class Serve(NamedTuple):
    """Answer it ourselves: `endpoint` is the path behind the reserved prefix."""

    endpoint: str
    crumbs: Crumbs
    session: Known | None
    rejected: str | None


class StartLogin(NamedTuple):
    """
    Send the browser to the identity provider.

    `may_have_fragment` says that it is a browser that can be asked for its address first.
    """

    return_to: str
    crumbs: Crumbs
    rejected: str | None
    may_have_fragment: bool = False
    report: Report | None = None


class Rescue(NamedTuple):
    """Let the browser keep the form that it sent, and start a login after which it may be sent again."""

    return_to: str
    crumbs: Crumbs
    rejected: str | None
    report: Report | None = None


class Refuse(NamedTuple):
    """Answer it with an error; `rejected` as in `Forward`."""

    error: RequestRefused
    rejected: str | None
    report: Report | None = None


Decision = Forward | Renew | Serve | StartLogin | Rescue | Refuse | AwaitKeys


class Decider:
    """The decision point of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._judge = Judge(site.policy, site.client)
        self._takes_tokens = site.tokens is not None or site.bearers is not None
        self._is_uninformed = site.is_uninformed
        self._hosts = site.origin.hosts()
        self._origin = str(site.origin).encode()
        self._any_host = frozenset({"health", ENDPOINT} if site.answers_questions else {"health"})

    def decide(self, head: RequestHead, now: float, peer: str = "") -> Decision:
        """What becomes of this request of a peer, whose address is "" for a unix socket; raises nothing."""
        own = endpoint(head.path)
        if not self._is_for_us(head) and own not in self._any_host:
            return Refuse(HostUnknown("neither Host nor target name this origin"), None)
        values = head.noted.get(b"cookie")
        crumbs = NO_CRUMBS if values is None else self._site.names.crumbs(values)
        session, rejected = self._session(crumbs, now)
        if own is not None:
            return Serve(own, crumbs, None if session is None else self._whole(session, crumbs), rejected)
        if b"via" in head.noted and any(self._site.pseudonym in value for value in head.noted[b"via"]):
            return Refuse(RequestLoops("Via names us: what we forwarded came back"), rejected)
        if head.method == b"OPTIONS" and b"max-forwards" in head.noted and not hops_left(head.noted[b"max-forwards"]):
            return Refuse(HopsExhausted("Max-Forwards is zero, or not one number"), rejected)
        try:
            upgrade = None if b"upgrade" not in head.noted else upgrade_of(head, self._origin)
        except RequestRefused as error:
            # Without a session nobody learns more than that.
            return Refuse(error if session is not None else LoginRequired("an upgrade without a session"), rejected)
        if self._takes_tokens and (AUTHORIZATION in head.noted or FIELD in head.noted):
            decision = self._with_token(head, peer, crumbs, upgrade, now)
            if decision is not None:
                return decision
        if session is None:
            return self._without_session(head, peer, crumbs, upgrade, rejected)
        if session.due_at <= now:
            return Renew(self._whole(session, crumbs), crumbs, upgrade)
        return self.forward(head, peer, session, crumbs, upgrade)

    def _with_token(
        self, head: RequestHead, peer: str, crumbs: Crumbs, upgrade: Upgrade | None, now: float
    ) -> Forward | Refuse | AwaitKeys | None:
        """What becomes of a request with a token, whoever else it says it comes from; None without one."""
        site = self._site

        def address() -> str:
            return site.client(peer, head.noted.get(b"x-forwarded-for"))

        try:
            bearer = None if site.bearers is None else site.bearers.of(head, address, now)
            if isinstance(bearer, AwaitKeys):
                return bearer
            if bearer is not None:
                return self._with_bearer(head, peer, bearer, crumbs, upgrade)
            token = None if site.tokens is None else site.tokens.of(head, address, now)
            if token is None:
                return None
            judgement = None
            if self._judge.matters_to_sessions:
                judgement = self._judge.of_session(head, peer, self._judge.granted_to_tokens)
        except RequestRefused as error:
            return Refuse(error, None)
        if judgement is not None and judgement.is_refusal_of(has_own_paths=bool(token.paths)):
            return Refuse(self._judge.refusal(judgement, None), None)
        return Forward(None, crumbs.others, upgrade, None, None, token, self._drops_authorization(head))

    def _with_bearer(
        self, head: RequestHead, peer: str, bearer: Bearer, crumbs: Crumbs, upgrade: Upgrade | None
    ) -> Forward | Refuse:
        if self.is_uninformed:
            # Also where everybody may: who it is could not be told.
            return Refuse(RevocationsUnknown("the list of revoked sessions is not current"), None)
        decision = self.forward(head, peer, bearer.known, crumbs, upgrade)
        if not isinstance(decision, Forward):
            return decision
        drops = self._drops_authorization(head) if FIELD in head.noted else not bearer.trust.passes_on
        return Forward(None, decision.cookies, upgrade, None, decision.report, bearer, drops)

    def _drops_authorization(self, head: RequestHead) -> bool:
        return any(each is not None and each.in_authorization(head) for each in (self._site.tokens, self._site.bearers))

    @property
    def is_uninformed(self) -> bool:
        """Whether nobody is to be let in by a session, since it cannot be told which of them were revoked."""
        return self._is_uninformed is not None and self._is_uninformed()

    def still_holds(self, known: Known | Token | Bearer) -> bool:
        """Whether what a request was let in with would let in another one, its own end aside."""
        if isinstance(known, Token):
            return self._site.tokens is not None and self._site.tokens.has(known)
        if self.is_uninformed:
            return False
        if isinstance(known, Bearer):
            return self._site.bearers is not None and self._site.bearers.still_holds(known)
        return self._site.sessions.still_holds(known)

    def _uninformed(self, head: RequestHead, peer: str, crumbs: Crumbs, upgrade: Upgrade | None) -> Forward | Refuse:
        """What everybody may see is shown, and nothing else: whether the session was revoked cannot be told."""
        open_to_all = self._without_session(head, peer, crumbs, upgrade, None)
        if isinstance(open_to_all, Forward):
            return open_to_all
        return Refuse(RevocationsUnknown("the list of revoked sessions is not current"), None)

    def session_of(self, head: RequestHead, now: float) -> Known | None:
        """Whose request it is, whatever becomes of it; all of it, as its cookie brings it, or the token that counts."""
        if self._takes_tokens:
            bearer = None if self._site.bearers is None else self._site.bearers.remembered(head)
            if bearer is not None or FIELD in head.noted or self._drops_authorization(head):
                return None if bearer is None else bearer.known
        crumbs = self._site.names.crumbs(head.noted.get(b"cookie", []))
        session, _ = self._session(crumbs, now)
        return None if session is None else self._whole(session, crumbs)

    def forward(
        self, head: RequestHead, peer: str, session: Known, crumbs: Crumbs, upgrade: Upgrade | None
    ) -> Forward | Refuse:
        """What becomes of a request with a session that holds."""
        if self._is_uninformed is not None and self._is_uninformed():
            return self._uninformed(head, peer, crumbs, upgrade)
        if not session.is_permitted:
            return Refuse(AccessDenied("in none of access.require_any_group"), None)
        if not self._judge.matters_to_sessions:
            return Forward(self._known(session, crumbs), crumbs.others, upgrade, None)
        try:
            judgement = self._judge.of_session(head, peer, session.granted)
        except RequestRefused as error:
            return Refuse(error, None)
        if judgement is None:
            return Forward(self._known(session, crumbs), crumbs.others, upgrade, None)
        identity = self._whole(session, crumbs).session.identity
        report = self._judge.report(judgement, identity)
        if judgement.is_refusal:
            return Refuse(self._judge.refusal(judgement, identity), None, report)
        return Forward(self._known(session, crumbs), crumbs.others, upgrade, None, report)

    def without(self, head: RequestHead, peer: str, renewal: Renew, reason: str) -> Decision:
        """What becomes of a request whose session the provider did not confirm."""
        return self._without_session(head, peer, renewal.crumbs, renewal.upgrade, reason)

    def _is_for_us(self, head: RequestHead) -> bool:
        hosts = head.noted[b"host"]
        if hosts[0] not in self._hosts and hosts[0].lower() not in self._hosts:
            return False
        return head.authority is None or head.authority.lower() in self._hosts

    def _session(self, crumbs: Crumbs, now: float) -> tuple[Known | None, str | None]:
        if len(crumbs.session) != 1:
            return None, "more than one session cookie" if crumbs.session else None
        token = self._site.names.token(crumbs)
        if token is None:
            return None, "a part of the session is missing"
        try:
            return self._site.sessions.open(token, now), None
        except TokenInvalid as error:
            return None, error.detail

    def _known(self, session: Known, crumbs: Crumbs) -> Known:
        return self._whole(session, crumbs) if self._site.needs_whole else session

    def _whole(self, session: Known, crumbs: Crumbs) -> Known:
        return session if session.held else session.holding(self._site.names.token(crumbs) or b"")

    def _without_session(
        self, head: RequestHead, peer: str, crumbs: Crumbs, upgrade: Upgrade | None, rejected: str | None
    ) -> Decision:
        if upgrade is not None:
            return Refuse(LoginRequired("an upgrade without a session"), rejected)
        report = None
        if self._judge.matters_to_strangers:
            try:
                judgement = self._judge.of_stranger(head, peer)
            except RequestRefused as error:
                return Refuse(error, rejected)
            report = self._judge.report(judgement, None)
            if judgement.verdict.outcome == Outcome.ALLOW:
                return Forward(None, crumbs.others, None, rejected, report)
            if judgement.is_refusal:
                return Refuse(self._judge.refusal(judgement, None), rejected, report)
        if is_navigation(head):
            target = return_to(head.target.decode("latin-1"))
            return StartLogin(target, crumbs, rejected, runs_pages(head), report)
        if self._site.names.who.encode() in crumbs.more and is_rescuable(head):
            return Rescue(head.target.decode("latin-1"), crumbs, rejected, report)
        return Refuse(LoginRequired("no session, and not a navigation"), rejected, report)


def is_navigation(head: RequestHead) -> bool:
    """
    Whether a person is looking at a window that this request fills.

    Only such a request may be redirected to a login; everything else would
    read a login page as its data. Browsers since 2023 say it themselves
    (Fetch Metadata); for older ones the Accept field tells.
    """
    if head.method not in (b"GET", b"HEAD") or head.body:
        return False
    mode, destination = head.value(b"sec-fetch-mode"), head.value(b"sec-fetch-dest")
    if mode is not None or destination is not None:
        return mode == b"navigate" and destination == b"document"
    if (head.value(b"x-requested-with") or b"").lower() == b"xmlhttprequest":
        return False
    return b"text/html" in (head.value(b"accept") or b"").lower()


def runs_pages(head: RequestHead) -> bool:
    """
    Whether a navigation surely comes from a browser that shows pages, and not from a program that follows redirects.

    Only a browser can tell the fragment of its address. It sends all of these; a program that
    imitates it would have to send all of them too, and gets a page then.
    """
    return (
        head.method == b"GET"
        and head.value(b"sec-fetch-mode") == b"navigate"
        and head.value(b"sec-fetch-site") is not None
        and head.value(b"accept-language") is not None
        and b"text/html" in (head.value(b"accept") or b"").lower()
        and (head.value(b"user-agent") or b"").startswith(b"Mozilla/")
    )
