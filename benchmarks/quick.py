"""
PassProxy beside nginx, in under a minute: `python -m benchmarks.quick`.

One application and one load generator on one core, one proxy at a time on
another, the rows taken in turn so that a busy moment of the machine hits all of
them. The figure to trust is CPU time per request, and of that the ratio to
nginx; throughput and latency say as much about the machine. Prints a table,
writes nothing but a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import nginx, subject
from benchmarks.load import CONNECTIONS
from benchmarks.processes import Failed, Pinned, free_port
from benchmarks.rows import BODY, Row, cores, measured, table, versions

#: The application's own cookies, around the session's.
APPLICATION_COOKIES = "theme=dark; app_session=0123456789abcdef"


@contextlib.contextmanager
def ours_and_nginx(folder: Path, proxy_core: int, load_core: int, application: int) -> Iterator[list[Row]]:
    """The application, nginx and PassProxy, running until the block ends."""
    ports = [free_port() for _ in range(2)]
    file = subject.configuration(folder, ports[1], application)
    cookie = subject.session_cookie(file)
    left = APPLICATION_COOKIES
    with (
        Pinned(nginx.application(folder, application, BODY), load_core, application, folder / "application.log"),
        Pinned(nginx.proxy(folder, ports[0], application), proxy_core, ports[0], folder / "nginx.log") as plain,
        Pinned(subject.command(file), proxy_core, ports[1], folder / "passproxy.log") as ours,
    ):
        yield [
            Row("nginx `proxy_pass`, no authentication", plain, "", cookie, f"|theme=dark; {cookie}; {left[12:]}"),
            Row("PassProxy, with a session", ours, "", cookie, f"{subject.USER}|{left}", is_closed=True),
            Row("PassProxy, public path", ours, "/public", None, f"|{left}"),
        ]


def _measure(rounds: int, seconds: int) -> Iterator[str]:
    proxy_core, load_core = cores()
    with (
        tempfile.TemporaryDirectory(prefix="passproxy-bench-") as name,
        ours_and_nginx(Path(name), proxy_core, load_core, free_port()) as rows,
    ):
        yield from table(rows, measured(rows, rounds, seconds, load_core))
    yield ""
    yield f"Medians of {rounds} rounds of {seconds} s; {CONNECTIONS} connections, answers of {len(BODY)} bytes,"
    yield "a browser's fifteen header fields. CPU time is that of the proxy's processes, as the kernel accounts it."
    yield f"{versions()}."
    yield f"Made with `python -m benchmarks.quick --rounds {rounds} --seconds {seconds}`."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description="PassProxy beside nginx.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (%(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="how long each time (%(default)s)")
    arguments = parser.parse_args()
    try:
        for line in _measure(arguments.rounds, arguments.seconds):
            print(line)
    except Failed as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
