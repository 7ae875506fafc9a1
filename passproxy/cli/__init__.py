"""The `passproxy` command: one module for each subcommand, each with `add` and a function that returns the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from importlib import import_module

import passproxy
from passproxy.core.errors import ConfigError

#: In the order in which they are listed. Only the one that is asked for is imported: what the demo
#: needs would stay in the memory of each served domain.
COMMANDS = (
    "serve",
    "check",
    "doctor",
    "policy",
    "health",
    "nginx",
    "portal",
    "metadata",
    "keys",
    "revoke",
    "token",
    "demo",
    "import",
    "schema",
    "explain",
)

#: Commands that no module of Python can be named after.
_MODULES = {"import": "importing"}

#: sysexits.h's EX_CONFIG: systemd does not restart on it, and scripts can tell it apart.
EXIT_CONFIG = 78

_EPILOG = """\
examples:
  passproxy demo                        try it: everything on this machine, one URL to open
  passproxy check /etc/passproxy/app.yaml
  passproxy doctor /etc/passproxy/app.yaml
  passproxy policy /etc/passproxy/app.yaml --user alice --group ops GET /admin/users
  passproxy serve /etc/passproxy/app.yaml
  passproxy nginx /etc/passproxy/app.yaml > /etc/nginx/conf.d/app.conf
  passproxy portal /etc/passproxy -o /var/www/portal/index.html
  passproxy explain PP-SAML-AUDIENCE
  passproxy import oauth2-proxy /etc/oauth2-proxy.cfg > /etc/passproxy/app.yaml
  passproxy schema > /etc/passproxy/schema.json
  passproxy metadata /etc/passproxy/app.yaml
  passproxy keys rotate /etc/passproxy/app.yaml
  passproxy token new backup --path '/api/backup/**'
  passproxy revoke /etc/passproxy/app.yaml --subject 248289761001

exit codes: 0 done; 1 refused or failed; 2 wrong usage; 78 mistakes in the configuration
"""


def command_line(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser, with the commands of these names. Manual pages and completions are made from it."""
    parser = argparse.ArgumentParser(
        prog="passproxy",
        description="Single sign-on in front of any web application (SAML 2.0 and OpenID Connect).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"passproxy {passproxy.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        import_module(f"passproxy.cli.{_MODULES.get(name, name)}").add(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = command_line(given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS)
    chosen = parser.parse_args(given)
    try:
        return int(chosen.run(chosen))
    except ConfigError as error:
        count = len(error.problems)
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        sys.stderr.write(f"\n{count} problem{'s' if count > 1 else ''}; nothing was started.\n")
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return 130
