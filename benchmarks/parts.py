"""
Where the microseconds of a request and the megabytes of a start go: `make parts`.

One exchange through the real gateway and its connections, with transports that keep nothing, so that the
sockets are not in it; then its steps alone; then what else was tried; then memory, import by import.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks import subject
from benchmarks.browser import fields
from benchmarks.rows import BODY
from passproxy.app import service
from passproxy.cli.files import loaded
from passproxy.core import http1
from passproxy.core.counts import Counts
from passproxy.core.decision import Decider, Forward, Site
from passproxy.core.headers import outgoing
from passproxy.core.policy import Policy, Rule
from passproxy.core.session import SessionRules, Sessions
from passproxy.web.connection import ClientConnection
from passproxy.web.server import Server
from passproxy.web.upstream import UpstreamConnection

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Fri, 27 Nov 2026 01:00:00 GMT\r\nContent-Type: text/html\r\n"
    b"Content-Length: %d\r\nLast-Modified: Fri, 27 Nov 2026 01:00:00 GMT\r\nConnection: keep-alive\r\n"
    b'ETag: "abc"\r\nAccept-Ranges: bytes\r\n\r\n' % len(BODY)
) + BODY

#: What the process imports, in the order in which the table tells it.
MODULES = (
    "asyncio",
    "uvloop",
    "aiohttp",
    "cryptography.x509",
    "jwt",
    "jinja2",
    "passproxy.cli.serving",
)

_MEMORY = """
import sys
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024
before = resident()
print(f"| Python itself | {before:.1f} |")
for name in sys.argv[1:]:
    __import__(name)
    after = resident()
    print(f"| {name} | {after - before:.1f} |")
    before = after
print(f"| **together** | **{before:.1f}** |")
"""


class _Nowhere:
    """A transport that keeps nothing."""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else None


def told(name: str, step: Callable[[], object]) -> None:
    best = min(timeit.repeat(step, number=5000, repeat=9)) / 5000 * 1e6
    print(f"| {name} | {best:.2f} |")


def _counted(counts: Counts, clock: Callable[[], float]) -> None:
    """What gateway.py and upstream.py count of one exchange."""
    sent_at = clock()
    counts.forwarded += 1
    counts.answers[2] += 1
    counts.latency.observe(clock() - sent_at)


def _with_rules(site: Site, count: int) -> Decider:
    """The same decision point with so many access rules, none of which is about the request."""
    policy = Policy(Rule(f"rule {n}", (f"/area-{n}/**",), any_group=frozenset({"ops"})) for n in range(count))
    sessions = Sessions(site.sessions._ring, 86400, lambda session: b"", SessionRules(grants=policy.granted))
    return Decider(replace(site, policy=policy, sessions=sessions))


async def _steps(gateway: Any, cookie: str) -> None:
    parts = gateway._parts
    lines = [f"{name}: {value}" for name, value in fields(cookie).items()]
    request = "\r\n".join(["GET /d/abc?x=1 HTTP/1.1", *lines, "", ""]).encode()
    client = ClientConnection(gateway, parts.watch, lambda closed: None)
    client.connection_made(cast(asyncio.BaseTransport, _Nowhere()))
    upstream = UpstreamConnection(parts.pool, gateway)
    upstream.connection_made(cast(asyncio.BaseTransport, _Nowhere()))
    parts.pool.put(upstream)

    def exchange() -> None:
        client.data_received(request)
        upstream.data_received(ANSWER)

    head = http1.request_head(request[:-2], gateway.names)
    found = http1._lines(request[:-2], request.index(b"\r\n") + 2)
    decision = parts.decider.decide(head, parts.clock())
    if not isinstance(decision, Forward) or decision.session is None:
        raise SystemExit("the request has no session")
    now, identity, host = parts.clock(), decision.session.lines, head.noted[b"host"][0]
    end = ANSWER.index(b"\r\n\r\n") + 2
    print("| step | µs |")
    print("|---|--:|")
    told("`request_head`", lambda: http1.request_head(request[:-2], gateway.names))
    told("of it, lines split and their bytes checked", lambda: http1._lines(request[:-2], request.index(b"\r\n") + 2))
    told("of it, names looked up", lambda: http1._fields(found, gateway.names))
    told("`decide`", lambda: parts.decider.decide(head, now))
    for count in (10, 100):
        decider = _with_rules(parts.decider._site, count)
        told(f"`decide` with {count} access rules", partial(decider.decide, head, now, "127.0.0.1"))
    cookies = head.noted[b"cookie"]
    told("of it, cookies taken apart", lambda: parts.decider._site.names.crumbs(cookies))
    told(
        "`outgoing`",
        lambda: outgoing(
            head,
            host=host,
            cookies=decision.cookies,
            identity=identity,
            forwarded=b"X: y\r\n",
            request_id=b"1" * 20,
            is_public=False,
        ),
    )
    told("`answer_head`", lambda: http1.answer_head(ANSWER[:end], parts.pool.names, b"GET"))
    told("an id for the request", lambda: parts.request_ids.of("127.0.0.1", None))
    told("all that is counted", lambda: _counted(parts.counts, parts.watch.clock))
    told("**whole exchange**", exchange)
    print("\n| tried instead | µs |")
    print("|---|--:|")
    known = gateway.names.known.get
    told("the name of each line by `partition` (as it is)", lambda: [known(line.partition(b":")[0]) for line in found])
    told("... by `find` and a slice", lambda: [known(line[: line.find(b":")]) for line in found])
    told("forbidden bytes by `translate` (as it is)", lambda: request.translate(None, http1._WITHIN_LINES))
    forbidden = re.compile(rb"[^\t\x20-\x7e\x80-\xff\r\n]|\r(?!\n)|(?<!\r)\n")
    told("... by one regular expression", lambda: forbidden.search(request))


async def _measure() -> None:
    gateways: list[Any] = []
    original = Server.open

    async def opening(server: Server, gateway: Any) -> None:
        gateways.append(gateway)
        await original(server, gateway)

    Server.open = opening  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="passproxy-bench-") as name:
        file = subject.configuration(Path(name), 0, 9)
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(service.serve(loaded(str(file)), stop, ready.set_result))
        await ready
        await _steps(gateways[0], subject.session_cookie(file))
        stop.set()
        await serving


def main() -> int:
    asyncio.run(_measure())
    print("\n| imported | MiB more |")
    print("|---|--:|", flush=True)
    return subprocess.run([sys.executable, "-c", _MEMORY, *MODULES]).returncode


if __name__ == "__main__":
    sys.exit(main())
