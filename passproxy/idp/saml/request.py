"""
What PassProxy says in SAML: its authentication request, and its own metadata.

Both are short and fixed in shape, so they are written as text with every value
escaped; the main process needs no XML library for them. Signing the request is
optional: it asks for nothing that is secret, and the answer is bound to it by its ID.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from passproxy.core.urls import DEFAULT_PORTS, Origin, is_loopback
from passproxy.idp.base import Proof
from passproxy.idp.saml.dated import dated
from passproxy.idp.saml.errors import MetadataRefused
from passproxy.idp.saml.keys import OwnKey, OwnKeys
from passproxy.idp.saml.redirect import signed_query

if TYPE_CHECKING:
    from passproxy.core.settings import SamlSettings

_NAME_ID_FORMAT = "urn:oasis:names:tc:SAML:{version}:nameid-format:{name}"
_POST_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
_REDIRECT_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
_SAML = "urn:oasis:names:tc:SAML:2.0:assertion"

#: What sealed.py accepts, the best first; providers that read it choose by it.
_ENCRYPTION_METHODS = "".join(
    f'      <md:EncryptionMethod Algorithm="http://www.w3.org/{name}"/>\n'
    for name in (
        "2009/xmlenc11#aes256-gcm",
        "2009/xmlenc11#aes128-gcm",
        "2001/04/xmlenc#aes256-cbc",
        "2001/04/xmlenc#aes128-cbc",
        "2001/04/xmlenc#rsa-oaep-mgf1p",
    )
)

ACS_PATH = "saml/acs"
METADATA_PATH = "saml/metadata"
LOGOUT_PATH = "saml/slo"
_RESERVED_PREFIX = "/.passproxy/"


@dataclass(frozen=True, slots=True)
class ServiceProvider:
    """Us, as the identity provider knows us."""

    entity_id: str
    acs_url: str
    #: The last part of the format's URN, such as "persistent".
    name_id_format: str
    force_authn: bool = False
    authn_contexts: tuple[str, ...] = ()
    signs_requests: bool = False
    wants_encryption: bool = False
    #: Where logout messages arrive; empty where there is no single logout.
    logout_url: str = ""


def service_provider(origin: Origin, settings: SamlSettings) -> ServiceProvider:
    return ServiceProvider(
        entity_id=settings.entity_id or origin.url(_RESERVED_PREFIX + METADATA_PATH),
        acs_url=origin.url(_RESERVED_PREFIX + ACS_PATH),
        name_id_format=settings.name_id_format,
        force_authn=settings.force_authn,
        authn_contexts=settings.authn_context,
        signs_requests=settings.sign_requests,
        wants_encryption=settings.want_encrypted_assertions,
        logout_url=origin.url(_RESERVED_PREFIX + LOGOUT_PATH) if settings.single_logout else "",
    )


def guard_provider_url(url: str, origin: Origin) -> None:
    """
    Refuse to send browsers, and our request with them, to an address that cannot be an identity provider's.

    Raises:
        MetadataRefused: not https (or http toward this machine), not plain, or our own.
    """
    if not re.fullmatch(r"[!-~]{1,2048}", url) or re.search(r"[\"<>\\^`{|}#]", url):
        raise MetadataRefused("the address of its sign-on or logout is not a plain URL")
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        raise MetadataRefused("the address of its sign-on or logout is not a URL") from None
    host = parts.hostname or ""
    if not host or parts.username is not None or parts.password is not None:
        raise MetadataRefused("the address of its sign-on or logout has no host, or a user name")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise MetadataRefused("the address of its sign-on or logout is not https")
    if (parts.scheme, host, port) == (origin.scheme, origin.host.strip("[]"), origin.port):
        raise MetadataRefused("the address of its sign-on or logout is our own")


def request_id(proof: Proof) -> str:
    """The ID of a login's AuthnRequest: an xs:ID, which may not start with a digit or a hyphen."""
    return "_" + proof.derive("saml request")


def dating_key(proof: Proof) -> str:
    """What dates the ID of the request where a fresh authentication is demanded."""
    return proof.derive("saml dated request")


