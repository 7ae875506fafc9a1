"""
Starting other people's programs, and ending exactly what was started.

Each server runs in a session of its own, so that ending it ends its children
and nothing else; each wait has a limit, after which the server's last words are
part of the failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

#: From SIGTERM to SIGKILL. Keycloak needs two seconds, PassProxy drains for less.
STOP_SECONDS = 15.0

_LAST_LINES = 25


class StartFailed(Exception):
    """A program that did not do what it was started for; the message ends with its output."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a server answers with 200 once it is up."""

    url: str
    headers: Mapping[str, str]
    within_seconds: float


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(command: Sequence[str], *, cwd: Path, within_seconds: float, env: Mapping[str, str] | None = None) -> None:
    """Run a program to its end; its output is shown only when it fails."""
    try:
        subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            timeout=within_seconds,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = error.stdout if isinstance(error.stdout, str) else (error.stdout or b"").decode("utf-8", "replace")
        raise StartFailed(f"{' '.join(command[:4])}: {type(error).__name__}\n{_tail(output)}") from None


@contextlib.asynccontextmanager
async def server(
    command: Sequence[str], ready: Ready, log: Path, *, env: Mapping[str, str] | None = None
) -> AsyncIterator[float]:
    """A server that runs as long as the block; gives the seconds that it took to start."""
    begun = time.monotonic()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        await _wait_until(ready, process, log)
        yield time.monotonic() - begun
    finally:
        await _stop(process)


async def _wait_until(ready: Ready, process: asyncio.subprocess.Process, log: Path) -> None:
    last = ""
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        try:
            async with asyncio.timeout(ready.within_seconds):
                while process.returncode is None:
                    try:
                        async with http.get(ready.url, headers=ready.headers, allow_redirects=False) as response:
                            last = f"status {response.status}"
                            if response.status == 200:
                                return
                    except (aiohttp.ClientError, OSError, TimeoutError) as error:
                        last = type(error).__name__
                    await asyncio.sleep(0.25)
                last = f"ended with {process.returncode}"
        except TimeoutError:
            last = f"not ready within {ready.within_seconds:.0f} seconds ({last})"
    raise StartFailed(f"{ready.url}: {last}\n{_last_words(log)}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The whole session: the one that was started may have ended before its children.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)


def _last_words(log: Path) -> str:
    return _tail(log.read_text("utf-8", "replace"))


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-_LAST_LINES:])
