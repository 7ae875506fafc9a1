"""
What the OpenID provider says about itself (OpenID Connect Discovery 1.0).

The document is believed only as far as it is about the configured issuer, and
its endpoints only where an honest provider can have them: it decides who signs
identities, and where this server sends requests and secrets. Nothing here
fetches or stores; a name that resolves to an internal address is stopped by
TLS, which its server would have to pass.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from passproxy.core.urls import DEFAULT_PORTS, Origin, is_loopback, provider_url
from passproxy.idp.oidc.errors import DiscoveryRefused, quoted
from passproxy.idp.oidc.json_object import JsonRefused, json_object

#: Longest endpoint. The authorization endpoint becomes the front part of a redirect.
ENDPOINT_LIMIT_CHARACTERS = 1024

# RFC 3986 without the fragment: a backslash is a slash to browsers, and quotes or
# angle brackets have no business in a Location header.
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]]+\Z")

# What resolvers read as an address although it does not look like one: 2130706433, 0x7f.1
_NUMERIC_NAME = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """The part of the discovery document that is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    token_endpoint_auth_methods: tuple[str, ...]
    token_endpoint_signing_algorithms: tuple[str, ...]
    scopes: tuple[str, ...]
    pushed_authorization_request_endpoint: str | None
    requires_pushed_requests: bool
    end_session_endpoint: str | None
    revocation_endpoint: str | None
    names_itself_in_answers: bool
    """Whether each answer carries `iss` (RFC 9207), so that its absence means somebody took it away."""


def discovery_url(issuer: str) -> str:
    """Where the issuer's document is: a closing slash is dropped first (Discovery 4.1)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def metadata_from(document: bytes, issuer: str, origin: Origin) -> ProviderMetadata:
    """
    The description of the provider `issuer`, for a relying party at `origin`.

    Raises:
        DiscoveryRefused: it is another issuer's, or names an endpoint that is not to be trusted.
    """
    members = _members(document, issuer)
    endpoints = _Endpoints(members, urlsplit(issuer), origin)
    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=endpoints.for_browsers("authorization_endpoint"),
        token_endpoint=endpoints.for_us("token_endpoint"),
        jwks_uri=endpoints.for_us("jwks_uri"),
        userinfo_endpoint=endpoints.for_us_if_any("userinfo_endpoint"),
        token_endpoint_auth_methods=_texts(members, "token_endpoint_auth_methods_supported"),
        token_endpoint_signing_algorithms=_texts(members, "token_endpoint_auth_signing_alg_values_supported"),
        scopes=_texts(members, "scopes_supported"),
        pushed_authorization_request_endpoint=endpoints.for_us_if_any("pushed_authorization_request_endpoint"),
        requires_pushed_requests=members.get("require_pushed_authorization_requests") is True,
        end_session_endpoint=endpoints.for_browsers_if_any("end_session_endpoint"),
        revocation_endpoint=endpoints.for_us_if_any("revocation_endpoint"),
        names_itself_in_answers=members.get("authorization_response_iss_parameter_supported") is True,
    )


def jwks_uri_from(document: bytes, issuer: str, origin: Origin) -> str:
    """
    Where the keys of `issuer` are, by its description; nobody has to be able to log in there.

    Raises:
        DiscoveryRefused: as `metadata_from`.
    """
    return _Endpoints(_members(document, issuer), urlsplit(issuer), origin).for_us("jwks_uri")


def _members(document: bytes, issuer: str) -> Mapping[str, Any]:
    try:
        members = json_object(document)
    except JsonRefused as error:
        raise DiscoveryRefused(f"discovery document of {issuer}: {error}") from None
    if members.get("issuer") != issuer:
        raise DiscoveryRefused(
            f"the discovery document is about {quoted(members.get('issuer'))}, configured is {quoted(issuer)}"
        )
    return members


class _Endpoints:
    """The endpoints of one document, each under the policy for who will use it."""

    def __init__(self, members: Mapping[str, Any], issuer: SplitResult, origin: Origin) -> None:
        self._members = members
        self._issuer_host = issuer.hostname or ""
        self._on_our_origin = _is_at(issuer, origin)
        self._origin = origin

    def for_browsers(self, name: str) -> str:
        """Any host, since it is the visitor's browser that goes there."""
        url, parts = self._url(name)
        if is_loopback(parts.hostname or "") and not is_loopback(self._issuer_host):
            raise DiscoveryRefused(f"{name} is on this machine, the issuer is not: {quoted(url)}")
        return url

    def for_us(self, name: str) -> str:
        """The issuer's own host, or a public name: never an address that only we can reach (SSRF-03)."""
        url, parts = self._url(name)
        host = parts.hostname or ""
        permitted = host == self._issuer_host or _is_public_name(host)
        if not permitted and not (is_loopback(host) and is_loopback(self._issuer_host)):
            raise DiscoveryRefused(f"{name} is neither on the issuer's host nor on a public one: {quoted(url)}")
        return url

    def for_us_if_any(self, name: str) -> str | None:
        return self.for_us(name) if name in self._members else None

    def for_browsers_if_any(self, name: str) -> str | None:
        return self.for_browsers(name) if name in self._members else None

    def _url(self, name: str) -> tuple[str, SplitResult]:
        value = self._members.get(name)
        if not isinstance(value, str) or len(value) > ENDPOINT_LIMIT_CHARACTERS or not _URL_CHARACTERS.match(value):
            raise DiscoveryRefused(f"{name} is missing or not a URL: {quoted(value)}")
        try:
            parts = urlsplit(provider_url(value))
        except ValueError as error:
            raise DiscoveryRefused(f"{name} {quoted(value)}: {error}") from None
        # SSRF-10: sending browsers to our own /logout, or the code to ourselves.
        if _is_at(parts, self._origin) and not self._on_our_origin:
            raise DiscoveryRefused(f"{name} is on the protected origin itself: {quoted(value)}")
        return value, parts


def _is_at(url: SplitResult, origin: Origin) -> bool:
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    return (url.scheme, url.hostname, port) == (origin.scheme, origin.host, origin.port)


def _is_public_name(host: str) -> bool:
    name = host.rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." in name and not is_loopback(name) and not _NUMERIC_NAME.match(name)
    return False


def _texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = members.get(name)
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
