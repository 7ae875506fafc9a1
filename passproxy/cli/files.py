"""
Reading a configuration from disk and environment, for the commands that need one.

`loaded` reads it here. `ReadApart` has a process of its own read it, for a
command that stays: what reading takes, in memory and in time, is gone with
that process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from passproxy.core.errors import ConfigError
from passproxy.core.plain import settings_from_plain

if TYPE_CHECKING:
    from passproxy.core.settings import Settings

#: A configuration of a megabyte, the most that is read, takes four seconds; more on a machine that just booted.
READING_SECONDS = 30

#: -P: nothing is imported from the directory that PassProxy was started in.
_COMMAND = (sys.executable, "-P", "-m", "passproxy.cli.reading")


def add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="the domain's YAML file; may be left out when PASSPROXY_* variables say everything",
    )


def loaded(file: str | None) -> Settings:
    """
    The settings of a file and of the PASSPROXY_* environment, which wins.

    Raises:
        ConfigError: with every problem of both.
    """
    # Its library takes ten megabytes, which a command that reads apart is spared.
    from passproxy.core.config import settings_from

    text = None
    if file is not None:
        try:
            text = Path(file).read_text("utf-8")
        except OSError as error:
            raise ConfigError((f"{file}: cannot be read: {error.strerror}",)) from None
        except UnicodeDecodeError:
            raise ConfigError((f"{file}: is not UTF-8 text",)) from None
    return settings_from(text, file or "environment", os.environ, lambda path: Path(path).read_text("utf-8"))


def loaded_beside(file: str | None) -> Settings:
    """
    The same for a command beside an instance: with the state of passproxy@NAME, where it exists, for NAME.yaml.

    The service manager tells its services where their state is (STATE_DIRECTORY), and nobody else.

    Raises:
        ConfigError: with every problem of both.
    """
    from passproxy.app.building import DEFAULT_STATE_DIR

    settings = loaded(file)
    if file is None or settings.state_dir or os.environ.get("STATE_DIRECTORY"):
        return settings
    state = Path(DEFAULT_STATE_DIR, Path(file).stem)
    return settings.model_copy(update={"state_dir": str(state)}) if state.is_dir() else settings


class ReadingFailed(Exception):
    """The process that reads did not do it. No mistake of the configuration: it may well succeed the next time."""


class ReadApart:
    """The same, read by a process that starts at once; `settings` waits for it and may be called once."""

    def __init__(self, file: str | None) -> None:
        self._file = file or "environment"
        command = _COMMAND if file is None else (*_COMMAND, "--", file)
        self._process = subprocess.Popen(  # noqa: S603 - our own module, and the file that we were given
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )

    def settings(self) -> Settings:
        """
        What it read.

        Raises:
            ConfigError: with every problem, as `loaded` raises it.
            ReadingFailed: it took too long, or died.
        """
        try:
            document, _ = self._process.communicate(timeout=READING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise ReadingFailed(f"{self._file}: not read within {READING_SECONDS} seconds") from None
        if self._process.returncode != 0:
            raise ReadingFailed(f"{self._file}: the process that reads it ended with {self._process.returncode}")
        problems = json.loads(document)
        if "problems" in problems:
            raise ConfigError(tuple(problems["problems"]))
        return cast("Settings", settings_from_plain(document))
