"""`passproxy keys show|rotate FILE`: the keys that sign sessions, and a new one without logging anybody out; `keys new` for a new file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from passproxy import keyfile
from passproxy.app.building import keys_file_of
from passproxy.cli.files import add_file, loaded_beside
from passproxy.core.assertion import OVERLAP_SECONDS
from passproxy.core.formats import duration_seconds
from passproxy.core.tokens import Key, keys_text, needed_keys, new_key, sealing_key
from passproxy.web import audit

#: From a rotation until its key signs: every instance has been reloaded by then, and everybody who
#: verifies assertions has fetched it.
SIGNS_AFTER = "10m"

_SHOW = """\
What is printed: the name of each key (the `kid` of a session's token), its age, and what it does. Secrets never are.

  signs     new sessions are signed by it
  waits     verifies already, and signs from the time shown
  verifies  sessions that it signed still hold
  done      nothing that it signed holds any more: the next rotation drops it
"""

_ROTATE = """\
Adds a key. It verifies as soon as an instance has read the file, and signs only after --signs-after, so that every
instance knows it before a session is signed by it: reload (or restart) all instances of the domain within that time.
Keys are dropped when nothing that they signed can hold any more, so nobody is logged out. Where several domains share
the file, name the configuration with the longest session.lifetime.
"""


_NEW = (
    "Print the content of a key file with one new key, such as a secret of a container: keep it as you keep a password."
)


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "keys",
        help="show or rotate the keys that sign sessions",
        description="The keys that sign sessions: session.keys_file, or keys.json in state_dir.",
        epilog="example: passproxy keys rotate /etc/passproxy/grafana.yaml && systemctl reload passproxy@grafana",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    raw = argparse.RawDescriptionHelpFormatter
    show = actions.add_parser("show", help="names and ages", description=_SHOW, formatter_class=raw)
    show.add_argument("--format", choices=("text", "json"), default="text")
    rotate = actions.add_parser("rotate", help="add a key", description=_ROTATE, formatter_class=raw)
    rotate.add_argument(
        "--signs-after", type=_duration, default=_duration(SIGNS_AFTER), metavar="TIME", help=f"default: {SIGNS_AFTER}"
    )
    rotate.add_argument(
        "--replace-all",
        action="store_true",
        help="one new key that signs at once instead of all others, after a leak: everybody has to sign in again",
    )
    new = actions.add_parser("new", help="print a new key file, for instances that are given one", description=_NEW)
    new.set_defaults(run=_print_new)
    for each in (show, rotate):
        add_file(each)
        each.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings, now = loaded_beside(arguments.file), time.time()
    path, lifetime = keys_file_of(settings), max(settings.session.lifetime, OVERLAP_SECONDS)
    if arguments.action == "show":
        keys = keyfile.obtained_keys(path, may_create=False, now=now)
        described = [_described(key, keys, now, lifetime) for key in keys]
        if arguments.format == "json":
            sys.stdout.write(json.dumps({"file": str(path), "keys": described}, indent=1) + "\n")
        else:
            sys.stdout.write(f"{path}\n\n" + "".join(map(_line, described)))
        return 0
    audit.join(settings.log.audit)
    if arguments.replace_all:
        rotation = keyfile.replace(path, now=now)
    else:
        rotation = keyfile.rotate(path, now=now, delay_seconds=arguments.signs_after, lifetime_seconds=lifetime)
    if rotation.added is not None:
        changed = {"added": rotation.added.kid, "dropped": " ".join(key.kid for key in rotation.dropped) or None}
        verifying = " ".join(key.kid for key in rotation.keys)
        audit.event("audit.keys", operator=audit.operator(), **changed, verifying=verifying)
    sys.stdout.write(_report(rotation, arguments.replace_all))
    return 0


def _print_new(_: argparse.Namespace) -> int:
    sys.stdout.write(keys_text((new_key(time.time()),)))
    return 0


def _report(rotation: keyfile.Rotation, is_replaced: bool) -> str:
    if rotation.added is None:
        waiting = rotation.keys[0]
        return (
            f"Nothing was changed: key {waiting.kid} is waiting already, and signs from {_time(waiting.seals_from)}.\n"
        )
    kid, count = rotation.added.kid, len(rotation.dropped)
    dropped = ", ".join(key.kid for key in rotation.dropped)
    if is_replaced:
        return (
            f"Key {kid} replaces {dropped}. Reload all instances of the domain now:\n"
            "until then each goes on with the keys it has read, afterwards everybody signs in again.\n"
        )
    left = f"Dropped, since nothing that {'they' if count > 1 else 'it'} signed holds any more: {dropped}.\n"
    return (
        f"Key {kid} was added, and signs from {_time(rotation.added.seals_from)}.\n"
        "Reload all instances of the domain before that; nobody is logged out.\n" + (left if count else "")
    )


def _described(key: Key, keys: tuple[Key, ...], now: float, lifetime: int) -> dict[str, Any]:
    state = "verifies" if key in needed_keys(keys, now, lifetime) else "done"
    if key == sealing_key(keys, now):
        state = "signs"
    elif key.seals_from > now:
        state = "waits"
    return {
        "kid": key.kid,
        "state": state,
        "created": _time(key.created),
        "age_seconds": max(0, int(now - key.created)),
        "signs_from": _time(key.seals_from or key.created),
    }


def _line(key: dict[str, Any]) -> str:
    until = f", signs from {key['signs_from']}" if key["state"] == "waits" else ""
    return f"  {key['kid']:10}  {key['state']:8}  made {key['created']}, {_age(key['age_seconds'])} ago{until}\n"


def _age(seconds: int) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(text: str) -> int:
    try:
        return int(duration_seconds(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
