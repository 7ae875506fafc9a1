"""
The middleware in applications of other frameworks, on the servers that people run them on.

    python -m tests.interop.frameworks

Each application is a process of its own, in an environment with PyJWT and
cryptography but without the other dependencies of PassProxy; those of etc/trusted
are run as they are shipped. Exit code 0 when all do the same. What is downloaded stays in .interop/.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.raw import Raw
from tests.interop.processes import Ready, StartFailed, free_port, run, server
from tests.trusted.given import HEADER, TYPE, Proxy, Published, body, published

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ETC = ROOT / "etc" / "trusted"
VENV = ROOT / ".interop" / "frameworks"
NODE = ROOT / ".interop" / "frameworks-node"

#: Installing takes half a minute, a start one or two seconds, and there are three checks a second.
INSTALL_SECONDS = 300.0
START_SECONDS = 30.0

#: Assertions under keys that do not exist.
FLOOD = 200


@dataclass(frozen=True, slots=True)
class Case:
    """An application and its server, in so many processes. `{port}` is a free port."""

    framework: str
    on: str
    command: str
    has_websocket: bool = False
    processes: int = 1

    def arguments(self, port: int) -> list[str]:
        name, *rest = self.command.format(port=port, etc=ETC, here=HERE, node=NODE).split()
        return [name if name == "node" else str(VENV / "bin" / name), *rest]


CASES = (
    Case("FastAPI", "uvicorn", "uvicorn --app-dir {etc} --port {port} fastapi_app:app", True),
    Case("FastAPI", "hypercorn", "hypercorn --bind 127.0.0.1:{port} fastapi_app:app", True),
    Case(
        "Flask", "gunicorn", "gunicorn --chdir {etc} -w 2 --preload --bind 127.0.0.1:{port} flask_app:app", processes=2
    ),
    Case("Flask", "waitress", "waitress-serve --listen 127.0.0.1:{port} flask_app:app"),
    Case("Flask", "its own", "flask --app {etc}/flask_app.py run --port {port}"),
    Case("Django", "uvicorn", "uvicorn --app-dir {here} --port {port} django_app:asgi_application"),
    Case("Django", "gunicorn", "gunicorn --chdir {here} --bind 127.0.0.1:{port} django_app:wsgi_application"),
    Case("Quart", "hypercorn", "hypercorn --bind 127.0.0.1:{port} quart_app:app", True),
    Case("aiohttp", "its own", "python -m aiohttp.web -H 127.0.0.1 -P {port} aiohttp_app:served", True),
    Case("Express", "node", "node {node}/express_app.mjs"),
)


def environment() -> None:
    """The frameworks, once, as the lock file beside this one has them."""
    lock = HERE / "requirements.lock"
    stamp = VENV / "requirements.lock"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    venv.create(VENV, with_pip=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    run([*pip, "--only-binary", ":all:", "-r", str(lock)], cwd=ROOT, within_seconds=INSTALL_SECONDS)
    shutil.copy(lock, stamp)


def node_environment() -> None:
    """Express and jose, likewise; a module finds its packages beside itself."""
    NODE.mkdir(parents=True, exist_ok=True)
    lock, stamp = HERE / "node" / "package-lock.json", NODE / "installed"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        for name in ("package.json", lock.name):
            shutil.copy(lock.with_name(name), NODE)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE, within_seconds=INSTALL_SECONDS)
        shutil.copy(lock, stamp)
    shutil.copy(ETC / "express_app.mjs", NODE)


#: How each example comes to read its configuration.
STARTS = (
    ("python", "-c", "import fastapi_app"),
    ("python", "-c", "import flask_app"),
    ("python", "-c", "import aiohttp_app; aiohttp_app.application()"),
    ("node", str(NODE / "express_app.mjs")),
)


def starts_unconfigured(where: Path) -> Iterator[str]:
    """The examples that start although nobody said whom to trust."""
    for name, *rest in STARTS:
        command = [str(VENV / "bin" / name) if name == "python" else shutil.which(name) or name, *rest]
        done = subprocess.run(
            command,
            env={"PYTHONPATH": f"{where}:{ETC}"},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode == 0 or "TRUSTED_PROXY_ISSUER is not set" not in done.stderr:
            yield " ".join(rest)


def copied(where: Path) -> Path:
    """`passproxy/trusted` alone, as an application may copy it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "passproxy" / "trusted", where / "passproxy" / "trusted", ignore=ignored)
    (where / "passproxy" / "__init__.py").touch()
    (where / "aiohttp_app.py").write_text(
        (ETC / "aiohttp_app.py").read_text("utf-8")
        + "\n\ndef served(_: list[str]) -> web.Application:\n    return application()\n"
    )
    return where


