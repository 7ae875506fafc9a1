"""`passproxy serve` as a process of its own."""

from __future__ import annotations

import resource
import signal
import socket
from pathlib import Path

import pytest

from passproxy.cli import serving
from tests.fakes.commands import WAIT_SECONDS, free_port, running, wait_for


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
