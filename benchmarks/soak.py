"""
Whether it holds: `python -m benchmarks.soak`, or `make soak`.

PassProxy as it is served, two hundred clients with mixed traffic, some of whom leave before they
have everything, and an application that fails one request in twenty and restarts now and then.
Ends with an error when a body changed on its way, when a request ended otherwise than the
application made it end, when sockets or memory stay behind, or when PassProxy does not stop as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import uvloop

from benchmarks import subject
from benchmarks.browser import HOST
from benchmarks.processes import Failed, free_port
from benchmarks.soak_application import Application
from benchmarks.soak_clients import Workers
from benchmarks.soak_jobs import KINDS, MEBIBYTE, Jobs, Ledger

CLIENTS = 200
FAULT_SHARE = 0.05

_PROGRESS_SECONDS = 5.0
_RESTART_EVERY_SECONDS = 20.0

#: For exchanges to end, and for PassProxy to close what it keeps for a while (15 s).
_REST_SECONDS = 45.0

#: More than this between the middle and the end is no fluctuation.
_GROWTH_SHARE, _GROWTH_MEBIBYTES = 0.1, 4.0

#: Of traffic before PassProxy is told to stop, and for it to finish what is under way then.
_BEFORE_STOP_SECONDS, _STOP_SECONDS = 5.0, 35.0

_CONFIGURATION = """\
domain: {host}
listen: 127.0.0.1:{port}
upstream:
  url: "http://127.0.0.1:{application}"
  response_timeout: 5s
  idle_timeout: 5s
