"""`passproxy check FILE`: every mistake at once, and what the configuration means."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from pathlib import Path
from typing import Any

from passproxy.app.building import state_dir_of
from passproxy.cli.files import add_file, loaded
from passproxy.core.cookies import cookie_names
from passproxy.core.routing import PREFIX
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin
from passproxy.idp.oidc.client import client_from


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="check a configuration",
        description="Check a configuration without starting anything. Exits with 78 and lists every mistake if there are any.",
        epilog="example: passproxy check /etc/passproxy/grafana.yaml",
    )
    add_file(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = loaded(arguments.file)
    if settings.oidc:
        client_from(settings.oidc, "")  # reads the private key, if there is one
    for line in _meaning(settings):
        sys.stdout.write(line + "\n")
    for warning in _warnings(settings, arguments.file):
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def _meaning(settings: Settings) -> list[str]:
    origin = Origin.of(settings.domain, settings.origin)
    names = cookie_names(settings.session.cookie_name, origin)
    provider = "SAML 2.0" if settings.saml else "OpenID Connect"
    callback = origin.url(PREFIX + ("saml/acs" if settings.saml else "oidc/callback"))
    public = ", ".join(f"{entry.path} ({' '.join(entry.methods)})" for entry in settings.passthrough.paths)
    rows = [
        ("origin", str(origin)),
        ("listens on", settings.listen),
        ("application", settings.upstream.url),
        ("identity provider", f"{provider}, {_provider_source(settings)}"),
        ("register there", callback),
        ("session", f"cookie {names.session}, {settings.session.lifetime // 60} minutes at most"),
        ("public paths", public or "none: everything needs a login"),
        ("state", str(state_dir_of(settings))),
    ]
    if settings.saml:
        rows.insert(5, ("entity id", settings.saml.entity_id or origin.url(PREFIX + "saml/metadata")))
    return ["The configuration is valid.", "", *(f"  {label:18} {text}" for label, text in rows)]


def _provider_source(settings: Settings) -> str:
    if settings.saml:
        return str(settings.saml.metadata_url or settings.saml.metadata_file)
    return settings.oidc.issuer if settings.oidc else ""


def _warnings(settings: Settings, file: str | None) -> list[str]:
    found = []
    if settings.oidc and settings.oidc.client_secret and file and "PASSPROXY_OIDC_CLIENT_SECRET" not in os.environ:
        mode = Path(file).stat().st_mode
        # On a read-only mount it is a copy or somebody else's, whose mode says nothing about who reads the original.
        is_ours = not os.statvfs(file).f_flag & os.ST_RDONLY
        if is_ours and mode & (stat.S_IRGRP | stat.S_IROTH) and "client_secret:" in Path(file).read_text("utf-8"):
            found.append(
                f"{file} contains client_secret and can be read by others: use client_secret_file, or chmod 600"
            )
    if not settings.upstream.verify_tls:
        found.append(
            "upstream.verify_tls is off: anybody between here and the application can read and change everything"
        )
    if settings.session.lifetime > 86400:
        found.append(
            "session.lifetime is above 24h: somebody who was removed at the identity provider stays in that long"
        )
    host = settings.listen.rpartition(":")[0]
    if host in ("0.0.0.0", "[::]", "::"):  # noqa: S104 - compared, not bound
        found.append("listen is open to every network: make sure that only the web server in front can reach it")
    return found
