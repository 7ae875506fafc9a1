"""`passproxy serve FILE`: serve one domain until told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from passproxy.cli.files import ReadApart, ReadingFailed, add_file


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="serve one domain",
        description="Serve one domain until SIGTERM or Ctrl-C; requests under way are finished first."
        " SIGHUP reads the configuration anew; one with mistakes changes nothing.",
        epilog="example: passproxy serve /etc/passproxy/grafana.yaml",
    )
    add_file(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    # Its own meaning would end us, and a reload may be asked for before there is anything to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reading = ReadApart(arguments.file)
    # Only now: both take a third of a second, and go on at the same time.
    from passproxy.cli.serving import serve

    try:
        settings = reading.settings()
    except ReadingFailed as error:
        # Unlike a mistake, worth another attempt of the service manager.
        sys.stderr.write(f"{error}\n")
        return 1
    return serve(settings, lambda: ReadApart(arguments.file).settings())
