"""
The key file: made at the first start, never in a package or an image, and shared by replicas.

Exactly one key set survives a parallel first start, and nobody runs with a key
that was not saved. A rotation adds a key that opens at once and seals a little
later, and leaves out what nothing can be sealed under any more. What a key file
contains is tokens.py's business.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from passproxy.core.errors import ConfigError
from passproxy.core.tokens import RING_LIMIT, Key, keys_from, keys_text, needed_keys, new_key


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did. `added` is None when a key was waiting to seal already, so that nothing was changed."""

    keys: tuple[Key, ...]
    added: Key | None
    dropped: tuple[Key, ...]


def obtained_keys(path: Path, *, may_create: bool, now: float) -> tuple[Key, ...]:
    """
    The keys of a file, which is made if it does not exist and may be.

    Raises:
        ConfigError: it cannot be read, written or understood.
    """
    try:
        if may_create and not path.exists():
            _create(path, now)
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError((f"{path}: the session keys cannot be read or made: {reason}",)) from None
    try:
        return keys_from(text)
    except ConfigError as error:
        raise ConfigError(tuple(f"{path}: {problem}" for problem in error.problems)) from None


def rotate(path: Path, *, now: float, delay_seconds: float, lifetime_seconds: float) -> Rotation:
    """
    Add a key that seals from `delay_seconds` on, and drop those that nothing can be sealed under any more.

    `lifetime_seconds` is the longest that a session lives. Two at once add one key between them.

    Raises:
        ConfigError: the file cannot be read or written, or has no room for a key.
    """
    # A link stays one: what it leads to is what instances read.
    path = Path(os.path.realpath(path))
    with _for_writing(path):
        keys = obtained_keys(path, may_create=False, now=now)
        if keys[0].seals_from > now:
            return Rotation(keys, None, ())
        fresh = new_key(now, now + delay_seconds)
        kept = needed_keys((fresh, *keys), now, lifetime_seconds)
        if len(kept) > RING_LIMIT:
            raise ConfigError(
                (f"{path}: all {len(keys)} keys are still needed, and there may be {RING_LIMIT}: rotate less often",)
            )
        _write(path, kept)
        return Rotation(kept, fresh, tuple(key for key in keys if key not in kept))


def replace(path: Path, *, now: float) -> Rotation:
    """
    One new key instead of all there were: whatever was sealed before opens no more.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    path = Path(os.path.realpath(path))
    with _for_writing(path):
        keys = obtained_keys(path, may_create=False, now=now)
        fresh = new_key(now)
        _write(path, (fresh,))
        return Rotation((fresh,), fresh, keys)


@contextlib.contextmanager
def _for_writing(path: Path) -> Iterator[None]:
    try:
        with _locked(path.parent):
            yield
    except OSError as error:
        raise ConfigError((f"{path}: the session keys cannot be written: {error.strerror}",)) from None


def _create(path: Path, now: float) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path.parent):
        if not path.exists():  # else another process was first
            _write(path, (new_key(now),))


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    # A new file of our own, readable by us alone, whatever lies in the way.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(keys_text(keys))
            file.flush()
            _belong_as(path, descriptor)
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _belong_as(path: Path, descriptor: int) -> None:
    """The same owner and group as before: an administrator rotates, and the service has to read it."""
    try:
        before = os.stat(path)
    except FileNotFoundError:
        return
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    # A group that shares the file goes on reading it; others never do.
    os.fchmod(descriptor, 0o600 | (before.st_mode & 0o040))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
