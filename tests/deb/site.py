"""What an administrator writes on the machine: two domains, one of each protocol, and nginx before them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.deb.machine import Machine


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
    """What `passproxy nginx` prints, with another address of PassProxy where there is one."""
    for number, (domain, upstream) in enumerate(upstreams.items()):
        further = "--further " if number else ""
        machine.sh(
            f"passproxy nginx {further}{domain.file} >/tmp/nginx.conf\n"
            f"grep -q 'server 127.0.0.1:{domain.port};' /tmp/nginx.conf\n"
            f"sed 's,server 127.0.0.1:{domain.port};,server {upstream};,' /tmp/nginx.conf >/etc/nginx/conf.d/{domain.name}.conf"
        )
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
