"""PassProxy as an operator runs it: a configuration file, `passproxy serve`, and a session made from its keys."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.browser import HOST
from passproxy.cli.files import loaded
from passproxy.core.cookies import cookie_names
from passproxy.core.identity import AttributeRules, Authentication, identity_from
from passproxy.core.session import Sessions
from passproxy.core.tokens import KeyRing
from passproxy.core.urls import Origin
from passproxy.keyfile import obtained_keys

#: Who is logged in.
USER = "alice"

# Nobody logs in here, and sessions need no identity provider: this one does not exist.
_CONFIGURATION = """\
domain: {host}
listen: 127.0.0.1:{port}
upstream: {{url: "http://127.0.0.1:{application}"}}
oidc: {{issuer: "http://127.0.0.1:1", client_id: benchmark, client_secret: not-used-by-anybody}}
passthrough: {{paths: [/health, /public/**]}}
state_dir: {state}
"""


ALICE = Authentication(
    issuer="https://sso.example.com",
    subject="5a1f0c3e-0000-4000-8000-8f0d6c1b2a3e",
    attributes={
        "preferred_username": (USER,),
        "email": ("alice@example.com",),
        "name": ("Alice Example",),
        "groups": ("staff", "ops", "grafana-editors"),
    },
    authenticated_at=1_700_000_000,
)


def configuration(folder: Path, port: int, application_port: int, name: str = "passproxy", more: str = "") -> Path:
    """The configuration file; `more` are further sections."""
    path = folder / f"{name}.yaml"
    path.write_text(
        _CONFIGURATION.format(host=HOST, port=port, application=application_port, state=folder / name) + more
    )
    path.chmod(0o600)
    return path


def command(file: Path) -> list[str]:
    return [sys.executable, "-m", "passproxy", "serve", str(file)]


def session_cookie(file: Path, said: Authentication = ALICE) -> str:
    """`name=value` of a session with the usual attributes, sealed with the key file that the server uses."""
    return next(session_cookies(file, (said,)))


def session_cookies(file: Path, people: Iterable[Authentication]) -> Iterator[str]:
    """Likewise one for each."""
    settings, now = loaded(str(file)), time.time()
    origin = Origin.of(settings.domain, settings.origin)
    keys = obtained_keys(Path(settings.state_dir or "") / "keys.json", may_create=True, now=now)
    sessions = Sessions(KeyRing(keys, str(origin)), settings.session.lifetime, lambda session: b"")
    name = cookie_names(settings.session.cookie_name, origin).session
    for said in people:
        identity = identity_from(said, AttributeRules())
        yield f"{name}={sessions.seal(sessions.begin(identity, said, now))}"