async def problems(case: Case, proxy: Proxy, keys: Published, where: Path) -> list[str]:
    port = free_port()
    env = {
        "PYTHONPATH": f"{where}:{ETC}:{HERE}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PORT": str(port),
        "TRUSTED_PROXY_PRESET": "passproxy",
        "TRUSTED_PROXY_ISSUER": proxy.issuer,
        "TRUSTED_PROXY_JWKS_URL": keys.url,
    }
    ready = Ready(f"http://127.0.0.1:{port}/", {HEADER: proxy.assertion().decode()}, START_SECONDS)
    log = where / f"{case.framework}-{case.on}.log".replace(" ", "-")
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server(case.arguments(port), ready, log, env=env))
        except StartFailed as error:
            return [str(error)]
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
        found = [name async for name, holds in checks(case, proxy, keys, http, port) if not holds]
    if proxy.assertion().decode()[:20] in log.read_text("utf-8", "replace"):
        found.append("an assertion is in the log")
    return found


async def checks(
    case: Case, proxy: Proxy, keys: Published, http: aiohttp.ClientSession, port: int
) -> AsyncIterator[tuple[str, bool]]:
    """Names of what must hold, and whether it does."""

    async def status(path: str = "/", **headers: str) -> int:
        async with http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()}) as answer:
            return answer.status

    def signed(**claims: object) -> dict[str, str]:
        return {HEADER.replace("-", "_"): proxy.assertion(**claims).decode()}

    async with http.get("/", headers={HEADER: proxy.assertion().decode()}) as answer:
        seen = await answer.json()
        yield "who is there", seen == {"user": "alice", "email": "alice@example.com", "groups": ["staff", "ops"]}
    yield "an administrator", await status("/admin", **signed()) == 200
    yield "nobody special", await status("/admin", **signed(roles=["viewer"])) == 403
    async with http.get("/") as answer:
        yield "nobody", answer.status == 401 and answer.content_type == "application/problem+json"
    yield "a plain header", await status(X_Passproxy_User="admin") == 401
    yield "another audience", await status(**signed(aud="other")) == 401
    yield "expired", await status(**signed(iat=1, nbf=1, exp=61)) == 401
    yield "another key", await status(**{"X_Passproxy_Assertion": Proxy().assertion().decode()}) == 401
    yield "an unknown page", await status("/unknown") == 401
    for name, token in (("no algorithm", unsigned(proxy)), ("the public key as secret", with_the_public_key(proxy))):
        yield name, await status(X_Passproxy_Assertion=token) == 401
    flood = [proxy.assertion({"kid": str(number)}).decode() for number in range(FLOOD)]
    yield "unknown keys", {await status(X_Passproxy_Assertion=token) for token in flood} == {401}
    yield "one fetch of the keys", len(keys.asked) <= case.processes
    for name, lines in smuggled(proxy.assertion()):
        wire = b"".join((b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", *(line + b"\r\n" for line in lines), b"\r\n"))
        async with Raw(f"127.0.0.1:{port}") as raw:
            yield name, (await raw.ask(wire)).status in (400, 401)
    if case.has_websocket:
        async with http.ws_connect("/ws", headers={HEADER: proxy.assertion().decode()}) as socket:
            yield "a WebSocket", json.loads(await socket.receive_str()) == {"user": "alice"}
        try:
            async with http.ws_connect("/ws"):
                yield "a WebSocket of nobody", False
        except aiohttp.WSServerHandshakeError as error:
            yield "a WebSocket of nobody", error.status in (401, 403)


def unsigned(proxy: Proxy) -> str:
    return jwt.encode(proxy.claims(), "", "none", headers={"typ": TYPE, "kid": proxy.kid}) + "AAAA"


def with_the_public_key(proxy: Proxy) -> str:
    """HS256, which PyJWT would not sign with such a secret."""
    public = proxy.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, claims = ({"alg": "HS256", "typ": TYPE, "kid": proxy.kid}, proxy.claims())
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signature = base64.urlsafe_b64encode(hmac.digest(public, text, "sha256")).rstrip(b"=")
    return b".".join((text, signature)).decode()


def smuggled(good: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """What a client could put beside the header of the proxy, and instead of it."""
    forged = Proxy().assertion()
    yield "two assertions", [b"X-Passproxy-Assertion: " + good, b"X-Passproxy-Assertion: " + forged]
    yield "two, the forged first", [b"X-Passproxy-Assertion: " + forged, b"X-Passproxy-Assertion: " + good]
    yield "a forged one with underscores", [b"X_Passproxy_Assertion: " + forged]
    yield "underscores of a name", [b"X_Passproxy_User: admin"]


async def main() -> int:
    environment()
    node_environment()
    proxy, failed = Proxy(now=time.time), 0
    with tempfile.TemporaryDirectory(prefix="passproxy-frameworks-") as scratch, published(body(proxy.jwks())) as keys:
        where = copied(Path(scratch))
        for case in CASES:
            keys.asked.clear()
            found = await problems(case, proxy, keys, where)
            failed += bool(found)
            print(
                f"{case.framework:8} on {case.on:10} {'; '.join(found) or 'ok'} ({len(keys.asked)} fetches of the keys)"
            )
        unconfigured = list(starts_unconfigured(where))
        print(f"without a configuration {'; '.join(unconfigured) or 'none of the examples'} starts")
    return 1 if failed or unconfigured else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
