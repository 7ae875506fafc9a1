"""
A form that met an expired session, kept over the login by the browser that sent it.

Only a form that a page of the application itself sent in a window, and only for whoever was signed
in there last: the form is enclosed together with a digest of that account, the browser keeps the
value, and after the login the same account is asked whether to send it. Nothing is stored here,
and nothing is sent by itself. Knows no page and no clock.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from passproxy.core.errors import FormExpired, FormOfAnother, TokenInvalid
from passproxy.core.http1 import RequestHead
from passproxy.core.identity import Identity
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.core.urls import return_to

#: Largest form that is kept: a long page of text. Browsers give a site 5 MB for such values.
FORM_LIMIT_BYTES = 64 * 1024

#: Most fields of one, as a page has to show them again.
FORM_FIELD_LIMIT = 500

#: How long it may be sent: the login's fifteen minutes, and some to decide.
FORM_SECONDS = 30 * 60

#: How long a browser remembers who was signed in: over a night and a weekend, in which sessions end.
WHO_SECONDS = 7 * 24 * 3600

#: An enclosed form is a third longer than the form and its JSON, in which a byte may take two.
_ENCLOSED_LIMIT_BYTES = 3 * FORM_LIMIT_BYTES

_FORM_TYPE = b"application/x-www-form-urlencoded"

# A page cannot carry these through a hidden field unchanged.
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it was filled in. `target` is a local request target."""

    target: str
    fields: tuple[tuple[str, str], ...]


def who(ring: KeyRing, identity: Identity) -> str:
    """The value of the cookie that says who was signed in last."""
    return ring.enclose(Purpose.WHO, _digest(identity))


def is_rescuable(head: RequestHead) -> bool:
    """Whether a request without a session is a form of the application, sent in a window, of a size that can be kept."""
    return (
        head.method == b"POST"
        and 0 < head.body <= FORM_LIMIT_BYTES
        and (head.value(b"sec-fetch-site"), head.value(b"sec-fetch-mode"), head.value(b"sec-fetch-dest"))
        == (b"same-origin", b"navigate", b"document")
        and (head.value(b"content-type") or b"").partition(b";")[0].strip().lower() == _FORM_TYPE
        and return_to(head.target.decode("latin-1")) == head.target.decode("latin-1")
    )


def kept(ring: KeyRing, who_value: bytes, target: str, body: bytes, now: float) -> str | None:
    """The form, enclosed for whoever was signed in last; None where that is not known, or a page could not repeat it."""
    try:
        account = ring.disclose(Purpose.WHO, who_value)
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FORM_FIELD_LIMIT,
        )
    except (TokenInvalid, ValueError):
        return None
    if any(_UNSHOWABLE.search(text) for field in fields for text in field):
        return None
    content = json.dumps([account.hex(), int(now), target, fields], ensure_ascii=False)
    return ring.enclose(Purpose.FORM, content.encode())


def restored(ring: KeyRing, value: bytes, identity: Identity, now: float) -> Form:
    """
    The form that `kept` enclosed, for the account that filled it in.

    Raises:
        FormExpired: it is too old, or this value was never made here.
        FormOfAnother: another account is signed in now.
    """
    try:
        account, kept_at, target, fields = json.loads(ring.disclose(Purpose.FORM, value, _ENCLOSED_LIMIT_BYTES))
    except (TokenInvalid, ValueError):
        raise FormExpired("not a form that was kept here") from None
    if now - kept_at > FORM_SECONDS:
        raise FormExpired("kept too long")
    if account != _digest(identity).hex():
        raise FormOfAnother("another account than the one that filled it in")
    return Form(target, tuple((name, text) for name, text in fields))


def _digest(identity: Identity) -> bytes:
    """An account, told apart from others and not named."""
    return hashlib.sha256(f"{len(identity.issuer)}:{identity.issuer}{identity.subject}".encode()).digest()[:16]
