"""
Which sessions are over before their time: told by the provider, or by a logout.

A session is a token that no server keeps, so what ends early is listed: its
handle (core/session.py), and the time up to which sessions with that handle
are over. `Revocations.revoked` is what `Sessions` looks at; it is always in
memory. A store that is a file is shared by the instances that read it: each
appends to it, and all look at it once a second.

Nothing is ever forgotten too early: an entry stays for as long as a session
lives, and where there is no room left, all sessions from before the oldest
entry are over together.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from passproxy.core.errors import ConfigError, RevocationOff
from passproxy.core.handles import EVERY_SESSION

#: Logouts of a month in an organisation of some thousand people; each takes about 150 bytes.
REVOCATION_LIMIT = 100_000

#: Every instance refuses within two seconds: half of that for looking.
POLL_SECONDS = 1.0

#: A list that has not been compared for longer is not current: some attempts to connect, and a restart of the server.
STALE_SECONDS = 10.0

#: A file is written anew, without what has passed, above this.
COMPACT_BYTES = 8 * 1024 * 1024

#: Longest line: a handle of 16 characters and two times.
_LINE_LIMIT_BYTES = 256

_log = logging.getLogger(__name__)


class Revocations:
    """The list, in this process. `lifetime_seconds` is the longest that a session lives."""

    def __init__(self, lifetime_seconds: int, clock: Callable[[], float], limit: int = REVOCATION_LIMIT) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._limit = limit
        self._revoked: dict[str, int] = {}

    @property
    def seconds_behind(self) -> float:
        """For how long the list has not been compared with that of the others; 0 where there are none."""
        return 0.0

    @property
    def is_current(self) -> bool:
        """Whether what others end is known here within `STALE_SECONDS`."""
        return self.seconds_behind <= STALE_SECONDS

    @property
    def revoked(self) -> Mapping[str, int]:
        """Handle -> sessions that began at or before this are over, in seconds since the epoch."""
        return self._revoked

    async def revoke(self, handles: Iterable[str], at: int | None = None) -> None:
        """
        End what these handles name and has begun until `at`, from now on and on every instance that shares the list.

        `at` is in seconds since the epoch, and now unless given.

        Raises:
            RevocationOff: there is no list.
            OSError: it could not be kept; here it holds all the same.
        """
        self._note(handles, int(self._clock()) if at is None else at)

    def take_over(self, other: Revocations) -> None:
        """What ended while another list was in force stays ended here."""
        for handle, at in other.revoked.items():
            self._note((handle,), at)

    async def run(self) -> None:
        """Follow what others add, until cancelled."""

    def _note(self, handles: Iterable[str], at: int) -> None:
        for handle in handles:
            # Entered anew, so that the order is that of the times.
            self._revoked[handle] = max(at, self._revoked.pop(handle, 0))
        self._forget()

    def _forget(self) -> None:
        begin = int(self._clock()) - self._lifetime_seconds
        while self._revoked:
            oldest = next(iter(self._revoked))
            at = self._revoked[oldest]
            if at >= begin and len(self._revoked) <= self._limit:
                return
            del self._revoked[oldest]
            if at >= begin:
                # No room: whoever began before it ends with it, which is safe and very rare.
                every = max(at, self._revoked.pop(EVERY_SESSION, 0))
                self._revoked[EVERY_SESSION] = every
                if oldest == EVERY_SESSION:
                    return


class NoRevocations(Revocations):
    """Nothing is remembered: sessions end in their own browser, and by their time."""

    async def revoke(self, handles: Iterable[str], at: int | None = None) -> None:
        raise RevocationOff("revocation.store is none")


class SharedRevocations(Revocations):
    """
    A list that is also a file: JSON lines, each a handle and a time.

    Whoever may write the file can end sessions, nothing else.
    """

    def __init__(
        self, path: Path, lifetime_seconds: int, clock: Callable[[], float], limit: int = REVOCATION_LIMIT
    ) -> None:
        super().__init__(lifetime_seconds, clock, limit)
        self._path = path
        self._position = 0
        self._identity: tuple[int, int] | None = None
        self._is_failing = False
        try:
            self._path.touch(mode=0o600)
            self._read()
        except OSError as error:
            raise ConfigError((f"revocation.store: {path}: {error.strerror}",)) from None

    async def revoke(self, handles: Iterable[str], at: int | None = None) -> None:
        at, named = int(self._clock()) if at is None else at, list(handles)
        self._note(named, at)
        lines = b"".join(_line(handle, at) for handle in named)
        await asyncio.to_thread(self._append, lines)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                self._read()
                self._is_failing = False
            except OSError as error:
                if not self._is_failing:
                    _log.error("revocation.unreadable %s: what is known stays in force", error.strerror)
                self._is_failing = True

    def _append(self, lines: bytes) -> None:
        with self._locked(os.O_WRONLY | os.O_APPEND | os.O_CREAT) as descriptor:
            os.write(descriptor, lines)
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
        if size > COMPACT_BYTES:
            self._compact()

    def _compact(self) -> None:
        """Write it anew in place, under the lock, so that whoever appends waits and whoever reads starts over."""
        with self._locked(os.O_RDWR) as descriptor:
            with os.fdopen(os.dup(descriptor), "rb") as file:
                found = dict(entry for line in file if (entry := _entry(line)))
            begin = int(self._clock()) - self._lifetime_seconds
            kept = b"".join(_line(handle, at) for handle, at in found.items() if at >= begin)
            temporary = self._path.with_name(f".{self._path.name}.new")
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                before, made = os.fstat(descriptor), os.fstat(file.fileno())
                if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
                    # An administrator's command must not take the file away from the service.
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)

    @contextlib.contextmanager
    def _locked(self, flags: int) -> Iterator[int]:
        while True:
            descriptor = os.open(self._path, flags | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _identity(os.fstat(descriptor)) == _identity(os.stat(self._path)):
                break
            os.close(descriptor)  # it was written anew while we waited
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        """What has been added since the last look; everything when it is another file."""
        status = os.stat(self._path)
        if _identity(status) != self._identity or status.st_size < self._position:
            self._identity, self._position = _identity(status), 0
        if status.st_size == self._position:
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read(status.st_size - self._position)
        whole = content[: content.rfind(b"\n") + 1]  # the rest is still being written
        self._position += len(whole)
        for line in whole.splitlines():
            entry = _entry(line)
            if entry is None:
                _log.warning("revocation.line_ignored a line of %s is none of ours", self._path.name)
            else:
                self._note((entry[0],), entry[1])


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _line(handle: str, at: int) -> bytes:
    return json.dumps({"handle": handle, "at": at}).encode() + b"\n"


def _entry(line: bytes) -> tuple[str, int] | None:
    if len(line) > _LINE_LIMIT_BYTES:
        return None
    try:
        entry = json.loads(line)
        handle, at = entry["handle"], entry["at"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (handle, at) if type(handle) is str and type(at) is int else None
