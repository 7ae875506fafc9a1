"""
A Debian 13 that is booted for one run, and ended with it.

Its root is made by debian/tools/root; its packages were downloaded once, and
are kept beside that. While it runs it has a loopback interface and no other
network: what is installed comes from our repository and from what was
downloaded before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".e2e"
TOOLS = ROOT / "debian" / "tools"

#: From power to `systemctl is-system-running`; a few seconds, more on a machine that is busy.
BOOT_SECONDS = 90
STOP_SECONDS = 30


class Failed(Exception):
    """A command that did not do what it was run for; the message ends with its output."""


def run(command: Sequence[str], *, within: float, **more: str) -> str:
    """Run something on this machine; its output."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            timeout=within,
            env={**os.environ, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else str(error.stdout or "")
        raise Failed(f"{' '.join(command[:6])}: not within {within:.0f} s\n{_tail(said)}") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(command[:6])}: exit status {done.returncode}\n{_tail(done.stdout)}")
    return done.stdout


class Machine:
    """One that is up."""

    def __init__(self, folder: Path, leader: int) -> None:
        self.folder = folder
        self._enter = ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        self._enter += ["--root", "--", "env", "--chdir=/root", "-i", "HOME=/root", "LANG=C.UTF-8"]
        self._enter += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER="]

    def run(self, *command: str, within: float = 60.0) -> str:
        """
        Run a command in it, as root; its output.

        Raises:
            Failed: with another exit status than 0, or not in time.
        """
        return run([*self._enter, *command], within=within).strip()

    def sh(self, script: str, within: float = 60.0) -> str:
        return self.run("sh", "-euc", script, within=within)

    def refuses(self, *command: str, within: float = 60.0) -> str:
        """Run a command that has to fail; its output."""
        try:
            said = self.run(*command, within=within)
        except Failed as error:
            if "exit status" not in str(error):
                raise
            return str(error)
        raise Failed(f"{' '.join(command)}: succeeded\n{_tail(said)}")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command that goes on beside others."""
        return subprocess.Popen([*self._enter, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """A file of root's, replaced as an editor does it."""
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(file.name + ".new")
        new.write_text(text, "utf-8")
        new.chmod(mode)
        new.replace(file)

    def eventually(self, holds: str, what: str, within: float = 20.0) -> None:
        """Wait until a shell command succeeds."""
        end = time.monotonic() + within
        while True:
            try:
                self.sh(holds)
            except Failed as error:
                if time.monotonic() > end:
                    raise Failed(f"not within {within:.0f} s: {what}\n{error}") from None
                time.sleep(0.2)
            else:
                return


def prepared(folder: Path, archives: Path, download: Sequence[str], package: Path) -> None:
    """
    A root with the packages downloaded and none of them installed.

    `archives` keeps them from run to run; what is there already is not loaded again.
    """
    run([str(TOOLS / "root"), str(folder)], within=300)
    archives.mkdir(parents=True, exist_ok=True)
    inside = folder / "var" / "cache" / "apt" / "archives"
    for archive in archives.glob("*.deb"):
        shutil.copy2(archive, inside)
    shutil.copy2(package, folder / "root" / "package.deb")
    install = ["apt-get", "--quiet", "--quiet", "--yes", "--no-install-recommends", "--download-only", "install"]
    try:
        run([str(TOOLS / "inside"), str(folder), *install, "/root/package.deb", *download], within=300)
    except Failed:
        # The mirror has newer ones than the index that was kept.
        run([str(TOOLS / "inside"), str(folder), "apt-get", "--quiet", "--quiet", "update"], within=120)
        run([str(TOOLS / "inside"), str(folder), *install, "/root/package.deb", *download], within=300)
    for archive in inside.glob("*.deb"):
        if not archive.name.startswith("passproxy") and not (archives / archive.name).exists():
            shutil.copy2(archive, archives)
    (folder / "root" / "package.deb").unlink()


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """The root, with systemd as its first process, as long as the block."""
    command = ["systemd-nspawn", "--quiet", "--boot", "--private-network", "--console=pipe", f"--directory={folder}"]
    if not Path("/run/systemd/system").exists():
        # Without systemd on this machine there is nobody to register with.
        command += ["--register=no", "--keep-unit"]
    with (folder.parent / "console.log").open("wb") as console:
        spawn = subprocess.Popen(
            [*command, "--machine=passproxy-e2e"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
    try:
        machine = Machine(folder, _leader(spawn))
        machine.eventually("systemctl is-system-running --wait", "the machine is up", within=BOOT_SECONDS)
        yield machine
    finally:
        # To systemd-nspawn this is the power button.
        spawn.send_signal(signal.SIGTERM)
        try:
            spawn.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            spawn.kill()
            spawn.wait()


def _leader(spawn: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < end and spawn.poll() is None:
        children = Path(f"/proc/{spawn.pid}/task/{spawn.pid}/children").read_text().split()
        # Before exec it is still systemd-nspawn, outside of what it is about to be.
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            return int(children[0])
        time.sleep(0.1)
    raise Failed("the machine did not start: see console.log")


def _tail(said: str) -> str:
    return "\n".join(said.splitlines()[-25:])
