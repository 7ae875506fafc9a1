"""
A real nginx with the shipped snippet: only paths, ports and the name are other ones.

Where nginx is older than the snippet expects, what its comments say is done.
"""

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

from tests.e2e.processes import child, free_port, is_listening

SNIPPET = Path(__file__).parent.parent.parent / "etc" / "nginx" / "passproxy.conf"

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
    _make_certificate(domain, folder)
    snippet = adapted(SNIPPET.read_text("utf-8"), domain, port, plain_port, passproxy_port, folder)
    first = f"server 127.0.0.1:{passproxy_port};"
    assert first in snippet
    replicas = "".join(f"\n    server 127.0.0.1:{each};" for each in further_ports)
    (folder / "passproxy.conf").write_text(snippet.replace(first, first + replicas), "utf-8")
    # Started by root it would give up the right to read this folder.
    user = "user root;" if os.getuid() == 0 else ""
    main = folder / "nginx.conf"
    main.write_text(_MAIN.format(folder=folder, user=user), "utf-8")
    check(main)
    command = [NGINX, "-e", str(folder / "start.log"), "-c", str(main)]
    async with child(command, folder / "nginx.out", lambda said: is_listening(port)):
        yield Nginx(port, plain_port, folder / "access.log")


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


def adapted(text: str, domain: str, port: int, plain_port: int, passproxy_port: int, folder: Path) -> str:
    """The snippet for these places; each replacement must find something."""
    replacements = [
        (r"listen 80\b", f"listen 127.0.0.1:{plain_port}"),
        (r"listen 443\b", f"listen 127.0.0.1:{port}"),
        (r"listen \[::\]:80\b", f"listen [::1]:{plain_port}"),
        (r"listen \[::\]:443\b", f"listen [::1]:{port}"),
        (r"127\.0\.0\.1:8123\b", f"127.0.0.1:{passproxy_port}"),
        (r"/etc/ssl/certs/app\.example\.com\.pem", str(folder / "certificate.pem")),
        (r"/etc/ssl/private/app\.example\.com\.key", str(folder / "key.pem")),
        (r"https://app\.example\.com\$", f"https://{domain}:{port}$"),
        (r"app\.example\.com;", f"{domain};"),
        # "On another port than 443 write $host:$server_port."
        (r"Host \$host;", "Host $host:$server_port;"),
    ]
    if version() < (1, 25, 1):
        # "Before nginx 1.25.1 write `listen 443 ssl http2;` instead."
        replacements += [(r"( ssl)( default_server)?;", r"\1 http2\2;"), (r"\n *http2 on;", "")]
    if not Path("/proc/net/if_inet6").exists():
        replacements += [(r"\n *listen \[::1\][^;]*;", "")]
    for pattern, replacement in replacements:
        text, count = re.subn(pattern, replacement, text)
        assert count > 0, f"{pattern} is not in the snippet any more"
    return text


def _make_certificate(domain: str, folder: Path) -> None:
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
