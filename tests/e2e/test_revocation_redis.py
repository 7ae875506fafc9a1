"""Two instances and a real Redis, each a process of its own: what ends at one is over at the other within two seconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import PASSPROXY, Child, child, free_port, is_listening
from tests.fakes.browser import Browser
from tests.fakes.cookie_jar import Context
from tests.fakes.gateway import NO_IDP, ORIGIN, PassProxy, described, get, settings_of, until
from tests.fakes.idp_oidc import DROP, FakeOp
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Line, Seen, Upstream

WITHIN_SECONDS = 2.0

PASSWORD = "s3cret-of-redis"

RIGHTS = "+select +xread +xadd"

EVENT = b"9\r\ndata: 1\n\n\r\n"


class Redis:
    """The server of the distribution, with its files in a folder; it keeps them and its port when it is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://passproxy@127.0.0.1:{self._port}/0"
        self._running = contextlib.AsyncExitStack()

    async def start(self) -> None:
        # With the rights that docs/revocation.md says it needs, and no others.
        (self._folder / "redis.conf").write_text(
            f"bind 127.0.0.1\nport {self._port}\ndir {self._folder}\nappendonly yes\nuser default off\n"
            f"user passproxy on >{PASSWORD} ~passproxy:revocations:app.example.com {RIGHTS}\n"
        )
        command, log = ["redis-server", str(self._folder / "redis.conf")], self._folder / "redis.log"
        await self._running.enter_async_context(child(command, log, lambda said: is_listening(self._port)))

    async def stop(self) -> None:
        await self._running.aclose()


@dataclass(frozen=True, slots=True)
class Instance:
    """One `passproxy serve`; `beside` is what seals sessions with the same keys."""

    file: Path
    process: Child
    beside: PassProxy
    admin: str

    @property
    def address(self) -> str:
        return self.beside.address

    async def ask(self, wire: bytes) -> Answer:
        async with Raw(self.address) as raw:
            return await raw.ask(wire)

    async def status(self, cookie: str) -> int:
        return int((await self.ask(get("/", cookie=cookie))).status)

    async def told_behind(self) -> set[str]:
        """Where /ready says that the list is not current: among the reasons for not being ready, or as a note."""
        async with Raw(self.admin) as raw:
            answer = await raw.ask(f"GET /ready HTTP/1.1\r\nHost: {self.admin}\r\n\r\n".encode())
        return {name for name, told in answer.json().items() if "list of revoked sessions" in str(told)}

    async def is_current(self) -> bool:
        async with Raw(self.admin) as raw:
            answer = await raw.ask(f"GET /metrics HTTP/1.1\r\nHost: {self.admin}\r\n\r\n".encode())
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                if sample.name == "passproxy_revocations_current":
                    return sample.value == 1
        raise AssertionError("no such metric")

    async def refuses(self, cookie: str, since: float) -> None:
        while await self.status(cookie) != 401:
            assert time.monotonic() < since + WITHIN_SECONDS, "not refused in time"
            await asyncio.sleep(0.02)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    (tmp_path / "password").write_text(PASSWORD + "\n")
    running = Redis(folder)
    await running.start()
    yield running
    await running.stop()


@contextlib.asynccontextmanager
async def instance(
    name: str, upstream: Upstream, redis: Redis, folder: Path, mode: str, **sections: Any
) -> AsyncIterator[Instance]:
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    keys = {"keys_file": str(folder / "one" / "keys.json")} if name != "one" else {}
    configuration = {
        "domain": "app.example.com",
        "listen": f"127.0.0.1:{port}",
        "upstream": {"url": upstream.url},
        "state_dir": str(folder / name),
        "admin": {"listen": admin},
        "passthrough": {"paths": ["/public/**"]},
        "revocation": {
            "store": redis.url,
            "password_file": str(folder / "password"),
            "when_unavailable": mode,
        },
        **NO_IDP,
        **sections,
    }
    configuration["session"] = {**configuration.get("session", {}), **keys}
    file, log = folder / f"{name}.yaml", folder / f"{name}.log"
    file.write_text(json.dumps(configuration))
    async with child([PASSPROXY, "serve", str(file)], log, lambda said: "server.ready" in said) as process:
        beside = described(f"127.0.0.1:{port}", settings_of(configuration))
        running = Instance(file, process, beside, admin)
        await until(running.is_current, "the list is current")
        yield running


@contextlib.asynccontextmanager
async def two(
    upstream: Upstream, redis: Redis, folder: Path, mode: str = "open", **sections: Any
) -> AsyncIterator[tuple[Instance, Instance]]:
    async with (
        instance("one", upstream, redis, folder, mode, **sections) as one,
        instance("two", upstream, redis, folder, mode, **sections) as other,
    ):
        yield one, other


