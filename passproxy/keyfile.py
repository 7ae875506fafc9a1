"""
The key file: made at the first start, never in a package or an image, and shared by replicas.

Exactly one key set survives a parallel first start, and nobody runs with a key
that was not saved. What a key file contains is tokens.py's business.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from passproxy.core.errors import ConfigError
from passproxy.core.tokens import Key, keys_from, keys_text, new_key


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


def _create(path: Path, now: float) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path.parent):
        if path.exists():
            return  # another process was first
        # A new file of our own, readable by us alone, whatever lies in the way.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(keys_text((new_key(now),)))
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
