"""The command, as it is run: from the enrolment to the timer."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from passproxy.trusted.settings import settings_from
from tests.trusted.describing import Describing, describing
from tests.trusted.given import new_key

ROOT = Path(__file__).parents[2]


@pytest.fixture
def proxy() -> Iterator[Describing]:
    with describing(time.time) as running:
        yield running


def command(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in an environment that has nothing of ours but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRUSTED_PROXY_")}
    return subprocess.run(
        [sys.executable, "-m", "passproxy.trusted", *map(str, arguments)],
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=False,
    )


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line.startswith("TRUSTED_PROXY_"))


def test_enrolling_says_whom_it_trusts_and_what_to_set(proxy: Describing) -> None:
    done = command("enroll", proxy.origin)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{proxy.origin} has proven that it holds the keys of its assertions.\n")
    assert proxy.proxy.kid in done.stdout
    assert settings_from(variables(done.stdout)).issuer == proxy.origin


def test_the_variables_alone_can_be_redirected(proxy: Describing) -> None:
    done = command("enroll", proxy.origin, "--env")
    assert all(line.startswith("TRUSTED_PROXY_") for line in done.stdout.splitlines())
    assert settings_from(variables(done.stdout)).thumbprints == (proxy.proxy.kid,)


def test_a_file_is_written_and_watched(proxy: Describing, tmp_path: Path) -> None:
    file = tmp_path / "trusted.env"
    assert command("enroll", proxy.origin, "--write", file).returncode == 0
    assert settings_from(variables(file.read_text())).issuer == proxy.origin
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["trusted.env"]

    done = command("verify", "--file", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{proxy.origin} is as it was enrolled.\n", "")

    old, coming = proxy.proxy.key, new_key()
    proxy.keys = (old, coming)
    done = command("verify", "--file", file)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: the keys were rotated")
    done = command("verify", "--file", file, "--follow")
    assert (done.returncode, done.stderr) == (0, "")

    proxy.proxy.key, proxy.keys = coming, (coming,)
    assert command("verify", "--file", file).returncode == 0, "the new key was followed while the old one vouched"

    proxy.proxy.key = stranger = new_key()
    proxy.keys = (stranger,)
    before = file.read_text()
    done = command("verify", "--file", file, "--follow")
    assert done.returncode == 1
    assert "none of the keys" in done.stderr
    assert file.read_text() == before


def test_the_environment_is_compared_where_there_is_no_file(proxy: Describing) -> None:
    given = variables(command("enroll", proxy.origin, "--env").stdout)
    assert command("verify", **given).returncode == 0
    proxy.description = {"assertion_header": "X-Other"}
    done = command("verify", **given)
    assert done.returncode == 1
    assert "TRUSTED_PROXY_ASSERTION_HEADER was X-Passproxy-Assertion" in done.stderr


def test_a_proxy_that_cannot_prove_its_key_is_not_written_down(proxy: Describing, tmp_path: Path) -> None:
    proxy.proof = {"challenge": "AAAA"}
    done = command("enroll", proxy.origin, "--write", tmp_path / "trusted.env")
    assert done.returncode == 1
    assert "challenge" in done.stderr
    assert os.listdir(tmp_path) == []


def test_each_enrolment_has_a_challenge_of_its_own(proxy: Describing) -> None:
    for _ in range(2):
        assert command("enroll", proxy.origin).returncode == 0
    challenges = {target for target in proxy.server.asked if "challenge" in target}
    assert len(challenges) == 2
    assert {len(target.partition("challenge=")[2]) for target in challenges} == {43}


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["enroll", "http://app.example.com"], 1, "not an https address"),
        (["enroll", "http://127.0.0.1:1"], 1, "ConnectionRefusedError"),
        (["verify"], 78, "TRUSTED_PROXY_ISSUER is not set"),
        (["verify", "--file", "/nowhere/trusted.env"], 1, "/nowhere/trusted.env: No such file"),
        ([], 2, "usage:"),
    ],
)
def test_every_failure_says_what_it_is(arguments: list[str], status: int, text: str) -> None:
    done = command(*arguments)
    assert done.returncode == status
    assert text in done.stderr
    assert "Traceback" not in done.stderr


_ALONE = """
import sys

class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {*sys.stdlib_module_names, "jwt", "cryptography", "_cffi_backend", "cffi", "passproxy"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Only())
import passproxy.trusted.asgi, passproxy.trusted.wsgi, passproxy.trusted.__main__
print(passproxy.trusted.__file__)
print([name for name in sys.modules if name.startswith("passproxy.") and not name.startswith("passproxy.trusted")])
"""


def test_the_package_can_be_copied_into_an_application(tmp_path: Path) -> None:
    """Without the rest of PassProxy, and with PyJWT and cryptography alone."""
    copy = tmp_path / "passproxy" / "trusted"
    shutil.copytree(ROOT / "passproxy" / "trusted", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "passproxy" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", _ALONE],
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [str(copy / "__init__.py"), "[]"]
