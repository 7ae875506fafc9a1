"""What an administrator writes on the machine: two domains, one of each protocol, and nginx before them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.deb.machine import ROOT, Machine

SNIPPET = (ROOT / "etc" / "nginx" / "passproxy.conf").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Domain:
    """One instance: `name` is the systemd instance's, and the protocol that it speaks."""

    name: str
    port: int

    @property
    def host(self) -> str:
        return f"{self.name}.example.com"

    @property
    def origin(self) -> str:
        return f"https://{self.host}"

    @property
    def unit(self) -> str:
        return f"passproxy@{self.name}"

    @property
    def file(self) -> str:
        return f"/etc/passproxy/{self.name}.yaml"


OIDC = Domain("oidc", 8123)
SAML = Domain("saml", 8124)
DOMAINS = (OIDC, SAML)


def provide(machine: Machine, domain: Domain) -> None:
    """Start an identity provider and an application for it, and write its configuration, for root's eyes alone."""
    unit = f"backstage-{domain.name}"
    script = "/root/tree/tests/e2e/backstage.py"
    machine.run("systemd-run", "--quiet", f"--unit={unit}", "python3", script, domain.origin)
    machine.eventually(f"journalctl --unit={unit} --output=cat | grep -q '^{{'", f"{unit} is up")
    facts = json.loads(machine.sh(f"journalctl --unit={unit} --output=cat | grep '^{{'"))
    provider = f"saml:\n  metadata_url: {facts['metadata_url']}\n"
    if domain is OIDC:
        machine.write("/etc/passproxy/oidc.secret", facts["client_secret"] + "\n")
        provider = (
            f"oidc:\n  issuer: {facts['issuer']}\n  client_id: {facts['client_id']}\n"
            "  client_secret_file: /etc/passproxy/oidc.secret\n"
        )
    machine.write(
        domain.file,
        f"domain: {domain.host}\nlisten: 127.0.0.1:{domain.port}\nstate_dir: /var/lib/passproxy/{domain.name}\n"
        f"upstream:\n  url: {facts['application']}\n{provider}",
    )


def add_nginx(machine: Machine, upstreams: dict[Domain, str]) -> None:
    """The shipped snippet, with what its comments say to replace; the certificate is trusted by the whole machine."""
    once, _, domain_part = SNIPPET.partition("# --- One domain\n")
    parts = [once]
    for domain, upstream in upstreams.items():
        text = domain_part.replace("app.example.com", domain.host).replace("passproxy_app", f"passproxy_{domain.name}")
        parts.append(re.sub(r"server 127\.0\.0\.1:8123;", f"server {upstream};", text))
    machine.write("/etc/nginx/conf.d/passproxy.conf", "".join(parts), 0o644)
    machine.sh("rm -f /etc/nginx/sites-enabled/default && nginx -t && systemctl reload-or-restart nginx")


def add_certificates(machine: Machine) -> None:
    for domain in DOMAINS:
        certificate, key = f"/etc/ssl/certs/{domain.host}.pem", f"/etc/ssl/private/{domain.host}.key"
        machine.sh(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={domain.host} "
            f"-addext subjectAltName=DNS:{domain.host} -keyout {key} -out {certificate} 2>&1"
        )
        machine.sh(f"cp {certificate} /usr/local/share/ca-certificates/{domain.host}.crt")
    machine.sh("update-ca-certificates --fresh >/dev/null")
    names = " ".join(domain.host for domain in DOMAINS)
    machine.sh(f"echo '127.0.0.1 {names}' >>/etc/hosts")
