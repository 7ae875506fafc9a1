"""`Verifier.verify` for asynchronous frameworks: it waits for the keys without holding up the event loop."""

from __future__ import annotations

import asyncio

from passproxy.trusted.identity import Identity
from passproxy.trusted.keys import WAIT_SECONDS
from passproxy.trusted.verifier import Verifier


async def verified(verifier: Verifier, token: bytes) -> Identity:
    """
    The identity in an assertion; see `Verifier.verify`.

    Raises:
        AssertionRefused, KeysUnavailable
    """
    unverified = verifier.parsed(token)
    key = verifier.keys.known(unverified.kid, unverified.algorithm)
    if key is None:
        # Others wait for the same fetch. `wait` cancels nothing, also when this request is given up.
        await asyncio.wait({asyncio.wrap_future(verifier.keys.refresh())}, timeout=WAIT_SECONDS)
    return verifier.judged(unverified, key or verifier.keys.found(unverified.kid, unverified.algorithm))
