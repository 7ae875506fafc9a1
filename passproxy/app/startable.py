"""
Whether `serve` would start, and may: what building.py reads is read here too, and what it makes is not made.

Whoever checks a configuration is told everything at once, and leaves no trace
on the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from passproxy.app.building import keys_file_of, redis_revocations, state_dir_of
from passproxy.app.dial import trusting
from passproxy.core import selftest
from passproxy.core.errors import ConfigError
from passproxy.core.urls import REDIS_SCHEMES
from passproxy.idp import registry
from passproxy.keyfile import obtained_keys

if TYPE_CHECKING:
    from passproxy.core.settings import Settings


def check(settings: Settings) -> None:
    """
    Whether `serve` would start with these settings, on this machine and as this user.

    Raises:
        ConfigError: with everything that would keep it from starting, but for an address that is taken.
    """
    state_dir, problems = state_dir_of(settings), list[str]()
    looks: tuple[Callable[[], object], ...] = (
        lambda: _check_folder(state_dir),
        lambda: _check_keys(settings, state_dir),
        lambda: _check_store(settings),
        lambda: settings.upstream.url.startswith("https:") and trusting(settings.upstream),
        lambda: registry.check(settings, state_dir, creatable),
        lambda: self_test(settings, time.time()),
    )
    for look in looks:
        try:
            look()
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
        except OSError as error:  # a folder that may not even be looked into
            problems.append(f"{error.filename}: {error.strerror}")
    if problems:
        raise ConfigError(tuple(problems))


def self_test(settings: Settings, now: float) -> None:
    """
    Whether this installation still accepts what is genuine and refuses what is forged.

    Raises:
        ConfigError: it does not, so nobody should be served by it.
    """
    failures = [*selftest.failures(now), *registry.failures(settings, now)]
    if failures:
        hint = "one of the installed libraries is broken or was replaced: install PassProxy anew"
        raise ConfigError(tuple(f"this installation: {failure}; {hint}" for failure in failures))


def creatable(path: Path) -> None:
    """
    Whether a file or folder could be made there, with the folders above it.

    Raises:
        ConfigError: it could not.
    """
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "read-only" if above.is_dir() else "no folder"
        raise ConfigError((f"{path}: cannot be made: {above} is {why} here",))


def _check_folder(state_dir: Path) -> None:
    try:
        if state_dir.exists() and not state_dir.is_dir():
            raise ConfigError((f"{state_dir} is no folder",))
        if not state_dir.exists():
            creatable(state_dir)
    except ConfigError as error:
        raise ConfigError(tuple(f"state_dir: {problem}" for problem in error.problems)) from None
    except OSError as error:
        raise ConfigError((f"state_dir: {state_dir}: {error.strerror}",)) from None


def _check_keys(settings: Settings, state_dir: Path) -> None:
    path = keys_file_of(settings)
    if settings.session.keys_file is not None or path.exists():
        obtained_keys(path, may_create=False, now=0.0)
    elif state_dir.is_dir():  # otherwise the folder is what is said
        creatable(path)


def _check_store(settings: Settings) -> None:
    store = settings.revocation.store
    path = Path(store.removeprefix("file:"))
    if store.startswith(REDIS_SCHEMES):
        redis_revocations(settings, time.time)
    if not store.startswith("file:"):
        return
    is_writable = os.access(path, os.R_OK | os.W_OK) if path.exists() else os.access(path.parent, os.W_OK | os.X_OK)
    if path.is_dir() or not is_writable:
        raise ConfigError((f"revocation.store: {path}: cannot be written",))
