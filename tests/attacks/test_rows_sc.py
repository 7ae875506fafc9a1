"""
Rows SC of the catalogue: which releases are installed, whether the installation still refuses what it must, and what a
hostile working directory or a careless flag of Python could change.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import passproxy
from passproxy.idp.saml import selftest
from passproxy.idp.saml.errors import VerifierFailed
from passproxy.idp.saml.pool import Verifier
from tests.fakes.commands import WAIT_SECONDS, free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(passproxy.__file__).parent
LOCKS = ("requirements.lock", "requirements-dev.lock")

#: The first releases without the vulnerabilities that are known (attack catalogue 2.17).
FLOORS = {
    "aiohttp": "3.14.4",
    "pyjwt": "2.15.1",
    "authlib": "1.9.1",
    "joserfc": "1.7.3",
    "lxml": "6.1.0",
    "cryptography": "50.0.0",
}


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def entries(lock: str) -> list[str]:
    """One for each package of a lock file, its hashes included."""
    text = re.sub(r"^ *#.*\n?", "", (ROOT / lock).read_text("utf-8"), flags=re.MULTILINE)
    return [entry for entry in re.split(r"\n(?=\S)", text.replace("\\\n", "").strip()) if entry]


def locked(lock: str) -> dict[str, str]:
    found = (re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", entry) for entry in entries(lock))
    return {match[1].lower(): match[2] for match in found if match}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_sc_01_no_release_with_a_known_vulnerability_is_locked(package: str, floor: str):
    assert number(locked("requirements.lock")[package]) >= number(floor)


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_sc_01_nor_accepted_where_somebody_else_installs_it(package: str, floor: str):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    floors = dict(re.split(r">=", each.lower()) for each in project["dependencies"])
    # joserfc is Authlib's own dependency.
    assert package == "joserfc" or number(floors[package]) >= number(floor)


@pytest.mark.parametrize("lock", LOCKS)
def test_sc_02_every_package_is_one_release_with_its_hashes(lock: str):
    assert len(entries(lock)) == len(locked(lock)) > 20
    for entry in entries(lock):
        assert re.fullmatch(
            r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[0-9][^\s;]*( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry
        ), entry[:80]


@pytest.mark.parametrize("lock", LOCKS)
def test_sc_02_no_lock_file_names_another_place_to_look(lock: str):
    assert not re.search(r"^\s*(-i|-f|-e|--(?!hash)|.*(://|git\+|@ ))", "\n".join(entries(lock)), re.MULTILINE)


def test_sc_02_only_wheels_whose_hash_is_locked_are_installed():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in re.findall(r"pip install.*", makefile):
        is_ours = "--no-index" in line  # the project itself, from this tree
        is_locked = "--require-hashes" in line and "--only-binary :all:" in line and "--no-deps" in line
        makes_the_lock = line.endswith(" uv")
        assert is_ours or is_locked or makes_the_lock, line


# --- the self-test


def test_sc_03_this_installation_accepts_a_genuine_answer_and_refuses_forged_ones():
    assert selftest.failures(time.time()) == []


async def test_sc_03_a_process_whose_libraries_refuse_what_is_genuine_judges_nobody():
    await _judges_nobody("selftest.verified = lambda document, expected: 1 / 0", "a genuine response is not accepted")


async def test_sc_04_a_process_that_accepts_what_is_forged_judges_nobody():
    await _judges_nobody("selftest.verified = lambda document, expected: None", "although it is not signed")


async def _judges_nobody(sabotage: str, reason: str) -> None:
    script = f"from passproxy.idp.saml import selftest, worker; {sabotage}; worker.main()"
    verifier = Verifier(time.time, command=(sys.executable, "-P", "-c", script))
    try:
        with pytest.raises(VerifierFailed) as refusal:
            await verifier.ask({"do": "check", "now": time.time()})
        assert reason in refusal.value.detail
        assert "libxml2 of xmlsec" in refusal.value.detail
    finally:
        await verifier.close()


@pytest.mark.parametrize("forged", ["is not signed", "was changed", "holds a second assertion", "is signed with HMAC"])
def test_sc_04_each_forgery_is_one_that_the_self_test_notices(forged: str, monkeypatch: pytest.MonkeyPatch):
    genuine = selftest.verified

    def lenient(document: bytes, expected: object) -> object:
        if document == made[-1]:
            return None
        return genuine(document, expected)

    made: list[bytes] = [b""]
    forge = selftest._FORGERIES[forged]

    def remembered(document: bytes) -> bytes:
        made.append(forge(document))
        return made[-1]

    monkeypatch.setitem(selftest._FORGERIES, forged, remembered)
    monkeypatch.setattr(selftest, "verified", lenient)
    assert selftest.failures(time.time()) == [f"a response is accepted although it {forged}"]


#: What Python imports in each process before anything else: the children of a command are sabotaged too.
_SABOTAGE = """
import os
from passproxy.core.tokens import KeyRing
from passproxy.idp.oidc import selftest
if os.environ["SABOTAGED"] == "sessions":
    KeyRing.unseal = lambda *_: {"sub": "anybody"}
