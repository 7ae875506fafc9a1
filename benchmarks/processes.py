"""
Programs on one core each: started, watched and ended.

A `Pinned` program counts with all its children and threads, as the kernel
accounts for them: CPU time depends far less than a clock on what else the
machine is doing. Ends exactly what it started. Knows no HTTP.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

#: For a program to listen, or to end when told to. Python imports for about a second.
PATIENCE_SECONDS = 20.0

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """The benchmark cannot be run, or its figures would mean nothing; the message says why."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Pinned:
    """A server on one core (or several, as taskset lists them), listening on a loopback port while the block runs."""

    def __init__(
        self,
        command: Sequence[str],
        core: int | str,
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = ["taskset", "--cpu-list", str(core), *command]
        self._environment = environment
        self._log = log
        self.port = port

    def __enter__(self) -> Pinned:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """User and system time so far, of the program and all its descendants."""
        return sum(int(stat[11]) + int(stat[12]) for stat in self._stats()) / _TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Memory in use; pages that descendants share are counted for each of them."""
        return sum(int(stat[21]) for stat in self._stats()) * os.sysconf("SC_PAGE_SIZE")

    def _stats(self) -> list[list[str]]:
        """The fields of /proc/PID/stat behind the command's name (proc(5): the first one is number 3)."""
        every: dict[int, list[str]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = path.read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            every[int(path.parent.name)] = text.rpartition(")")[2].split()
        family, size = {self._process.pid}, 0
        while len(family) > size:
            size = len(family)
            family |= {pid for pid, stat in every.items() if int(stat[1]) in family}
        return [every[pid] for pid in family if pid in every]

    def _wait_until_it_listens(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        last_words = self._log.read_text("utf-8", "replace")[-2000:]
        raise Failed(f"{' '.join(self._command[3:])} does not listen:\n{last_words}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