oidc: {{issuer: "http://127.0.0.1:1", client_id: benchmark, client_secret: not-used-by-anybody}}
state_dir: {state}
"""


class Proxy:
    """`passproxy serve` while the block runs, seen from outside."""

    def __init__(self, file: Path, port: int, log: Path) -> None:
        self._file = file
        self._port = port
        self._log = log
        self.sizes: list[float] = []

    def __enter__(self) -> Proxy:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                subject.command(self._file), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + 20
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return self
            time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        raise Failed(f"PassProxy does not listen:\n{self._log.read_text('utf-8', 'replace')[-2000:]}")

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def size(self) -> float:
        """Resident memory in MiB."""
        (kibibytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        return int(kibibytes) / 1024

    def measure(self) -> float:
        """Its size, kept for the end."""
        self.sizes.append(self.size())
        return self.sizes[-1]

    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, _STOP_SECONDS)

    def last_words(self) -> Iterator[str]:
        """What was wrong with how it stopped, and with what it said."""
        code = self._process.poll()
        if code is None:
            yield f"PassProxy did not stop within {_STOP_SECONDS:.0f} s"
        elif code:
            yield f"PassProxy stopped with exit code {code}"
        said = self._log.read_text("utf-8", "replace")
        if "server.stopped" not in said.splitlines()[-1]:
            yield f"the last line of PassProxy's log is {said.splitlines()[-1]!r}"
        for sign in (
            "server.drain_cut",
            "Traceback",
            "request.failed",
            "task.failed",
            "never retrieved",
            "never awaited",
        ):
            if sign in said:
                yield f"PassProxy's log has {sign!r}: {said[said.index(sign) :][:1500]}"


class Soak:
    """One run."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds = seconds
        self._seed = seed
        self._ledger = Ledger()

    async def run(self) -> list[str]:
        """The violations; everything else is printed."""
        with tempfile.TemporaryDirectory(prefix="soak-") as name:
            folder, port, application_port = Path(name), free_port(), free_port()
            file = folder / "passproxy.yaml"
            file.write_text(
                _CONFIGURATION.format(host=HOST, port=port, application=application_port, state=folder / "state")
            )
            file.chmod(0o600)
            cookie = subject.session_cookie(file)
            with Proxy(file, port, folder / "log") as proxy:
                await asyncio.sleep(1)
                before, size = proxy.descriptors(), proxy.size()
                async with Application(self._ledger, application_port, self._seed) as application:
                    workers = Workers(("127.0.0.1", port), cookie, Jobs(self._seed, FAULT_SHARE), self._ledger)
                    await self._work(proxy, application, workers)
                    after = await self._rest(proxy, before)
                    if proxy.is_alive():
                        await self._stop(proxy, workers)
                    else:
                        self._ledger.violation(None, "PassProxy has ended by itself")
                for words in proxy.last_words():
                    self._ledger.violation(None, words)
                if after > before:
                    self._ledger.violation(None, f"{after - before} descriptors stayed open")
                for line in (*_table(self._ledger), *self._resources(proxy.sizes or [size], size, before, after)):
                    print(line)
        return self._ledger.violations

    async def _work(self, proxy: Proxy, application: Application, workers: Workers) -> None:
        async with asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(_restart(application)),
                tasks.create_task(self._progress(proxy, workers)),
            ]
            working = [tasks.create_task(workers.work()) for _ in range(CLIENTS)]
            end = time.monotonic() + self._seconds
            while time.monotonic() < end and proxy.is_alive():  # noqa: ASYNC110 - processes have no events
                await asyncio.sleep(0.5)
            workers.is_over = True
            await asyncio.wait(working)
            for task in others:
                task.cancel()

    async def _stop(self, proxy: Proxy, workers: Workers) -> None:
        """In the middle of traffic once more: what is under way has to be finished."""
        workers.is_over = False
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(workers.work())
            await asyncio.sleep(_BEFORE_STOP_SECONDS)
            under_way = workers.open
            self._ledger.stopped_at = begun = time.monotonic()
            workers.is_over = True
            await proxy.stop()
            print(f"Told to stop with {under_way} clients, PassProxy ended after {time.monotonic() - begun:.1f} s.")

    async def _progress(self, proxy: Proxy, workers: Workers) -> None:
        begun = time.monotonic()
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            total = {
                name: sum(count for (_, what), count in self._ledger.counts.items() if what == name) for name in _NAMES
            }
            traffic = (total["bytes up"] + total["bytes down"]) / MEBIBYTE
            print(
                f"{time.monotonic() - begun:6.0f} s  {workers.open:3d} clients  {total['requests']:7,} requests"
                f"  {traffic:8,.0f} MiB  {total['5xx']:5,} x 5xx  {total['cut']:5,} cut  {total['left']:5,} left"
                f"  RSS {proxy.measure():5.1f} MiB  {proxy.descriptors():4d} descriptors"
                f"  {len(self._ledger.violations)} violations",
                flush=True,
            )

    async def _rest(self, proxy: Proxy, before: int) -> int:
        """Descriptors after everybody has left."""
        end = time.monotonic() + _REST_SECONDS
        while proxy.is_alive() and proxy.descriptors() > before and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        return proxy.descriptors() if proxy.is_alive() else before

    def _resources(self, sizes: list[float], size: float, before: int, after: int) -> Iterator[str]:
        # The first third is warming up: caches and heaps find their size.
        third = max(1, len(sizes) // 3)
        first, middle, last = (median(part) for part in (sizes[:third], sizes[third:-third] or sizes, sizes[-third:]))
        if last > middle * (1 + _GROWTH_SHARE) + _GROWTH_MEBIBYTES:
            self._ledger.violation(None, f"memory grows: {first:.1f}, {middle:.1f}, {last:.1f} MiB")
        yield f"RSS in MiB: before {size:.1f}; medians of each third: first {first:.1f}, middle {middle:.1f}, last {last:.1f}; at most {max(sizes):.1f}."
        yield f"Descriptors: {before} before, {after} after. The application restarted {len(self._ledger.restarts)} times."


async def _restart(application: Application) -> None:
    while True:
        await asyncio.sleep(_RESTART_EVERY_SECONDS)
        await application.restart()


_NAMES = ("requests", "whole", "5xx", "cut", "left", "bytes up", "bytes down")


def _table(ledger: Ledger) -> Iterator[str]:
    yield ""
    yield "| kind | requests | whole | 5xx of the application's | cut by it | left early | MiB up | MiB down |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    rows = [(kind, [ledger.counts[kind, name] for name in _NAMES]) for kind in KINDS]
    rows.append(("all", [sum(column) for column in zip(*(counts for _, counts in rows), strict=True)]))
    for kind, (*counts, up, down) in rows:
        shown = " | ".join(f"{count:,}" for count in counts)
        yield f"| {kind} | {shown} | {up / MEBIBYTE:,.0f} | {down / MEBIBYTE:,.0f} |"
    yield ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Whether PassProxy holds.")
    parser.add_argument("--minutes", type=float, default=10, help="of traffic (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what the clients ask for (%(default)s)")
    arguments = parser.parse_args()
    try:
        violations = uvloop.run(Soak(arguments.minutes * 60, arguments.seed).run())
    except Failed as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    print(f"{len(violations)} violations.")
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
