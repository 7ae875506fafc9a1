"""The installations that are tried with Keycloak, each of which it knows as a client of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.interop import client_keys, meant
from tests.interop.provider import Case, Ending, OldKey, Stand
from tests.interop.realm import REALM
from tests.interop.stands import behind_tls, trial

_SECRET = "known-to-this-machine-alone"

_TOKEN_PATH = f"/realms/{REALM}/protocol/openid-connect/token"

#: Keycloak posts its logout requests wherever it may.
BY_REDIRECT: Mapping[str, str] = {"saml_single_logout_service_url_post": ""}

_NONE: Mapping[str, Any] = {}


def cases(base_url: str, scratch: Path) -> tuple[Case, ...]:
    return (*_saml_cases(base_url), *_oidc_cases(base_url, scratch))


def _saml_cases(base_url: str) -> tuple[Case, ...]:
    def case(
        name: str,
        stand: Stand,
        as_meant: meant.AsMeant,
        ending: Ending = "browser",
        *,
        section: Mapping[str, Any] = _NONE,
        attributes: Mapping[str, str] = _NONE,
        old_key: OldKey | None = None,
        starts: str | None = None,
    ) -> Case:
        is_single_logout = section.get("single_logout", True)
        where = {"metadata_url": f"{base_url}/realms/{REALM}/protocol/saml/descriptor", **section}
        # Keycloak ends sessions by the browser unless it is told to ask by itself.
        client = {
            "frontchannelLogout": ending == "browser",
            "attributes": attributes if starts is None else {**attributes, "saml_idp_initiated_sso_url_name": starts},
        }
        return Case(
            name,
            "saml",
            stand,
            where,
            as_meant,
            client,
            is_single_logout=is_single_logout,
            ending=ending if is_single_logout else None,
            old_key=old_key,
            start_url=None if starts is None else f"{base_url}/realms/{REALM}/protocol/saml/clients/{starts}",
        )

    both = meant.saml(document=True, assertion=True)
    document = meant.saml(document=True, assertion=False)
    sealed = meant.saml(document=True, assertion=False, is_encrypted=True)
    no_assertion_signature = {"saml.assertion.signature": "false"}
    encrypts = {"want_encrypted_assertions": True}
    return (
        case("both signed", trial(), both, old_key="kept", starts="unasked"),
        case(
            "both signed",
            behind_tls("both"),
            both,
            attributes={"saml.force.post.binding": "true"},
            old_key="removed",
        ),
        case("document signed", behind_tls("document"), document, attributes={**BY_REDIRECT, **no_assertion_signature}),
        case(
            "assertion signed",
            trial(),
            meant.saml(document=False, assertion=True),
            # Keycloak signs what it says about a logout only where it signs documents, and what is not
            # signed is refused.
            section={"single_logout": False},
            attributes={"saml.server.signature": "false"},
        ),
        case(
            "document signed, encrypted", trial(), sealed, "server", section=encrypts, attributes=no_assertion_signature
        ),
        case("both signed, encrypted", behind_tls("sealed"), sealed, section=encrypts),
        case(
            # So that nothing but the signature inside can have let anybody in.
            "assertion signed, encrypted",
            behind_tls("inside"),
            meant.saml(document=False, assertion=False, is_encrypted=True),
            section={**encrypts, "single_logout": False},
            attributes={"saml.server.signature": "false"},
        ),
        case(
            "requests signed",
            behind_tls("requests"),
            meant.saml(document=True, assertion=True, is_request_signed=True),
            section={"sign_requests": True, "allow_idp_initiated": True},
            starts="asked",
            attributes={**BY_REDIRECT, "saml.client.signature": "true"},
        ),
    )


def _oidc_cases(base_url: str, scratch: Path) -> tuple[Case, ...]:
    issuer = f"{base_url}/realms/{REALM}"

    def case(
        client_id: str,
        method: str,
        stand: Stand,
        ending: Ending,
        *,
        section: Mapping[str, Any] = _NONE,
        attributes: Mapping[str, str] = _NONE,
        old_key: OldKey | None = None,
        is_pushed: bool = True,
        suffix: str = "",
    ) -> Case:
        has_secret = method != "private_key_jwt"
        where = {
            "issuer": issuer,
            "client_id": client_id,
            "token_endpoint_auth_method": method,
            **({"client_secret": _SECRET} if has_secret else {}),
            **section,
        }
        registered = {
            **_told_by(ending, stand),
            **({"client.secret.authentication.allowed.method": method} if has_secret else {}),
            **attributes,
        }
        client = {
            "clientAuthenticatorType": "client-secret" if has_secret else "client-jwt",
            "frontchannelLogout": ending == "browser",
            "attributes": registered,
        }
        as_meant = meant.oidc(is_pushed=is_pushed, also=meant.client_proof(method, _TOKEN_PATH))
        is_renewed = ending != "server" or old_key is not None
        return Case(
            f"{method} {suffix}".rstrip(),
            "oidc",
            stand,
            where,
            as_meant,
            client,
            is_renewed=is_renewed,
            ending=ending,
            old_key=old_key,
        )

    jwk, certified = client_keys.jwk(scratch), client_keys.certified(scratch)
    return (
        case("basic", "client_secret_basic", trial(), "server", old_key="kept"),
        case("post", "client_secret_post", behind_tls("post"), "renewal", old_key="removed"),
        case(
            "jwks",
            "private_key_jwt",
            trial(),
            "server",
            section={"private_key_file": str(jwk.file)},
            attributes={"use.jwks.string": "true", "jwks.string": json.dumps({"keys": [jwk.public]})},
            suffix="(JWKS)",
        ),
        case(
            "certificate",
            "private_key_jwt",
            behind_tls("certificate"),
            "browser",
            section={"private_key_file": str(certified.file), "pushed_authorization_requests": "never"},
            attributes={"jwt.credential.certificate": certified.certificate},
            is_pushed=False,
            suffix="(certificate)",
        ),
    )


def _told_by(ending: Ending, stand: Stand) -> dict[str, str]:
    """How Keycloak tells PassProxy that a session is over."""
    if ending == "renewal":
        return {}
    name = {"server": "backchannel", "browser": "frontchannel"}[ending]
    return {
        f"{name}.logout.url": stand.url(f"oidc/{name}-logout"),
        f"{name}.logout.session.required": "true",
    }
