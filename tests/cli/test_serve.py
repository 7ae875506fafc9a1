"""`passproxy serve` as a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from passproxy.cli import serving
from tests.fakes.commands import WAIT_SECONDS, free_port, running, wait_for

#: What it does between fork and exec: descriptor 3, and who it is meant for.
_AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


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


def test_a_service_manager_hands_over_a_socket_and_hears_of_every_state(tmp_path: Path) -> None:
    """As systemd starts it: descriptor 3 listens already, a datagram socket takes what is told."""
    path = tmp_path / "edge.sock"
    file = configuration(tmp_path, free_port())
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
        socket.socket(socket.AF_UNIX) as passed,
        socket.socket(socket.AF_UNIX) as client,
    ):
        told.bind(str(tmp_path / "notify"))
        told.settimeout(WAIT_SECONDS)
        passed.bind(str(path))
        passed.listen()
        client.settimeout(WAIT_SECONDS)
        # Before the process exists: what it is asked meanwhile waits in the socket.
        client.connect(str(path))
        client.sendall(b"GET /.passproxy/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        command = [sys.executable, "-c", _AS_SYSTEMD, str(passed.fileno()), sys.executable, "-m", "passproxy", "serve"]
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "LISTEN_FDS": "1", "WATCHDOG_USEC": "100000"}
        process = subprocess.Popen(
            [*command, str(file)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            pass_fds=[passed.fileno()],
            start_new_session=True,
        )
        try:
            assert told.recv(4096).decode() == f"READY=1\nSTATUS=Serving 127.0.0.1 at unix:{path}"
            assert [told.recv(4096), told.recv(4096)] == [b"WATCHDOG=1"] * 2
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
            process.send_signal(signal.SIGTERM)
            while (last := told.recv(4096)) == b"WATCHDOG=1":
                pass
            assert last.startswith(b"STOPPING=1\n")
            _, error = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, error
        assert path.exists()


def test_dos_03_a_process_may_open_as_many_files_as_it_has_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, both: limits.append(both))
    serving._allow_open_files(2000)
    assert limits[-1] == (2000 + serving.OTHER_FILES, 4096)
    assert caplog.records == []
    serving._allow_open_files(9000)
    assert limits[-1] == (4096, 4096)
    assert [record.getMessage() for record in caplog.records] == ["server.open_files"]


def asked_to_reload(process: subprocess.Popen[str], event: str) -> str:
    """The line that answers a SIGHUP."""
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    return next(line for line in process.stderr if event in line)


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Accept": "application/json"})
        return connection.getresponse().status


def test_sighup_reads_the_configuration_anew_and_one_with_mistakes_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    file = configuration(tmp_path, port)
    good = file.read_text()
    with running("serve", str(file), cwd=tmp_path) as process:
        wait_for(port)
        assert status(port, "/docs") == 401
        file.write_text(good + "passthrough: {paths: [/docs]}\nsesion: {}\n")
        assert f"{file}:8: sesion: unknown key; did you mean session?" in asked_to_reload(process, "reload.refused")
        assert status(port, "/docs") == 401
        file.write_text(good + "passthrough: {paths: [/docs]}\n")
        asked_to_reload(process, "reload.done")
        assert status(port, "/docs") == 502  # public now, and no application is there
        file.unlink()
        assert "cannot be read" in asked_to_reload(process, "reload.refused")
        assert status(port, "/docs") == 502
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0


def test_reloads_lose_no_request(tmp_path: Path) -> None:
    port, seen, over = free_port(), [], threading.Event()
    file = configuration(tmp_path, port)

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        with contextlib.closing(connection):
            while not over.wait(0.005):
                connection.request("GET", "/", headers={"Accept": "application/json"})
                answer = connection.getresponse()
                answer.read()
                seen.append(answer.status)
                seen.append(status(port, "/"))

    with running("serve", str(file), cwd=tmp_path) as process:
        wait_for(port)
        with ThreadPoolExecutor(4) as threads:
            asking = [threads.submit(ask) for _ in range(4)]
            try:
                for _ in range(5):
                    asked_to_reload(process, "reload.done")
            finally:
                over.set()
            for one in asking:
                one.result()
    assert len(seen) > 8
    assert set(seen) == {401}
