"""
What outlives the judging of its request: tunnels, and answers that are still under way.

Whoever began them was judged once. Once a tick it is asked again whether the session or
the token behind them still holds, and what it does not hold for is ended:

- a tunnel, with a code that a page can read (tunnel.py);
- an event stream, properly, so that the browser asks again and learns why;
- any other answer, by a cut: half a document must not be taken for a whole one;
- a request that waits for its answer and may be sent again is judged anew; any
  other one gets its answer first, since what it asked for may have happened.

An answer that says how long it is, and was permitted when it began, may outlast a
session that merely expires: it has an end of its own. A revocation ends it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from passproxy.core.decision import Decider
from passproxy.core.frames import GOING_AWAY, SESSION_OVER
from passproxy.core.session import Known
from passproxy.web import log
from passproxy.web.exchange import Exchange
from passproxy.web.tunnel import Tunnel
from passproxy.web.upstream import UpstreamConnection
from passproxy.web.watch import Watched


def end_tunnels(tunnels: Iterable[Tunnel], decider: Decider) -> None:
    """End the tunnels whose session was revoked, or whose token is none any more; they know when they expire."""
    for tunnel in list(tunnels):
        by = tunnel.opened_by
        try:
            if by is None or decider.still_holds(by):
                continue
            if decider.is_uninformed:
                tunnel.end(GOING_AWAY, "sessions cannot be confirmed")
            else:
                tunnel.end(SESSION_OVER, "the session ended")
        except Exception as error:
            # Whatever it was, it is not a permission; and the sweep goes on for all others.
            log.failure("tunnel.failed", error)
            tunnel.abort("the session ended")


def end_answers(
    watched: Iterable[Watched], decider: Decider, now: float, judge_anew: Callable[[Exchange], None]
) -> None:
    """End the exchanges that nobody may have any more; `now` is in seconds since the epoch."""
    # Among all that the watch has, so that no request pays for being found.
    for one in [one for one in watched if isinstance(one, UpstreamConnection)]:
        exchange = one.exchange
        if exchange is None or exchange.opened_by is None:
            continue
        try:
            _end_answer(one, exchange, decider, now, judge_anew)
        except Exception as error:
            log.failure("answer.failed", error)
            one.cut()


def _end_answer(
    one: UpstreamConnection, exchange: Exchange, decider: Decider, now: float, judge_anew: Callable[[Exchange], None]
) -> None:
    by = exchange.opened_by
    if by is None:
        return
    if decider.still_holds(by):
        if now < exchange.session_ends_at or not one.is_endless:
            return
        reason = "expired"
    else:
        reason = "revoked"
    if one.has_begun:
        done = "ended" if one.is_event_stream else "cut"
    elif exchange.is_repeatable:
        done = "judged anew"
    else:
        return
    whose = {"session": by.handle} if isinstance(by, Known) else {"token": by.name}
    log.event("info", "session.answer_ended", **whose, reason=reason, done=done)
    match done:
        case "ended":
            one.end_stream()
        case "cut":
            one.cut()
        case _:
            one.give_up()
            judge_anew(exchange)
