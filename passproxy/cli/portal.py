"""`passproxy portal DIR`: one static page of the applications whose files have a `portal:` section."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from passproxy.cli.portal_icons import data_url
from passproxy.cli.portal_page import Application, rendered
from passproxy.core.config import FILE_LIMIT_BYTES, settings_from
from passproxy.core.errors import ConfigError
from passproxy.core.settings import PortalSettings, Settings
from passproxy.core.urls import Origin

_DESCRIPTION = """\
Print one HTML page of the applications of this machine: name, icon, address and groups of each *.yaml file in a
folder that has a section `portal:`. The page is a file for a web server; it loads nothing and runs nothing. Secrets
are not read, and PASSPROXY_* variables, which belong to one domain, have no part in it.
"""

#: Stands for the content of every file with a secret: as a secret, and as a YAML file without tokens.
_NOT_READ = "{}"

# What passthrough.tokens_file names often is in the same folder. No configuration begins like this.
_TOKENS_FILE = re.compile(r"(?:[^\S\n]*(?:#[^\n]*)?\n)*tokens:")


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "portal",
        help="make a static page of all applications",
        description=_DESCRIPTION,
        epilog="example: passproxy portal /etc/passproxy -o /var/www/portal/index.html",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder with a YAML file for each domain")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="replace this file, whole or not at all")
    parser.add_argument("--title", default="Applications", help="the heading of the page (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    applications = applications_in(arguments.folder)
    if not applications:
        sys.stderr.write(f"{arguments.folder}: no file here has a section `portal:`; nothing was written.\n")
        return 1
    page = rendered(arguments.title, applications)
    if arguments.output is None:
        sys.stdout.write(page)
        return 0
    try:
        _write(arguments.output, page)
    except OSError as error:
        sys.stderr.write(f"{arguments.output}: cannot be written: {error.strerror}\n")
        return 1
    return 0


def applications_in(folder: Path) -> list[Application]:
    """
    The applications that a folder's files want to have shown.

    Raises:
        ConfigError: with every problem of every file, also of those that would not be shown.
    """
    try:
        found = sorted(file for file in folder.iterdir() if file.suffix == ".yaml" and not file.name.startswith("."))
    except OSError as error:
        raise ConfigError((f"{folder}: cannot be read: {error.strerror}",)) from None
    applications: list[Application] = []
    problems: list[str] = []
    for file in found:
        try:
            application = _application(file)
        except ConfigError as error:
            problems += error.problems
        else:
            applications += [application] if application else []
    if problems:
        raise ConfigError(tuple(problems))
    return applications


def _application(file: Path) -> Application | None:
    try:
        with file.open(encoding="utf-8") as reading:
            text = reading.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError((f"{file}: cannot be read: {error.strerror}",)) from None
    except UnicodeDecodeError:
        raise ConfigError((f"{file}: is not UTF-8 text",)) from None
    if _TOKENS_FILE.match(text):
        return None
    settings = settings_from(text, str(file), {}, lambda path: _NOT_READ)
    return None if settings.portal is None else _tile(settings, settings.portal, file, text)


def _tile(settings: Settings, portal: PortalSettings, file: Path, text: str) -> Application:
    name = portal.name or settings.domain
    image = ""
    if portal.icon_file is not None:
        try:
            image = data_url(file.parent / portal.icon_file)
        except ValueError as error:
            line = _line(text, "portal", "icon_file")
            raise ConfigError((f"{file}:{line}: portal.icon_file: {portal.icon_file} {error}",)) from None
    return Application(
        name,
        portal.url or Origin.of(settings.domain, settings.origin).url("/"),
        portal.description or "",
        portal.icon or name[0].upper(),
        image,
        portal.groups,
    )


def _line(text: str, *path: str) -> int:
    """Where a key is, in a text that was found to be a configuration."""
    node: Any = yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    line = 0
    for name in path:
        line, node = next((key.start_mark.line, value) for key, value in node.value if key.value == name)
    return line + 1


def _write(file: Path, page: str) -> None:
    # A link stays one: what it leads to is what is served.
    file = Path(os.path.realpath(file))
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
            writing.write(page)
            writing.flush()
            os.fsync(writing.fileno())
        os.chmod(name, 0o644)  # nothing in it is secret, and the web server is another user
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
