"""`passproxy schema`: the JSON Schema of the configuration file, for editors and for whoever generates such files."""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from typing import Any


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "schema",
        help="print the JSON Schema of the configuration",
        description="Print the JSON Schema (draft 7) of the configuration file: every key, its kind, default and meaning.",
        epilog="example: passproxy schema > /etc/passproxy/schema.json",
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    # Made by `make docs` from the model and the commented example; a test says when it is stale.
    sys.stdout.write(files("passproxy.cli").joinpath("schema.json").read_text("utf-8"))
    return 0
