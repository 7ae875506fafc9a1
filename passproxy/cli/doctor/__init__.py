"""
`passproxy doctor FILE`: is everything around this domain as it has to be?

Nobody is logged in and nothing is changed. The four parts (this machine, the
application, the identity provider, the web server in front) are asked at the
same time, each check within a limit; their lines come in a fixed order.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from passproxy.cli.doctor.front import front
from passproxy.cli.doctor.issuers import issuers
from passproxy.cli.doctor.local import application, listening
from passproxy.cli.doctor.probe import CHECK_SECONDS, within
from passproxy.cli.doctor.provider import provider
from passproxy.cli.doctor.report import Finding, as_json, as_text, exit_code, ok, summary
from passproxy.cli.files import add_file, loaded_beside
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin

#: A check that takes longer is named on standard error, so that nobody takes waiting for hanging.
PATIENCE_SECONDS = 2.0

#: Every name that a finding may have.
CHECKS = (
    "configuration",
    "listen",
    "upstream",
    "bypass",
    "provider",
    "signing",
    "provider TLS",
    "clock",
    "login",
    "client",
    "issuers",
    "public TLS",
    "public URL",
    "large cookies",
    "questions",
    "large answers",
    "forwarding",
)

#: Where the socket of passproxy@NAME.socket is.
SOCKETS = "/run/passproxy"

_DESCRIPTION = """\
Checks everything around a domain without logging in or changing anything: the address that PassProxy listens on, the
application, the identity provider (its description, certificates and clock, and a login as far as its own page) and the
web server in front (address, certificate, header buffers, forwarded address).

Each check ends within ten seconds. Run it as root or as the service's user, so that it can read the keys.
"""

_EPILOG = """\
examples:
  passproxy doctor /etc/passproxy/grafana.yaml
  passproxy doctor --format json /etc/passproxy/grafana.yaml

exit codes: 0 nothing failed (there may be warnings); 1 something failed; 78 mistakes in the configuration

example: passproxy doctor --skip 'public URL' /etc/passproxy/grafana.yaml
"""


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="check everything around a domain",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        choices=CHECKS,
        metavar="CHECK",
        help=f"leave a check out of the result: {', '.join(CHECKS)}",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = _as_it_listens(loaded_beside(arguments.file), arguments.file)
    # What the adapters log is in the findings.
    logging.getLogger("passproxy").addHandler(logging.NullHandler())
    logging.getLogger("passproxy").propagate = False

    def shown(finding: Finding) -> None:
        if arguments.format == "text" and finding.check not in arguments.skip:
            sys.stdout.write(as_text(finding))
            sys.stdout.flush()

    def waiting(part: str) -> None:
        sys.stderr.write(f"still waiting for {part} ...\n")

    if arguments.format == "text":
        sys.stdout.write(f"{settings.domain}\n\n")
    found = asyncio.run(examined(settings, time.time, shown, waiting))
    findings = [finding for finding in found if finding.check not in arguments.skip]
    if arguments.format == "json":
        sys.stdout.write(as_json(settings.domain, findings))
    else:
        sys.stdout.write(f"\n{summary(findings)}")
    return exit_code(findings)


def _as_it_listens(settings: Settings, file: str | None) -> Settings:
    """A socket that the service manager passes wins over `listen`."""
    path = Path(SOCKETS, f"{Path(file).stem}.sock") if file is not None else None
    if path is None or not path.is_socket():
        return settings
    return settings.model_copy(update={"listen": f"unix:{path}"})


async def examined(
    settings: Settings,
    clock: Callable[[], float],
    shown: Callable[[Finding], None] = lambda finding: None,
    waiting: Callable[[str], None] = lambda part: None,
) -> list[Finding]:
    """All findings, in order; each is `shown` as soon as it and those before it are there."""
    origin = Origin.of(settings.domain, settings.origin)

    async def web_server() -> list[Finding]:
        is_running = any(each.result == "ok" for each in await asyncio.shield(here))
        return await front(settings, origin, clock, is_running)

    async with asyncio.TaskGroup() as tasks:
        here = tasks.create_task(within("listen", listening(settings, origin)))
        parts = {
            "PassProxy": here,
            "the application": tasks.create_task(within("upstream", application(settings.upstream, origin))),
            "the identity provider": tasks.create_task(_whole("provider", provider(settings, origin, clock))),
            "the issuers of tokens": tasks.create_task(_whole("issuers", issuers(settings, origin, clock))),
            "the web server": tasks.create_task(_whole("public URL", web_server())),
        }
        findings = [ok("configuration", "The configuration is valid.")]
        shown(findings[0])
        for name, task in parts.items():
            if not (await asyncio.wait({task}, timeout=PATIENCE_SECONDS))[0]:
                waiting(name)
            for finding in await task:
                findings.append(finding)
                shown(finding)
    return findings


async def _whole(check: str, part: Any) -> list[Finding]:
    """A part that limits each of its own checks; its sum has a limit as well."""
    return await within(check, part, 6 * CHECK_SECONDS)