def redirect_url(
    sso_url: str, us: ServiceProvider, login_id: str, proof: Proof, now: float, key: OwnKey | None = None
) -> str:
    """Where to send the browser: the request by the HTTP-Redirect binding (SAML Bindings 3.4.4.1), signed by `key`."""
    identifier = dated(dating_key(proof), int(now)) if us.force_authn else request_id(proof)
    document = _authn_request(sso_url, us, identifier, now).encode()
    separator = "&" if "?" in sso_url else "?"
    return f"{sso_url}{separator}{signed_query('SAMLRequest', document, login_id, key)}"


def _authn_request(sso_url: str, us: ServiceProvider, identifier: str, now: float) -> str:
    force_authn = ' ForceAuthn="true"' if us.force_authn else ""
    return (
        f'<samlp:AuthnRequest xmlns:samlp="{_SAMLP}" xmlns:saml="{_SAML}" ID="{identifier}" Version="2.0"'
        f' IssueInstant="{datetime.fromtimestamp(int(now), UTC):%Y-%m-%dT%H:%M:%SZ}"'
        f' Destination="{escape(sso_url)}"{force_authn} ProtocolBinding="{_POST_BINDING}"'
        f' AssertionConsumerServiceURL="{escape(us.acs_url)}">'
        f"<saml:Issuer>{escape(us.entity_id)}</saml:Issuer>"
        f'<samlp:NameIDPolicy{_format_attribute(us.name_id_format)} AllowCreate="true"/>'
        f"{_requested_authn_context(us.authn_contexts)}"
        "</samlp:AuthnRequest>"
    )


def _requested_authn_context(contexts: tuple[str, ...]) -> str:
    # None by default: asking for a password over TLS makes Entra and AD FS refuse
    # everybody who signed in with Windows, a key or a second factor.
    if not contexts:
        return ""
    classes = "".join(f"<saml:AuthnContextClassRef>{escape(name)}</saml:AuthnContextClassRef>" for name in contexts)
    return f'<samlp:RequestedAuthnContext Comparison="exact">{classes}</samlp:RequestedAuthnContext>'


def _format_attribute(name: str) -> str:
    # Without a format the identity provider is free to choose; "unspecified" by name
    # means the same, but AD FS and others answer it with InvalidNameIDPolicy.
    return "" if name == "unspecified" else f' Format="{_name_id_format(name)}"'


def _name_id_format(name: str) -> str:
    # The two that SAML 1.1 defined keep its version in their name (SAML Core 8.3).
    version = "2.0" if name in ("persistent", "transient") else "1.1"
    return _NAME_ID_FORMAT.format(version=version, name=name)


def _key_descriptors(keys: OwnKeys, use: str) -> str:
    return "".join(
        f'    <md:KeyDescriptor use="{use}">\n'
        '      <ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>'
        f"{base64.b64encode(key.certificate).decode()}"
        "</ds:X509Certificate></ds:X509Data></ds:KeyInfo>\n"
        f"{_ENCRYPTION_METHODS if use == 'encryption' else ''}"
        "    </md:KeyDescriptor>\n"
        for key in keys.keys
    )


def _logout_services(url: str) -> str:
    if not url:
        return ""
    bindings = (_REDIRECT_BINDING, _POST_BINDING)
    return "".join(f'    <md:SingleLogoutService Binding="{b}" Location="{escape(url)}"/>\n' for b in bindings)


def metadata(us: ServiceProvider, keys: OwnKeys) -> bytes:
    """Our EntityDescriptor, for the administrator of the identity provider to import."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"'
        f' entityID="{escape(us.entity_id)}">\n'
        f'  <md:SPSSODescriptor protocolSupportEnumeration="{_SAMLP}"'
        f' AuthnRequestsSigned="{str(us.signs_requests).lower()}" WantAssertionsSigned="true">\n'
        f"{_key_descriptors(keys, 'signing') if us.signs_requests or us.logout_url else ''}"
        f"{_key_descriptors(keys, 'encryption') if us.wants_encryption else ''}"
        f"{_logout_services(us.logout_url)}"
        f"    <md:NameIDFormat>{_name_id_format(us.name_id_format)}</md:NameIDFormat>\n"
        f'    <md:AssertionConsumerService Binding="{_POST_BINDING}" Location="{escape(us.acs_url)}"'
        ' index="0" isDefault="true"/>\n'
        "  </md:SPSSODescriptor>\n"
        "</md:EntityDescriptor>\n"
    ).encode()
