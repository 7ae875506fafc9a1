"""What stands around the instances of one protocol: the demo's provider and application, and what is configured."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from passproxy.core.tokens import keys_text, new_key
from tests.container.instance import Instance, Wanted
from tests.e2e.processes import child, free_port
from tests.fakes.browser import Browser, Front, Page

DOMAIN = "app.example.test"
SECRETS = "/run/secrets"

#: With everything in it that a careless redirect loses.
DEEP_LINK = "/whoami?report=2026%2Fq3&name=a+b&name=c%26d"

_BACKSTAGE = Path(__file__).parents[1] / "e2e" / "backstage.py"


@dataclass(frozen=True, slots=True)
class Site:
    """`facts` are what the demo's provider says of itself; `keys` is the file that replicas share."""

    protocol: str
    origin: str
    facts: Mapping[str, str]
    keys: bytes

    def wanted(self, name: str, *, state: Path | None = None) -> Wanted:
        """An instance that is configured by its environment and by files with secrets. With keys it needs no state."""
        port = free_port()
        environment = {
            "PASSPROXY_DOMAIN": DOMAIN,
            "PASSPROXY_ORIGIN": self.origin,
            "PASSPROXY_LISTEN": f"127.0.0.1:{port}",
            "PASSPROXY_UPSTREAM_URL": self.facts["application"],
            "PASSPROXY_PASSTHROUGH_PATHS": "/events",
        }
        secrets: dict[str, bytes] = {}
        if state is None:
            environment["PASSPROXY_SESSION_KEYS_FILE"] = f"{SECRETS}/keys"
            secrets["keys"] = self.keys
        if self.protocol == "oidc":
            environment["PASSPROXY_OIDC_ISSUER"] = self.facts["issuer"]
            environment["PASSPROXY_OIDC_CLIENT_ID"] = self.facts["client_id"]
            environment["PASSPROXY_OIDC_CLIENT_SECRET_FILE"] = f"{SECRETS}/client_secret"
            secrets["client_secret"] = self.facts["client_secret"].encode()
        else:
            environment["PASSPROXY_SAML_METADATA_URL"] = self.facts["metadata_url"]
            if state is None:
                environment["PASSPROXY_SAML_KEY_FILE"] = f"{SECRETS}/saml.key"
                environment["PASSPROXY_SAML_CERTIFICATE_FILE"] = f"{SECRETS}/saml.crt"
                secrets["saml.key"], secrets["saml.crt"] = saml_key()
        return Wanted(f"passproxy-{self.protocol}-{name}", port, environment, secrets, state)

    def browser(self, instance: Instance) -> Browser:
        """One that reaches the origin at this instance, past any web server."""
        added = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
        return Browser({self.origin: Front(f"http://127.0.0.1:{instance.port}", added)})

    async def log_in(self, browser: Browser, target: str = DEEP_LINK) -> Page:
        """As alice, from an address of the application back to it."""
        return self.check(await self.finish(browser, await self.begin(browser, target)), target)

    async def begin(self, browser: Browser, target: str = DEEP_LINK) -> Page:
        """As far as the provider's form."""
        page = await browser.open(self.origin + target)
        assert page.url.startswith(self.facts["issuer"]), f"not at the provider but at {page.url} ({page.status})"
        return page

    async def finish(self, browser: Browser, form: Page) -> Page:
        return await browser.sign_in(form, "alice", "alice")

    def check(self, page: Page, target: str = DEEP_LINK) -> Page:
        """It is the address that was asked for, and the application knows who asks."""
        assert (page.status, page.url) == (200, self.origin + target), f"{page.status} at {page.url}: {page.text[:500]}"
        said = page.json()
        assert said["target"] == target, said["target"]
        assert ["X-Passproxy-User", "alice"] in said["headers"], said["headers"]
        return page


@contextlib.asynccontextmanager
async def site(protocol: str, origin: str, folder: Path) -> AsyncIterator[Site]:
    """The provider and the application as long as the block."""
    command = [sys.executable, str(_BACKSTAGE), origin]
    async with child(command, folder / "backstage.log", lambda said: said.endswith("}\n")) as running:
        yield Site(protocol, origin, json.loads(running.said), keys_text((new_key(time.time()),)).encode())


def saml_key() -> tuple[bytes, bytes]:
    """Our RSA key and its certificate, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
    ).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)
