"""`passproxy metadata FILE`: what the identity provider has to know of this domain."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from passproxy.app.building import state_dir_of
from passproxy.cli.files import add_file, loaded_beside
from passproxy.core.routing import PREFIX
from passproxy.core.settings import OidcSettings, SamlSettings, Settings
from passproxy.core.urls import Origin
from passproxy.idp.oidc.client import Client, client_from
from passproxy.idp.oidc.provider import BACKCHANNEL_PATH, CALLBACK_PATH, FRONTCHANNEL_PATH, LOGGED_OUT
from passproxy.idp.saml.keys import missing_key, own_keys
from passproxy.idp.saml.request import metadata, service_provider

_DESCRIPTION = """\
SAML: the service provider's metadata, byte for byte what /.passproxy/saml/metadata answers, to be imported at the
identity provider. OpenID Connect: what to enter at the provider for this client. Nothing is fetched or changed.
"""


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "metadata",
        help="print what to register at the identity provider",
        description=_DESCRIPTION,
        epilog="example: passproxy metadata /etc/passproxy/grafana.yaml > grafana-sp.xml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = loaded_beside(arguments.file)
    origin = Origin.of(settings.domain, settings.origin)
    if settings.saml is not None:
        return _saml(settings, settings.saml, origin, arguments.format)
    if settings.oidc is not None:
        summary = registration(settings.oidc, origin)
        sys.stdout.write(
            json.dumps(summary, indent=1) + "\n" if arguments.format == "json" else _table(settings.oidc, summary)
        )
    return 0


def _saml(settings: Settings, saml: SamlSettings, origin: Origin, format_: str) -> int:
    missing = missing_key(saml, state_dir_of(settings))
    if missing is not None:
        sys.stderr.write(
            f"The metadata carries the certificate of a key that PassProxy makes at its first start, and {missing}\n"
            "does not exist yet. Start PassProxy once, or set saml.key_file and saml.certificate_file.\n"
        )
        return 1
    us = service_provider(origin, saml)
    document = metadata(us, own_keys(saml, state_dir_of(settings), origin.host, time.time()))
    if format_ == "json":
        facts = {
            "protocol": "saml",
            "entity_id": us.entity_id,
            "assertion_consumer_service": us.acs_url,
            "single_logout_service": us.logout_url or None,
            "metadata_url": origin.url(f"{PREFIX}saml/metadata"),
            "metadata": document.decode(),
        }
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
    else:
        sys.stdout.buffer.write(document)
    return 0


def registration(settings: OidcSettings, origin: Origin) -> dict[str, Any]:
    """The client's metadata under the names of OpenID Connect Dynamic Client Registration 1.0, as far as they go."""
    client = client_from(settings, origin.url(PREFIX + CALLBACK_PATH))
    return {
        "protocol": "oidc",
        "issuer": settings.issuer,
        "client_id": settings.client_id,
        "redirect_uris": [client.redirect_uri],
        "post_logout_redirect_uris": [origin.url(LOGGED_OUT)],
        "backchannel_logout_uri": origin.url(PREFIX + BACKCHANNEL_PATH),
        "backchannel_logout_session_required": True,
        "frontchannel_logout_uri": origin.url(PREFIX + FRONTCHANNEL_PATH),
        "frontchannel_logout_session_required": True,
        "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": _method(client),
        "scope": " ".join(settings.scopes),
        **({"jwks": {"keys": [client.key.public_jwk()]}} if client.key is not None else {}),
    }


def _method(client: Client) -> str:
    if client.key is not None:
        return "private_key_jwt"
    if client.secret is None:
        return "none"
    return "client_secret_basic" if client.method == "auto" else client.method


def _table(settings: OidcSettings, summary: dict[str, Any]) -> str:
    method = summary["token_endpoint_auth_method"]
    # With a choice PassProxy takes what the provider offers.
    either = (settings.token_endpoint_auth_method, method) == ("auto", "client_secret_basic")
    rows = [
        ("provider", summary["issuer"]),
        ("client id", summary["client_id"]),
        ("redirect URI", summary["redirect_uris"][0]),
        ("post-logout redirect URI", summary["post_logout_redirect_uris"][0]),
        ("back-channel logout URI", summary["backchannel_logout_uri"] + "  (session required)"),
        ("front-channel logout URI", summary["frontchannel_logout_uri"] + "  (only without back-channel logout)"),
        ("flow", "authorization code with PKCE (S256); refresh tokens where the provider grants them"),
        ("client authentication", "client_secret_basic or client_secret_post" if either else method),
        ("scopes", summary["scope"]),
    ]
    text = "Register at the identity provider:\n\n" + "".join(f"  {label:26}{value}\n" for label, value in rows)
    if "jwks" in summary:
        text += "\nPublic key, as a JWK Set:\n\n" + json.dumps(summary["jwks"], indent=1) + "\n"
    return text
