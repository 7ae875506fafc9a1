"""
What the cost of a request does not depend on: rules, connections that are open, sessions that are known.

The same request to the same program, with a hundred rules, with five thousand idle connections, and after a
hundred thousand sessions; each beside one that has nothing of it, in turn.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import nginx, subject
from benchmarks.browser import HOST
from benchmarks.processes import Failed, Pinned, free_port
from benchmarks.quick import APPLICATION_COOKIES
from benchmarks.rows import BODY, Row, measured, table

RULES = 100
CONNECTIONS = 5000
SESSIONS = 100_000


def rules(count: int) -> str:
    """So many rules, of which the last one alone is about the page that is asked for."""
    lines = [
        f"    - {{name: r{number}, path: '/area-{number}/**', methods: [GET, POST], require_any_group: [g{number}]}}"
        for number in range(count - 1)
    ]
    lines.append("    - {name: last, path: '/d/*', require_any_group: [ops]}")
    return "access:\n  rules:\n" + "\n".join(lines) + "\n"


def compared(proxy_core: int, load_core: int, rounds: int, seconds: int, tell: Callable[[str], None]) -> Iterator[str]:
    """A table, with the plain one first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    with tempfile.TemporaryDirectory(prefix="passproxy-bench-") as name, contextlib.ExitStack() as stack:
        folder, application = Path(name), free_port()
        stack.enter_context(
            Pinned(nginx.application(folder, application, BODY), load_core, application, folder / "application.log")
        )

        def ours(name: str, more: str = "") -> tuple[Pinned, Path]:
            port = free_port()
            file = subject.configuration(folder, port, application, name, more)
            subject.session_cookie(file)  # makes the keys
            return stack.enter_context(Pinned(subject.command(file), proxy_core, port, folder / f"{name}.log")), file

        def row(title: str, proxy: Pinned, file: Path) -> Row:
            return Row(title, proxy, "", subject.session_cookie(file), f"{subject.USER}|{APPLICATION_COOKIES}")

        tell("starting four of PassProxy")
        rows = [
            row("PassProxy, with a session", *ours("plain")),
            row(f"PassProxy, {RULES} rules, of which the last is met", *ours("rules", rules(RULES))),
        ]
        crowded, file = ours("crowded")
        tell(f"opening {CONNECTIONS:,} connections")
        for _ in range(CONNECTIONS):
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", crowded.port), 10)))
        rows.append(row(f"PassProxy, {CONNECTIONS:,} idle connections open", crowded, file))
        known, file = ours("known")
        tell(f"asking with {SESSIONS:,} sessions")
        _introduce(known.port, file)
        rows.append(row(f"PassProxy, {SESSIONS:,} sessions known", known, file))
        tell(f"loading {len(rows)} proxies in turn, {rounds} rounds of {seconds} s")
        yield "## What it does not depend on"
        yield ""
        yield from table(rows, measured(rows, rounds, seconds, load_core), "the first")
        yield ""
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _introduce(port: int, file: Path) -> None:
    """One request of each session, on one connection."""
    people = (replace(subject.ALICE, subject=f"5a1f0c3e-0000-4000-8000-{number:012d}") for number in range(SESSIONS))
    with socket.create_connection(("127.0.0.1", port), 20) as connection, connection.makefile("rb") as answers:
        for cookie in subject.session_cookies(file, people):
            asked = f"GET /d/abc HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n"
            connection.sendall(asked.encode())
            status = answers.readline()
            if b" 200 " not in status:
                raise Failed(f"a session was answered with {status!r}")
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            answers.read(length)
