"""Two instances and a real Redis: what ends at one is over at the other within two seconds, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from passproxy.core.session import own_handle
from tests.fakes.gateway import PassProxy, get, protecting, until
from tests.fakes.raw import Raw

#: What every instance keeps to, and what a busy machine may take besides.
WITHIN_SECONDS = 2.0

PASSWORD = "s3cret-of-redis"


class Redis:
    """The server of the distribution, with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        line = f"--bind 127.0.0.1 --port {self._port} --dir {self._folder} --appendonly yes --requirepass {PASSWORD}"
        self._process = await asyncio.create_subprocess_exec(
            "redis-server", *line.split(), stdout=asyncio.subprocess.DEVNULL
        )

        async def answers() -> bool:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.close()
                return True
            return False

        await until(answers, "Redis listens")

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            self._process = None


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
async def two(upstream, redis: Redis, tmp_path: Path, mode: str) -> AsyncIterator[tuple[PassProxy, PassProxy]]:
    store = {"store": redis.url, "password_file": str(tmp_path / "password"), "when_unavailable": mode}
    async with protecting(upstream.url, tmp_path / "one", revocation=store) as one:
        keys = {"session": {"keys_file": str(tmp_path / "one" / "keys.json")}}
        async with protecting(upstream.url, tmp_path / "two", revocation=store, **keys) as other:
            for each in (one, other):
                await until(lambda each=each: is_current(each), "the list is current")
            yield one, other


async def is_current(passproxy: PassProxy) -> bool:
    return passproxy.service._built.revocations.is_current


async def status(passproxy: PassProxy, cookie: str) -> int:
    async with Raw(passproxy.address) as raw:
        return int((await raw.ask(get("/", cookie=cookie))).status)


async def refuses(passproxy: PassProxy, cookie: str, since: float) -> None:
    while await status(passproxy, cookie) != 401:
        assert time.monotonic() < since + WITHIN_SECONDS, "not refused in time"
        await asyncio.sleep(0.02)


async def end(passproxy: PassProxy, cookie: str) -> float:
    session = passproxy.sessions.session(cookie.partition("=")[2].encode(), time.time())
    await passproxy.service._built.revocations.revoke([own_handle(session.id)])
    return time.monotonic()


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_what_ends_at_one_is_over_at_the_other_also_when_redis_was_away(upstream, redis, tmp_path, mode):
    async with two(upstream, redis, tmp_path, mode) as (one, other):
        first, second, third = one.cookie(), one.cookie("bob"), one.cookie("carol")
        for cookie in (first, second, third):
            assert (await status(one, cookie), await status(other, cookie)) == (200, 200)
        await refuses(other, first, await end(one, first))
        assert await status(other, third) == 200

        await redis.stop()
        await end(one, second)
        assert await status(one, second) == 401, "where it ended it is over at once"
        assert await status(other, first) == 401, "what is known stays in force"
        if mode == "closed":

            async def is_refused() -> bool:
                return await status(other, third) == 503

            await until(is_refused, "nobody is served while it cannot be told who is over")
        else:
            assert await status(other, third) == 200
        await redis.start()

        async def is_over() -> bool:
            return await status(other, second) == 401

        await until(is_over, "what was missed is learnt")
        await until(lambda: is_current(one), "the list is current again")
        assert (await status(one, third), await status(other, third)) == (200, 200)
