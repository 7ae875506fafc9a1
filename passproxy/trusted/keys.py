"""
The keys of a proxy: fetched seldom, held long enough, never taken from a token.

At most one fetch a minute begins, whatever arrives: an unknown `kid` may bring
one about, a thousand bring about the same one. Requests whose key is known wait
for none. When the keys cannot be read, the last ones hold for a day, then nothing
is verified any more. What they verify is verifier.py's business.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeout

from passproxy.trusted.errors import FetchFailed, KeysUnavailable, KeyUnknown
from passproxy.trusted.fetching import FETCH_SECONDS, fetched
from passproxy.trusted.jwk import PublicKey, keys_from

#: Between the beginnings of two fetches, also of failed ones.
INTERVAL_SECONDS = 60.0

#: A key that was withdrawn is believed at most this long while its set can be read.
REFRESH_SECONDS = 300.0

#: How long the last keys hold while their set cannot be read: a night and a working day to
#: mend it in. A withdrawn key is believed that much longer by whoever is cut off.
STALE_LIMIT_SECONDS = 86400.0

#: How long a request waits for a fetch: for connecting, TLS and the answer.
WAIT_SECONDS = 3 * FETCH_SECONDS


class KeySet:
    """
    The key set at one address, for any number of threads.

    `fetch` is a function from an address to a body that raises FetchFailed;
    `clock` gives seconds that never go back. Nothing is fetched before it is
    needed, so one made before a fork serves each child.
    """

    def __init__(
        self, url: str, *, fetch: Callable[[str], bytes] = fetched, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[PublicKey, ...] = ()
        self._read_at = self._began_at = -math.inf
        self._running: Future[None] = Future()
        self._failure = "they have not been read yet"

    def get(self, kid: str | None, algorithm: str) -> PublicKey:
        """
        The key with this `kid`; without one, the only key there is. Waits for a fetch when it must.

        Raises:
            KeyUnknown: the set has no such key, or several.
            KeysUnavailable: there is no set that could have it.
        """
        key = self.known(kid, algorithm)
        if key is None:
            with contextlib.suppress(WaitTimeout):
                self.refresh().result(WAIT_SECONDS)
        return key or self.found(kid, algorithm)

    def known(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """`get` without waiting. Begins a fetch in the background when the keys are no longer fresh."""
        age = self._age()
        if age > STALE_LIMIT_SECONDS:
            return None
        if age >= REFRESH_SECONDS:
            self.refresh()
        fitting = [key for key in self._keys if kid in (None, key.kid) and key.fits(algorithm)]
        return fitting[0] if len(fitting) == 1 else None

    def found(self, kid: str | None, algorithm: str) -> PublicKey:
        """`known`, or the reason why there is none."""
        if key := self.known(kid, algorithm):
            return key
        if self._age() > STALE_LIMIT_SECONDS:
            raise KeysUnavailable(f"the keys at {self._url} cannot be read: {self._failure}")
        raise KeyUnknown(f"no single key for kid {str(kid)[:64]!a} and {algorithm} at {self._url}")

    def refresh(self) -> Future[None]:
        """A fetch that begins now; when it is too early for another, the last one, which may be done."""
        with self._lock:
            now = self._clock()
            if now - self._began_at < INTERVAL_SECONDS:
                return self._running
            # One that still hangs after a minute, or was lost in a fork, is given up.
            self._began_at, self._running = now, Future()
            running = self._running
            # From now on nobody who waits can cancel it for the others.
            running.set_running_or_notify_cancel()
        worker = threading.Thread(target=self._read, args=(running, now), name="trusted-proxy-keys", daemon=True)
        try:
            worker.start()
        except RuntimeError as error:
            self._failure = str(error)
            running.set_result(None)
        return running

    def _age(self) -> float:
        return self._clock() - self._read_at

    def _read(self, running: Future[None], began_at: float) -> None:
        try:
            keys = keys_from(self._fetch(self._url))
        except FetchFailed as error:
            self._failure = error.detail
        except Exception as error:  # a fetch function of the application: the last keys stand
            self._failure = type(error).__name__
        else:
            with self._lock:
                if self._began_at == began_at:
                    self._keys, self._read_at = keys, began_at
        finally:
            running.set_result(None)
