"""What one instance revokes in a Redis is over at the others; while it is away nothing is lost and nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from cryptography import x509

from passproxy.cli import main
from passproxy.core.frames import GOING_AWAY, close_frame
from passproxy.core.handles import EVERY_SESSION, handle_of
from passproxy.idp import redis_revocations as module
from passproxy.idp import revocation
from passproxy.idp.redis_revocations import RedisRevocations
from tests.core.given import NOW
from tests.fakes.admin import ADMIN, Admin
from tests.fakes.gateway import eventually, get, protecting, until
from tests.fakes.raw import Raw
from tests.fakes.redis import FakeRedis
from tests.fakes.tls import certified
from tests.fakes.websocket import GREETING, accepting, handshake

A, B, C = (handle_of(name) for name in "abc")


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_SECONDS", 0.05)
    monkeypatch.setattr(module, "PAUSE_BOUNDS_SECONDS", (0.02, 0.1))


@pytest.fixture
async def redis() -> AsyncIterator[FakeRedis]:
    async with FakeRedis() as running:
        yield running


@contextlib.asynccontextmanager
async def following(
    redis: FakeRedis, clock: Clock, *, password: str | None = None, domain: str = "app.example.com"
) -> AsyncIterator[RedisRevocations]:
    async with running(RedisRevocations(redis.url, password, domain, 3600, clock)) as one:
        yield one


@contextlib.asynccontextmanager
async def running(one: RedisRevocations) -> AsyncIterator[RedisRevocations]:
    task = asyncio.ensure_future(one.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_one_instance_revokes_is_over_at_the_others_of_its_domain(redis):
    clock = Clock()
    async with (
        following(redis, clock) as one,
        following(redis, clock) as other,
        following(redis, clock, domain="b.example.com") as foreign,
    ):
        await eventually(lambda: all(each.is_current for each in (one, other, foreign)), "all follow")
        await one.revoke([A, EVERY_SESSION])
        assert one.revoked == {A: NOW, EVERY_SESSION: NOW}
        await eventually(lambda: other.revoked == one.revoked, "the other one knows")
        async with following(redis, clock) as late:
            await eventually(lambda: late.revoked == one.revoked, "a later one knows")
        assert foreign.revoked == {}


async def test_while_redis_is_away_what_is_known_stays_and_what_ends_is_told_later(redis, log):
    clock = Clock()
    async with following(redis, clock) as one, following(redis, clock) as other:
        await one.revoke([A])
        await eventually(lambda: A in other.revoked and other.is_current, "the other one knows")
        await redis.stop()
        clock.now += revocation.STALE_SECONDS + 1
        await asyncio.wait_for(one.revoke([B]), 1)
        assert not one.is_current
        assert (set(one.revoked), set(other.revoked)) == ({A, B}, {A})
        await redis.start()
        await eventually(lambda: B in other.revoked, "what was missed is learnt")
        await eventually(lambda: one.is_current and other.is_current, "both are current")
        assert log.tells("revocation.unreachable")
        assert log.tells("revocation.reachable")


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 50])
async def test_what_redis_has_lost_is_told_again(redis, turns):
    """Also when it was away so shortly, between two questions, that the library would mend it by itself."""
    async with following(redis, Clock()) as one:
        await one.revoke([A])
        while not redis.streams:  # noqa: ASYNC110 - each turn of the loop counts here
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await redis.stop()
        redis.streams.clear()
        await redis.start()
        await eventually(lambda: bool(redis.streams), "Redis knows again")


async def test_more_than_one_answer_holds_is_read_whole(redis, monkeypatch):
    clock = Clock()
    async with following(redis, clock) as one:
        await one.revoke([handle_of(str(number)) for number in range(25)])
        await eventually(lambda: sum(map(len, redis.streams.values())) == 25, "Redis knows")
        monkeypatch.setattr(module, "BATCH", 10)
        async with following(redis, clock) as other:
            await eventually(lambda: other.is_current, "it follows")
            assert len(other.revoked) == 25


FOREIGN = {
    "no handle": [b"x", b"y"],
    "no time": [b"handle", A.encode(), b"at", b"soon"],
    "not a handle": [b"handle", b"a" * 500, b"at", b"1"],
    "bytes": [b"handle", b"\xff" * 16, b"at", b"1"],
}


@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN)
async def test_an_entry_that_is_none_of_ours_changes_nothing(redis, fields, log):
    redis.streams[b"passproxy:revocations:app.example.com"] = [((10**14, 0), fields)]
    async with following(redis, Clock()) as one:
        await eventually(lambda: one.is_current, "it follows")
        assert one.revoked == {}
        assert log.tells("revocation.line_ignored")


async def test_no_entry_ends_sessions_that_are_yet_to_begin(redis):
    entry = [b"handle", A.encode(), b"at", b"%d" % (NOW + 10**6)]
    redis.streams[b"passproxy:revocations:app.example.com"] = [((10**14, 0), entry)]
    async with following(redis, Clock()) as one:
        await eventually(lambda: one.is_current, "it follows")
        assert one.revoked == {A: NOW + module.SKEW_SECONDS}


async def test_a_password_is_proven_and_never_told(log):
    async with FakeRedis("s3cret-of-redis") as redis:
        async with following(redis, Clock(), password="s3cret-of-redis") as one:
            await eventually(lambda: one.is_current, "it follows")
        async with following(redis, Clock(), password="wr0ng-password") as one:
            await eventually(lambda: log.tells("revocation.unreachable"), "it is told")
            assert not one.is_current
    assert "s3cret" not in str(log.events)
    assert "wr0ng" not in str(log.events)


async def test_over_tls_only_a_server_that_was_certified_for_its_name_is_told_anything(tmp_path, log):
    other = x509.SubjectAlternativeName([x509.DNSName("other.example.com")])
    (tmp_path / "other").mkdir()
    ours, foreign = certified(tmp_path, 2), certified(tmp_path / "other", 2, names=other)
    async with FakeRedis("s3cret", ours.server()) as redis, FakeRedis("s3cret", foreign.server()) as wrong:
        url, ca_file = redis.url, str(ours.certificate)
        async with running(RedisRevocations(url, "s3cret", "a", 3600, Clock(), ca_file=ca_file)) as one:
            await eventually(lambda: one.is_current, "it follows")
        assert not log.tells("revocation.unreachable")
        async with running(RedisRevocations(url, "s3cret", "a", 3600, Clock())) as one:
            await eventually(lambda: log.tells("revocation.unreachable"), "nobody vouches for it")
        log.forget()
        ca_file = str(foreign.certificate)
        async with running(RedisRevocations(wrong.url, "s3cret", "a", 3600, Clock(), ca_file=ca_file)) as one:
            await eventually(lambda: log.tells("revocation.unreachable"), "it is another server")
        assert wrong.commands == []


async def test_a_socket_of_the_machine_does_as_well(tmp_path):
    async with FakeRedis(path=tmp_path / "redis.sock") as redis, following(redis, Clock()) as one:
        await eventually(lambda: one.is_current, "it follows")


def test_who_uses_no_redis_does_not_load_its_library():
    code = "import sys; import passproxy.cli.serving; print([name for name in sys.modules if 'redis' in name])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


async def status(passproxy, target: str, cookie: str | None = None) -> int:
    async with Raw(passproxy.address) as raw:
        return int((await raw.ask(get(target, cookie=cookie))).status)


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_while_the_list_is_not_current_sessions_are_served_or_refused_as_configured(
    redis, upstream, tmp_path, log, monkeypatch, mode
):
    monkeypatch.setattr(revocation, "STALE_SECONDS", 0.5)
    sections = {
        "revocation": {"store": redis.url, "when_unavailable": mode},
        "passthrough": {"paths": ["/public/**"]},
        **ADMIN,
    }
    async with protecting(upstream.url, tmp_path, **sections) as passproxy:
        cookie, admin = passproxy.cookie(), Admin(log)

        async def has(wanted: int) -> bool:
            return await status(passproxy, "/", cookie) == wanted

        await eventually(lambda: passproxy.service._built.revocations.is_current, "the list is current")
        assert await has(200)
        await redis.stop()
        await eventually(lambda: not passproxy.service._built.revocations.is_current, "the list is not current")
        assert await has(503 if mode == "closed" else 200)
        assert await status(passproxy, "/public/x", cookie) == 200
        assert await status(passproxy, "/.passproxy/userinfo", cookie) == 200
        assert await status(passproxy, "/") == 401
        assert await admin.value("passproxy_revocations_current") == 0
        async with Raw(passproxy.address) as raw:
            answer = await raw.ask(get("/", cookie=cookie))
        if mode == "closed":
            assert (answer.one(b"retry-after"), answer.json()["code"]) == (b"10", "PP-REVOCATIONS-UNKNOWN")
            assert answer.all(b"set-cookie") == []
        await redis.start()
        await until(lambda: has(200), "the list is current again")


async def test_what_is_open_ends_when_it_cannot_be_told_who_may_stay(redis, upstream, tmp_path, monkeypatch, ticking):
    monkeypatch.setattr(revocation, "STALE_SECONDS", 0.5)
    upstream.script = accepting
    listed = {"store": redis.url, "when_unavailable": "closed"}
    async with protecting(upstream.url, tmp_path, revocation=listed) as passproxy, Raw(passproxy.address) as raw:
        await eventually(lambda: passproxy.service._built.revocations.is_current, "the list is current")
        await raw.send(handshake(cookie=passproxy.cookie()))
        await raw.head()
        assert await raw.take(len(GREETING)) == GREETING
        await redis.stop()
        assert await raw.rest() == close_frame(GOING_AWAY, "sessions cannot be confirmed")


async def test_jwt_20_the_command_reaches_every_instance(redis, upstream, tmp_path, capsys):
    file = tmp_path / "app.yaml"
    async with protecting(upstream.url, tmp_path, revocation={"store": redis.url}) as passproxy:
        cookie = passproxy.cookie()
        assert await status(passproxy, "/", cookie) == 200
        file.write_text(
            f"domain: app.example.com\nupstream: {{url: '{upstream.url}'}}\n{OIDC}revocation: {{store: '{redis.url}'}}\n"
        )

        def end() -> int:
            return main(["revoke", str(file), "--subject", "sub-alice"])

        assert await asyncio.to_thread(end) == 0
        assert "refuse them within 2 seconds" in capsys.readouterr().out

        async def is_over() -> bool:
            return await status(passproxy, "/", cookie) == 401

        await until(is_over, "the session is over")
        assert await status(passproxy, "/", passproxy.cookie("bob")) == 200
        await redis.stop()
        assert await asyncio.to_thread(end) == 1
        assert "nothing was revoked" in capsys.readouterr().err


OIDC = "oidc: {issuer: 'http://127.0.0.1:9/', client_id: app, client_secret: s3cret-of-the-client}\n"
