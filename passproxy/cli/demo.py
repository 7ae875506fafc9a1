"""`passproxy demo`: an identity provider, an application and PassProxy in front of it, on this machine alone."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from passproxy.app import service
from passproxy.core.config import settings_from
from passproxy.core.settings import Settings
from passproxy.demo.application import DemoApplication
from passproxy.demo.idp import DemoIdentityProvider
from passproxy.web import log

_WELCOME = """
  PassProxy demo ({protocol})

  Open    {url}

  Log in as alice (password alice), who is in the groups engineering and ops,
  or as bob (password bob), who is in none.

  identity provider  {idp}
  application        {application} (what PassProxy protects; open it to see it without)
  configuration      {file}

  Everything listens on this machine only and is gone after Ctrl-C.
"""


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="try it on this machine",
        description="Start a demo identity provider, a demo application and PassProxy in front of it, on loopback.",
        epilog="example: passproxy demo --protocol saml --port 8200",
    )
    parser.add_argument("--protocol", choices=("oidc", "saml"), default="oidc", help="how to log in (default: oidc)")
    parser.add_argument("--port", type=_port, default=8123, help="where PassProxy listens (default: 8123)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    log.set_up("text", "warning")
    try:
        with tempfile.TemporaryDirectory(prefix="passproxy-demo-") as folder:
            uvloop.run(_demo(arguments.protocol, arguments.port, Path(folder)))
    except OSError as error:
        sys.stderr.write(f"127.0.0.1:{arguments.port}: {error.strerror or error}; try another --port\n")
        return 1
    return 0


async def _demo(protocol: str, port: int, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    origin = f"http://127.0.0.1:{port}"
    async with DemoIdentityProvider(origin) as idp, DemoApplication() as application:
        file = folder / "demo.yaml"
        file.write_text(_configuration(protocol, port, idp, application.base_url, folder), "utf-8")
        settings: Settings = settings_from(
            file.read_text("utf-8"), str(file), {}, lambda path: Path(path).read_text("utf-8")
        )

        def ready(_: str) -> None:
            facts = {"protocol": protocol, "url": f"{origin}/", "idp": idp.issuer, "file": file}
            sys.stdout.write(_WELCOME.format(application=application.base_url, **facts) + "\n")
            sys.stdout.flush()

        await service.serve(settings, stop, ready)


def _configuration(protocol: str, port: int, idp: DemoIdentityProvider, upstream: str, folder: Path) -> str:
    provider = f"saml:\n  metadata_url: {idp.metadata_url}\n"
    if protocol == "oidc":
        (folder / "client_secret").write_text(idp.client_secret, "utf-8")
        provider = (
            f"oidc:\n  issuer: {idp.issuer}\n  client_id: {idp.client_id}\n"
            f"  client_secret_file: {folder / 'client_secret'}\n"
        )
    return (
        f"domain: 127.0.0.1\norigin: http://127.0.0.1:{port}\nlisten: 127.0.0.1:{port}\n"
        f"upstream:\n  url: {upstream}\n{provider}state_dir: {folder}\n"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("expected a port between 1 and 65535")
    return int(text)
