"""`passproxy serve` and `passproxy demo` as processes of their own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes.browser import Browser

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


def configuration(folder: Path, port: int) -> Path:
    file = folder / "app.yaml"
    file.write_text(
        f"domain: 127.0.0.1\norigin: http://127.0.0.1:{port}\nlisten: 127.0.0.1:{port}\nstate_dir: {folder}/state\n"
        f"upstream: {{url: 'http://127.0.0.1:{free_port()}'}}\n"
        f"oidc: {{issuer: 'http://127.0.0.1:{free_port()}', client_id: app}}\n"
    )
    return file


def test_it_serves_without_its_identity_provider_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    with running("serve", str(configuration(tmp_path, port)), cwd=tmp_path) as process:
        wait_for(port)
        keys = tmp_path / "state" / "keys.json"
        assert keys.stat().st_mode & 0o777 == 0o600
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0
        assert "server.ready" in error
        assert "server.stopped" in error
        assert "Traceback" not in error


def test_a_taken_address_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        file = configuration(tmp_path, int(taken.getsockname()[1]))
        with running("serve", str(file), cwd=tmp_path) as process:
            _, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert "listen: 127.0.0.1" in error
    assert "Traceback" not in error


def test_a_broken_file_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text("domain: app.example.com\n")
    with running("serve", str(file), cwd=tmp_path) as process:
        _, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 78
    assert "upstream: missing" in error


@pytest.mark.parametrize("protocol", ["oidc", "saml"])
async def test_the_demo_prints_one_url_that_works(tmp_path: Path, protocol: str) -> None:
    port = free_port()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    with running("demo", "--protocol", protocol, "--port", str(port), cwd=tmp_path) as process:
        wait_for(port)
        assert process.stdout is not None
        printed = "".join(iter(process.stdout.readline, "  Everything listens on this machine only and is gone after Ctrl-C.\n"))
        assert re.findall(r"Open +(\S+)", printed) == [f"http://127.0.0.1:{port}/"]
        async with Browser() as browser:
            page = await browser.open(f"http://127.0.0.1:{port}/whoami?deep=%2Flink")
            landed = await browser.sign_in(page, "alice", "alice")
        assert landed.url == f"http://127.0.0.1:{port}/whoami?deep=%2Flink"
        headers = dict(landed.json()["headers"])
        assert headers["X-Passproxy-Email"] == "alice@example.com"
        assert headers["X-Passproxy-Groups"] == "engineering,ops"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in error