if os.environ["SABOTAGED"] == "tokens":
    selftest.verified_claims = lambda *_: {"sub": "anybody"}
"""


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("what", "noticed"), [("sessions", "a session is accepted"), ("tokens", "an ID token is accepted")]
)
def test_sc_04_an_installation_that_accepts_what_is_forged_does_not_start(
    tmp_path: Path, what: str, noticed: str, command: str
):
    (tmp_path / "app.yaml").write_text(
        f"domain: app.example.com\nlisten: 127.0.0.1:{free_port()}\nstate_dir: {tmp_path}/state\n"
        "upstream: {url: 'http://127.0.0.1:9'}\noidc: {issuer: 'http://127.0.0.1:9', client_id: app}\n"
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_SABOTAGE)
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "passproxy", command, str(tmp_path / "app.yaml")],
        capture_output=True, text=True, timeout=2 * WAIT_SECONDS, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "SABOTAGED": what},
    )  # fmt: skip
    assert done.returncode == 78, done.stderr
    assert f"this installation: {noticed} although it has no algorithm" in done.stderr
    assert not (tmp_path / "state").exists()


# --- where modules come from


def test_sc_08_nothing_is_imported_from_the_working_directory(tmp_path: Path):
    """A server and its children, in a folder full of modules with familiar names."""
    marker = tmp_path / "imported"
    for name in (
        "yaml",
        "json",
        "lxml",
        "xmlsec",
        "jwt",
        "aiohttp",
        "uvloop",
        "pydantic",
        "passproxy",
        "sitecustomize",
    ):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write({name!r})\n")
    port = free_port()
    (tmp_path / "app.conf").write_text(
        f"domain: 127.0.0.1\norigin: http://127.0.0.1:{port}\nlisten: 127.0.0.1:{port}\nstate_dir: {tmp_path}/state\n"
        "upstream: {url: 'http://127.0.0.1:9'}\nsaml: {metadata_file: /nowhere}\n"
    )
    # What the installed command is: a script whose own folder is first on the path, not the working directory.
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "passproxy"
    command.write_text("import sys\nfrom passproxy.cli import main\nsys.exit(main())\n")
    process = subprocess.Popen(
        [sys.executable, str(command), "serve", str(tmp_path / "app.conf")],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(port)
        process.terminate()
        _, written = process.communicate(timeout=WAIT_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert "server.stopped" in written
    assert not marker.exists()


# --- without assertions


def test_sc_09_no_check_is_an_assertion():
    """The demo's own may stay: it is a provider to play with, and judges nothing."""
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if "demo" not in path.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "__debug__")
    ]
    assert found == []


_REFUSALS = """
import time
from passproxy.core.errors import TokenInvalid
from passproxy.core.tokens import Key, KeyRing, Purpose
from passproxy.idp.saml.selftest import failures
ring, other = (KeyRing((Key(name, name.encode() * 32, 1),), "https://a.example.com") for name in "ab")
token = ring.seal(Purpose.SESSION, {"sid": "x"}, issued_at=1, expires_at=10).encode()
ring.unseal(Purpose.SESSION, token, 5)
refused = 0
for by, purpose, text, now in (
    (other, Purpose.SESSION, token, 5), (ring, Purpose.KEPT, token, 5), (ring, Purpose.SESSION, token, 50),
    (ring, Purpose.SESSION, token[:-4] + b"AAAA", 5),
    (ring, Purpose.SESSION, b"eyJhbGciOiJub25lIn0." + token.split(b".")[1] + b".", 5),
):
    try:
        by.unseal(purpose, text, now)
    except TokenInvalid:
        refused += 1
print(__debug__, refused, failures(time.time()))
"""


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_sc_09_what_is_refused_is_refused_without_assertions_too(flag: str):
    done = subprocess.run(
        [sys.executable, flag, "-W", "ignore", "-P", "-c", _REFUSALS],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert (done.stdout, done.returncode) == ("False 5 []\n", 0), done.stderr
