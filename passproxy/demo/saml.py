"""
The SAML half of the demo identity provider: one service provider, HTTP-Redirect in, HTTP-POST out.

It reads requests strictly and answers them; assertions.py writes and signs the
answer. What is not offered is refused with a sentence: passive requests, other
bindings, other service providers. It moves no bytes: idp.py does.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lxml import etree

from passproxy.demo.assertions import (
    METADATA,
    SAML,
    SAMLP,
    KeyPair,
    ResponseFacts,
    fresh_id,
    metadata,
    serialized,
    signed_response,
)
from passproxy.demo.refusals import Unanswerable
from passproxy.demo.sessions import LIFETIME_SECONDS, SignIn
from passproxy.demo.users import User

PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
POST_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"

#: A request of a service provider has one to four KiB; more is a bomb or a mistake.
REQUEST_LIMIT_BYTES = 64 * 1024

#: SAML Bindings 3.4.3.
RELAY_STATE_LIMIT_BYTES = 80

_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}\Z")


@dataclass(frozen=True, slots=True)
class ServiceProvider:
    """The one service provider that is registered here."""

    entity_id: str
    acs_url: str


@dataclass(frozen=True, slots=True)
class AuthnRequest:
    request_id: str
    relay_state: str | None
    force_authn: bool

    def needs_password(self, sign_in: SignIn | None) -> bool:
        return sign_in is None or self.force_authn


class SamlProvider:
    """One entity with one service provider."""

    def __init__(
        self,
        entity_id: str,
        sso_url: str,
        service_provider: ServiceProvider,
        keys: KeyPair,
        clock: Callable[[], float],
    ) -> None:
        self._entity_id = entity_id
        self._sso_url = sso_url
        self._service_provider = service_provider
        self._clock = clock
        self._keys = keys

    @property
    def acs_url(self) -> str:
        return self._service_provider.acs_url

    def metadata(self) -> bytes:
        """The document that a service provider is configured with."""
        tree = metadata(self._entity_id, self._sso_url, [self._keys.certificate_pem])
        for element in tree.iter(f"{{{METADATA}}}NameIDFormat"):
            element.text = PERSISTENT
        return serialized(tree)

    def authn_request(self, fields: Mapping[str, str]) -> AuthnRequest:
        """
        The request in the query of the SSO address.

        Raises:
            Unanswerable: it cannot be read, or asks for what is not offered.
        """
        root = _parsed(_inflated(fields.get("SAMLRequest", "")))
        if root.tag != f"{{{SAMLP}}}AuthnRequest" or root.get("Version") != "2.0":
            raise Unanswerable("This is not an AuthnRequest of SAML 2.0.")
        self._check_parties(root)
        if root.get("IsPassive") in ("true", "1"):
            raise Unanswerable("Passive requests are not offered.")
        request_id, relay_state = root.get("ID", ""), fields.get("RelayState")
        if not _ID.match(request_id):
            raise Unanswerable("The request's ID is missing or not an XML name.")
        if relay_state is not None and len(relay_state.encode()) > RELAY_STATE_LIMIT_BYTES:
            raise Unanswerable(f"RelayState has more than {RELAY_STATE_LIMIT_BYTES} bytes.")
        return AuthnRequest(request_id, relay_state, root.get("ForceAuthn") in ("true", "1"))

    def answer(self, request: AuthnRequest, sign_in: SignIn) -> Mapping[str, str]:
        """The fields of the form that the browser posts to the service provider."""
        now = self._clock()
        facts = ResponseFacts(
            issuer=self._entity_id,
            audience=self._service_provider.entity_id,
            recipient=self.acs_url,
            destination=self.acs_url,
            in_response_to=request.request_id,
            name_id=sign_in.user.subject,
            name_id_format=PERSISTENT,
            issued_at=now,
            attributes=_attributes(sign_in.user),
            session_index=fresh_id("s"),
            session_not_on_or_after=sign_in.at + LIFETIME_SECONDS,
            authenticated_at=sign_in.at,
        )
        fields = {"SAMLResponse": base64.b64encode(signed_response(facts, self._keys, response_too=True)).decode()}
        return fields if request.relay_state is None else {**fields, "RelayState": request.relay_state}

    def _check_parties(self, root: etree._Element) -> None:
        if (root.findtext(f"{{{SAML}}}Issuer") or "").strip() != self._service_provider.entity_id:
            raise Unanswerable("No service provider with this entity id is registered here.")
        if root.get("AssertionConsumerServiceURL", self.acs_url) != self.acs_url:
            raise Unanswerable("The AssertionConsumerServiceURL is not the one that is registered.")
        if root.get("ProtocolBinding", POST_BINDING) != POST_BINDING:
            raise Unanswerable("Answers are sent by the HTTP-POST binding only.")
        if root.get("Destination", self._sso_url) != self._sso_url:
            raise Unanswerable("The request was meant for another address.")


def _attributes(user: User) -> Mapping[str, tuple[str, ...]]:
    """As X.500 and LDAP name them: uid, mail, displayName, givenName, sn, memberOf."""
    attributes = {
        "urn:oid:0.9.2342.19200300.100.1.1": (user.login,),
        "urn:oid:0.9.2342.19200300.100.1.3": (user.email,),
        "urn:oid:2.16.840.1.113730.3.1.241": (user.name,),
        "urn:oid:2.5.4.42": (user.given_name,),
        "urn:oid:2.5.4.4": (user.family_name,),
        "urn:oid:1.2.840.113556.1.2.102": user.groups,
    }
    # An AttributeStatement has no attributes without values: who is in no group says nothing.
    return {name: values for name, values in attributes.items() if values}


def _inflated(encoded: str) -> bytes:
    """SAML Bindings 3.4.4.1: base64 around raw DEFLATE. Stops at the limit, however much is promised."""
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = decoder.decompress(base64.b64decode(encoded, validate=True), REQUEST_LIMIT_BYTES)
    except (ValueError, zlib.error):
        raise Unanswerable("SAMLRequest is not base64 around DEFLATE.") from None
    if not decoder.eof or decoder.unused_data:
        raise Unanswerable("SAMLRequest is cut short, too large, or followed by something else.")
    return inflated


def _parsed(document: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Unanswerable("SAMLRequest is not XML.") from None
    # SAML2int SDP-G03: a document type has no place in a message.
    if root.getroottree().docinfo.internalDTD is not None:
        raise Unanswerable("SAMLRequest has a document type.")
    return root
