"""`passproxy` as a process of its own, on a free port."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "passproxy", *arguments]
    # A group of its own, so that a signal meant for it reaches nobody else.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def health(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/.passproxy/health")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def wait_for(port: int) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while health(port) != 200:
        assert time.monotonic() < end, "did not begin to listen"
        time.sleep(0.05)
