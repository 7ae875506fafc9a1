"""
The image, built and used as in production: read-only, without root, configured by its environment.

    python -m tests.container

Makes a base image from Debian's packages, builds the Containerfile on it and
runs the result with an OCI runtime: whole logins by both protocols, two
instances that share their keys behind nginx, the end by SIGTERM, and what
mistakes look like. Each step is printed as it ends. Exit code 0 when all are
ok. Needs root; what is downloaded and built stays in .e2e/container/.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from tests.container import checks
from tests.container.base import CommandFailed, Storage, make_base
from tests.container.image import CHECKOUT, Image, build, fetch_wheels, opened
from tests.container.instance import Instance, Wanted, serving, started
from tests.container.report import Report, StepFailed
from tests.container.site import DOMAIN, Site, site
from tests.e2e.processes import free_port

CACHE = CHECKOUT / ".e2e" / "container"

#: Under two minutes with an empty cache, under one after that.
WHOLE_RUN_SECONDS = 600.0


def built(report: Report, storage: Storage) -> Image:
    """Raises `StepFailed`."""
    with report.step("the base image, Debian 13 with Python", is_needed=True) as found:
        base = make_base(storage, CACHE)
        found.text = base
    with report.step("the dependencies, by their hashes", is_needed=True) as found:
        found.text = f"{fetch_wheels(CACHE / 'wheels')} wheels"
    with report.step("another base image than the pinned one is refused") as found:
        found.text = _refused_base(storage, base)
    with report.step("the image", is_needed=True) as found:
        build(storage, base, CACHE / "wheels")
        image = opened(storage)
        found.text = f"{image.size}, user {image.user}, {' '.join(image.command)}"
    return image


def _refused_base(storage: Storage, base: str) -> str:
    wrong = base[:-1] + ("0" if base[-1] != "0" else "1")
    try:
        build(storage, wrong, CACHE / "wheels")
    except CommandFailed:
        return f"no build on {wrong[:15]}...{wrong[-4:]}"
    raise AssertionError("it was built on an image that has another digest")


async def tried(report: Report, image: Image, protocol: str, folder: Path) -> None:
    port = free_port()
    os.makedirs(folder / "nginx")
    async with site(protocol, f"https://{DOMAIN}:{port}", folder) as around, AsyncExitStack() as stack:
        instances: list[Instance] = []
        with report.step(f"{protocol}: two instances, by environment alone", is_needed=True) as found:
            begun = time.monotonic()
            for name in ("first", "second"):
                instances.append(await stack.enter_async_context(serving(image, around.wanted(name), folder)))
            found.text = f"ready after {(time.monotonic() - begun) / 2:.1f} s each"
        first, second = instances
        with report.step(f"{protocol}: nothing can be written") as found:
            found.text = checks.nothing_can_be_written(first, image)
        with report.step(f"{protocol}: nothing is allowed to it") as found:
            found.text = checks.nothing_is_allowed(first, image)
        with report.step(f"{protocol}: health check") as found:
            found.text = checks.is_healthy(first, image)
        with report.step(f"{protocol}: passproxy doctor") as found:
            found.text = checks.is_examined(first)
        if protocol == "oidc":
            with report.step("a file of keys, made in the container") as found:
                found.text = checks.prints_keys(first)
        with report.step(f"{protocol}: a login") as found:
            found.text = await checks.logs_in(around, first)
        with report.step(f"{protocol}: a session of one instance at the other") as found:
            found.text = await checks.served_by_the_other(around, first, second)
        with report.step(f"{protocol}: a login that begins at one and ends at the other") as found:
            found.text = await checks.finished_by_the_other(around, first, second)
        with report.step(f"{protocol}: both behind one nginx") as found:
            found.text = await checks.behind_nginx(around, first, second, port, folder / "nginx")
        with report.step(f"{protocol}: SIGTERM") as found:
            found.text = await checks.drains(around, second)
        with report.step(f"{protocol}: nothing secret in the log") as found:
            found.text = checks.logged_no_secret(around, instances)
        with report.step(f"{protocol}: state in a volume, and a restart") as found:
            found.text = await _restarted(image, around, folder)
        if protocol == "oidc":
            with report.step("mistakes are said before anything is served") as found:
                found.text = await _mistaken(image, around.wanted("mistaken"), folder)


async def _restarted(image: Image, around: Site, folder: Path) -> str:
    """Without keys given they are made in the volume, and hold after a restart."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    wanted = around.wanted("volume", state=state)
    async with serving(image, wanted, folder) as instance, around.browser(instance) as browser:
        await around.log_in(browser)
        assert await instance.stop() == 0
        again = replace(wanted, name=f"{wanted.name}-again")
        async with serving(image, again, folder):
            page = around.check(await browser.open(f"{around.origin}/whoami"), "/whoami")
    assert page.hops == (), page.hops
    made = {path.name: path.stat() for path in state.iterdir()}
    assert all(each.st_mode & 0o77 == 0 for each in made.values()), made
    return f"{', '.join(sorted(made))}; the session goes on"


async def _mistaken(image: Image, wanted: Wanted, folder: Path) -> str:
    """What Kubernetes puts into every environment for a Service of this name, and a secret that is not there."""
    environment = {
        **wanted.environment,
        "PASSPROXY_PORT_8123_TCP": "tcp://10.0.0.1:8123",
        "PASSPROXY_OIDC_CLIENT_SECRET_FILE": "/run/secrets/missing",
    }
    async with started(image, replace(wanted, environment=environment), folder) as instance:
        async with asyncio.timeout(20):
            status = await instance.process.wait()
        said = instance.said
    assert status == 78, f"exit status {status}: {said}"
    assert "enableServiceLinks" in said, said
    assert "oidc.client_secret_file: cannot be read" in said, said
    return f"exit status {status}, {said.count(chr(10)) - 2} problems named"


async def main() -> int:
    begun, report = time.monotonic(), Report()
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE.parent / ".gitignore").write_text("*\n")
    storage = Storage(CACHE / "storage")
    try:
        with tempfile.TemporaryDirectory(prefix="passproxy-container-") as scratch:
            async with asyncio.timeout(WHOLE_RUN_SECONDS):
                image = built(report, storage)
                for protocol in ("oidc", "saml"):
                    await tried(report, image, protocol, Path(scratch) / protocol)
    except StepFailed:
        pass
    except TimeoutError:
        report.failed.append(f"not all was tried within {WHOLE_RUN_SECONDS:.0f} s")
    finally:
        storage.remove_containers()
    print(f"\n{report.passed} ok, {len(report.failed)} FAILED in {time.monotonic() - begun:.0f} s")
    return 1 if report.failed else 0


if __name__ == "__main__":
    if os.getuid() != 0:
        sys.exit("This makes file systems and containers, for which it needs root.")
    sys.exit(asyncio.run(main()))
