"""The rows of a table: one proxy each, checked to do what its name says, loaded in turn, and what it cost."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median

import passproxy
from benchmarks import nginx
from benchmarks.browser import ask, fields
from benchmarks.load import Figures, load
from benchmarks.processes import Failed, Pinned

#: What the application answers: a small page, so that bytes do not hide the cost of a request.
BODY = b"<!doctype html><title>A page</title><p>" + b"0123456789abcdef" * 61 + b"</p>\n    "

#: Before the first measurement: caches fill and connections open.
WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of the table.

    `sees` is what the application must be told, as `user|cookies`, or `user|` alone where the proxy's own
    cookies may pass. With `is_closed`, whoever brings no session must not get the page. `missing` says
    why there is no proxy; `more` are further header fields.
    """

    name: str
    proxy: Pinned | None
    prefix: str = ""
    session_cookie: str | None = None
    sees: str = ""
    is_closed: bool = False
    missing: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises `Failed` unless the row does what its name says."""
        if self.proxy is None:
            return
        page = ask(self.proxy.port, f"{self.prefix}/d/abc?x=1", self.session_cookie, self.more)
        if page != (200, BODY):
            raise Failed(f"{self.name}: answered {page[0]} with {len(page[1])} bytes, not with the application's page")
        status, seen = ask(self.proxy.port, f"{self.prefix}/who", self.session_cookie, self.more)
        said = seen.decode()
        if status != 200 or (said != self.sees and not (self.sees.endswith("|") and said.startswith(self.sees))):
            raise Failed(f"{self.name}: the application was told {said.partition('|')[0]!r}")
        if self.is_closed and ask(self.proxy.port, f"{self.prefix}/d/abc?x=1", None)[0] == 200:
            raise Failed(f"{self.name}: the page was given to somebody without a session")

    def load(self, seconds: int, core: int) -> Figures | None:
        if self.proxy is None:
            return None
        target = f"{self.prefix}/d/abc?x=1"
        asked = {**fields(self.session_cookie), **self.more}
        try:
            # What is ours has to answer every time.
            lenient = not self.name.startswith("PassProxy")
            size = len(BODY)
            return load(self.proxy, target, asked, seconds=seconds, core=core, body_bytes=size, lenient=lenient)
        except Failed as error:
            raise Failed(f"{self.name}: {error}") from None


def cores() -> list[int]:
    """The proxy's core and the load's; raises `Failed` where that cannot be had."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise Failed("two cores are needed: one for the proxy, one for the load and the application")
    for needed in ("wrk", "taskset"):
        if shutil.which(needed) is None:
            raise Failed(f"{needed} is not installed")
    return found[:2]


def measured(rows: Sequence[Row], rounds: int, seconds: int, core: int) -> list[list[Figures | None]]:
    """The figures of each row and round; the rows are taken in turn, so that a busy moment hits all of them."""
    for row in rows:
        row.check()
        row.load(WARM_UP_SECONDS, core)
    runs: list[list[Figures | None]] = [[] for _ in rows]
    for _ in range(rounds):
        for row, figures in zip(rows, runs, strict=True):
            figures.append(row.load(seconds, core))
    for row in rows:
        row.check()
    return runs


def table(rows: Sequence[Row], runs: list[list[Figures | None]], against: str = "nginx") -> Iterator[str]:
    """Medians; the ratio to the first row is the median of each round's own, since a round shares its moment."""
    yield f"| proxy on one core | CPU µs/request | x {against} | requests/s | p50 ms | p99 ms | RSS MiB |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    first = [one for one in runs[0] if one is not None]
    for row, all_figures in zip(rows, runs, strict=True):
        figures = [one for one in all_figures if one is not None]
        if row.proxy is None or not figures:
            yield f"| {row.name} | {row.missing} | | | | | |"
            continue
        cpu = median(one.cpu_per_request for one in figures)
        ratio = median(one.cpu_per_request / other.cpu_per_request for one, other in zip(figures, first, strict=True))
        rate = median(one.requests_per_second for one in figures)
        p50, p99 = median(one.p50 for one in figures) / 1e3, median(one.p99 for one in figures) / 1e3
        size = row.proxy.resident_bytes() / 2**20
        yield f"| {row.name} | {cpu:.1f} | {ratio:.2f} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {size:.0f} |"


def versions(*commands: Sequence[str]) -> str:
    parts = [f"passproxy {passproxy.__version__}", f"Python {platform.python_version()}", f"uvloop {version('uvloop')}"]
    for command in ([nginx.program(), "-v"], ["wrk", "-v"], *commands):
        shown = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"(nginx|Apache)/[\d.]+|wrk \S+", shown.stdout + shown.stderr)
        parts.append(found[0].replace("/", " ") if found else command[0])
    return ", ".join((*parts, f"Linux {platform.release()}"))
