"""The service manager's protocol, spoken with real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from passproxy.core.errors import ConfigError
from passproxy.web.systemd import ServiceManager, passed_sockets

OURS = os.getpid()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """What a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def lines(told: socket.socket) -> list[str]:
    return told.recv(4096).decode().split("\n")


def manager(told: socket.socket, **more: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": told.getsockname(), **more}, OURS, time.monotonic)


def test_each_change_of_state_is_told(told: socket.socket) -> None:
    told_by = manager(told)
    told_by.ready("Serving app.example.com")
    told_by.stopping()
    assert lines(told) == ["READY=1", "STATUS=Serving app.example.com"]
    assert lines(told)[0] == "STOPPING=1"


def test_a_reload_begins_after_it_was_asked_for(told: socket.socket) -> None:
    asked = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    manager(told).reloading()
    state, since = lines(told)
    assert state == "RELOADING=1"
    assert asked <= int(since.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_an_abstract_name_is_written_with_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0passproxy-test-{OURS}")
        receiver.settimeout(10)
        ServiceManager({"NOTIFY_SOCKET": f"@passproxy-test-{OURS}"}, OURS, time.monotonic).stopping()
        assert receiver.recv(4096).startswith(b"STOPPING=1")


@pytest.mark.parametrize("name", ["", "/does/not/exist", "@" + "x" * 200, "vsock:2:1234"])
async def test_without_one_that_listens_nothing_happens(name: str) -> None:
    alone = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000"}, OURS, time.monotonic)
    alone.ready("")
    alone.reloading()
    alone.stopping()
    await asyncio.sleep(0.01)


async def test_the_watchdog_is_fed_by_the_loop_and_by_nothing_else(told: socket.socket) -> None:
    manager(told, WATCHDOG_USEC="20000", WATCHDOG_PID=str(OURS)).ready("")
    assert lines(told)[0] == "READY=1"
    told.setblocking(False)
    loop = asyncio.get_running_loop()
    for _ in range(3):
        assert await loop.sock_recv(told, 4096) == b"WATCHDOG=1"
    # A loop that is stuck: far more than the watchdog's time passes, and at most what was under way arrives.
    time.sleep(0.3)  # noqa: ASYNC251 - that is the point
    arrived = 0
    while True:
        try:
            told.recv(4096)
        except BlockingIOError:
            break
        arrived += 1
    assert arrived <= 1
    assert await loop.sock_recv(told, 4096) == b"WATCHDOG=1"


async def test_a_manager_that_does_not_read_holds_up_nothing(told: socket.socket) -> None:
    manager(told, WATCHDOG_USEC="2000").ready("")
    # Far more than the socket takes; each would wait for a second.
    for _ in range(200):
        await asyncio.sleep(0.001)
    assert lines(told)[0] == "READY=1"
    assert lines(told) == ["WATCHDOG=1"]


async def test_being_ready_again_does_not_feed_it_twice(told: socket.socket) -> None:
    served = manager(told, WATCHDOG_USEC="3600000000")
    served.ready("first")
    served.ready("second")
    assert lines(told) == ["READY=1", "STATUS=first"]
    assert lines(told) == ["WATCHDOG=1"]
    assert lines(told) == ["READY=1", "STATUS=second"]
    served.stopping()
    assert lines(told)[0] == "STOPPING=1"


@pytest.mark.parametrize(
    "watchdog", [{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "\u0663"}]
)
async def test_a_watchdog_of_somebody_else_or_of_no_time_is_not_fed(
    told: socket.socket, watchdog: dict[str, str]
) -> None:
    served = manager(told, **watchdog)
    served.ready("")
    await asyncio.sleep(0.01)
    served.stopping()
    assert [lines(told)[0], lines(told)[0]] == ["READY=1", "STOPPING=1"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": str(OURS)},
        {"LISTEN_FDS": "", "LISTEN_PID": str(OURS)},
    ],
)
def test_sockets_for_somebody_else_are_not_taken(environment: dict[str, str]) -> None:
    assert passed_sockets(environment, OURS) == ()


def test_what_is_not_a_listening_socket_is_said_to_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": str(OURS)}
    with socket.socket() as unconnected, open(os.devnull) as file:
        no_socket = file.fileno()
        for descriptor in (os.dup(unconnected.fileno()), no_socket, 1_000_000):
            monkeypatch.setattr("passproxy.web.systemd.FIRST_SOCKET", descriptor)
            with pytest.raises(ConfigError, match=f"descriptor {descriptor} from the service manager"):
                passed_sockets(environment, OURS)


def test_sockets_are_taken_in_their_order_and_kept_from_children(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        passed = os.dup(one.fileno())
        os.set_inheritable(passed, True)
        monkeypatch.setattr("passproxy.web.systemd.FIRST_SOCKET", passed)
        (taken,) = passed_sockets({"LISTEN_FDS": "1", "LISTEN_PID": str(OURS)}, OURS)
        with taken:
            assert taken.getsockname() == one.getsockname()
            assert not os.get_inheritable(passed)
