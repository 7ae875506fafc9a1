"""
What a service manager is told, and what it hands over.

A datagram for each change of state, and one at half of the watchdog's time
(sd_notify(3)); listening sockets that were opened before us (sd_listen_fds(3)).
The watchdog's datagrams come from the event loop, so that a loop that is stuck
is noticed. Without a service manager nothing happens here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping

from passproxy.core.errors import ConfigError

#: The first descriptor that is handed over (SD_LISTEN_FDS_START).
FIRST_SOCKET = 3

#: For a manager that is too busy to read to take a change of state. The watchdog's datagrams do not wait: a loop
#: must not be stuck for saying that it is not, and the next one follows.
SEND_SECONDS = 1.0


class ServiceManager:
    """
    The one that started us, if it wants to hear of us.

    `environment` is ours, `process_id` too: what was meant for another process
    and only inherited is ignored. `monotonic` is CLOCK_MONOTONIC in seconds.
    """

    def __init__(self, environment: Mapping[str, str], process_id: int, monotonic: Callable[[], float]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        #: A path, or an abstract name, which is written with @ for its NUL.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._monotonic = monotonic
        is_meant = environment.get("WATCHDOG_PID", str(process_id)) == str(process_id)
        self._beat_seconds = _number(environment, "WATCHDOG_USEC") / 2_000_000 if is_meant else 0.0
        self._next_beat: asyncio.TimerHandle | None = None

    def ready(self, status: str) -> None:
        """It is listened, or the new configuration holds. From the first time on the watchdog is fed by this loop."""
        self._tell("READY=1", f"STATUS={status}")
        if self._beat_seconds and self._next_beat is None:
            self._beat(asyncio.get_running_loop())

    def reloading(self) -> None:
        """A new configuration is being read; `ready` must follow, whatever comes of it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=Finishing the requests under way")

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell("WATCHDOG=1", seconds=0.0)
        self._next_beat = loop.call_later(self._beat_seconds, self._beat, loop)

    def _tell(self, *lines: str, seconds: float = SEND_SECONDS) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(seconds)
            sender.sendto("\n".join(lines).encode(), self._address)


def passed_sockets(environment: Mapping[str, str], process_id: int) -> tuple[socket.socket, ...]:
    """
    The listening sockets that were handed over, in their order. Called once: each call would own them.

    Raises:
        ConfigError: one of them is none that connections can be accepted from.
    """
    if environment.get("LISTEN_PID") != str(process_id):
        return ()
    passed = []
    for descriptor in range(FIRST_SOCKET, FIRST_SOCKET + _number(environment, "LISTEN_FDS")):
        try:
            os.set_inheritable(descriptor, False)
            one = socket.socket(fileno=descriptor)
            is_listening = bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError as error:
            raise ConfigError((f"descriptor {descriptor} from the service manager: {error.strerror}",)) from None
        if not is_listening:
            one.close()
            raise ConfigError(
                (
                    f"descriptor {descriptor} from the service manager is not a listening stream socket:"
                    " the socket unit needs ListenStream= and Accept=no",
                )
            )
        passed.append(one)
    return tuple(passed)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else 0
