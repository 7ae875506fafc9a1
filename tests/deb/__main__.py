"""
The Debian package, from its repository to its purge, on a Debian 13 that is booted for it.

    python -m tests.deb [--without-suite] [--keep]

As root. What is downloaded stays in .e2e/. Exit code 0 when every step holds.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from tests.deb.machine import CACHE, ROOT, TOOLS, Failed, Machine, booted, prepared, run
from tests.deb.steps import STEPS, Run, suite

#: Beside the package and what it depends on: for the site, and for the suite.
PACKAGES = (
    *("nginx", "curl", "openssl", "procps", "bash-completion"),
    *("python3-pytest", "python3-pytest-asyncio", "python3-pytest-xdist"),
    *("python3-hypothesis", "python3-h11", "python3-httptools"),
)

#: What the second package is called, which the first is upgraded to.
SUFFIX = "+e2e1"


def built(suffix: str = "") -> tuple[Path, str]:
    """The package of this checkout, and what its building says: the tests it ran, lintian."""
    said = run([str(TOOLS / "build"), *([suffix] if suffix else [])], within=900)
    version = re.search(r"\((.*)\)", (ROOT / "debian" / "changelog").read_text("utf-8"))
    assert version is not None
    return ROOT / "dist" / "deb" / f"passproxy_{version[1]}{suffix}_all.deb", said


def copy_tree(folder: Path) -> None:
    """The checkout as it would be committed, for what runs inside."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("passproxy/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def prepare(folder: Path) -> tuple[str, str]:
    """Both packages, a repository with them, and a root that waits for them; their versions."""
    begun = time.monotonic()
    older, said = built()
    print(f"  ok      built, and lintian finds no error and no warning ({time.monotonic() - begun:.1f} s)")
    print(textwrap.indent(said.strip(), " " * 10), flush=True)
    newer, _ = built(SUFFIX)
    run([str(TOOLS / "repository"), str(folder.parent / "apt")], within=60, URL="file:/srv/apt/")
    for file in newer.parent.glob(f"*{SUFFIX}*"):
        file.rename(folder.parent / file.name)
    prepared(folder, CACHE / "archives", PACKAGES, older)
    shutil.copytree(folder.parent / "apt", folder / "srv" / "apt")
    copy_tree(folder / "root" / "tree")
    return older.name.split("_")[1], newer.name.split("_")[1]


def go(machine: Machine, versions: tuple[str, str], without_suite: bool) -> int:
    """Every step; the number that failed."""
    state = Run(machine, *versions)
    failed = 0
    for step in STEPS:
        if step is suite and without_suite:
            continue
        if sys.stdout.isatty():
            print(f"  ...     {step.__doc__}", end="\r", flush=True)
        begun = time.monotonic()
        try:
            measured = step(state)
        except (Failed, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(
                f"  FAILED  {step.__doc__}\n    " + f"{type(error).__name__}: {error}".replace("\n", "\n    "),
                flush=True,
            )
        else:
            print(
                f"  ok      {step.__doc__} ({time.monotonic() - begun:.1f} s)" + (f": {measured}" if measured else "")
            )
    return failed


def main(without_suite: bool, keep: bool) -> int:
    begun = time.monotonic()
    CACHE.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="machine.", dir=CACHE))
    try:
        print("Building the package and preparing a machine ...", flush=True)
        versions = prepare(scratch / "root")
        print(f"  ok      a newer one, a signed repository, a root ({time.monotonic() - begun:.0f} s)", flush=True)
        with booted(scratch / "root") as machine:
            print(f"  ok      Debian {machine.run('cat', '/etc/debian_version')} is up", flush=True)
            failed = go(machine, versions, without_suite)
    except Failed as error:
        print(f"  FAILED  {error}")
        failed = 1
    finally:
        if keep:
            print(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"{failed or 'none'} failed in {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.deb", description="The Debian package on a Debian 13.")
    parser.add_argument("--without-suite", action="store_true", help="leave out the longest step")
    parser.add_argument("--keep", action="store_true", help="keep the machine's root afterwards")
    given = parser.parse_args()
    sys.exit(main(given.without_suite, given.keep))
