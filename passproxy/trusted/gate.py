"""What the middlewares of all frameworks have in common: whose request it is, by its assertion or by nobody's word."""

from __future__ import annotations

import os

from passproxy.trusted.errors import AssertionMissing
from passproxy.trusted.headers import Headers
from passproxy.trusted.identity import Identity
from passproxy.trusted.settings import Settings, settings_from
from passproxy.trusted.verifier import Verifier
from passproxy.trusted.waiting import verified


class Gate:
    """
    Takes what a middleware is made with, and has what it needs for a request.

    Raises:
        SettingsInvalid: the environment is read, and not complete.
    """

    def __init__(
        self, settings: Settings | None, verifier: Verifier | None, strip_headers: tuple[str, ...], *, optional: bool
    ) -> None:
        self._verifier = verifier or Verifier(settings or settings_from(os.environ))
        self._optional = optional
        self.headers = Headers(self._verifier.settings, strip_headers)

    def identity(self, token: bytes | None) -> Identity | None:
        """
        Of the request with this assertion; None for nobody's, where that may be.

        Raises:
            TrustError: it must not reach the application.
        """
        return self._nobody() if token is None else self._verifier.verify(token)

    async def identity_awaited(self, token: bytes | None) -> Identity | None:
        """Likewise, without holding up an event loop."""
        return self._nobody() if token is None else await verified(self._verifier, token)

    def _nobody(self) -> Identity | None:
        if not self._optional:
            raise AssertionMissing("no assertion")
        return None
