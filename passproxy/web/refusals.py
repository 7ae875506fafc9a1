"""
Answers with an error: what the visitor sees, and what the log and the audit log are told.

That a request is refused was decided elsewhere; here is what it looks like, and that it is counted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from passproxy.core.errors import (
    EndpointUnknown,
    LoginError,
    LoginRequired,
    PassProxyError,
    RequestMalformed,
    RequestRefused,
    RuleRefused,
    UpstreamError,
)
from passproxy.core.http1 import RequestHead
from passproxy.core.request_ids import trace_id
from passproxy.core.session import SAID_SINCE
from passproxy.web import audit, log
from passproxy.web.connection import ClientConnection
from passproxy.web.login import LOGIN, POPUP
from passproxy.web.parts import Parts
from passproxy.web.responses import Field

#: What the log calls an error, and how loud; the first class that fits.
EVENTS: tuple[tuple[type[PassProxyError], Literal["debug", "info", "warning", "error"], str], ...] = (
    (RequestMalformed, "info", "http.reject"),
    (LoginError, "warning", "auth.reject"),
    (UpstreamError, "warning", "upstream.error"),
    (RequestRefused, "info", "request.refused"),
    (PassProxyError, "error", "request.failed"),
)


class Refusals:
    """Answers for the gateway; `place` tells the log which request it was."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        # What a script opens in a window: one that stays, or one that tells and closes.
        self._ways_in = {"login_url": parts.origin.url(LOGIN), "popup_url": parts.origin.url(POPUP)}

    def respond(
        self,
        error: PassProxyError,
        head: RequestHead | None,
        client: ClientConnection,
        rejected: str | None,
        *,
        retry_url: str | None = None,
        fields: tuple[Field, ...] = (),
        status: int | None = None,
    ) -> None:
        """
        The error's public face to the client, its private one to the log, in one line; `status` in place of its own.

        `rejected` says why a session cookie that came along was not one; `retry_url` is where "try again" leads.
        """
        self._parts.counts.errors[error.code] += 1
        level, name = next((level, name) for kind, level, name in EVENTS if isinstance(error, kind))
        told = {"code": error.code, "status": error.status, **self.place(head, client), "detail": error.detail or None}
        if isinstance(error, RuleRefused):
            told["rule"] = error.rule
        log.event(level, name, **told, session=None if rejected is None else f"rejected: {rejected}")
        if audit.is_wanted() and (error.status == 403 or isinstance(error, LoginError)):
            session = None if head is None else self._parts.decider.session_of(head, self._parts.clock())
            audit.event("audit.refusal", **told, **audit.who(session))
        html = head is None or b"text/html" in (head.value(b"accept") or b"").lower()
        more = self._ways_in if isinstance(error, LoginRequired) else {}
        retry_url = "/" if retry_url is None and isinstance(error, (LoginError, EndpointUnknown)) else retry_url
        response = self._parts.pages.error(error, client.request_id.decode(), html=html, retry_url=retry_url, **more)
        if rejected not in (None, SAID_SINCE) and head is not None:
            fields = (*fields, *self._parts.endpoints.without_session(head))
        response = (
            response.with_fields(fields) if status is None else replace(response, status=status).with_fields(fields)
        )
        # What follows a refused upgrade may be meant for the other protocol.
        closes = isinstance(error, RequestMalformed) or (head is not None and b"upgrade" in head.noted)
        client.respond(response.closing() if closes else response)

    def place(self, head: RequestHead | None, client: ClientConnection) -> dict[str, object]:
        """Which request it was, for the log."""
        place: dict[str, object] = {"request_id": client.request_id.decode(), "client": self.address(head, client)}
        if head is not None:
            shown = {"method": log.shown(head.method), "path": log.shown(head.path), "trace": trace_id(head)}
            place.update(shown)
        return place

    def address(self, head: RequestHead | None, client: ClientConnection) -> str:
        values = None if head is None else head.noted.get(b"x-forwarded-for")
        return self._parts.forwarded.client(client.peer, values)

    def unexpected(self, error: Exception, head: RequestHead, client: ClientConnection) -> None:
        log.failure("request.failed", error, request_id=client.request_id.decode())
        if client.party is not None or client.is_lost:
            client.abort()
        else:
            self.respond(PassProxyError(type(error).__name__), head, client, None)
