"""`passproxy explain CODE`: what a code on an error page or in the log means, and what mends it."""

from __future__ import annotations

import argparse
import difflib
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import passproxy.idp.oidc.errors
import passproxy.idp.saml.errors  # noqa: F401 - both define conditions that are listed below
from passproxy.core.errors import PassProxyError, TokenInvalid


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="explain an error code",
        description="Explain a code that stands on an error page or in the log. Without a code: list all of them.",
        epilog="example: passproxy explain PP-SAML-AUDIENCE",
    )
    parser.add_argument("code", metavar="CODE", nargs="?")
    parser.set_defaults(run=run)


def catalogue() -> dict[str, type[PassProxyError]]:
    """Every condition that somebody can meet, by its code."""
    return {kind.code: kind for kind in sorted(_conditions(PassProxyError), key=lambda kind: kind.code)}


def run(arguments: argparse.Namespace) -> int:
    known = catalogue()
    if arguments.code is None:
        width = max(map(len, known))
        sys.stdout.write("".join(f"{code:{width}}  {kind.status}  {kind.title}\n" for code, kind in known.items()))
        return 0
    kind = known.get(arguments.code.upper())
    if kind is None:
        near = difflib.get_close_matches(arguments.code.upper(), known, n=1)
        sys.stderr.write(f"{arguments.code} is not a code{f'; did you mean {near[0]}?' if near else ''}\n")
        return 1
    sys.stdout.write(f"{kind.code}: {kind.title} (HTTP {kind.status})\n\n")
    for text in (kind.sentence, kind.hint):
        sys.stdout.write(textwrap.fill(text, 88) + "\n\n")
    sys.stdout.write("The log has a line with the same request id that names the detail.\n")
    return 0


def _conditions(kind: type[PassProxyError]) -> Iterator[type[PassProxyError]]:
    """The classes that say something of their own; tokens are never shown."""
    if "code" in vars(kind) and not issubclass(kind, TokenInvalid):
        yield kind
    for below in kind.__subclasses__():
        yield from _conditions(below)
