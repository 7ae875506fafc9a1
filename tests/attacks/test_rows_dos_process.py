"""
Section 2.14 of the catalogue, row by row, where it takes a process: descriptors that run out, crashes, stops, full disks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from passproxy.core.config import settings_from
from passproxy.core.frames import GOING_AWAY, close_frame
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.pool import Verifier
from tests.attacks.acs import acs_site
from tests.fakes import gateway
from tests.fakes.commands import free_port, running, wait_for
from tests.fakes.gateway import HOST, NO_IDP, PassProxy, alive, eventually, get, protecting, request, until
from tests.fakes.log import Log
from tests.fakes.raw import Cut, Raw
from tests.fakes.upstream import Line, Seen, Upstream, ok
from tests.fakes.websocket import GREETING, accepting, handshake

HEALTH = get("/.passproxy/health")


@contextlib.asynccontextmanager
async def serving(folder: Path, upstream: Upstream, port: int) -> AsyncIterator[tuple[Any, PassProxy]]:
    """`passproxy serve` with its state in this folder."""
    configuration = {"domain": HOST, "listen": f"127.0.0.1:{port}", "state_dir": str(folder), **NO_IDP}
    text = yaml.safe_dump({**configuration, "upstream": {"url": upstream.url}})
    (folder / "app.yaml").write_text(text)
    settings = settings_from(text, "app.yaml", {}, lambda path: Path(path).read_text("utf-8"))
    with running("serve", str(folder / "app.yaml"), cwd=folder) as process:
        await asyncio.to_thread(wait_for, port)
        yield process, gateway.described(f"127.0.0.1:{port}", settings)


async def script(seen: Seen, line: Line) -> None:
    await (accepting(seen, line) if seen.target == b"/socket" else ok(seen, line))


async def test_dos_22_dos_03_and_dos_20_a_crash_a_crowd_and_a_stop(tmp_path: Path, upstream: Upstream) -> None:
    """What is started again after a crash knows everybody; it outlives a crowd, and a stop under load ends with 0."""
    port = free_port()
    async with serving(tmp_path, upstream, port) as (process, passproxy):
        cookie = passproxy.cookie()
        async with Raw(passproxy.address) as raw:
            assert (await raw.ask(get("/before", cookie=cookie))).status == 200
        process.send_signal(signal.SIGSEGV)
        # A failure to systemd, which `Restart=on-failure` is about.
        assert await asyncio.to_thread(process.wait, 30) == -signal.SIGSEGV
    async with serving(tmp_path, upstream, port) as (process, passproxy):
        async with Raw(passproxy.address) as raw:
            assert (await raw.ask(get("/after", cookie=cookie))).body == b"/after"
            assert (await raw.ask(get("/after"))).status == 401
        assert [seen.target for seen in upstream.requests] == [b"/before", b"/after"]
        await outlives_a_crowd(process, passproxy)
        upstream.script = script
        await ends_under_load(process, passproxy, upstream)


async def outlives_a_crowd(process: Any, passproxy: PassProxy) -> None:
    """More connections than there are descriptors; when they are gone all is well again."""
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (40, 40))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(80):
            raw = await stack.enter_async_context(Raw(passproxy.address))
            await raw.send(b"GET")
        assert process.poll() is None

    async def is_served() -> bool:
        with contextlib.suppress(Cut, ConnectionError):
            async with Raw(passproxy.address) as raw:
                return (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 200
        return False

    for _ in range(50):
        if await is_served():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it was not served again")


async def ends_under_load(process: Any, passproxy: PassProxy, upstream: Upstream) -> None:
    async with Raw(passproxy.address) as tunnel, Raw(passproxy.address) as upload:
        await tunnel.send(handshake(cookie=passproxy.cookie()))
        assert b" 101 " in await tunnel.head()
        await upload.send(request("PUT", "/up", "Content-Length: 6", cookie=passproxy.cookie(), body=b"abc"))
        await eventually(lambda: upstream.requests[-1].target == b"/up", "the upload is under way")
        process.send_signal(signal.SIGTERM)
        assert await tunnel.take(5) == GREETING
        assert await tunnel.rest() == close_frame(GOING_AWAY, "shutting down")
        with pytest.raises(ConnectionRefusedError):
            async with Raw(passproxy.address):
                pass
        await upload.send(b"def")
        assert (await upload.answer()).status == 200
    assert await asyncio.to_thread(process.wait, 30) == 0
    assert upstream.requests[-1].body == b"abcdef"


async def test_dos_22_a_crash_of_the_xml_library_costs_one_login(tmp_path: Path) -> None:
    async with acs_site(tmp_path) as site:
        await site.signed_in()
        (verifier,) = alive(Verifier, lambda one: one.process_id is not None)
        crashed = verifier.process_id
        assert crashed is not None
        os.kill(crashed, signal.SIGSEGV)
        assert (await site.asked(get("/x", cookie=site.cookie))).status == 200
        # Whether this one fails depends on who notices the crash first.
        with contextlib.suppress(AssertionError):
            await site.signed_in()
        await site.signed_in()
        assert verifier.process_id not in (None, crashed)


def descriptors(process_id: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{process_id}/fd"))


def test_dos_16_a_full_disk_leaves_the_last_good_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = LastGood(tmp_path / "copy", b"k" * 32)
    copy.store(b"good")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for _ in range(100):
            with pytest.raises(OSError, match="No space"):
                copy.store(b"newer")
    assert copy.load() == b"good"
    for number in range(100):
        copy.store(b"%d" % number)
    assert copy.load() == b"99"
    assert descriptors() == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


async def test_dos_16_a_list_that_cannot_be_written_ends_sessions_all_the_same(
    tmp_path: Path, upstream: Upstream, log: Log
) -> None:
    """A folder stands where the file of revoked sessions was: a logout holds here, and is served."""
    file = tmp_path / "revoked"
    async with protecting(upstream.url, tmp_path, revocation={"store": f"file:{file}"}) as passproxy:
        file.unlink()
        file.mkdir()
        before = descriptors()
        for number in range(10):
            cookie = passproxy.cookie(f"user{number}")
            async with Raw(passproxy.address) as raw:
                assert (await raw.ask(get("/", cookie=cookie))).status == 200
                sent = request("POST", "/.passproxy/logout", "Sec-Fetch-Site: same-origin", cookie=cookie)
                assert (await raw.ask(sent)).status in (302, 303)
                assert (await raw.ask(get("/", cookie=cookie))).status == 401
                assert (await raw.ask(HEALTH)).status == 200
        await eventually(lambda: descriptors() <= before + 2, "no descriptor is lost")
    assert log.tells("revocation.not_stored")
    assert len(upstream.requests) == 10


async def test_dos_17_a_storm_of_reloads_leaves_the_last_good_configuration_and_nothing_else(
    tmp_path: Path, upstream: Upstream
) -> None:
    async with serving(tmp_path, upstream, free_port()) as (process, passproxy):
        file = tmp_path / "app.yaml"
        good = file.read_text()

        async def is_public(path: str) -> bool:
            async with Raw(passproxy.address) as raw:
                return (await raw.ask(get(path))).status == 200

        async def adopted(path: str) -> None:
            file.write_text(f"{good}passthrough: {{paths: [{path}]}}\n")
            process.send_signal(signal.SIGHUP)
            await until(lambda: is_public(path), f"{path} is public")

        await adopted("/before")
        before = descriptors(process.pid)
        for text in (good, good + "nonsense: true\n"):
            file.write_text(text)
            for _ in range(500):
                process.send_signal(signal.SIGHUP)
        async with Raw(passproxy.address) as raw:
            assert (await raw.ask(get("/", cookie=passproxy.cookie()))).status == 200
        await adopted("/after")  # all that was asked before has been answered by then
        assert not await is_public("/before")
        await eventually(lambda: descriptors(process.pid) <= before, "no descriptor is left behind")
