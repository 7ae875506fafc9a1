"""
Keycloak, from Maven Central: the identity provider most often met at organisations.

Installed once below the checkout, then started on loopback with its data in
memory. What it is configured with is in realm.py; its defaults stay as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from tests.interop.processes import Ready, StartFailed, free_port, run, server
from tests.interop.provider import Provider
from tests.interop.realm import CLIENT_ID, CLIENT_SECRET, REALM, realm

#: The newest release that still runs on Java 17, which Debian 12 has.
VERSION = "26.7.3"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"

#: 177 MB over a slow line.
DOWNLOAD_SECONDS = 240.0

#: Half a minute each on two idle cores; four times that on busy ones.
BUILD_SECONDS = 120.0
START_SECONDS = 120.0

_ADMINISTRATOR = {"username": "administrator", "password": "administrator"}

_JAVA = {
    # Enough for a hundred logins; the default takes half of the machine.
    "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx512m",
    # It lives for a minute: compiling its code well takes longer than running it.
    "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true",
}

_BUILT_FOR = ("--db=dev-mem", "--cache=local")


@contextlib.asynccontextmanager
async def keycloak(cache: Path, scratch: Path, origins: Sequence[str]) -> AsyncIterator[Provider]:
    """Keycloak with one realm, whose clients are PassProxy at each of these origins."""
    home = _installed(cache)
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    command = [
        *("bash", str(home / "bin/kc.sh"), "start", "--optimized", "--http-enabled=true"),
        *("--http-host=127.0.0.1", f"--http-port={port}", f"--hostname={base_url}"),
    ]
    administrator = {f"KC_BOOTSTRAP_ADMIN_{key.upper()}": value for key, value in _ADMINISTRATOR.items()}
    ready = Ready(f"{base_url}/realms/master/.well-known/openid-configuration", {}, START_SECONDS)
    async with server(command, ready, scratch / "keycloak.log", env={**_JAVA, **administrator}) as seconds:
        await _import_realm(base_url, origins)
        yield Provider(
            name=f"Keycloak {VERSION}",
            base_url=base_url,
            start_seconds=seconds,
            sections={
                "oidc": {
                    "issuer": f"{base_url}/realms/{REALM}",
                    "client_id": CLIENT_ID,
                    "client_secret": CLIENT_SECRET,
                },
                "saml": {"metadata_url": f"{base_url}/realms/{REALM}/protocol/saml/descriptor"},
            },
        )


async def _import_realm(base_url: str, origins: Sequence[str]) -> None:
    """Over its own interface: `--import-realm` reads from inside the installation, which other runs share."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        form = {"grant_type": "password", "client_id": "admin-cli", **_ADMINISTRATOR}
        async with http.post(f"{base_url}/realms/master/protocol/openid-connect/token", data=form) as response:
            response.raise_for_status()
            token = (await response.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with http.post(f"{base_url}/admin/realms", json=realm(origins), headers=headers) as response:
            if response.status != 201:
                raise StartFailed(f"Keycloak refuses the realm: {response.status} {await response.text()}")


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
