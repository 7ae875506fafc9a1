"""What must hold of an instance in a container, and of two that share their keys."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections import Counter
from pathlib import Path

from passproxy.core.tokens import keys_from
from tests.container.image import Image
from tests.container.instance import Instance
from tests.container.site import DOMAIN, Site
from tests.e2e import wire
from tests.e2e.nginx import nginx
from tests.fakes.browser import Browser, Front

#: Logins through nginx, which hands out its requests in turns: some of them change the instance on their way.
LOGINS = 4

#: For the answer that is under way when an instance is told to stop.
EVENTS, INTERVAL_SECONDS = 10, 0.3


def nothing_can_be_written(instance: Instance, image: Image) -> str:
    """Each place by its owner, or where anybody might, so it is not for want of permission."""
    for user, place in (("0:0", "/opt/passproxy"), (image.user, "/var/lib/passproxy"), (image.user, "/tmp")):
        ended = instance.execute("touch", f"{place}/written", user=user)
        assert ended.status != 0, f"{place} could be written by {user}"
        assert "Read-only file system" in ended.said, ended.said
    return "Read-only file system, for root too"


def nothing_is_allowed(instance: Instance, image: Image) -> str:
    """As the kernel sees the process."""
    status = Path(f"/proc/{instance.pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    user, group = image.user.split(":")
    assert int(user) > 0, "the image's user is root"
    assert facts["Uid"].split() == [user] * 4, facts["Uid"]
    assert facts["Gid"].split() == [group] * 4, facts["Gid"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[kind], 16) == 0, f"{kind} {facts[kind]}"
    assert facts["NoNewPrivs"] == "1"
    return f"user {user}, no capability in any set, no new privileges"


def is_healthy(instance: Instance, image: Image) -> str:
    """By the command that the image names, which also says when nobody is there."""
    ended = instance.execute(*image.health)
    assert ended.status == 0, ended.said
    elsewhere = instance.execute("env", "PASSPROXY_LISTEN=127.0.0.1:1", *image.health)
    assert elsewhere.status == 1, elsewhere.said
    return f"{' '.join(image.health)} -> {ended.said}; at a port where nobody listens -> {elsewhere.said}"


def is_examined(instance: Instance) -> str:
    """`passproxy doctor` needs nothing but the environment either. No resolver knows the public name here."""
    ended = instance.execute("sh", "-c", "passproxy doctor --format json 2> /dev/null")
    results = {each["check"]: each["result"] for each in json.loads(ended.said)["checks"]}
    looked_at = {check: results.get(check) for check in ("configuration", "listen", "upstream", "provider", "login")}
    assert set(looked_at.values()) == {"ok"}, looked_at
    return ", ".join(looked_at)


def prints_keys(instance: Instance) -> str:
    """A key file for a secret, by the image that will be given it."""
    ended = instance.execute("passproxy", "keys", "new")
    assert ended.status == 0, ended.said
    assert len(keys_from(ended.said)) == 1
    return "passproxy keys new"


async def logs_in(site: Site, instance: Instance) -> str:
    async with site.browser(instance) as browser:
        page = await site.log_in(browser)
    return f"alice at {page.url.removeprefix(site.origin)}"


async def served_by_the_other(site: Site, first: Instance, second: Instance) -> str:
    """A session that one began is one at the other, without a single redirect."""
    async with site.browser(first) as browser, site.browser(second) as other:
        await site.log_in(browser)
        other.cookies = copy.deepcopy(browser.cookies)
        page = site.check(await other.open(f"{site.origin}/whoami"), "/whoami")
        assert page.hops == (), page.hops
    return "no redirect"


async def finished_by_the_other(site: Site, first: Instance, second: Instance) -> str:
    """The provider's answer arrives where nobody knows of the question."""
    async with site.browser(first) as browser, site.browser(second) as other:
        form = await site.begin(browser)
        other.cookies = copy.deepcopy(browser.cookies)
        site.check(await site.finish(other, form))
    return "lands on the deep link"


async def behind_nginx(site: Site, first: Instance, second: Instance, port: int, folder: Path) -> str:
    """Both in one `upstream` of the configuration that is shipped."""
    async with nginx(DOMAIN, port, first.port, folder, [second.port]) as front:
        for _ in range(LOGINS):
            async with Browser({site.origin: Front(f"https://127.0.0.1:{port}", tls_name=DOMAIN)}) as browser:
                await site.log_in(browser)
        rows = [line.split() for line in front.log.read_text("utf-8").splitlines()]
    served = Counter(row[0] for row in rows)
    assert served.keys() == {f"127.0.0.1:{instance.port}" for instance in (first, second)}, served
    assert {row[3] for row in rows} <= {"200", "302", "303"}, rows
    return f"{LOGINS} logins, {' and '.join(map(str, served.values()))} requests"


async def drains(site: Site, instance: Instance) -> str:
    """SIGTERM: what is under way is finished, nothing new is accepted, and the end is a clean one."""
    host = site.origin.removeprefix("https://")
    async with wire.connected(instance.port) as (reader, writer):
        writer.write(wire.head("GET", f"/events?count={EVENTS}&interval={INTERVAL_SECONDS}", host))
        await writer.drain()
        first = await reader.readuntil(b"data:")
        stopping = asyncio.create_task(instance.stop())
        await _closed(instance.port)
        rest = await reader.read()
        while more := await reader.read():
            rest += more
        status = await stopping
    events = (first + rest).count(b"data:")
    assert events == EVENTS, f"{events} of {EVENTS} events arrived"
    assert status == 0, f"exit status {status}: {instance.said[-1000:]}"
    assert "server.stopped" in instance.said
    assert "server.drain_cut" not in instance.said
    return f"{events} of {EVENTS} events of an answer under way arrived, exit status {status}"


async def _closed(port: int) -> None:
    """Until nobody accepts connections any more."""
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)


def logged_no_secret(site: Site, instances: list[Instance]) -> str:
    said = "".join(instance.said for instance in instances)
    secrets = [site.facts["client_secret"], *re.findall(r'"secret": "([^"]+)"', site.keys.decode())]
    assert len(secrets) == 2
    assert not any(secret in said for secret in secrets)
    assert "Traceback" not in said, said[-2000:]
    assert "config.danger" not in said, "a configuration without a danger is warned of"
    return f"{len(said.splitlines())} lines"
