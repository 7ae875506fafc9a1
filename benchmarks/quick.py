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
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import passproxy
from benchmarks import nginx, subject
from benchmarks.browser import ask, fields
from benchmarks.load import CONNECTIONS, Figures, load
from benchmarks.processes import Failed, Pinned, free_port

#: What the application answers: a small page, so that bytes do not hide the cost of a request.
BODY = b"<!doctype html><title>A page</title><p>" + b"0123456789abcdef" * 61 + b"</p>\n    "

#: Before the first measurement: caches fill and connections open.
WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `sees` is what the application must be told, as `user|cookies`."""

    name: str
    proxy: Pinned
    prefix: str
    session_cookie: str | None
    sees: str


@contextlib.contextmanager
def _rows(folder: Path, proxy_core: int, load_core: int) -> Iterator[list[Row]]:
    """All servers running, until the block ends."""
    ports = [free_port() for _ in range(3)]
    file = subject.configuration(folder, ports[2], ports[0])
    cookie = subject.session_cookie(file)
    left = "theme=dark; app_session=0123456789abcdef"
    with (
        Pinned(nginx.application(folder, ports[0], BODY), load_core, ports[0], folder / "application.log"),
        Pinned(nginx.proxy(folder, ports[1], ports[0]), proxy_core, ports[1], folder / "nginx.log") as plain,
        Pinned(subject.command(file), proxy_core, ports[2], folder / "passproxy.log") as ours,
    ):
        yield [
            Row("nginx `proxy_pass`, no authentication", plain, "", cookie, f"|theme=dark; {cookie}; {left[12:]}"),
            Row("PassProxy, with a session", ours, "", cookie, f"{subject.USER}|{left}"),
            Row("PassProxy, public path", ours, "/public", None, f"|{left}"),
        ]


def _check(row: Row) -> None:
    """Raises `Failed` unless the row does what its name says."""
    page = ask(row.proxy.port, f"{row.prefix}/d/abc?x=1", row.session_cookie)
    if page != (200, BODY):
        raise Failed(f"{row.name}: answered {page[0]} with {len(page[1])} bytes, not with the application's page")
    seen = ask(row.proxy.port, f"{row.prefix}/who", row.session_cookie)
    if seen != (200, row.sees.encode()):
        raise Failed(f"{row.name}: the application was told {seen[1]!r}")


def _load(row: Row, seconds: int, core: int) -> Figures:
    target = f"{row.prefix}/d/abc?x=1"
    return load(row.proxy, target, fields(row.session_cookie), seconds=seconds, core=core, body_bytes=len(BODY))


def _table(rows: list[Row], runs: list[list[Figures]]) -> Iterator[str]:
    """Medians; the ratio is the median of each round's own, since a round shares its moment."""
    yield "| proxy on one core | CPU µs/request | x nginx | requests/s | p50 ms | p99 ms | RSS MiB |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for row, figures in zip(rows, runs, strict=True):
        cpu = median(one.cpu_per_request for one in figures)
        ratio = median(one.cpu_per_request / first.cpu_per_request for one, first in zip(figures, runs[0], strict=True))
        rate = median(one.requests_per_second for one in figures)
        p50, p99 = median(one.p50 for one in figures) / 1e3, median(one.p99 for one in figures) / 1e3
        size = row.proxy.resident_bytes() / 2**20
        yield f"| {row.name} | {cpu:.1f} | {ratio:.2f} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {size:.0f} |"


def _versions() -> str:
    parts = [f"passproxy {passproxy.__version__}", f"Python {platform.python_version()}", f"uvloop {version('uvloop')}"]
    for command in ([nginx.program(), "-v"], ["wrk", "-v"]):
        shown = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"nginx/[\d.]+|wrk \S+", shown.stdout + shown.stderr)
        parts.append(found[0].replace("/", " ") if found else command[0])
    return ", ".join((*parts, f"Linux {platform.release()}"))


def _measure(rounds: int, seconds: int) -> Iterator[str]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("two cores are needed: one for the proxy, one for the load and the application")
    for program in ("wrk", "taskset"):
        if shutil.which(program) is None:
            raise Failed(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="passproxy-bench-") as name, _rows(Path(name), *cores[:2]) as rows:
        for row in rows:
            _check(row)
            _load(row, WARM_UP_SECONDS, cores[1])
        runs: list[list[Figures]] = [[] for _ in rows]
        for _ in range(rounds):
            for row, figures in zip(rows, runs, strict=True):
                figures.append(_load(row, seconds, cores[1]))
        for row in rows:
            _check(row)
        yield from _table(rows, runs)
    yield ""
    yield f"Medians of {rounds} rounds of {seconds} s; {CONNECTIONS} connections, answers of {len(BODY)} bytes,"
    yield "a browser's fifteen header fields. CPU time is that of the proxy's processes, as the kernel accounts it."
    yield f"{_versions()}."
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
