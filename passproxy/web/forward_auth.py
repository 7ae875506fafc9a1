"""
Forward authentication: a web server asks what becomes of a request, and serves it itself.

The question is judged like a request that arrives here. Allowed is a 200 with the very fields that an
application behind PassProxy would be told, and with what the web server has to put in the place of the
client's own: `Cookie` without our cookies, `Authorization`. Everything else is an answer without any of that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol
from urllib.parse import quote

from passproxy.core.decision import Decision, Forward, Refuse, Renew, Rescue, Serve, StartLogin
from passproxy.core.errors import EndpointMethod, EndpointUnknown, ForwardedTargetRefused, LoginRequired, RequestRefused
from passproxy.core.forwarded_target import WebServer, authorization, forwarded_head
from passproxy.core.headers import METHOD_OVERRIDE, read_anew
from passproxy.core.http1 import RequestHead
from passproxy.core.issuers import AwaitKeys
from passproxy.web import log
from passproxy.web.connection import ClientConnection
from passproxy.web.login import START, login_url
from passproxy.web.parts import Parts
from passproxy.web.refusals import Refusals
from passproxy.web.responses import Field, allowed, redirect, unauthorized
from passproxy.web.waiting import awaited, settled

#: Before the number of a cookie, for a web server that can hand on fields of different names alone.
#: A session sets or removes five at most: its four parts, and what renews it.
COOKIE_FIELD = "X-Passproxy-Set-Cookie-"


class Enforcement(Protocol):
    """What is needed of the gateway."""

    @property
    def forward_auth(self) -> ForwardAuth | None:
        """What answers now, since a new configuration replaces it; None where nobody may ask any more."""
        ...

    def asserted(self, decision: Forward, head: RequestHead, client: ClientConnection) -> bytes:
        """The identity lines of an allowed request, which is counted."""
        ...

    def told(self, decision: Decision, head: RequestHead, client: ClientConnection) -> None:
        """Counts a decision, and logs what a rule that only reports would have done."""
        ...


class ForwardAuth:
    """Answers one kind of web server, with these parts."""

    def __init__(
        self,
        parts: Parts,
        web_server: WebServer,
        refusals: Refusals,
        enforcement: Enforcement,
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        self._parts = parts
        self._web_server = web_server
        self._refusals = refusals
        self._enforcement = enforcement
        self._spawn = spawn

    def answer(self, head: RequestHead, client: ClientConnection, now: float) -> None:
        """Answer a question; an exception that is no refusal is the caller's."""
        asked = head
        try:
            if not self._parts.forwarded.trusts(client.peer):
                raise EndpointUnknown("forward authentication, asked by a peer that is not in trusted_proxies")
            if head.method not in (b"GET", b"HEAD"):
                raise EndpointMethod("GET", "HEAD")
            asked = forwarded_head(head, self._web_server, self._parts.origin.scheme, self._parts.names)
            self._judge(asked, client, now)
        except RequestRefused as error:
            self._perform(Refuse(error, None), asked, client, now)

    def _judge(self, asked: RequestHead, client: ClientConnection, now: float) -> None:
        self._perform(self._parts.decider.decide(asked, now, client.peer), asked, client, now)

    def _perform(
        self, decision: Decision, asked: RequestHead, client: ClientConnection, now: float, fields: Iterable[Field] = ()
    ) -> None:
        if not isinstance(decision, (Renew, AwaitKeys, Serve)):
            self._enforcement.told(decision, asked, client)
        match decision:
            case Forward():
                client.respond(allowed(self._of_allowed(decision, asked, client, fields)))
            case Renew() | AwaitKeys():
                self._spawn(self._later(asked, client, decision, now), "renew a session, or wait for keys")
            case StartLogin():
                self._lead_to_login(decision, asked, client)
            case Rescue():
                self._refuse(
                    LoginRequired("a form, of which the web server has the body"), asked, client, decision.rejected
                )
            case Refuse():
                self._refuse(decision.error, asked, client, decision.rejected, fields)
            case Serve():
                raise ForwardedTargetRefused("a page of ours, which no web server serves")

    def _of_allowed(
        self, decision: Forward, asked: RequestHead, client: ClientConnection, cookies: Iterable[Field]
    ) -> list[Field]:
        if decision.session is None and METHOD_OVERRIDE in asked.noted:
            # Behind PassProxy it would not arrive. What is public for GET is not for the DELETE that it makes of it.
            raise ForwardedTargetRefused("a method override where nobody was asked for")
        theirs = None if decision.drops_authorization else authorization(asked)
        lines = self._enforcement.asserted(decision, asked, client).decode("latin-1").split("\r\n")[:-1]
        fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        fields.append(("X-Request-Id", client.request_id.decode()))
        if decision.cookies:
            fields.append(("Cookie", b"; ".join(decision.cookies).decode("latin-1")))
        if theirs is not None:
            fields.append(("Authorization", theirs.decode("latin-1")))
        if not self._web_server.numbers_cookies:
            return [*fields, *cookies]
        return [*fields, *((f"{COOKIE_FIELD}{n}", value) for n, (_, value) in enumerate(cookies, 1))]

    def _lead_to_login(self, decision: StartLogin, asked: RequestHead, client: ClientConnection) -> None:
        target = decision.return_to
        path = f"{START}?return_to={quote(target, safe='')}" if decision.may_have_fragment else login_url(target)
        # Absolute: some take what is relative as below the address at which they ask.
        location = self._parts.origin.url(path)
        client.respond(
            unauthorized(location) if self._web_server.knows_two_refusals else redirect(location, status=302)
        )

    def _refuse(
        self,
        error: RequestRefused,
        asked: RequestHead,
        client: ClientConnection,
        rejected: str | None,
        fields: Iterable[Field] = (),
    ) -> None:
        status = None
        if self._web_server.knows_two_refusals:
            status = 401 if error.status == 401 else 403
        self._refusals.respond(error, asked, client, rejected, fields=tuple(fields), status=status)

    async def _later(
        self, asked: RequestHead, client: ClientConnection, decision: Renew | AwaitKeys, now: float
    ) -> None:
        log.concerns(client.request_id)
        fields: list[Field] = []
        try:
            outcome = await awaited(self._parts, decision, now)
            if client.is_lost or self._is_replaced(asked, client, now):
                return  # The answer is not lost to who judges now.
            after, fields = settled(self._parts, decision, outcome, asked, client.peer, now)
            self._perform(after, asked, client, now, fields)
        except RequestRefused as error:
            self._perform(Refuse(error, None), asked, client, now, fields)
        except Exception as error:
            self._refusals.unexpected(error, asked, client)

    def _is_replaced(self, asked: RequestHead, client: ClientConnection, now: float) -> bool:
        """
        Whether another configuration holds by now, which then has judged.

        Raises:
            EndpointUnknown: with it, nobody may ask.
        """
        current = self._enforcement.forward_auth
        if current is self:
            return False
        if current is None:
            raise EndpointUnknown("forward authentication was turned off meanwhile")
        current._judge(read_anew(asked, current._parts.names), client, now)
        return True
