"""
PassProxy beside its peers: `make bench`.

Each peer protects the same application from the same load, logged in for real at an identity provider on
this machine. Rows are taken in turn. The table goes to standard output and to RESULTS.md; how far it
has come goes to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import apache, growth, logins, streams, subject
from benchmarks.browser import HOST
from benchmarks.load import CONNECTIONS
from benchmarks.processes import Failed, Pinned, free_port
from benchmarks.quick import APPLICATION_COOKIES, ours_and_nginx
from benchmarks.rows import BODY, Row, cores, measured, table, versions
from tests.fakes.browser import Browser, Front

RESULTS = Path(__file__).with_name("RESULTS.md")

_BACKSTAGE = Path(__file__).resolve().parents[1] / "tests" / "e2e" / "backstage.py"


def tell(text: str) -> None:
    print(f"  {text} ...", file=sys.stderr, flush=True)


@contextlib.contextmanager
def provider(origin: str) -> Iterator[dict[str, Any]]:
    """The demo's identity provider, for a service at this origin."""
    command = [sys.executable, str(_BACKSTAGE), origin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


async def signed_in(port: int, origin: str) -> str:
    """The cookies of somebody who logged in, as one Cookie field has them."""
    front = Front(f"http://127.0.0.1:{port}")
    # mod_auth_openidc sends a browser back to the port that it listens on itself.
    async with Browser({origin: front, f"{origin}:{port}": front}) as browser:
        page = await browser.sign_in(await browser.open(f"{origin}/d/abc"), "alice", "alice")
        if (page.status, page.body) != (200, BODY):
            raise Failed(f"the login at {origin} ended with {page.status} at {page.url}")
        return "; ".join(
            f"{one.name}={one.value}" for one in browser.cookies if one.host in origin and "demo" not in one.name
        )


def _peers(folder: Path, stack: contextlib.ExitStack, core: int, application: int) -> Iterator[Row]:
    def running(name: str, port: int, command: list[str]) -> Pinned:
        return stack.enter_context(Pinned(command, core, port, folder / f"{name}.log"))

    port = free_port()
    plain = running("apache", port, apache.plain(folder, "apache", port, application))
    yield Row("Apache mod_proxy, no authentication", plain, "", None, "|")

    def logged_in(title: str, name: str, user: str, command: Callable[[int, dict[str, Any]], list[str]]) -> Row:
        tell(f"logging in at {title}")
        port = free_port()
        origin = f"http://127.0.0.1:{port}" if name == "mellon" else f"http://{HOST}"
        facts = stack.enter_context(provider(origin))
        proxy = running(name, port, command(port, facts))
        return Row(title, proxy, "", asyncio.run(signed_in(port, origin)), f"{user}|", is_closed=True)

    def mellon(port: int, facts: dict[str, Any]) -> list[str]:
        with urllib.request.urlopen(facts["metadata_url"], timeout=10) as answer:
            return apache.mellon(folder, "mellon", port, application, answer.read())

    def openidc(name: str, *, cookie: bool) -> Callable[[int, dict[str, Any]], list[str]]:
        def command(port: int, facts: dict[str, Any]) -> list[str]:
            idp = {key: facts[key] for key in ("issuer", "client_id", "client_secret")}
            return apache.openidc(folder, name, port, application, idp, cookie=cookie)

        return command

    alice = "5b0f3c1e-7a41-4d0c-9f5e-2f8c6a1d9b70"
    yield logged_in("Apache, mod_auth_mellon", "mellon", alice, mellon)
    title = "Apache, mod_auth_openidc, sessions "
    yield logged_in(f"{title}in shared memory", "openidc-shm", "alice", openidc("openidc-shm", cookie=False))
    yield logged_in(f"{title}in the cookie", "openidc-cookie", "alice", openidc("openidc-cookie", cookie=True))
    port = free_port()
    aiohttp = [sys.executable, "-m", "benchmarks.plain_aiohttp", str(port), str(application)]
    yield Row("aiohttp server and client, no authentication", running("aiohttp", port, aiohttp), "", None, "|")
    yield _oauth2_proxy(folder, stack, core, application)


def _oauth2_proxy(folder: Path, stack: contextlib.ExitStack, core: int, application: int) -> Row:
    title = "oauth2-proxy"
    binary = os.environ.get("OAUTH2_PROXY") or shutil.which("oauth2-proxy")
    if binary is None:
        return Row(title, None, missing="not installed")
    port = free_port()
    facts = stack.enter_context(provider(f"http://{HOST}"))
    command = [
        *(binary, "--provider=oidc", f"--oidc-issuer-url={facts['issuer']}", f"--client-id={facts['client_id']}"),
        *(f"--client-secret={facts['client_secret']}", "--cookie-secret=0123456789abcdef0123456789abcdef"),
        *(f"--redirect-url=http://{HOST}/.passproxy/oidc/callback", "--proxy-prefix=/.passproxy/oidc"),
        *(f"--http-address=127.0.0.1:{port}", f"--upstream=http://127.0.0.1:{application}/", "--email-domain=*"),
        *("--cookie-secure=false", "--skip-provider-button", "--code-challenge-method=S256"),
        *("--request-logging=false", "--auth-logging=false", "--insecure-oidc-allow-unverified-email"),
    ]
    proxy = stack.enter_context(Pinned(command, core, port, folder / "oauth2-proxy.log"))
    return Row(title, proxy, "", asyncio.run(signed_in(port, f"http://{HOST}")), "|", is_closed=True)


def _ours_with_more(folder: Path, stack: contextlib.ExitStack, core: int, application: int) -> Iterator[Row]:
    port = free_port()
    file = subject.configuration(folder, port, application, "signing", "assertion: {}\n")
    cookie = subject.session_cookie(file)
    signing = stack.enter_context(Pinned(subject.command(file), core, port, folder / "signing.log"))
    seen = f"{subject.USER}|{APPLICATION_COOKIES}"
    yield Row("PassProxy, with a session and the signed assertion", signing, "", cookie, seen, is_closed=True)
    port, secret = free_port(), secrets.token_urlsafe(32)
    more = (
        f"passthrough: {{tokens: [{{name: backup, hash: 'sha256:{hashlib.sha256(secret.encode()).hexdigest()}'}}]}}\n"
    )
    file = subject.configuration(folder, port, application, "tokens", "")
    file.write_text(file.read_text().replace("passthrough: {paths: [/health, /public/**]}\n", "") + more)
    subject.session_cookie(file)
    taking = stack.enter_context(Pinned(subject.command(file), core, port, folder / "tokens.log"))
    bearer = {"X-Passproxy-Authorization": f"Bearer {secret}"}
    yield Row(
        "PassProxy, with a bearer token", taking, "", None, f"|{APPLICATION_COOKIES}", is_closed=True, more=bearer
    )


def _measure(rounds: int, seconds: int) -> Iterator[str]:
    proxy_core, load_core = cores()
    application = free_port()
    with tempfile.TemporaryDirectory(prefix="passproxy-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        tell("starting nginx and PassProxy")
        first, *ours = stack.enter_context(ours_and_nginx(folder, proxy_core, load_core, application))
        rows = [first, *_peers(folder, stack, proxy_core, application), *ours]
        rows += _ours_with_more(folder, stack, proxy_core, application)
        tell(f"loading {len(rows)} proxies in turn, {rounds} rounds of {seconds} s")
        yield "## One small request"
        yield ""
        yield from table(rows, measured(rows, rounds, seconds, load_core))
        yield ""
        yield f"Medians of {rounds} rounds of {seconds} s; {CONNECTIONS} connections, answers of {len(BODY)} bytes, the same"
        yield "fifteen header fields of a browser for each. CPU time is that of all of the proxy's processes."
        yield ""
    yield from growth.compared(proxy_core, load_core, rounds, seconds, tell)
    yield from streams.measured(proxy_core, load_core, tell)
    yield from logins.measured(proxy_core, load_core, tell)
    yield f"{versions([apache.program(), '-v'])}."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full", description="PassProxy beside its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is measured (%(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="how long each time (%(default)s)")
    arguments = parser.parse_args()
    lines = ["# Results", ""]
    try:
        for line in _measure(arguments.rounds, arguments.seconds):
            print(line, flush=True)
            lines.append(line)
    except Failed as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    today = datetime.datetime.now(datetime.UTC).date()
    made = f'Made on {today} with `make bench ARGS="--rounds {arguments.rounds} --seconds {arguments.seconds}"`.'
    RESULTS.write_text("\n".join([*lines, made, ""]), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
