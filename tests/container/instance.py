"""
The image running: by an OCI runtime, as its user, with a read-only root, without capabilities.

No seccomp filter and no network of its own, which an engine would add: the
demo's identity provider is on this machine's loopback, and PassProxy takes one
without TLS nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.container.base import CommandFailed, run
from tests.container.image import Image

#: On two shared cores.
START_SECONDS = 30.0
#: Longer than PassProxy itself waits for requests under way.
STOP_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A program in the container that came to its end."""

    status: int
    said: str


@dataclass(frozen=True, slots=True)
class Instance:
    name: str
    port: int
    log: Path
    process: asyncio.subprocess.Process
    crun: tuple[str, ...]
    user: str

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        """Of PassProxy, as seen from outside of the container."""
        return int(json.loads(run([*self.crun, "state", self.name]))["pid"])

    def execute(self, *command: str, user: str | None = None) -> Ended:
        """Run a program in the container, beside PassProxy and as the same user unless another is given."""
        result = subprocess.run(
            [*self.crun, "exec", "--user", user or self.user, self.name, *command],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Ended(result.returncode, (result.stdout + result.stderr).strip())

    async def stop(self) -> int:
        """SIGTERM, and its exit status."""
        run([*self.crun, "kill", self.name, "TERM"])
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()


@dataclass(frozen=True, slots=True)
class Wanted:
    """`secrets` are files below /run/secrets; `state` is a folder of this machine, for a volume."""

    name: str
    port: int
    environment: Mapping[str, str]
    secrets: Mapping[str, bytes]
    state: Path | None = None


@contextlib.asynccontextmanager
async def started(image: Image, wanted: Wanted, folder: Path) -> AsyncIterator[Instance]:
    """Run it as long as the block, whether it serves or not."""
    bundle = folder / wanted.name
    bundle.mkdir()
    secrets = _written(wanted.secrets, bundle / "secrets", image.user)
    mounts = [_bind(secrets, "/run/secrets", "ro")]
    if wanted.state is not None:
        _give(wanted.state, image.user)
        mounts.append(_bind(wanted.state, "/var/lib/passproxy", "rw"))
    (bundle / "config.json").write_text(json.dumps(_runtime_configuration(image, wanted, mounts)), "utf-8")
    log, crun = bundle / "log", _crun(folder)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *crun, "run", "--bundle", str(bundle), wanted.name, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield Instance(wanted.name, wanted.port, log, process, crun, image.user)
    finally:
        if process.returncode is None:
            with contextlib.suppress(CommandFailed):
                run([*crun, "delete", "--force", wanted.name])
            await process.wait()


@contextlib.asynccontextmanager
async def serving(image: Image, wanted: Wanted, folder: Path) -> AsyncIterator[Instance]:
    """As `started`, once it says that it serves."""
    async with started(image, wanted, folder) as instance:
        limit = time.monotonic() + START_SECONDS
        while "server.ready" not in instance.said:
            if instance.process.returncode is not None or time.monotonic() > limit:
                raise AssertionError(f"{wanted.name} did not start:\n{instance.said[-2000:]}")
            await asyncio.sleep(0.05)
        yield instance


def _crun(folder: Path) -> tuple[str, ...]:
    crun = ("crun", "--root", str(folder / "crun"), "--cgroup-manager=disabled")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return crun
    # It wants control groups of the second kind, though it is to use none.
    shown = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", shown, "sh", *crun)


def _runtime_configuration(image: Image, wanted: Wanted, mounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What an engine makes of `--read-only --cap-drop all --security-opt no-new-privileges --network host`."""
    user, group = map(int, image.user.split(":"))
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(image.root), "readonly": True},
        "process": {
            "user": {"uid": user, "gid": group},
            "args": list(image.command),
            "env": [*image.environment, *(f"{name}={value}" for name, value in wanted.environment.items())],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=64k", "ro"],
            },
            *mounts,
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }


def _bind(source: Path, destination: str, access: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", access]}


def _written(secrets: Mapping[str, bytes], folder: Path, user: str) -> Path:
    """Each readable by the container's user alone."""
    folder.mkdir(mode=0o700)
    for name, content in secrets.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        _give(folder / name, user)
    _give(folder, user)
    return folder


def _give(path: Path, user: str) -> None:
    owner, group = map(int, user.split(":"))
    os.chown(path, owner, group)
