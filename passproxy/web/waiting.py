"""
Decisions that wait for somebody outside: the provider, whether a session still holds; an issuer, for its keys.

Waiting and deciding are two steps: in between a client may have left, and another configuration may hold.
"""

from __future__ import annotations

from passproxy.core.decision import Decision, Refuse, Renew
from passproxy.core.http1 import RequestHead
from passproxy.core.issuers import AwaitKeys
from passproxy.idp.renewal import Ended, Outcome, Renewed
from passproxy.web.parts import Parts
from passproxy.web.responses import Field


async def awaited(parts: Parts, decision: Renew | AwaitKeys, now: float) -> Outcome | None:
    """What the provider says of the session; None where it was not asked."""
    if isinstance(decision, AwaitKeys):
        await decision.newer_keys()
        return None
    return await parts.renewals.outcome(decision.session.session, parts.endpoints.cookies.kept(decision.crumbs), now)


def settled(
    parts: Parts, decision: Renew | AwaitKeys, outcome: Outcome | None, head: RequestHead, peer: str, now: float
) -> tuple[Decision, list[Field]]:
    """What becomes of the request then, and the Set-Cookie fields of a session that was renewed."""
    decider = parts.decider
    if isinstance(decision, AwaitKeys):
        again = decider.decide(head, now, peer)
        return (Refuse(decision.error, None) if isinstance(again, AwaitKeys) else again), []
    if isinstance(outcome, Ended):
        return decider.without(head, peer, decision, outcome.reason), []
    session, crumbs, fields = decision.session, decision.crumbs, list[Field]()
    if isinstance(outcome, Renewed):
        session = outcome.session
        fields = parts.endpoints.cookies.set(session.session, outcome.token, outcome.kept, crumbs, now)
    return decider.forward(head, peer, session, crumbs, decision.upgrade), fields
