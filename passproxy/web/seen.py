"""
How a request arrived here, told to whoever has the keys: the other end of `passproxy doctor`.

The question is a token of a purpose of its own, sealed by a key of this domain
and good for a minute. Without one there is no such page. The answer is as large
as the largest that a login makes, so that it shows whether the web server in
front has room for that.
"""

from __future__ import annotations

from passproxy.core.cookies import COOKIE_LIMIT_BYTES, SESSION_PARTS_LIMIT
from passproxy.core.errors import EndpointUnknown, TokenInvalid
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.web.asked import Asked
from passproxy.web.responses import Response, as_json

ENDPOINT = "doctor"

#: From the question to its arrival.
QUESTION_SECONDS = 60

#: The cookies of the largest login: a session in all its parts, and what the provider's adapter keeps.
LARGEST_ANSWER_BYTES = (SESSION_PARTS_LIMIT + 1) * COOKIE_LIMIT_BYTES

_PADDING = "X-Passproxy-Padding"
_LINE_BYTES = COOKIE_LIMIT_BYTES - len(_PADDING) - 4


def question(ring: KeyRing, now: float) -> str:
    """The query that is answered."""
    issued_at = int(now)
    return ring.seal(Purpose.DOCTOR, {}, issued_at=issued_at, expires_at=issued_at + QUESTION_SECONDS)


def seen(asked: Asked, ring: KeyRing) -> Response:
    """
    The client's address as it is believed, and what the last proxy said of it.

    Raises:
        EndpointUnknown: nobody with a key of this domain asked.
    """
    try:
        ring.unseal(Purpose.DOCTOR, asked.query, asked.now)
    except TokenInvalid:
        raise EndpointUnknown("no such endpoint") from None
    forwarded = b",".join(asked.head.noted.get(b"x-forwarded-for", ()))
    facts = {"client": asked.client, "forwarded_for": forwarded.decode("latin-1")[:200]}
    padding = ((_PADDING, "-" * _LINE_BYTES) for _ in range(LARGEST_ANSWER_BYTES // COOKIE_LIMIT_BYTES))
    # Each under a name of its own: a proxy may join fields of one name.
    return as_json(facts).with_fields((f"{name}-{number}", value) for number, (name, value) in enumerate(padding))
