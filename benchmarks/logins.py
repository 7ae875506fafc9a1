"""
Logins: how many a second, what one costs, and how long others wait meanwhile.

Each login is begun before, and the provider's answers are made before where that is possible, so that what
is measured is PassProxy's part: from an answer that arrives to the session that it becomes. The provider is
that of the tests; over OpenID Connect it is asked for tokens during the measurement, and signs them.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from benchmarks import stranger, subject
from benchmarks.browser import HOST
from benchmarks.processes import Failed, Pinned, free_port
from benchmarks.visitors import Waits, application, visitors, waits
from tests.fakes import idp_saml
from tests.fakes.idp_oidc import FakeOp

LOGINS = 400

#: Browsers that finish a login at the same time.
AT_ONCE = 8

_NAVIGATION = {"Host": HOST, "Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@dataclass(frozen=True, slots=True)
class _Begun:
    """A login on its way: the provider's address that a browser was sent to, and the cookies that it has."""

    location: str
    cookies: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a browser brings back."""

    method: str
    target: str
    body: bytes
    cookies: str


def measured(proxy_core: int, load_core: int, tell: Callable[[str], None]) -> Iterator[str]:
    """A table with a row for each protocol."""
    yield "## Logins"
    yield ""
    yield f"| {LOGINS} logins, {AT_ONCE} at a time | logins/s | CPU ms each | p99 ms of others, in quiet | meanwhile |"
    yield "|---|--:|--:|--:|--:|"
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {load_core})  # what browsers and provider do here
    try:
        for name, site in (("SAML, signed answers", _saml), ("OpenID Connect, a token request each", _oidc)):
            tell(f"logins: {name}")
            with tempfile.TemporaryDirectory(prefix="passproxy-bench-") as folder:
                yield f"| {name} | {site(Path(folder), proxy_core, load_core)} |"
    finally:
        os.sched_setaffinity(0, mine)
    yield ""
    yield "CPU time is that of PassProxy's processes, the one that reads XML included. The others share a core with the"
    yield "provider and the browsers, which OpenID Connect fills: what they wait there is not PassProxy's alone."
    yield ""


def _saml(folder: Path, proxy_core: int, load_core: int) -> str:
    port, behind = free_port(), free_port()
    file = stranger.configuration(folder, port, behind, encrypted=False)

    def answered(begun: _Begun) -> _Answer:
        (login_id,) = parse_qs(urlsplit(begun.location).query)["RelayState"]
        said = idp_saml.facts(in_response_to=idp_saml.read_request(begun.location).get("ID", ""))
        document = base64.b64encode(idp_saml.answer(said)).decode()
        body = f"RelayState={quote(login_id, safe='')}&SAMLResponse={quote(document, safe='')}".encode()
        return _Answer("POST", stranger.ACS, body, begun.cookies)

    return _figures(folder, file, port, behind, proxy_core, answered)


def _oidc(folder: Path, proxy_core: int, load_core: int) -> str:
    port, behind = free_port(), free_port()
    provider, listening, over = FakeOp(), Event(), Event()

    async def provide() -> None:
        async with provider:
            listening.set()
            await asyncio.to_thread(over.wait)

    with _thread(lambda: asyncio.run(provide()), over):
        if not listening.wait(10):
            raise Failed("the provider does not listen")
        file = subject.configuration(folder, port, behind)
        settings = file.read_text().replace("http://127.0.0.1:1", provider.issuer)
        settings = settings.replace("client_id: benchmark", "client_id: app")
        file.write_text(settings.replace("client_secret: not-used-by-anybody", "client_secret: s3cret"))

        def answered(begun: _Begun) -> _Answer:
            fields = urlencode(provider.answer(begun.location))
            return _Answer("GET", f"/.passproxy/oidc/callback?{fields}", b"", begun.cookies)

        return _figures(folder, file, port, behind, proxy_core, answered)


class _thread:
    """Work beside this thread, until `over`."""

    def __init__(self, work: Callable[[], None], over: Event) -> None:
        self._thread = Thread(target=work, daemon=True)
        self._over = over

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)


def _figures(
    folder: Path, file: Path, port: int, behind: int, proxy_core: int, answered: Callable[[_Begun], _Answer]
) -> str:
    cookie = subject.session_cookie(file)
    with (
        application(behind),
        Pinned(subject.command(file), proxy_core, port, folder / "log") as proxy,
        visitors(port, cookie) as visiting,
        ThreadPoolExecutor(AT_ONCE) as browsers,
    ):
        _all(browsers, port, [answered(_begin(port)) for _ in range(AT_ONCE)])  # caches and processes come up
        answers = [answered(_begin(port)) for _ in range(LOGINS)]
        waits(visiting)
        idle, begun = proxy.cpu_seconds(), time.monotonic()
        time.sleep(3)
        idle = (proxy.cpu_seconds() - idle) / (time.monotonic() - begun)
        quiet: Waits = waits(visiting)
        spent, begun = proxy.cpu_seconds(), time.monotonic()
        _all(browsers, port, answers)
        seconds, spent = time.monotonic() - begun, proxy.cpu_seconds() - spent
        busy = waits(visiting)
    # The visitors cost as much as in the same time of quiet.
    each = (spent - idle * seconds) / LOGINS * 1e3
    return f"{LOGINS / seconds:,.0f} | {each:.1f} | {quiet.p99:.1f} | {busy.p99:.1f}"


def _all(browsers: ThreadPoolExecutor, port: int, answers: list[_Answer]) -> None:
    parts = [answers[number::AT_ONCE] for number in range(AT_ONCE)]
    list(browsers.map(lambda part: _bring(port, part), parts))


def _begin(port: int) -> _Begun:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/d/abc?x=1", headers=_NAVIGATION)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 302:
            raise Failed(f"no login started: status {answer.status}")
        cookies = "; ".join(line.partition(";")[0] for line in answer.headers.get_all("Set-Cookie", []))
        return _Begun(answer.headers["Location"], cookies)
    finally:
        connection.close()


def _bring(port: int, answers: list[_Answer]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        for one in answers:
            fields = {**_NAVIGATION, "Cookie": one.cookies, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request(one.method, one.target, one.body or None, fields)
            answer = connection.getresponse()
            page = answer.read()
            set_cookies = answer.headers.get_all("Set-Cookie", [])
            if not any(re.match(r"__Host-passproxy=[^;]", line) for line in set_cookies):
                code = re.search(rb"PP-[A-Z0-9-]+", page)
                raise Failed(f"a login ended with {answer.status} {code[0].decode() if code else ''}")
    finally:
        connection.close()


def main() -> None:
    from benchmarks.rows import cores

    for line in measured(*cores(), lambda text: None):
        print(line)


if __name__ == "__main__":
    main()
