"""
The end of sessions, whatever the protocol: ours told to the provider, the provider's told to us.

What the provider says is verified by its adapter before anything ends here. A
session that ends is revoked, so that a copy of its token is worth nothing
either. Which cookies go, and where the browser does, is for web/logout.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
from dataclasses import dataclass

from passproxy.core import kept
from passproxy.core.errors import LoginError, RevocationOff, TokenInvalid
from passproxy.core.handles import handle_of, own_handle
from passproxy.core.session_claims import Session
from passproxy.core.tokens import KeyRing, Purpose
from passproxy.idp.base import Departure, IdentityProvider, LogoutNotice, Message, Proof
from passproxy.idp.revocation import Revocations

#: From our logout to the provider's answer; people confirm on its pages.
LOGOUT_LIMIT_SECONDS = 15 * 60

_TIME_BYTES = 5
_RANDOM_BYTES = 12

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """What the provider said, and whether the session of the browser that brought it is among those that are over."""

    said: LogoutNotice
    ends_this_session: bool


class Logouts:
    """Ends sessions, ours and the provider's."""

    def __init__(self, provider: IdentityProvider, ring: KeyRing, revocations: Revocations) -> None:
        self.provider = provider
        self._ring = ring
        self._revocations = revocations

    async def end(self, session: Session, cookie: bytes | None, now: float) -> Departure | None:
        """End a session here for good, and say where the browser ends it at the provider, if it can."""
        with contextlib.suppress(RevocationOff):  # then it ends in its browser alone
            await self._revoke([own_handle(session.id)])
        content = int(now).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        logout_id = self._ring.enclose(Purpose.LOGOUT, content)
        value = kept.disclosed(self._ring, session.id, cookie)
        return await self.provider.end(value, logout_id, _proof(content), now)

    async def notified(self, message: Message, session: Session | None, now: float) -> Notice:
        """
        What the provider says about sessions, done.

        Raises:
            LoginError: it does not hold; nothing ends.
            RevocationOff: it holds, and nothing here can end a session of another browser.
        """
        proof = self._proof_of(message.fields.get(self.provider.login_id_field, ""), now)
        try:
            said = await self.provider.notified(message, proof, now)
        except LoginError as error:
            if proof is None:
                raise
            # Somebody comes back from the logout that was begun here. It has been done here; whether the
            # provider did it as well, an answer that does not hold leaves open.
            _log.warning("logout.answer_refused code=%s %s", error.code, error.detail)
            return Notice(LogoutNotice((), int(now), is_complete=False), ends_this_session=False)
        handles = [handle_of(name) for name in said.handles]
        ends = session is not None and not set(handles).isdisjoint(session.handles)
        if handles:
            try:
                await self._revoke(handles)
            except RevocationOff:
                if not ends:
                    raise
        return Notice(said, ends)

    async def _revoke(self, handles: list[str]) -> None:
        try:
            await self._revocations.revoke(handles)
        except OSError as error:
            # In this process it holds; the other instances cannot know.
            _log.error("revocation.not_stored %s", error.strerror)

    def _proof_of(self, logout_id: str, now: float) -> Proof | None:
        try:
            content = self._ring.disclose(Purpose.LOGOUT, logout_id.encode())
        except TokenInvalid:
            return None
        started_at = int.from_bytes(content[:_TIME_BYTES], "big")
        return _proof(content) if -60 <= now - started_at <= LOGOUT_LIMIT_SECONDS else None


def _proof(content: bytes) -> Proof:
    # The content never leaves us but enclosed.
    return Proof(hashlib.sha256(b"logout" + content).digest())
