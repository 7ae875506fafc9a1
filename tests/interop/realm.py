"""
The realm that is imported into Keycloak: two people, and PassProxy as a client of either protocol.

Written as an administrator would: exact redirect URIs, a confidential client,
signed SAML documents and assertions, groups without their path. Everything
else is Keycloak's default, because the defaults are what is to be met.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests.interop.provider import ALICE, BOB, Person

REALM = "interop"
CLIENT_ID = "passproxy"
CLIENT_SECRET = "known-to-this-machine-alone"


def realm(origins: Sequence[str]) -> dict[str, Any]:
    return {
        "realm": REALM,
        "enabled": True,
        "groups": [{"name": name} for name in ALICE.groups],
        "users": [_user(person) for person in (ALICE, BOB)],
        "clients": [_oidc_client(origins), *(_saml_client(origin) for origin in origins)],
    }


def _user(person: Person) -> dict[str, Any]:
    return {
        "username": person.login,
        "email": person.email,
        "emailVerified": True,
        "firstName": person.login.capitalize(),
        "lastName": "Example",
        "enabled": True,
        "credentials": [{"type": "password", "value": person.login, "temporary": False}],
        "groups": [f"/{name}" for name in person.groups],
    }


def _oidc_client(origins: Iterable[str]) -> dict[str, Any]:
    return {
        "clientId": CLIENT_ID,
        "protocol": "openid-connect",
        "publicClient": False,
        "secret": CLIENT_SECRET,
        "standardFlowEnabled": True,
        "directAccessGrantsEnabled": False,
        "redirectUris": [f"{origin}/.passproxy/oidc/callback" for origin in origins],
        "attributes": {
            "post.logout.redirect.uris": "##".join(f"{origin}/.passproxy/logged-out" for origin in origins),
            "pkce.code.challenge.method": "S256",
        },
        "protocolMappers": [
            {
                "name": "groups",
                "protocol": "openid-connect",
                "protocolMapper": "oidc-group-membership-mapper",
                "config": {
                    "claim.name": "groups",
                    "full.path": "false",
                    "id.token.claim": "true",
                    "access.token.claim": "false",
                    "userinfo.token.claim": "true",
                },
            }
        ],
    }


def _saml_client(origin: str) -> dict[str, Any]:
    acs_url = f"{origin}/.passproxy/saml/acs"
    return {
        "clientId": f"{origin}/.passproxy/saml/metadata",
        "protocol": "saml",
        "frontchannelLogout": True,
        "redirectUris": [acs_url],
        # Without this the realm's roles would come along in an attribute of their own.
        "defaultClientScopes": [],
        "attributes": {
            "saml.authnstatement": "true",
            "saml.server.signature": "true",
            "saml.assertion.signature": "true",
            "saml.client.signature": "false",
            "saml.signature.algorithm": "RSA_SHA256",
            "saml.force.post.binding": "true",
            "saml_force_name_id_format": "false",
            "saml_name_id_format": "persistent",
            "saml_assertion_consumer_url_post": acs_url,
        },
        "protocolMappers": [
            _property_mapper("username", "uid"),
            _property_mapper("email", "email"),
            {
                "name": "groups",
                "protocol": "saml",
                "protocolMapper": "saml-group-membership-mapper",
                "config": {
                    "attribute.name": "groups",
                    "attribute.nameformat": "Basic",
                    "full.path": "false",
                    "single": "true",
                },
            },
        ],
    }


def _property_mapper(source: str, attribute: str) -> dict[str, Any]:
    return {
        "name": attribute,
        "protocol": "saml",
        "protocolMapper": "saml-user-property-mapper",
        "config": {"user.attribute": source, "attribute.name": attribute, "attribute.nameformat": "Basic"},
    }
