"""`passproxy import PRODUCT FILE`: another product's configuration as one of PassProxy, and what changes on the way."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any

from passproxy.cli.importers import oauth2_proxy, passbeyond
from passproxy.cli.importers.draft import KINDS, SECRETS_FOLDER, Draft
from passproxy.core.errors import ConfigError

PRODUCTS = {"passbeyond": passbeyond.translated, "oauth2-proxy": oauth2_proxy.translated}

_HEADINGS = {
    "decide": "To be decided by you",
    "secret": "Secrets, which are not copied into the configuration",
    "changed": "Means something else now",
    "no equal": "Has no equal",
    "not needed": "Not needed any more",
}

_COLUMNS = 100


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "import",
        help="translate another product's configuration",
        description="Print the configuration of another product as one of PassProxy, and on standard error what of it "
        "has no equal or means something else. Of oauth2-proxy it reads the .cfg file, the alpha configuration, a list "
        "of --arguments or of OAUTH2_PROXY_ variables, also several of them.",
        epilog="example: passproxy import passbeyond /etc/passbeyond/grafana.yaml > /etc/passproxy/grafana.yaml",
    )
    parser.add_argument("product", metavar="PRODUCT", choices=PRODUCTS, help=" or ".join(PRODUCTS))
    parser.add_argument("files", metavar="FILE", nargs="+", help="its configuration; - reads standard input")
    parser.add_argument("--domain", metavar="NAME", help="the protected name, where the configuration does not say it")
    parser.add_argument(
        "--write-secrets",
        metavar="FOLDER",
        help=f"write the secrets into files there, instead of only naming files in {SECRETS_FOLDER}",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    folder = arguments.write_secrets or SECRETS_FOLDER
    texts = [_read(file) for file in arguments.files]
    try:
        draft: Draft = PRODUCTS[arguments.product](texts, arguments.domain, folder.rstrip("/") or "/")
    except ValueError as error:
        raise ConfigError((f"{', '.join(arguments.files)}: {error}",)) from None
    if arguments.write_secrets:
        try:
            draft.write_secrets()
        except OSError as error:
            raise ConfigError((f"{error.filename}: the secret cannot be written: {error.strerror}",)) from None
    sys.stdout.write(draft.text())
    sys.stdout.flush()
    sys.stderr.write("\n".join(_report(draft, wrote_secrets=bool(arguments.write_secrets))) + "\n")
    return 0


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError((f"{file}: cannot be read: {reason}",)) from None


def _report(draft: Draft, *, wrote_secrets: bool) -> list[str]:
    lines = [f"Translated from {draft.product}: {len(draft.values)} keys, {len(draft.notes)} notes."]
    wide = max((len(note.option) for note in draft.notes), default=0)
    for kind in KINDS:
        notes = [note for note in draft.notes if note.kind == kind]
        if notes:
            lines += ["", f"{_HEADINGS[kind]}:"]
        for note in notes:
            start = f"  {note.option:{wide}}  "
            room = max(_COLUMNS - len(start), 40)
            text = textwrap.wrap(note.text, room, break_long_words=False, break_on_hyphens=False)
            lines += [start + text[0], *(" " * len(start) + line for line in text[1:])]
    if wrote_secrets and draft.secrets:
        lines += ["", *(f"Written: {file}" for file in draft.secrets)]
    problems = draft.problems(lambda path: Path(path).read_text("utf-8"))
    lines += ["", *(f"To be mended before it can be served: {problem}" for problem in problems)]
    return [*lines, f"Next: put it into {SECRETS_FOLDER}/{draft.name}.yaml, then `passproxy check` it."]
