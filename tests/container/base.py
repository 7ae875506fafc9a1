"""
The base image: Debian 13 with Python, made here from Debian's own packages.

Whoever has a registry names an image of it instead (`PYTHON_IMAGE` in the
Containerfile). What is made here stays in the cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"
BASE = "localhost/passproxy-base"

#: From the mirror that this machine's apt uses for Debian itself, or else from Debian's own.
PUBLIC_MIRROR = "http://deb.debian.org/debian"

_PACKAGES = ("ca-certificates", "python3", "python3-venv")

#: Of no use at run time, and half of the size.
_LEFT_OUT = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
)
_KERNEL_FOLDERS = ("proc", "sys", "dev")

#: A mirror may be slow; the packages are 60 MB.
DEBOOTSTRAP_SECONDS = 300.0
COMMAND_SECONDS = 120.0


class CommandFailed(Exception):
    """The message ends with the last lines that the command wrote."""


def run(command: Sequence[str], *, seconds: float = COMMAND_SECONDS, cwd: Path | None = None) -> str:
    """
    Run a program to its end and give what it wrote to standard output.

    Raises:
        CommandFailed: it failed, or took longer than it may.
    """
    try:
        result = subprocess.run(
            command, cwd=cwd, timeout=seconds, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{command[0]}: not done after {seconds:.0f} s") from None
    if result.returncode:
        words = "\n".join((result.stdout + result.stderr).splitlines()[-15:])
        raise CommandFailed(f"{' '.join(command[:4])} ended with {result.returncode}:\n{words}")
    return result.stdout


@dataclass(frozen=True, slots=True)
class Storage:
    """Images and containers in one folder, and buildah with it. Without overlays, which not every machine allows."""

    folder: Path

    def buildah(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        """Raises `CommandFailed`."""
        place = ("--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"))
        return run(("buildah", "--storage-driver", "vfs", *place, *arguments), seconds=seconds).strip()

    def digest(self, image: str) -> str:
        """Its digest, by which it is named for good; empty when there is no such image."""
        try:
            found = self.buildah("images", "--noheading", "--digests", "--format", "{{.Digest}}", image)
        except CommandFailed:
            return ""
        return found.splitlines()[0] if found else ""

    def remove_containers(self) -> None:
        """Those of a run that was interrupted too."""
        self.buildah("rm", "--all")
        self.buildah("rmi", "--prune", "--force")


def mirror() -> str:
    """The mirror of Debian's own packages that apt uses here."""
    fields = "$(REPO_URI) $(COMPONENT)"
    try:
        rows = run(["apt-get", "indextargets", "Created-By: Packages", "Origin: Debian", "--format", fields])
    except (CommandFailed, FileNotFoundError):
        return PUBLIC_MIRROR
    places = [place for place, component in (row.split() for row in rows.splitlines()) if component == "main"]
    return next((place for place in places if "security" not in place), PUBLIC_MIRROR)


def make_base(storage: Storage, scratch: Path) -> str:
    """
    The digest of the base image, which is made if it is not in the storage.

    Raises:
        CommandFailed: Debian could not be fetched or imported.
    """
    if known := storage.digest(BASE):
        return known
    with tempfile.TemporaryDirectory(prefix="debian-", dir=scratch) as folder:
        root = Path(folder)
        root.chmod(0o755)
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, str(root), mirror()]
        run(command, seconds=DEBOOTSTRAP_SECONDS)
        for name in (*_LEFT_OUT, *_KERNEL_FOLDERS):
            _empty(root / name)
        container = storage.buildah("from", "scratch")
        storage.buildah("add", "--quiet", container, str(root), "/")
        storage.buildah("commit", "--quiet", "--rm", container, BASE)
    return storage.digest(BASE)


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink() and not os.path.ismount(path):
            shutil.rmtree(path)
        elif not os.path.ismount(path):
            path.unlink()
