"""`passproxy revoke FILE`: end sessions from outside, on every instance that reads the same list."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passproxy.app.building import redis_revocations
from passproxy.cli.files import add_file, loaded
from passproxy.core.errors import ConfigError
from passproxy.core.handles import EVERY_SESSION, handles_named, subject_handle
from passproxy.core.urls import REDIS_SCHEMES
from passproxy.idp.revocation import POLL_SECONDS, SharedRevocations
from passproxy.web import audit

if TYPE_CHECKING:
    from passproxy.core.settings import Settings

#: Instances look at the list once in POLL_SECONDS, and a look takes its time.
WITHIN_SECONDS = 2 * int(POLL_SECONDS)

_DESCRIPTION = """\
End sessions that have begun until now. Whoever it was can sign in again, unless the identity provider refuses:
disable the account there first. Needs revocation.store: file:/path, which every instance of the domain follows, or a Redis.
"""


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "revoke",
        help="end sessions of a person, one session, or all",
        description=_DESCRIPTION,
        epilog="example: passproxy revoke /etc/passproxy/grafana.yaml --subject 248289761001",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file(parser)
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument(
        "--subject",
        type=_named,
        metavar="S",
        help="all sessions of one person: the provider's stable identifier, as in X-Passproxy-Subject and userinfo",
    )
    whom.add_argument(
        "--session",
        type=_named,
        metavar="ID",
        help="one session: `session` of a line of the log, or the provider's own id of it (sid of OpenID Connect)",
    )
    whom.add_argument("--all", action="store_true", help="all sessions of this domain")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = loaded(arguments.file)
    store = settings.revocation.store
    if store.startswith(REDIS_SCHEMES):
        return _to_redis(settings, arguments)
    if not store.startswith("file:"):
        sys.stderr.write(_without_file(store))
        return 1
    path = Path(store.removeprefix("file:"))
    if not path.exists():
        # Made here, it would belong to whoever runs this and not to the service.
        sys.stderr.write(f"{path} does not exist: PassProxy makes it when it starts; nothing was revoked.\n")
        return 1
    handles, what = _meant(arguments)
    audit.join(settings.log.audit)
    revocations = SharedRevocations(path, settings.session.lifetime, time.time)
    try:
        asyncio.run(revocations.revoke(handles))
    except OSError as error:
        sys.stderr.write(f"{path}: {error.strerror}; nothing was revoked.\n")
        return 1
    audit.event("audit.revocation", operator=audit.operator(), subject=arguments.subject, session=arguments.session)
    sys.stdout.write(_told(what, str(path)))
    return 0


def _to_redis(settings: Settings, arguments: argparse.Namespace) -> int:
    handles, what = _meant(arguments)
    audit.join(settings.log.audit)
    try:
        asyncio.run(redis_revocations(settings, time.time).tell(handles))
    except ConfigError as error:
        sys.stderr.write("\n".join(error.problems) + "\nNothing was revoked.\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{settings.revocation.store}: {error.strerror}; nothing was revoked.\n")
        return 1
    audit.event("audit.revocation", operator=audit.operator(), subject=arguments.subject, session=arguments.session)
    sys.stdout.write(_told(what, settings.revocation.store))
    return 0


def _told(what: str, store: str) -> str:
    return (
        f"Ended: {what}.\nInstances that follow {store} refuse them within {WITHIN_SECONDS} seconds.\n"
        "What they have opened ends as well.\n"
    )


def _meant(arguments: argparse.Namespace) -> tuple[tuple[str, ...], str]:
    if arguments.all:
        return (EVERY_SESSION,), "all sessions that have begun until now"
    if arguments.subject is not None:
        return (subject_handle(arguments.subject),), f"all sessions of the subject {arguments.subject} until now"
    return handles_named(arguments.session), f"the session {arguments.session}, if there is one"


def _without_file(store: str) -> str:
    reason = {
        "none": "revocation.store is none: nothing remembers that sessions ended",
        "memory": "revocation.store is memory: the list is inside the running process, where this command does not reach",
    }.get(store, f"revocation.store {store} cannot be written by this command")
    return f"{reason}.\nSet revocation.store: file:/path or redis://host:6379/0, or end all sessions with session.not_before; nothing was revoked.\n"


def _named(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("expected a name")
    return text
