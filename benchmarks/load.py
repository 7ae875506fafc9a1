"""One load of one proxy by wrk, and what it cost; refuses figures of a run that had errors."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Failed, Pinned

#: Connections of the load: enough that a proxy on one core never waits for requests.
CONNECTIONS = 64

_SCRIPT = Path(__file__).with_name("report.lua")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one load: times in microseconds."""

    cpu_per_request: float
    requests_per_second: float
    p50: float
    p99: float


def load(
    proxy: Pinned,
    target: str,
    fields: Mapping[str, str],
    *,
    seconds: int,
    core: int,
    body_bytes: int,
    lenient: bool = False,
) -> Figures:
    """
    Ask one proxy for the same thing over and over, from another core.

    With `lenient`, one answer of a thousand may fail: Apache loses some when connections are closed by both sides.

    Raises:
        Failed: not every answer was one with the upstream's body.
    """
    command = ["taskset", "--cpu-list", str(core), "wrk", "--threads=1", f"--connections={CONNECTIONS}"]
    command += [f"--duration={seconds}s", f"--script={_SCRIPT}"]
    for name, value in fields.items():
        command += ["--header", f"{name}: {value}"]
    before = proxy.cpu_seconds()
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{proxy.port}{target}"], capture_output=True, text=True, timeout=seconds + 30
    )
    spent = proxy.cpu_seconds() - before
    figures = next((line.split()[1:] for line in done.stdout.splitlines() if line.startswith("FIGURES ")), None)
    if figures is None:
        raise Failed(f"wrk: {done.stderr or done.stdout}")
    requests, microseconds, received, errors, p50, p99 = map(int, figures)
    # wrk takes a redirect for a good answer, but none has a body of this size.
    if not requests or errors > (requests // 1000 if lenient else 0) or received < (requests - errors) * body_bytes:
        raise Failed(f"{target}: {errors} errors, {received} bytes in {requests} answers")
    return Figures(spent * 1e6 / requests, requests * 1e6 / microseconds, p50, p99)
