"""
What is proved on the machine, step by step, in the order of an installation's life.

A step is a function whose first line of documentation is what it proves; it
raises when that does not hold, and may return what was measured.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.deb.machine import Failed, Machine
from tests.deb.site import DOMAINS, OIDC, SAML, Domain, add_certificates, add_nginx, provide

#: The specification's figure for `systemd-analyze security`.
EXPOSURE_LIMIT = 2.0

#: Requests under load before and after a change.
LOAD_SECONDS = 1.5

#: Where systemd takes the users of DynamicUser= from.
DYNAMIC_USERS = range(61184, 65520)

_CLIENT = "cd /root/tree && PYTHONDONTWRITEBYTECODE=1 python3 -m tests.deb.client"
_OURS = (
    "-o Dir::Etc::sourcelist=sources.list.d/passproxy.sources -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"
)
_APT = "apt-get --quiet --quiet --yes --no-install-recommends"


@dataclass(slots=True)
class Run:
    """What one step leaves for the next."""

    machine: Machine
    version: str
    newer: str
    cookies: dict[Domain, str] = field(default_factory=dict)

    def main_pid(self, domain: Domain) -> int:
        return int(self.machine.run("systemctl", "show", "--property=MainPID", "--value", domain.unit))

    def is_signed_in(self, domain: Domain) -> None:
        """The session that was opened first still opens the application."""
        cookie = shlex.quote(f"Cookie: {self.cookies[domain]}")
        said = self.machine.sh(f"curl --silent --fail --header {cookie} {domain.origin}/whoami")
        if "alice" not in said:
            raise Failed(f"{domain.origin} does not know alice any more:\n{said}")

    def under_load(self, domain: Domain, change: Callable[[], None]) -> str:
        """Do something while people go on working; every request of theirs must be answered."""
        addresses = f"{domain.origin}/whoami unix:/run/passproxy/{domain.name}.sock@{domain.host}"
        cookie = shlex.quote(self.cookies[domain])
        going = self.machine.start("sh", "-c", f"rm -f /tmp/ending; {_CLIENT} load /tmp/ending {cookie} {addresses}")
        try:
            time.sleep(LOAD_SECONDS)
            change()
            time.sleep(LOAD_SECONDS)
            self.machine.sh("touch /tmp/ending")
            said, _ = going.communicate(timeout=60)
        finally:
            going.kill()
            going.wait()
        result = json.loads(said.strip().splitlines()[-1])
        if result["failures"] or len(result["answered"]) != 2:
            raise Failed(f"{json.dumps(result, indent=2)}\n{said}")
        return f"{sum(result['answered'].values())} requests, none refused"


def install(run: Run) -> str:
    """install from the repository: keyring, deb822 source, apt install"""
    run.machine.sh(
        "install -D -m 0644 /srv/apt/passproxy.pgp /etc/apt/keyrings/passproxy.pgp\n"
        "install -m 0644 /srv/apt/passproxy.sources /etc/apt/sources.list.d/passproxy.sources\n"
        f"apt-get --quiet --quiet update {_OURS}\n"
        f"{_APT} install passproxy={run.version} nginx curl openssl procps",
        within=300,
    )
    said = run.machine.run("passproxy", "--version")
    if not said.startswith("passproxy "):
        raise Failed(said)
    return said


def refuse_tampering(run: Run) -> None:
    """apt refuses the repository when one byte of it was changed"""
    run.machine.sh(
        "rm -rf /tmp/apt && cp -r /srv/apt /tmp/apt && sed -i s/passproxy/passprozy/ /tmp/apt/dists/stable/InRelease "
        "&& sed -i s/0.1/0.2/ /tmp/apt/dists/stable/main/binary-all/Packages /tmp/apt/dists/stable/InRelease\n"
        "sed s,/srv/apt,/tmp/apt, /etc/apt/sources.list.d/passproxy.sources >/tmp/other.sources"
    )
    options = _OURS.replace("sources.list.d/passproxy.sources", "/tmp/other.sources")
    run.machine.refuses("sh", "-c", f"apt-get --error-on=any update {options}")


def documented(run: Run) -> str:
    """manual pages, completions and examples are there, and made of this program's own words"""
    machine = run.machine
    machine.sh("zcat /usr/share/man/man1/passproxy-check.1.gz | grep -q 'passproxy check'")
    machine.sh("bash -c '. /usr/share/bash-completion/completions/passproxy && complete -p passproxy'")
    machine.sh(
        "passproxy check /usr/share/doc/passproxy/examples/passproxy/example.yaml 2>&1 | grep -q client_secret_file"
    )
    return machine.sh("ls /usr/share/man/man1/passproxy*.1.gz | wc -l") + " manual pages"


