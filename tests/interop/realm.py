"""
The realm that is imported into Keycloak: two people, and PassProxy as a client of either protocol.

Written as an administrator would: exact redirect URIs, a confidential client,
groups without their path. Everything else is Keycloak's default, because the
defaults are what is to be met; what an installation differs in comes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.interop.provider import ALICE, BOB, Case, Person

REALM = "interop"


def realm(cases: Iterable[Case]) -> dict[str, Any]:
    """With the clients that can be described before PassProxy runs."""
    return {
        "realm": REALM,
        "enabled": True,
        # Stricter than the default: a refresh token that comes twice ends the session.
        "revokeRefreshToken": True,
        "groups": [{"name": name} for name in ALICE.groups],
        "users": [_user(person) for person in (ALICE, BOB)],
        "clients": [_oidc_client(case) for case in cases if case.protocol == "oidc"],
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


def _oidc_client(case: Case) -> dict[str, Any]:
    attributes = {
        "post.logout.redirect.uris": case.stand.url("logged-out"),
        "pkce.code.challenge.method": "S256",
    }
    client = {
        "clientId": case.section["client_id"],
        "protocol": "openid-connect",
        "publicClient": False,
        "standardFlowEnabled": True,
        "directAccessGrantsEnabled": False,
        "redirectUris": [case.stand.url("oidc/callback")],
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
    if "client_secret" in case.section:
        client["secret"] = case.section["client_secret"]
    return _with(client, attributes, case.client)


def saml_client(case: Case, imported: Mapping[str, Any]) -> dict[str, Any]:
    """What Keycloak reads from our metadata, and what is not said there."""
    attributes = {
        **imported["attributes"],
        "saml.authnstatement": "true",
        "saml.signature.algorithm": "RSA_SHA256",
        # The import demands signed requests as soon as there is a key, which the logout has anyway.
        "saml.client.signature": "false",
        "saml_force_name_id_format": "false",
        "saml_name_id_format": "persistent",
    }
    client = {
        **imported,
        "frontchannelLogout": True,
        # Without this the realm's roles would come along in an attribute of their own.
        "defaultClientScopes": [],
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
    return _with(client, attributes, case.client)


def _with(client: Mapping[str, Any], attributes: Mapping[str, str], differs: Mapping[str, Any]) -> dict[str, Any]:
    return {**client, **differs, "attributes": {**attributes, **differs.get("attributes", {})}}


def _property_mapper(source: str, attribute: str) -> dict[str, Any]:
    return {
        "name": attribute,
        "protocol": "saml",
        "protocolMapper": "saml-user-property-mapper",
        "config": {"user.attribute": source, "attribute.name": attribute, "attribute.nameformat": "Basic"},
    }
