"""
What a refused request is answered with, whatever the framework: problem+json (RFC 9457).

The public side of an error goes out, the private one to the log. Neither holds
an assertion or a claim that was not verified.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from passproxy.trusted.errors import TrustError

logger = logging.getLogger("passproxy.trusted")

#: After which the keys may be fetched again.
RETRY_AFTER_SECONDS = 60

REASONS = {401: "Unauthorized", 503: "Service Unavailable"}

#: The close code of a WebSocket for 401, within those for applications (RFC 6455, 7.4.2).
WEBSOCKET_CLOSE = 4401


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer. Header names are in lower case."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal_from(error: TrustError) -> Refusal:
    """The answer for an error that `Verifier` or `Headers` raised; writes the line in the log."""
    logger.warning("refused: %s %s", error.code, error.detail)
    title = REASONS[error.status]
    problem = {"title": title, "status": error.status, "detail": error.sentence, "code": error.code}
    body = json.dumps(problem).encode()
    headers = [
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    ]
    if error.status == 401:
        # RFC 9110, 15.5.2 demands one. No browser knows it, so none asks for a password.
        headers.append(("www-authenticate", "TrustedProxy"))
    else:
        headers.append(("retry-after", str(RETRY_AFTER_SECONDS)))
    return Refusal(error.status, title, tuple(headers), body)
