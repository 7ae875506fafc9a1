"""
What there is to see of a running instance, and whether it is ready. Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passproxy.core.counts import Counts
from passproxy.idp.base import IdentityProvider
from passproxy.idp.revocation import Revocations
from passproxy.web.pool import UpstreamPool
from passproxy.web.server import Server

if TYPE_CHECKING:
    from passproxy.idp.issuers import JwtIssuer

REVOCATIONS_BEHIND = "the list of revoked sessions is not current: its server does not answer"


@dataclass(frozen=True, slots=True)
class Observed:
    """The parts of one instance. `keys` is how many sign or verify its sessions, `clock` seconds since the epoch."""

    counts: Counts
    server: Server
    pool: UpstreamPool
    provider: IdentityProvider
    revocations: Revocations
    keys: int
    clock: Callable[[], float]
    issuers: Sequence[JwtIssuer] = ()
    #: Whether nobody is served by a session while the list is not current.
    needs_revocations: bool = False

    def not_ready(self) -> list[str]:
        """Why no requests should be sent here; empty when they should."""
        reasons = []
        if not self.server.is_serving:
            reasons.append("not accepting connections: starting or stopping")
        if not self.provider.standing().is_known:
            reasons.append("nothing is known about the identity provider yet: nobody could log in")
        if self.needs_revocations and not self.revocations.is_current:
            reasons.append(REVOCATIONS_BEHIND)
        return reasons

    def notes(self) -> list[str]:
        """What is not as it should be, and keeps no request from being served."""
        return [] if self.needs_revocations or self.revocations.is_current else [REVOCATIONS_BEHIND]
