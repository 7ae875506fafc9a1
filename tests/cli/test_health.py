"""`passproxy health`, as a container's health check runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from passproxy.cli import health, main
from tests.fakes.commands import free_port, running, wait_for

ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def configuration(folder: Path, listen: str) -> Path:
    file = folder / "app.yaml"
    file.write_text(
        f"domain: app.example.com\nlisten: {listen}\nstate_dir: {folder}/state\n"
        f"upstream: {{url: 'http://127.0.0.1:{free_port()}'}}\n"
        f"oidc: {{issuer: 'http://127.0.0.1:{free_port()}', client_id: app}}\n"
    )
    return file


@contextmanager
def answering(listener: socket.socket, answer: bytes) -> Iterator[list[bytes]]:
    """One answer to one connection; gives what was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            asked.append(client.recv(65536))
            client.sendall(answer)

    listener.listen()
    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        yield asked
        thread.join()


def tcp() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


def test_an_instance_that_serves_is_alive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    file = configuration(tmp_path, f"127.0.0.1:{port}")
    with running("serve", str(file), cwd=tmp_path):
        wait_for(port)
        assert main(["health", str(file)]) == 0
    assert capsys.readouterr().out == f"127.0.0.1:{port}: alive\n"


def test_an_address_where_nobody_listens_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("PASSPROXY_LISTEN", f"127.0.0.1:{port}")
    assert main(["health"]) == 1
    assert capsys.readouterr().err == f"127.0.0.1:{port}: Connection refused\n"


def test_the_variable_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check every half minute needs neither the secrets nor the rest."""
    listener = tcp()
    monkeypatch.setenv("PASSPROXY_LISTEN", f"0.0.0.0:{listener.getsockname()[1]}")
    with answering(listener, ALIVE) as asked:
        assert main(["health"]) == 0
    assert asked[0].startswith(b"GET /.passproxy/health HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("listen", "asked"),
    [("[::]:8123", "::1"), ("0.0.0.0:8123", "127.0.0.1"), ("[2001:db8::1]:8123", "2001:db8::1"), ("app:1", "app")],
)
def test_what_listens_on_every_address_is_asked_on_loopback(listen: str, asked: str) -> None:
    assert health._connection(listen).host == asked


def test_a_unix_socket_is_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "app.sock"))
    monkeypatch.setenv("PASSPROXY_LISTEN", f"unix:{tmp_path}/app.sock")
    with answering(listener, ALIVE):
        assert main(["health"]) == 0


def test_without_anything_said_the_default_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PASSPROXY_LISTEN", raising=False)
    monkeypatch.setattr(health, "_status", lambda listen: 200)
    assert main(["health"]) == 0
    assert capsys.readouterr().out == "127.0.0.1:8123: alive\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "answers with status 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0"),
        (b"", "closed"),
    ],
    ids=["another status", "another protocol", "no answer"],
)
def test_any_other_answer_is_not_alive(
    answer: bytes, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = tcp()
    monkeypatch.setenv("PASSPROXY_LISTEN", f"127.0.0.1:{listener.getsockname()[1]}")
    with answering(listener, answer):
        assert main(["health"]) == 1
    assert said in capsys.readouterr().err


def test_one_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.1)
    with tcp() as listener:
        listener.listen()
        monkeypatch.setenv("PASSPROXY_LISTEN", f"127.0.0.1:{listener.getsockname()[1]}")
        assert main(["health"]) == 1
    assert "timed out" in capsys.readouterr().err


def test_a_check_every_half_minute_loads_no_models(tmp_path: Path) -> None:
    code = (
        "import sys; from passproxy.cli import main; status = main(['health']);"
        "sys.exit(10 if 'pydantic' in sys.modules else status)"
    )
    environment = {**os.environ, "PASSPROXY_LISTEN": f"127.0.0.1:{free_port()}"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30, check=False, capture_output=True)
    assert ended.returncode == 1, ended.stderr


def test_an_address_that_is_none_is_a_mistake_in_the_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PASSPROXY_LISTEN", ":8123")
    assert main(["health"]) == 78
    assert "PASSPROXY_LISTEN: write the address out" in capsys.readouterr().err
