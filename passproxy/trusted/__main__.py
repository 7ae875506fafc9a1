"""
`python -m passproxy.trusted`: set up the trust of an application, and watch it.

Exit codes: 0 done, or as it was enrolled; 1 refused, changed or not reachable;
2 wrong usage; 78 mistakes in the configuration.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from passproxy.trusted.enrolment import CHALLENGE_BYTES, changed, enrolled
from passproxy.trusted.errors import SettingsInvalid, TrustError
from passproxy.trusted.fetching import fetched
from passproxy.trusted.settings import PREFIX, Settings, settings_from, variables

#: sysexits.h's EX_CONFIG.
EXIT_CONFIG = 78

_EPILOG = """\
examples:
  python -m passproxy.trusted enroll https://app.example.com --write /etc/myapp/trusted.env
  python -m passproxy.trusted verify --file /etc/myapp/trusted.env

exit codes: 0 done; 1 refused, changed or not reachable; 2 wrong usage; 78 mistakes in the configuration
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except SettingsInvalid as error:
        _complain(*error.problems)
        return EXIT_CONFIG
    except TrustError as error:
        _complain(error.detail)
    except OSError as error:
        _complain(f"{error.filename or 'file'}: {error.strerror}")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m passproxy.trusted",
        description="Trust between an application and the proxy in front of it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    enroll = commands.add_parser("enroll", help="learn whom to trust, from the proxy itself")
    enroll.add_argument("url", metavar="URL", help="the address of the application as browsers use it")
    enroll.add_argument("--audience", default="", help="what the application is called, if that must be checked")
    output = enroll.add_mutually_exclusive_group()
    output.add_argument("--write", metavar="FILE", type=Path, help="write the variables to a file")
    output.add_argument("--env", action="store_true", help="print the variables and nothing else")
    enroll.set_defaults(run=_enroll)
    verify = commands.add_parser("verify", help="compare the proxy with what was enrolled; for a timer")
    verify.add_argument("--file", metavar="FILE", type=Path, help="the variables; without it, those of the environment")
    verify.add_argument(
        "--follow", action="store_true", help="after a rotation of keys, write the new ones to the file"
    )
    verify.set_defaults(run=_verify)
    return parser


def _enroll(arguments: argparse.Namespace) -> int:
    settings = enrolled(arguments.url, fetched, now=time.time(), challenge=_challenge(), audience=arguments.audience)
    if arguments.env:
        sys.stdout.write(_lines(settings))
        return 0
    sys.stdout.write(f"{settings.issuer} has proven that it holds the keys of its assertions.\n\n")
    for label, value in (
        ("header", settings.header),
        ("audience", ", ".join(settings.audiences)),
        ("keys at", settings.jwks_url),
        *(("key", one) for one in settings.thumbprints),
    ):
        sys.stdout.write(f"  {label:10} {value}\n")
    if arguments.write:
        _write(arguments.write, settings)
        sys.stdout.write(f"\nWritten to {arguments.write}: the environment of the application.\n")
    else:
        sys.stdout.write(f"\nFor the environment of the application (--write FILE writes it):\n\n{_lines(settings)}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    settings = settings_from(_read(arguments.file) if arguments.file else os.environ)
    change = changed(settings, fetched, now=time.time(), challenge=_challenge())
    if change.broken:
        _complain(*change.broken, "if that was intended, enroll again")
        return 1
    if change.rotated and arguments.follow and arguments.file:
        _write(arguments.file, replace(settings, thumbprints=change.rotated))
        sys.stdout.write(f"{settings.issuer} has rotated its keys; {arguments.file} has the new ones.\n")
        return 0
    if change.rotated:
        sys.stderr.write(
            "warning: the keys were rotated; enroll again, or use --file with --follow, before the old ones go\n"
        )
    sys.stdout.write(f"{settings.issuer} is as it was enrolled.\n")
    return 0


def _challenge() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(CHALLENGE_BYTES)).rstrip(b"=").decode()


def _lines(settings: Settings) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables(settings).items())


def _read(file: Path) -> Mapping[str, str]:
    """The variables of an environment file, as systemd and containers read it."""
    found = {}
    for line in file.read_text("utf-8").splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and name.startswith(PREFIX):
            found[name] = value.strip("\"'")
    return found


def _write(file: Path, settings: Settings) -> None:
    """Replace a file, whole or not at all. Nothing in it is secret."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
            writing.write(f"# Made by: python -m passproxy.trusted enroll {settings.issuer}\n{_lines(settings)}")
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _complain(*problems: str) -> None:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))


if __name__ == "__main__":
    raise SystemExit(main())
