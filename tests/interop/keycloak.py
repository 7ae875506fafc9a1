"""
Keycloak, from Maven Central: the identity provider most often met at organisations.

Installed once below the checkout, then started on loopback with its data in
memory. What it is configured with is in realm.py; its defaults stay as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import zipfile
from collections.abc import AsyncIterator, Sequence
from html import unescape
from pathlib import Path

from tests.interop.keycloak_admin import ADMINISTRATOR, Administrator
from tests.interop.keycloak_cases import BY_REDIRECT, cases
from tests.interop.processes import Ready, StartFailed, free_port, run, server
from tests.interop.provider import ALICE, Case, OldKey
from tests.interop.realm import REALM, realm, saml_client
from tests.interop.visit import Visit

#: The newest release that still runs on Java 17, which Debian 12 has.
VERSION = "26.7.3"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"

#: 177 MB over a slow line.
DOWNLOAD_SECONDS = 240.0

#: Half a minute each on two idle cores; four times that on busy ones.
BUILD_SECONDS = 120.0
START_SECONDS = 120.0

_JAVA = {
    # Enough for a hundred logins; the default takes half of the machine.
    "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx512m",
    # It lives for a minute: compiling its code well takes longer than running it.
    "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true",
}

_BUILT_FOR = ("--db=dev-mem", "--cache=local")


# The page on which Keycloak has other applications end their sessions holds one frame for each.
_FRAME = re.compile(r'<iframe src="([^"]+)"')


class Keycloak:
    """The running server: `Provider` with one realm."""

    def __init__(self, base_url: str, start_seconds: float, scratch: Path, administrator: Administrator) -> None:
        self.name = f"Keycloak {VERSION}"
        self.base_url = base_url
        self.start_seconds = start_seconds
        self.log = log_in(scratch)
        self.cases: Sequence[Case] = cases(base_url, scratch)
        self._administrator = administrator

    async def introduce(self, case: Case, metadata: bytes | None) -> None:
        if metadata is not None:
            imported = await self._administrator.client_of(metadata)
            await self._administrator.create_client(saml_client(case, imported))

    async def end_sessions(self, visit: Visit) -> None:
        if visit.case.ending == "browser":
            await self._log_out_in(visit)
        else:
            await self._administrator.log_out(ALICE.login)

    async def _log_out_in(self, visit: Visit) -> None:
        """Keycloak's own logout, as of its account pages; it sends the browser around, or opens frames."""
        page = await visit.browser.open(f"{self.base_url}/realms/{REALM}/protocol/openid-connect/logout")
        page = await visit.confirmed(page)
        frames = _FRAME.findall(page.text)
        if visit.case.protocol == "saml":
            sent = visit.browser.last(visit.case.stand.url("saml/slo"))
            assert "SAMLRequest" in {**sent.query, **sent.form}, sorted(sent.query)
            expected = "GET" if BY_REDIRECT.items() <= visit.case.client["attributes"].items() else "POST"
            assert sent.method == expected, f"Keycloak's request came by {sent.method}, not {expected}"
        else:
            assert frames, f"no frames on the page after the logout: {page.text[:500]}"
        assert page.url.startswith(self.base_url), f"after Keycloak's logout at {page.url} ({page.status})"
        assert page.status == 200, f"{page.status} after Keycloak's logout: {page.text[:500]}"
        for url in frames:
            frame = await visit.browser.fetch(unescape(url), page=page)
            assert frame.status == 200, f"{frame.status} in a frame of Keycloak's page"
            policy = frame.headers.get("Content-Security-Policy", "")
            assert f"frame-ancestors {self.base_url}" in policy, f"no browser would open the frame: {policy}"
            assert "X-Frame-Options" not in frame.headers, "no browser would open the frame"

    async def set_groups(self, login: str, groups: Sequence[str]) -> None:
        await self._administrator.set_groups(login, groups)

    async def new_key(self, old: OldKey) -> None:
        await self._administrator.new_key(old)


def log_in(scratch: Path) -> Path:
    return scratch / "keycloak.log"


@contextlib.asynccontextmanager
async def keycloak(cache: Path, scratch: Path) -> AsyncIterator[Keycloak]:
    """Keycloak with one realm, whose clients are PassProxy in each of its cases."""
    home = _installed(cache)
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    command = [
        *("bash", str(home / "bin/kc.sh"), "start", "--optimized", "--http-enabled=true"),
        *("--http-host=127.0.0.1", f"--http-port={port}", f"--hostname={base_url}"),
    ]
    bootstrap = {f"KC_BOOTSTRAP_ADMIN_{key.upper()}": value for key, value in ADMINISTRATOR.items()}
    ready = Ready(f"{base_url}/realms/master/.well-known/openid-configuration", {}, START_SECONDS)
    async with server(command, ready, log_in(scratch), env={**_JAVA, **bootstrap}) as seconds:
        administrator = Administrator(base_url, REALM)
        try:
            running = Keycloak(base_url, seconds, scratch, administrator)
            await administrator.create_realm(realm(running.cases))
            yield running
        finally:
            await administrator.close()


def _installed(cache: Path) -> Path:
    home = cache / f"keycloak-{VERSION}"
    built = home / "built-for-interop"
    if built.exists():
        return home
    print(f"Installing Keycloak {VERSION} into {cache.name}/ (once) ...", flush=True)
    cache.mkdir(exist_ok=True)
    archive = _downloaded(cache)
    shutil.rmtree(home, ignore_errors=True)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(cache)
    archive.unlink()
    run(
        ["bash", str(home / "bin/kc.sh"), "build", *_BUILT_FOR],
        cwd=home,
        within_seconds=BUILD_SECONDS,
        env=_JAVA,
    )
    built.touch()
    return home


def _downloaded(cache: Path) -> Path:
    archive = cache / f"keycloak-quarkus-dist-{VERSION}.zip"
    artifact = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
    command = ["mvn", "--batch-mode", "--quiet", "--no-transfer-progress", "dependency:copy"]
    run(
        [*command, f"-Dartifact={artifact}", f"-DoutputDirectory={cache}"],
        cwd=cache,
        within_seconds=DOWNLOAD_SECONDS,
    )
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            archive.unlink()
            raise StartFailed(f"{archive.name} is not the archive that was pinned")
    return archive