def start(run: Run) -> str:
    """one YAML file of root's, mode 0600, `systemctl enable --now`, for a domain of each protocol"""
    add_certificates(run.machine)
    for domain in DOMAINS:
        provide(run.machine, domain)
        run.machine.run("passproxy", "check", domain.file)
        run.machine.run("systemctl", "enable", "--quiet", "--now", domain.unit)
    add_nginx(run.machine, {domain: f"127.0.0.1:{domain.port}" for domain in DOMAINS})
    return run.machine.run("systemctl", "show", "--property=StatusText", "--value", OIDC.unit)


def log_in(run: Run) -> str:
    """a login over each protocol, through nginx and TLS, ends on the page that was asked for"""
    users = []
    for domain in DOMAINS:
        result = json.loads(run.machine.sh(f"{_CLIENT} login {domain.origin}", within=60).splitlines()[-1])
        run.cookies[domain] = result["cookie"]
        users.append(f"{domain.name}: {result['user'].get('user') or result['user']}")
        run.is_signed_in(domain)
    return ", ".join(users)


def exposure(run: Run) -> str:
    """systemd-analyze security: at most 2.0"""
    said = run.machine.run("systemd-analyze", "security", "--no-pager", OIDC.unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    if found is None or float(found[1]) > EXPOSURE_LIMIT:
        raise Failed(said)
    return found[1]


def isolation(run: Run) -> None:
    """an instance sees its own files and no other's, and nobody else sees them"""
    machine, pid = run.machine, run.main_pid(OIDC)
    seen = machine.run("nsenter", f"--target={pid}", "--mount", "ls", "/etc/passproxy").split()
    if sorted(seen) != ["oidc.secret", "oidc.yaml"]:
        raise Failed(f"it sees {seen}")
    for path in (
        "/run/passproxy-etc/oidc/oidc.secret",
        "/etc/passproxy/oidc.yaml",
        "/var/lib/passproxy/oidc/keys.json",
    ):
        machine.refuses("setpriv", "--reuid=65534", "--clear-groups", "cat", path)
    if int(machine.run("ps", "-o", "uid=", "-p", str(pid))) not in DYNAMIC_USERS:
        raise Failed("it has no user of its own")


def names(run: Run) -> None:
    """an instance name that leads elsewhere, or that systemd escapes, starts nothing and makes nothing (CFG-15)"""
    machine = run.machine
    escaped = r"/etc/passproxy/a\x2db.yaml"
    machine.write(escaped, machine.sh(f"cat {OIDC.file}").replace(str(OIDC.port), "8125"))
    for name in ("..", ".", "..-..-x", "grafana.example.com", "a%b", "a b", r"a\x2db", "/etc"):
        machine.refuses("systemctl", "start", f"passproxy@{name}", within=90)
    machine.run("rm", escaped)
    made = machine.sh("ls -A /run/passproxy-etc /var/lib/private/passproxy | grep -v ':$' | sort -u | tr '\\n' ' '")
    machine.sh("systemctl stop 'passproxy@a*' && systemctl reset-failed 'passproxy@*'")
    if set(made.split()) - {"oidc", "saml", "grafana.example.com", "..-..-x", "-etc"}:
        raise Failed(made)
    if machine.sh("ls -A /run/passproxy-etc | tr '\\n' ' '").split() != ["oidc", "saml"]:
        raise Failed("copies were left behind")


def wrong_configuration(run: Run) -> None:
    """a configuration with mistakes: exit 78, listed in the journal, and not started again and again"""
    machine = run.machine
    machine.write("/etc/passproxy/wrong.yaml", "domain: wrong.example.com\nupstraem: 1\n")
    machine.run("systemctl", "start", "--no-block", "passproxy@wrong")
    machine.eventually("systemctl is-failed passproxy@wrong", "it has failed")
    time.sleep(1.5)
    shown = machine.run("systemctl", "show", "--property=NRestarts,ExecMainStatus", "passproxy@wrong")
    if set(shown.split()) != {"NRestarts=0", "ExecMainStatus=78"}:
        raise Failed(shown)
    machine.sh("journalctl --unit=passproxy@wrong | grep -q 'upstraem'")
    machine.sh("systemctl reset-failed passproxy@wrong && rm /etc/passproxy/wrong.yaml")


def activation(run: Run) -> str:
    """with passproxy@.socket: three restarts under load, and no connection is refused"""
    machine = run.machine
    for domain in DOMAINS:
        machine.run("systemctl", "stop", domain.unit)
        machine.run("systemctl", "enable", "--quiet", "--now", f"{domain.unit}.socket", domain.unit)
    add_nginx(machine, {domain: f"unix:/run/passproxy/{domain.name}.sock" for domain in DOMAINS})
    status = machine.run("systemctl", "show", "--property=StatusText", "--value", OIDC.unit)
    if "unix:/run/passproxy/oidc.sock" not in status:
        raise Failed(status)

    def restart() -> None:
        for _ in range(3):
            machine.run("systemctl", "restart", OIDC.unit)

    return run.under_load(OIDC, restart)


def reload(run: Run) -> str:
    """`systemctl reload` under load: the change holds when it returns, and no request is refused"""
    machine = run.machine
    pid = run.main_pid(OIDC)
    text = machine.sh(f"cat {OIDC.file}")

    def change() -> None:
        for number in range(3):
            machine.write(OIDC.file, f"{text}\npassthrough:\n  paths: [/public-{number}]\n")
            machine.run("systemctl", "reload", OIDC.unit)
            machine.sh(f"curl --silent --fail --output /dev/null {OIDC.origin}/public-{number}")

    result = run.under_load(OIDC, change)
    if run.main_pid(OIDC) != pid:
        raise Failed("it was restarted")
    return result


def wrong_reload(run: Run) -> str:
    """a reload with a mistake: systemctl says so, and the configuration before goes on"""
    machine = run.machine
    text = machine.sh(f"cat {OIDC.file}")
    machine.write(OIDC.file, text + "\nupstraem: 1\n")
    machine.refuses("systemctl", "reload", OIDC.unit)
    machine.sh(f"curl --silent --fail --output /dev/null {OIDC.origin}/public-2")
    machine.write(OIDC.file, text)
    machine.run("systemctl", "reload", OIDC.unit)
    return machine.run("systemctl", "show", "--property=StatusText", "--value", OIDC.unit)


def rotate(run: Run) -> str:
    """keys that root rotated are the service's to read, at a reload and at a start; sessions hold"""
    machine = run.machine
    machine.run("passproxy", "keys", "rotate", SAML.file)
    machine.run("systemctl", "reload", SAML.unit)
    machine.run("systemctl", "restart", SAML.unit)
    run.is_signed_in(SAML)
    known = len(json.loads(machine.run("passproxy", "keys", "show", "--format=json", SAML.file))["keys"])
    if known != 2:
        raise Failed(f"{known} keys")
    machine.run("passproxy", "doctor", SAML.file)
    return "and passproxy doctor finds nothing wrong"


def crash(run: Run) -> str:
    """kill -9: it is back, with its sessions, and what was asked meanwhile is answered"""
    pid = run.main_pid(OIDC)
    begun = time.monotonic()
    run.machine.sh(f"kill -9 {pid}")
    run.is_signed_in(OIDC)
    if run.main_pid(OIDC) == pid:
        raise Failed("it was not killed")
    return f"answered after {time.monotonic() - begun:.1f} s"


def watchdog(run: Run) -> str:
    """a process that is stuck is ended by the watchdog and started again"""
    machine = run.machine
    machine.write("/etc/systemd/system/passproxy@saml.service.d/watchdog.conf", "[Service]\nWatchdogSec=3s\n", 0o644)
    machine.sh(f"systemctl daemon-reload && systemctl restart {SAML.unit}")
    pid = run.main_pid(SAML)
    time.sleep(5)
    if run.main_pid(SAML) != pid:
        raise Failed("it was ended although nothing was stuck")
    begun = time.monotonic()
    machine.sh(f"kill -STOP {pid}")
    machine.eventually(
        f"test $(systemctl show --property=MainPID --value {SAML.unit}) -ne {pid} && systemctl is-active {SAML.unit}",
        "it is started again",
        within=60,
    )
    run.is_signed_in(SAML)
    machine.sh(f"journalctl --unit={SAML.unit} | grep -q 'Watchdog timeout'")
    return f"serving again after {time.monotonic() - begun:.1f} s"


def upgrade(run: Run) -> str:
    """an upgrade under load, from the repository over http: configuration, keys and sessions stay"""
    machine = run.machine
    before = machine.sh("sha256sum /etc/passproxy/* /var/lib/private/passproxy/*/keys.json")
    machine.run(
        "systemd-run",
        "--quiet",
        "--unit=mirror",
        "python3",
        "-m",
        "http.server",
        "--bind=127.0.0.1",
        "--directory=/srv/apt",
        "8088",
    )
    machine.eventually(
        "curl --silent --fail --output /dev/null http://127.0.0.1:8088/passproxy.sources", "it is served"
    )
    machine.sh("sed -i 's,^URIs:.*,URIs: http://127.0.0.1:8088/,' /etc/apt/sources.list.d/passproxy.sources")
    pid = run.main_pid(OIDC)

    def newer() -> None:
        machine.sh(f"apt-get --quiet --quiet update {_OURS} && {_APT} install --only-upgrade passproxy", within=120)

    result = run.under_load(OIDC, newer)
    version = machine.run("dpkg-query", "--showformat=${Version}", "--show", "passproxy")
    if version != run.newer or run.main_pid(OIDC) == pid:
        raise Failed(f"{version} is installed; the process is {'old' if run.main_pid(OIDC) == pid else 'new'}")
    if machine.sh("sha256sum /etc/passproxy/* /var/lib/private/passproxy/*/keys.json") != before:
        raise Failed("files were changed")
    run.is_signed_in(OIDC)
    run.is_signed_in(SAML)
    return f"{run.version} to {version}; {result}"


def service_test(run: Run) -> None:
    """debian/tests/service, as autopkgtest runs it"""
    run.machine.sh("systemctl stop passproxy@oidc.socket passproxy@oidc && cd /root/tree && sh debian/tests/service")
    run.machine.sh("systemctl start passproxy@oidc.socket passproxy@oidc")


def suite(run: Run) -> str:
    """debian/tests/suite: the whole suite against the installed package and Debian's versions"""
    packages = (
        "python3-pytest python3-pytest-asyncio python3-pytest-xdist python3-hypothesis python3-h11 python3-httptools"
    )
    run.machine.sh(f"{_APT} install {packages}", within=120)
    said = run.machine.sh("cd /root/tree && sh debian/tests/suite 2>&1", within=SUITE_SECONDS)
    return said.splitlines()[-1]


#: Two cores of our own need seven minutes, shared ones several times that.
SUITE_SECONDS = 2400


def remove(run: Run) -> None:
    """removal stops everything and keeps configuration and keys; after installing again all are there"""
    machine = run.machine
    machine.sh(f"{_APT} remove passproxy", within=120)
    left = machine.sh(
        "systemctl list-units --no-legend 'passproxy@*' --state=active,activating; pgrep -fa '[p]assproxy serve' || true"
    )
    if left:
        raise Failed(left)
    machine.sh("test -f /etc/passproxy/oidc.yaml && test -f /var/lib/private/passproxy/oidc/keys.json")
    machine.sh(f"{_APT} install passproxy && systemctl start passproxy@oidc.socket passproxy@oidc", within=120)
    run.is_signed_in(OIDC)


def purge(run: Run) -> None:
    """purge leaves nothing"""
    machine = run.machine
    machine.sh(f"{_APT} purge passproxy", within=120)
    ours = "-path /proc -o -path /sys -o -path /root -o -path /srv -o -path '/tmp/*' -o -path /var/log -o -path /var/cache/apt -o -path '/var/lib/apt/*'"
    # The administrator's own: nginx's configuration and the source of packages.
    theirs = "-path '/etc/nginx/*' -o -path '/etc/apt/*'"
    left = machine.sh(f"find / \\( {ours} -o {theirs} \\) -prune -o -iname '*passproxy*' -print")
    units = machine.sh(
        "systemctl list-units --all --no-legend 'passproxy@*'; systemctl list-unit-files --no-legend 'passproxy*' || true"
    )
    if left or units:
        raise Failed(f"{left}\n{units}")


STEPS: tuple[Callable[[Run], str | None], ...] = (
    install,
    refuse_tampering,
    documented,
    start,
    log_in,
    exposure,
    isolation,
    names,
    wrong_configuration,
    activation,
    reload,
    wrong_reload,
    rotate,
    crash,
    watchdog,
    upgrade,
    service_test,
    suite,
    remove,
    purge,
)
