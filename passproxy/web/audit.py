"""
The audit log: who did what, as one JSON object a line, for those who must be able to say so later.

Off unless it is asked for. An event names a person by login name and subject, the request by its id, and
holds no cookie, token, assertion or query, as in the log (log.py). It is written by a thread
of its own from a bounded queue, like the log; refusals that repeat are counted instead.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from passproxy.core.errors import ConfigError
from passproxy.core.handles import own_handle
from passproxy.core.identity import Identity
from passproxy.core.session import Known
from passproxy.core.session_claims import Session
from passproxy.web.log import JsonFormatter, plain_fields
from passproxy.web.log_writer import Writer

#: What `log.audit` says for the descriptor that the log goes to as well.
STDERR = "stderr"

_logger = logging.getLogger("passproxy.audit")
_logger.disabled = True


def is_wanted() -> bool:
    return not _logger.disabled


def event(name: str, **fields: object) -> None:
    """Record one event. Fields that are None are left out."""
    if is_wanted():
        _logger.info(name, extra={"fields": plain_fields(fields)})


def who(whose: Known | Session | Identity | None) -> dict[str, object]:
    """The fields that name a person, none for nobody."""
    session = whose.session if isinstance(whose, Known) else whose
    if session is None:
        return {}
    if isinstance(session, Identity):
        return {"user": session.attributes["user"], "subject": session.subject}
    return {**who(session.identity), "session": own_handle(session.id)}


def check(target: str | None) -> None:
    """
    Raises:
        ConfigError: the file cannot be written.
    """
    if target is not None and target != STDERR:
        os.close(_opened(target))


def set_up(target: str | None) -> None:
    """
    Record from now on: to where the log goes, or to the end of a file, which is opened anew when this is called again.

    Raises:
        ConfigError: the file cannot be written.
    """
    if target is None:
        _logger.disabled = True
        return
    if target == STDERR:
        _logger.handlers[:] = logging.getLogger("passproxy").handlers
    else:
        _write_to(_opened(target))
    _logger.setLevel(logging.INFO)
    _logger.propagate = _logger.disabled = False


def join(target: str | None) -> None:
    """
    Record what a command does beside the service, in the file of the service; where it has made none, nowhere.

    Raises:
        ConfigError: the file cannot be written.
    """
    is_there = target is not None and target != STDERR and Path(target.removeprefix("file:")).exists()
    set_up(target if is_there else None)


def operator() -> str:
    """Who runs a command, also behind sudo."""
    import getpass  # for a command alone; the server asks for nobody's name

    return os.environ.get("SUDO_USER") or getpass.getuser()


def _opened(target: str) -> int:
    path = Path(target.removeprefix("file:"))
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError((f"log.audit: {path}: {error.strerror}",)) from None


def _write_to(descriptor: int) -> None:
    before = _logger.handlers[0] if _logger.handlers else None
    if isinstance(before, Writer) and before not in logging.getLogger("passproxy").handlers:
        # Its thread goes on, with what waits, into the file that is there now.
        before.write_into(descriptor)
        os.close(descriptor)
    else:
        _logger.handlers[:] = [Writer(descriptor, JsonFormatter())]
