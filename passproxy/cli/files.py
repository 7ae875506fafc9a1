"""Reading a configuration from disk and environment, for the commands that need one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from passproxy.core.config import settings_from
from passproxy.core.errors import ConfigError
from passproxy.core.settings import Settings


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
    text = None
    if file is not None:
        try:
            text = Path(file).read_text("utf-8")
        except OSError as error:
            raise ConfigError((f"{file}: cannot be read: {error.strerror}",)) from None
        except UnicodeDecodeError:
            raise ConfigError((f"{file}: is not UTF-8 text",)) from None
    return settings_from(text, file or "environment", os.environ, lambda path: Path(path).read_text("utf-8"))
