"""
The real commands as processes of their own, and the end of exactly those.

A `Child` knows its process id and what it has written; a wait has a limit,
after which its last words are part of the failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: On two shared cores, while others work too.
START_SECONDS = 30.0
STOP_SECONDS = 10.0

#: Where scripts of this Python's packages are, the one under test among them.
PASSPROXY = str(Path(sys.executable).parent / "passproxy")


@dataclass(frozen=True, slots=True)
class Child:
    pid: int
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def kibibytes(self, field: str) -> int:
        """VmRSS (now) or VmHWM (the most so far) of proc_pid_status(5)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, status
        return int(found[1])

    def cpu_seconds(self) -> float:
        """Spent so far, in the process and in the kernel for it (proc_pid_stat(5), fields 14 and 15)."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.asynccontextmanager
async def child(command: Sequence[str], log: Path, is_ready: Callable[[str], bool]) -> AsyncIterator[Child]:
    """Run a command as long as the block; `is_ready` is asked with what it has written so far."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PASSPROXY_")}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = Child(process.pid, log)
    try:
        await _wait_until(is_ready, process, running)
        yield running
    finally:
        await _stop(process)


async def _wait_until(is_ready: Callable[[str], bool], process: asyncio.subprocess.Process, running: Child) -> None:
    limit = time.monotonic() + START_SECONDS
    while not is_ready(running.said):
        if process.returncode is not None or time.monotonic() > limit:
            raise AssertionError(f"did not start (exit status {process.returncode}):\n{running.said[-2000:]}")
        await asyncio.sleep(0.05)


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        # Its session: the children of one that ended before them too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
