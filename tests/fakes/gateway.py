"""
The real thing on a free loopback port, started as `passproxy serve` starts it.

`protecting` builds everything from settings through `service.Service`, in a task of
the test's own loop. What a test gets is its address and a way to a session that
was sealed by the real key ring from the key file that the start has made; so
nothing of PassProxy is replaced.

    async with protecting(upstream.url, tmp_path) as passproxy:
        request = get("/reports", cookie=passproxy.cookie())
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from passproxy.app import service
from passproxy.core.config import settings_from
from passproxy.core.cookies import CookieNames, cookie_names
from passproxy.core.identity import Authentication, Identity
from passproxy.core.identity_headers import IdentityHeaders
from passproxy.core.session import SessionRules, Sessions
from passproxy.core.settings import Settings
from passproxy.core.tokens import KeyRing
from passproxy.core.urls import Origin
from passproxy.demo.assertions import KeyPair, key_pair
from passproxy.demo.idp import DemoIdentityProvider
from passproxy.keyfile import obtained_keys
from tests.fakes import idp_saml
from tests.fakes.browser import Front

HOST = "app.example.com"
ORIGIN = f"https://{HOST}"

#: Nobody listens there: for tests in which no login starts.
NO_IDP = {"oidc": {"issuer": "http://127.0.0.1:9/", "client_id": "app", "client_secret": "s3cret-of-the-client"}}

T = TypeVar("T")


@dataclass
class PassProxy:
    """One that is running."""

    address: str
    settings: Settings
    names: CookieNames
    ring: KeyRing
    sessions: Sessions
    stop: asyncio.Event
    #: Where it runs in the test's own process.
    service: service.Service
    configuration: Mapping[str, Any]

    @property
    def front(self) -> dict[str, Front]:
        """For a `Browser`, so that it can speak to the real origin."""
        return {ORIGIN: Front(f"http://{self.address}")}

    def reload(self, **sections: Any) -> None:
        """As SIGHUP does it: the configuration of the start with these sections in place of its own."""
        self.service.reload(settings_of({**self.configuration, **sections}))

    def token(
        self, user: str = "alice", groups: tuple[str, ...] = ("ops",), *, seconds: int = 3600, **more: str
    ) -> str:
        """A session token, ending after so many seconds (which may lie behind)."""
        now = time.time()
        identity = Identity("https://idp.example.com", f"sub-{user}", {"user": user, **more}, groups, int(now))
        begun = now if seconds > 0 else now + seconds - 10
        authentication = Authentication(identity.issuer, identity.subject, {}, int(now), int(now) + seconds)
        return self.sessions.seal(self.sessions.begin(identity, authentication, begun))

    def cookie(
        self, user: str = "alice", groups: tuple[str, ...] = ("ops",), *, seconds: int = 3600, **more: str
    ) -> str:
        """The value of a Cookie field with a session."""
        return f"{self.names.session}={self.token(user, groups, seconds=seconds, **more)}"


@contextlib.asynccontextmanager
async def protecting(upstream_url: str, state_dir: Path, **sections: Any) -> AsyncIterator[PassProxy]:
    """PassProxy in front of an application; `sections` are further parts of the configuration, but for `passed` sockets."""
    passed = sections.pop("passed", ())
    upstream = {"url": upstream_url, **sections.pop("upstream", {})}
    sections.setdefault("state_dir", str(state_dir))
    provider = {} if {"oidc", "saml"} & sections.keys() else NO_IDP
    configuration = {"domain": HOST, "listen": "127.0.0.1:0", "upstream": upstream, **provider, **sections}
    if "saml" in sections:
        idp_saml.place_own_key(state_dir)
    settings = settings_of(configuration)
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = service.Service(settings, passed)
    task = asyncio.ensure_future(running.run(stop, listening.set_result))
    try:
        await asyncio.wait({task, listening}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            await task
        yield described(listening.result(), settings, running, configuration, stop)
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


def settings_of(configuration: Mapping[str, Any]) -> Settings:
    """JSON is YAML, so this goes the way of a file."""
    return settings_from(json.dumps(configuration), "test.yaml", {}, lambda path: Path(path).read_text("utf-8"))


def described(
    address: str,
    settings: Settings,
    running: Any = None,
    configuration: Mapping[str, Any] = MappingProxyType({}),
    stop: asyncio.Event | None = None,
) -> PassProxy:
    """One that runs at this address with these settings, in whichever process; it has made its keys already."""
    origin = Origin.of(settings.domain, settings.origin)
    assert settings.state_dir is not None
    file = settings.session.keys_file or Path(settings.state_dir) / "keys.json"
    keys = obtained_keys(Path(file), may_create=False, now=time.time())
    ring = KeyRing(keys, str(origin))
    sessions = Sessions(
        ring,
        settings.session.lifetime,
        lambda session: IdentityHeaders().lines(session.identity, session.expires_at),
        SessionRules(lines_limit_bytes=1 << 20),  # what is too much is for the real one to say
    )
    names = cookie_names(settings.session.cookie_name, origin)
    return PassProxy(address, settings, names, ring, sessions, stop or asyncio.Event(), running, configuration)


@functools.cache
def idp_keys() -> KeyPair:
    """One pair for all tests: making one takes longer than most of them."""
    return key_pair("Test", time.time())


@contextlib.asynccontextmanager
async def demo_idp(port: int = 0, secret: str | None = None) -> AsyncIterator[DemoIdentityProvider]:
    """The demo's provider; with the port and the secret of an earlier one it is that one come back."""
    provider = DemoIdentityProvider(ORIGIN, port=port, keys=idp_keys())
    provider.client_secret = secret or provider.client_secret
    async with provider as idp:
        yield idp


def oidc_at(idp: DemoIdentityProvider) -> dict[str, Any]:
    return {"oidc": {"issuer": idp.issuer, "client_id": idp.client_id, "client_secret": idp.client_secret}}


def saml_at(idp: DemoIdentityProvider) -> dict[str, Any]:
    return {"saml": {"metadata_url": idp.metadata_url}}


def request(
    method: str,
    target: str | bytes,
    *lines: str | bytes,
    cookie: str | None = None,
    host: str | None = HOST,
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """The bytes of a request. A body gets a Content-Length unless a line frames it."""
    raw = [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    if host is not None:
        raw.insert(0, b"Host: " + host.encode())
    if cookie is not None:
        raw.append(b"Cookie: " + cookie.encode())
    if body and not any(line.lower().startswith((b"content-length:", b"transfer-encoding:")) for line in raw):
        raw.append(b"Content-Length: %d" % len(body))
    target = target if isinstance(target, bytes) else target.encode("latin-1")
    start = method.encode("latin-1") + b" " + target + b" HTTP/" + version.encode()
    return b"\r\n".join([start, *raw, b"", b""]) + body


def get(target: str | bytes, *lines: str | bytes, **more: Any) -> bytes:
    return request("GET", target, *lines, **more)


def navigation(target: str | bytes, *lines: str | bytes, **more: Any) -> bytes:
    """As a browser sends it when a person follows a link."""
    return get(target, "Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", *lines, **more)


def alive(kind: type[T], wanted: Callable[[T], bool] = lambda _: True) -> list[T]:
    """The objects of a class that something still holds: what leaks shows up here."""
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is kind and wanted(each)]


async def eventually(holds: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for something that has to become true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


async def until(asked: Callable[[], Awaitable[bool]], what: str, seconds: float = 30.0) -> None:
    """Ask again and again, for what happens in another process."""
    try:
        async with asyncio.timeout(seconds):
            while not await asked():  # noqa: ASYNC110 - no event of ours tells
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None
