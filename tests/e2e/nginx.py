"""A real nginx with what `passproxy nginx` prints for this place: only the addresses and paths of this machine are other ones."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.processes import PASSPROXY, child, free_port, is_listening

#: Debian has it where ordinary users do not look.
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin") or "nginx"

# Around the snippet: what a distribution's nginx.conf has, with every file in one folder.
_MAIN = """
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.log notice;
daemon off;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    log_format upstreams '$upstream_addr $request_method $uri $status';
    access_log {folder}/access.log upstreams;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/passproxy.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """`port` speaks TLS, `plain_port` only leads there; a line of `log` begins with the instance that answered."""

    port: int
    plain_port: int
    log: Path


@contextlib.asynccontextmanager
async def nginx(
    domain: str, port: int, passproxy_port: int, folder: Path, further_ports: Sequence[int] = ()
) -> AsyncIterator[Nginx]:
    """nginx at this port, in front of PassProxy at that one, and of further instances of it."""
    plain_port = free_port()
    make_certificate(domain, folder)
    text = printed(domain, port, f"127.0.0.1:{passproxy_port}")
    first = f"server 127.0.0.1:{passproxy_port};"
    assert first in text
    replicas = "".join(f"\n    server 127.0.0.1:{each};" for each in further_ports)
    main = written(placed(text.replace(first, first + replicas), domain, plain_port, folder), folder)
    check(main)
    command = [NGINX, "-e", str(folder / "start.log"), "-c", str(main)]
    async with child(command, folder / "nginx.out", lambda said: is_listening(port)):
        yield Nginx(port, plain_port, folder / "access.log")


def written(snippet: str, folder: Path) -> Path:
    """All of nginx's configuration, in this folder."""
    (folder / "passproxy.conf").write_text(snippet, "utf-8")
    # Started by root it would give up the right to read this folder.
    user = "user root;" if os.getuid() == 0 else ""
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(folder=folder, user=user), "utf-8")
    return main


def check(main: Path) -> None:
    """`nginx -t`: it is valid, and there is nothing to warn of."""
    command = [NGINX, "-t", "-e", "/dev/null", "-c", str(main)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, result.stderr
    assert "[warn]" not in result.stderr, result.stderr


def version() -> tuple[int, ...]:
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, timeout=20, check=True).stderr
    found = re.search(r"nginx/([\d.]+)", said)
    assert found is not None, said
    return tuple(map(int, found[1].split(".")))


def placed(text: str, domain: str, plain_port: int, folder: Path) -> str:
    """What the command prints, on loopback and with these files; each replacement must find something."""
    replacements = [
        (r"listen 80\b", f"listen 127.0.0.1:{plain_port}"),
        (r"listen (\d+ ssl)", r"listen 127.0.0.1:\1"),
        (r"listen \[::\]:80\b", f"listen [::1]:{plain_port}"),
        (r"listen \[::\]:(\d+ ssl)", r"listen [::1]:\1"),
        (rf"/etc/ssl/certs/{re.escape(domain)}\.pem", str(folder / "certificate.pem")),
        (rf"/etc/ssl/private/{re.escape(domain)}\.key", str(folder / "key.pem")),
    ]
    if not Path("/proc/net/if_inet6").exists():
        replacements += [(r"\n *listen \[::1\][^;]*;", "")]
    for pattern, replacement in replacements:
        text, count = re.subn(pattern, replacement, text)
        assert count > 0, f"{pattern} is not in nginx's part any more"
    return text


def printed(domain: str, port: int, listen: str, *options: str) -> str:
    """`passproxy nginx` for this place, and for the nginx that is installed."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PASSPROXY_")}
    environment = {
        **others,
        "PASSPROXY_DOMAIN": domain,
        "PASSPROXY_ORIGIN": f"https://{domain}:{port}",
        "PASSPROXY_LISTEN": listen,
        "PASSPROXY_UPSTREAM_URL": "http://127.0.0.1:3000",
        "PASSPROXY_SAML_METADATA_FILE": "idp.xml",
    }
    command = [PASSPROXY, "nginx", "--nginx", ".".join(map(str, version())), *options]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def make_certificate(domain: str, folder: Path) -> None:
    """Self-signed, for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(folder / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
