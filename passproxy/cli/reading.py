"""The process that reads a configuration for another one: settings or problems, as JSON on standard output."""

from __future__ import annotations

import argparse
import json
import sys
import time

from passproxy.cli.files import add_file, loaded
from passproxy.core.errors import ConfigError
from passproxy.core.plain import written


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m passproxy.cli.reading", description=__doc__)
    add_file(parser)
    try:
        settings = loaded(parser.parse_args().file)
        # Only now: with a mistake there is nothing to test, and it is told in half the time.
        from passproxy.app.startable import self_test

        # Here too: what it takes would stay with whoever serves.
        self_test(settings, time.time())
        answer = written(settings)
    except ConfigError as error:
        answer = json.dumps({"problems": error.problems})
    sys.stdout.write(answer)


if __name__ == "__main__":
    main()
