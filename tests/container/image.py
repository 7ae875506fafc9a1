"""The image under test: built from the Containerfile as it is shipped, and what its configuration says."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.container.base import BASE, Storage, run

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/passproxy:under-test"

#: Debian 13's Python and C library, for which wheels are fetched here.
_PYTHON = "3.13"
_GLIBC = (41, 40, 39, 38, 37, 36, 35, 34, 31, 28, 27, 26, 24, 17)

FETCH_SECONDS = 240.0
BUILD_SECONDS = 240.0

# What the build needs of a network is here already.
_PIP = "[global]\nno-index = true\nfind-links = /mnt\n"


@dataclass(frozen=True, slots=True)
class Image:
    """What the image says of itself; `root` is where its files are on this machine."""

    root: Path
    user: str
    environment: tuple[str, ...]
    command: tuple[str, ...]
    health: tuple[str, ...]
    size: str


def fetch_wheels(folder: Path) -> int:
    """
    All of requirements.lock as wheels for the base image, by the pip and the index of this machine; how many.

    Raises:
        CommandFailed: one could not be fetched, or its hash is not in the lock file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    abis = [part for abi in (f"cp{_PYTHON.replace('.', '')}", "abi3", "none") for part in ("--abi", abi)]
    machine = platform.machine()
    tags = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}"]
    platforms = [part for tag in tags for part in ("--platform", tag)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    target = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", _PYTHON, *abis, *platforms]
    lock = str(CHECKOUT / "requirements.lock")
    run([*pip, *target, "--dest", str(folder), "--requirement", lock], seconds=FETCH_SECONDS)
    return len(list(folder.glob("*.whl")))


def build(storage: Storage, base_digest: str, wheels: Path) -> None:
    """
    Build it, on the base named by its digest.

    Raises:
        CommandFailed: a step of the Containerfile failed.
    """
    settings = wheels.with_name("pip.conf")
    settings.write_text(_PIP, "utf-8")
    volumes = [f"--volume={wheels}:/mnt:ro", f"--volume={settings}:/etc/pip.conf:ro"]
    pinned = f"PYTHON_IMAGE={BASE}@{base_digest}"
    options = ["--isolation=chroot", "--layers=false", "--format=docker", "--pull=never", *volumes]
    storage.buildah("build", *options, "--build-arg", pinned, "--tag", IMAGE, str(CHECKOUT), seconds=BUILD_SECONDS)


def opened(storage: Storage) -> Image:
    """The image with its files on disk, until `Storage.remove_containers`."""
    container = storage.buildah("from", "--pull-never", IMAGE)
    said: dict[str, Any] = json.loads(storage.buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    return Image(
        root=Path(storage.buildah("mount", container)),
        user=said["User"],
        environment=tuple(said["Env"]),
        command=_words(said["Entrypoint"]) + _words(said["Cmd"]),
        health=_words(said["Healthcheck"]["Test"])[1:],
        size=storage.buildah("images", "--noheading", "--format", "{{.Size}}", IMAGE),
    )


def _words(value: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(value or ())
