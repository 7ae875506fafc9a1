"""
What happens to every request: judged, and then done. The enforcement point.

`handle` asks decision.py what becomes of a head and performs that; it decides
nothing itself. An exception anywhere on this path ends in a refusal. The path
of an allowed request has no await: from the complete head to the write on a
kept upstream connection it is one function call after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, assert_never

from passproxy.core.bearer import Token, without_authorization
from passproxy.core.decision import Decision, Forward, Refuse, Renew, Rescue, Serve, StartLogin, is_navigation
from passproxy.core.errors import (
    Overloaded,
    PassProxyError,
    RequestMalformed,
    UpstreamError,
    UpstreamUnreachable,
)
from passproxy.core.forwarded_target import ENDPOINT
from passproxy.core.frames import FrameCursor
from passproxy.core.headers import outgoing, read_anew
from passproxy.core.http1 import RequestHead
from passproxy.core.issuers import AwaitKeys, Bearer
from passproxy.core.judging import Report
from passproxy.core.rescue import FORM_LIMIT_BYTES
from passproxy.core.session import Known
from passproxy.web import audit, log
from passproxy.web.asked import Asked
from passproxy.web.connection import ClientConnection
from passproxy.web.ending import end_answers, end_tunnels
from passproxy.web.endpoints import BODY_LIMIT_BYTES
from passproxy.web.exchange import Exchange
from passproxy.web.forward_auth import ForwardAuth
from passproxy.web.parts import Parts
from passproxy.web.refusals import Refusals
from passproxy.web.responses import Field
from passproxy.web.tunnel import Tunnel
from passproxy.web.waiting import awaited, settled
from passproxy.web.watch import NEVER


class Gateway:
    """The one handler. `spawn` runs a coroutine that belongs to no connection's callbacks."""

    def __init__(self, parts: Parts, spawn: Callable[[Coroutine[Any, Any, None], str], None]) -> None:
        self._spawn = spawn
        self.tunnels: set[Tunnel] = set()
        self.adopt(parts)

    def adopt(self, parts: Parts) -> None:
        """Work with these from the next request on."""
        self._parts = parts
        self.names = parts.names
        self.counts = parts.counts
        self._refusals = refusals = Refusals(parts)
        web_server = parts.web_server
        self.forward_auth = None if web_server is None else ForwardAuth(parts, web_server, refusals, self, self._spawn)

    def handle(self, head: RequestHead, client: ClientConnection) -> None:
        """Perform what was decided about a request."""
        parts = self._parts
        client.request_id = parts.request_ids.of(client.peer, head.noted.get(b"x-request-id"))
        client.session = None
        try:
            now = parts.clock()
            self._perform(parts.decider.decide(head, now, client.peer), head, client, now)
        except Exception as error:
            # Whatever it was, it is not a permission.
            self._refusals.unexpected(error, head, client)

    def _perform(
        self, decision: Decision, head: RequestHead, client: ClientConnection, now: float, fields: Iterable[Field] = ()
    ) -> None:
        """`fields` are those of a session that was renewed, for whatever answer there will be."""
        if type(decision) is not Forward or decision.report is not None:
            self.told(decision, head, client)
        match decision:
            case Forward():
                self._forward(head, client, decision, fields)
            case Renew() | AwaitKeys():
                self._spawn(self._later(head, client, decision, now), "renew a session, or wait for keys")
            case Serve():
                self._serve(head, client, decision, now)
            case StartLogin(may_have_fragment=True):
                self._rejected(head, client, decision.rejected)
                client.respond(self._parts.endpoints.ask_for_fragment(decision.return_to))
            case StartLogin():
                self._spawn(self._start_login(head, client, decision, now), "start a login")
            case Rescue():
                self._rescue(head, client, decision, now)
            case Refuse():
                self._refusals.respond(decision.error, head, client, decision.rejected, fields=tuple(fields))
            case _:
                assert_never(decision)

    def _count(self, decision: Decision) -> None:
        """What is forwarded is counted where that is done, and a question as what becomes of its request."""
        if not isinstance(decision, (Forward, Renew, AwaitKeys)) and not self._is_question(decision):
            self.counts.outcomes[_OUTCOMES[type(decision)]] += 1
            if decision.rejected is not None:
                self.counts.sessions_refused[decision.rejected] += 1

    def _is_question(self, decision: Decision) -> bool:
        return self.forward_auth is not None and isinstance(decision, Serve) and decision.endpoint == ENDPOINT

    async def _later(
        self, head: RequestHead, client: ClientConnection, decision: Renew | AwaitKeys, now: float
    ) -> None:
        """Renew a session, or wait for the keys of a token; then go on."""
        log.concerns(client.request_id)
        parts = self._parts
        try:
            outcome = await awaited(parts, decision, now)
            if client.is_lost:
                return
            if parts is not self._parts:
                # Another configuration holds by now, and it is the one to judge. The answer is not lost to it.
                self.handle(read_anew(head, self.names), client)
                return
            after, fields = settled(parts, decision, outcome, head, client.peer, now)
            self._perform(after, head, client, now, fields)
        except Exception as error:
            self._refusals.unexpected(error, head, client)

    # Forward.

    def _forward(
        self, head: RequestHead, client: ClientConnection, decision: Forward, fields: Iterable[Field] = ()
    ) -> None:
        parts, session, upgrade = self._parts, decision.session, decision.upgrade
        if decision.token is not None:
            identity, ends_at = self._as_token(decision.token, head, client), decision.token.expires_at
            head = without_authorization(head) if decision.drops_authorization else head
        elif session is None:
            identity, ends_at = self._as_nobody(decision), NEVER
        else:
            identity, ends_at = self._as_somebody(session, client), float(session.expires_at)
        cookies, marks = decision.cookies, None
        if session is not None and parts.cleanup is not None:
            admitted = parts.cleanup.admitted(session.session, head.noted.get(b"cookie", []), head.path)
            cookies, marks = admitted.cookies, admitted.marks
            if admitted.foreign and is_navigation(head):
                # Only there: what a page loads comes in parallel, and a late answer would remove what a new one set.
                expired = parts.cleanup.expired(admitted.foreign, head.path)
                fields = (*fields, *(("Set-Cookie", value) for value in expired))
        wire = outgoing(
            head,
            host=parts.host or head.noted[b"host"][0],
            cookies=cookies,
            identity=identity,
            forwarded=parts.forwarded.lines(client.peer, head.noted.get(b"x-forwarded-for")),
            request_id=client.request_id,
            is_public=session is None,
            connection=b"" if upgrade is None else upgrade.lines,
        )
        exchange = Exchange(client, head, wire, upgrade, ends_at)
        exchange.opened_by = decision.token or session
        if fields:
            exchange.cookies = tuple(fields)
        exchange.marks = marks
        self._send(exchange)

    # What forward authentication asks of the gateway.

    def asserted(self, decision: Forward, head: RequestHead, client: ClientConnection) -> bytes:
        if decision.token is not None:
            return self._as_token(decision.token, head, client)
        return self._as_nobody(decision) if decision.session is None else self._as_somebody(decision.session, client)

    def told(self, decision: Decision, head: RequestHead, client: ClientConnection) -> None:
        self._count(decision)
        if not isinstance(decision, (Renew, Serve, AwaitKeys)) and decision.report is not None:
            self._report(decision.report, head, client)

    def _as_somebody(self, session: Known, client: ClientConnection) -> bytes:
        parts = self._parts
        self.counts.forwarded += 1
        client.session = session
        return (
            session.lines if parts.assertions is None else session.lines + parts.assertions.line(session, parts.clock())
        )

    def _as_nobody(self, decision: Forward) -> bytes:
        self.counts.public += 1
        if decision.rejected is not None:
            self.counts.sessions_refused[decision.rejected] += 1
        return self._parts.public_lines

    def _as_token(self, token: Token | Bearer, head: RequestHead, client: ClientConnection) -> bytes:
        if isinstance(token, Bearer):
            return self._as_program(token, head, client)
        self.counts.tokens[token.name] += 1
        if audit.is_wanted():
            audit.event("audit.token", token=token.name, **self._refusals.place(head, client))
        return self._parts.public_lines + f"X-Passproxy-Token: {token.name}\r\n".encode()

    def _as_program(self, bearer: Bearer, head: RequestHead, client: ClientConnection) -> bytes:
        assertions, client.session = self._parts.assertions, bearer.known
        self.counts.forwarded += 1
        self.counts.bearers[bearer.name] += 1
        if audit.is_wanted():
            who = audit.who(bearer.known)
            audit.event("audit.bearer", issuer=bearer.name, **who, **self._refusals.place(head, client))
        if assertions is None:
            return bearer.lines
        return bearer.lines + assertions.line(bearer.known, self._parts.clock())

    def _send(self, exchange: Exchange) -> None:
        upstream = self._parts.pool.take(exchange)
        if upstream is None:
            self._spawn(self._connect(exchange), "connect to the application")
        else:
            upstream.begin(exchange)

    async def _connect(self, exchange: Exchange) -> None:
        try:
            upstream = await self._parts.pool.connect(self)
        except (UpstreamError, Overloaded) as error:
            self._refusals.respond(error, exchange.head, exchange.client, None, fields=exchange.cookies)
            return
        if exchange.client.is_lost:
            upstream.transport.close()
        elif upstream.transport.is_closing():
            self.upstream_failed(exchange, UpstreamUnreachable("the connection closed at once"))
        else:
            upstream.begin(exchange)

    # What upstream connections report.

    def upstream_failed(self, exchange: Exchange, error: UpstreamError) -> None:
        self._refusals.respond(error, exchange.head, exchange.client, None, fields=exchange.cookies)

    def upstream_truncated(self, exchange: Exchange, reason: str) -> None:
        self.counts.truncated += 1
        log.event(
            "warning",
            "upstream.truncated",
            request_id=exchange.client.request_id.decode(),
            client=exchange.client.peer,
            detail=reason,
        )

    def upstream_closed_early(self, exchange: Exchange) -> None:
        self.counts.repeated += 1
        exchange.is_retried = True
        self._send(exchange)

    def upstream_switches(self, exchange: Exchange, head: bytes, rest: bytes, upstream: asyncio.Transport) -> None:
        parts, client = self._parts, exchange.client
        waiting = client.release()
        ends_at = parts.watch.now + exchange.session_ends_at - parts.clock()
        idle_seconds = parts.pool.limits.idle_seconds
        cursor = None if exchange.upgrade is None or exchange.upgrade.accept is None else FrameCursor()
        closed = self._tunnel_closed
        by = exchange.opened_by
        tunnel = Tunnel(client.transport, upstream, parts.watch, idle_seconds, ends_at, closed, cursor, by)
        self.tunnels.add(tunnel)
        # Only now: a transport that is full tells its protocol once, and that has to be the tunnel's.
        client.transport.write(head)
        if rest:
            tunnel.from_application(rest)
        if waiting:
            upstream.write(waiting)

    def _tunnel_closed(self, tunnel: Tunnel, reason: str) -> None:
        self.tunnels.discard(tunnel)
        log.event("debug", "upgrade.closed", reason=reason)

    def end_what_is_over(self) -> None:
        """What was begun by a session or a token that holds no more; once a tick."""
        parts = self._parts
        end_tunnels(self.tunnels, parts.decider)
        end_answers(parts.watch.watched, parts.decider, parts.clock(), self._judge_anew)

    def _judge_anew(self, exchange: Exchange) -> None:
        self.handle(read_anew(exchange.head, self.names), exchange.client)

    # Our own pages.

    def _serve(self, head: RequestHead, client: ClientConnection, decision: Serve, now: float) -> None:
        if self.forward_auth is not None and decision.endpoint == ENDPOINT:
            self.forward_auth.answer(head, client, now)
            return
        client.session = decision.session

        def done(body: bytes) -> None:
            address = self._refusals.address(head, client)
            asked = Asked(
                decision.endpoint,
                head,
                body,
                decision.crumbs,
                decision.session,
                decision.rejected,
                address,
                client.request_id.decode(),
                now,
            )
            self._spawn(self._answer(asked, client, decision.rejected), "serve an endpoint")

        def refuse(error: RequestMalformed) -> None:
            self._refusals.respond(error, head, client, decision.rejected)

        client.collect(BODY_LIMIT_BYTES, done, refuse)

    async def _answer(self, asked: Asked, client: ClientConnection, rejected: str | None) -> None:
        log.concerns(client.request_id)
        try:
            response = await self._parts.endpoints.serve(asked)
        except PassProxyError as error:
            endpoints = self._parts.endpoints
            retry_url, fields = endpoints.retry_url(asked), endpoints.after_error(error, asked)
            self._refusals.respond(error, asked.head, client, rejected, retry_url=retry_url, fields=fields)
        except Exception as error:
            self._refusals.unexpected(error, asked.head, client)
        else:
            client.respond(response)

    async def _start_login(self, head: RequestHead, client: ClientConnection, decision: StartLogin, now: float) -> None:
        log.concerns(client.request_id)
        try:
            response = await self._parts.endpoints.start(decision.return_to, decision.crumbs, decision.rejected, now)
        except PassProxyError as error:
            fields = self._parts.endpoints.after_error(error)
            self._refusals.respond(error, head, client, decision.rejected, retry_url=decision.return_to, fields=fields)
        except Exception as error:
            self._refusals.unexpected(error, head, client)
        else:
            self._rejected(head, client, decision.rejected)
            client.respond(response)

    def _rescue(self, head: RequestHead, client: ClientConnection, decision: Rescue, now: float) -> None:
        def done(body: bytes) -> None:
            try:
                response = self._parts.endpoints.keep_form(decision.return_to, body, decision.crumbs, now)
            except PassProxyError as error:
                self._refusals.respond(error, head, client, decision.rejected)
            except Exception as error:
                self._refusals.unexpected(error, head, client)
            else:
                log.event("info", "form.kept", **self._refusals.place(head, client))
                client.respond(response)

        def refuse(error: RequestMalformed) -> None:
            self._refusals.respond(error, head, client, decision.rejected)

        client.collect(FORM_LIMIT_BYTES, done, refuse)

    def _rejected(self, head: RequestHead, client: ClientConnection, reason: str | None) -> None:
        if reason is not None:
            log.event("info", "session.rejected", **self._refusals.place(head, client), reason=reason)

    def _report(self, report: Report, head: RequestHead, client: ClientConnection) -> None:
        """What a rule that only reports says; loud only where it would change something."""
        log.event(
            "info" if report.verdict != report.instead else "debug",
            "access.report_only",
            rule=report.rule,
            verdict=report.verdict,
            instead=report.instead,
            **self._refusals.place(head, client),
            detail=report.detail,
        )

    # Refusals.

    def refuse(self, error: PassProxyError, head: RequestHead | None, client: ClientConnection) -> None:
        """Answer bytes that are no request, or, with a head, no body of one."""
        if head is None:
            self.counts.outcomes["malformed"] += 1
            client.request_id = self._parts.request_ids.of(client.peer, None)
        self._refusals.respond(error, head, client, None)


#: What the metrics call a decision.
_OUTCOMES = {Serve: "endpoint", StartLogin: "login", Rescue: "form_kept", Refuse: "refused"}