async def logged_out(one: Instance, cookie: str) -> float:
    """When it was answered."""
    wire = get("/.passproxy/logout", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", cookie=cookie)
    assert (await one.ask(wire)).status in (200, 302, 303)
    return time.monotonic()


def test_the_document_names_the_rights_that_it_needs() -> None:
    document = Path(__file__).parents[2] / "docs" / "revocation.md"
    assert f"`{RIGHTS}`" in document.read_text("utf-8")


async def test_a_logout_at_one_is_in_force_at_the_other_also_for_what_is_open(
    upstream: Upstream, redis: Redis, tmp_path: Path
) -> None:
    async def events(seen: Seen, line: Line) -> None:
        if seen.target != b"/events":
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await line.send(b"HTTP/1.1 200 OK\r\n" + kind + EVENT)
        await line.gone()

    upstream.script = events
    async with two(upstream, redis, tmp_path) as (one, other), Raw(other.address) as raw:
        mine, anothers = one.beside.cookie(), one.beside.cookie("bob")
        await raw.send(get("/events", cookie=mine))
        await raw.head()
        assert await raw.take(len(EVENT)) == EVENT
        since = await logged_out(one, mine)
        await other.refuses(mine, since)
        assert await raw.rest() == b"0\r\n\r\n"
        assert await other.status(anothers) == 200


async def test_the_command_ends_all_sessions_of_a_person_at_both(
    upstream: Upstream, redis: Redis, tmp_path: Path
) -> None:
    async with two(upstream, redis, tmp_path) as (one, other):
        alice, bob = one.beside.cookie(), one.beside.cookie("bob")
        assert [await each.status(alice) for each in (one, other)] == [200, 200]
        command = [PASSPROXY, "revoke", str(other.file), "--subject", "sub-alice"]
        said = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        told, _ = await said.communicate()
        since = time.monotonic()
        assert b"refuse them within 2 seconds" in told
        for each in (one, other):
            await each.refuses(alice, since)
            assert await each.status(bob) == 200


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_while_redis_is_away_both_do_as_configured_and_then_learn_what_they_missed(
    upstream: Upstream, redis: Redis, tmp_path: Path, mode: str
) -> None:
    async with two(upstream, redis, tmp_path, mode) as (one, other):
        first, second, third = one.beside.cookie(), one.beside.cookie("bob"), one.beside.cookie("carol")
        await other.refuses(first, await logged_out(one, first))
        await redis.stop()
        await logged_out(one, second)
        assert await one.status(second) == 401, "where it ended it is over at once"
        assert await other.status(first) == 401, "what is known stays in force"

        async def is_behind() -> bool:
            return not await other.is_current()

        await until(is_behind, "it is noticed")
        assert await other.status(third) == (200 if mode == "open" else 503)
        assert (await other.ask(get("/public/x"))).status == 200
        assert await other.told_behind() == {"notes" if mode == "open" else "reasons"}
        assert "revocation.unreachable" in other.process.said
        await redis.start()

        async def is_over() -> bool:
            return await other.status(second) == 401

        await until(is_over, "what was missed is learnt")
        for each in (one, other):
            await until(each.is_current, "the list is current again")
            assert await each.status(third) == 200
            assert await each.told_behind() == set()
            assert "revocation.reachable" in each.process.said
        assert PASSWORD not in one.process.said + other.process.said


async def test_groups_that_change_at_one_are_in_force_at_the_other(
    upstream: Upstream, redis: Redis, tmp_path: Path
) -> None:
    async with FakeOp() as op:
        op.userinfo["groups"] = DROP
        op.claims["groups"] = ["staff", "board"]
        op.rotates = True
        oidc = {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}
        sections = {"oidc": oidc, "session": {"refresh": "5s"}}
        async with two(upstream, redis, tmp_path, **sections) as (one, other), Browser(one.beside.front) as browser:
            await browser.open(f"{ORIGIN}/")

            def cookie() -> str:
                return browser.cookies.header(f"{ORIGIN}/", Context(None, True, True), time.time())

            before = cookie()
            assert await other.status(before) == 200
            assert upstream.requests[-1].one(b"x-passproxy-groups") == b"staff,board"
            op.claims["groups"] = ["staff"]

            async def has_changed() -> bool:
                await browser.open(f"{ORIGIN}/")
                return upstream.requests[-1].one(b"x-passproxy-groups") == b"staff"

            await until(has_changed, "the provider is asked again")
            since = time.monotonic()
            # Whoever kept the cookie from before comes with a refresh token that was used, or with none.
            await other.refuses(before, since)
            # What it would expire is newer by now.
            assert (await other.ask(get("/", cookie=before))).all(b"set-cookie") == []
            assert await other.status(cookie()) == 200
            assert upstream.requests[-1].one(b"x-passproxy-groups") == b"staff"
