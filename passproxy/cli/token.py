"""`passproxy token new NAME`: a secret for a program, shown once, and the entry with which it is valid."""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
from typing import Any

#: 256 random bits.
TOKEN_BYTES = 32

_EXAMPLE = """\
example: passproxy token new backup --path '/api/backup/**' --method GET --from 10.0.0.0/8

Add what it prints on standard output to passthrough.tokens, or to the file that
passthrough.tokens_file names, and reload. The token itself goes to standard error, once.
"""


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "token",
        help="make a passthrough token",
        description="Make a token with which a program gets in without a login. Only its hash is kept.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser(
        "new", help="make one", epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    new.add_argument("name", metavar="NAME", help="what the log and the application call it")
    new.add_argument(
        "--path", action="append", default=[], metavar="PATTERN", help="what it is for; all paths without one"
    )
    new.add_argument("--method", action="append", default=[], metavar="METHOD", help="all methods without one")
    new.add_argument(
        "--from", action="append", default=[], dest="networks", metavar="NETWORK", help="from where it may come"
    )
    new.add_argument("--expires", metavar="TIME", help="such as 2027-01-31T00:00:00Z; never without one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    entry: dict[str, Any] = {"name": arguments.name, "hash": f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"}
    scope = {"paths": arguments.path, "methods": arguments.method, "from": arguments.networks}
    entry |= {key: value for key, value in scope.items() if value}
    if arguments.expires:
        entry["expires"] = arguments.expires
    problems = _problems(entry)
    if problems:
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))
        return 2
    # JSON is YAML: an entry on one line.
    sys.stdout.write(f"  - {json.dumps(entry)}\n")
    sys.stdout.flush()
    sys.stderr.write(f"The token, which is not shown again:\n\n  X-Passproxy-Authorization: Bearer {token}\n\n")
    return 0


def _problems(entry: dict[str, Any]) -> list[str]:
    from pydantic import ValidationError

    from passproxy.core.settings import TokenEntry

    try:
        TokenEntry.model_validate(entry)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    return []
