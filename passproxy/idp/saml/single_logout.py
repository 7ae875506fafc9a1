"""
Single logout, both ways (SAML Profiles 4.4), by HTTP-Redirect and HTTP-POST.

Everything that we say is signed, and nothing is believed that is not: in a query the raw octets are
verified here, in a form the document itself is by the child process. A message that names a key
which is not known yet is worth one look at the metadata. Which sessions end is for the caller; here
is whom the provider means.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets

from passproxy.core.errors import LoginError
from passproxy.idp.base import Departure, LogoutNotice, Message, Proof
from passproxy.idp.replay import ReplayCache
from passproxy.idp.saml.description import DescriptionSource
from passproxy.idp.saml.errors import LogoutRefused, SamlRefused, SignatureRefused
from passproxy.idp.saml.keys import OwnKey
from passproxy.idp.saml.logout import (
    AGE_LIMIT_SECONDS,
    handles,
    logout_request,
    logout_request_id,
    logout_response,
    session_from,
)
from passproxy.idp.saml.messages import (
    IdpDescription,
    LogoutExpectations,
    LogoutFacts,
    bytes_from,
    logout_facts_from,
    sign_request,
)
from passproxy.idp.saml.messages import logout_request as logout_question
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.redirect import RELAY_STATE_LIMIT_BYTES, signed_query, verified_document
from passproxy.idp.saml.request import ServiceProvider

_log = logging.getLogger("passproxy.idp")

#: As with responses; a message about a logout has 8 KiB with its signature.
_ENCODED_LIMIT_CHARACTERS = 384 * 1024


class SingleLogout:
    """Of one service provider; without a key there is none."""

    def __init__(
        self, us: ServiceProvider, key: OwnKey | None, source: DescriptionSource, verifier: Verifier, skew: float
    ) -> None:
        self._us = us
        self._key = key
        self._source = source
        self._verifier = verifier
        self._skew = skew
        self._spent = ReplayCache()

    async def end(self, kept: bytes, logout_id: str, proof: Proof, now: float) -> Departure | None:
        """Where the browser takes our LogoutRequest; None where it cannot."""
        session, idp = session_from(kept), self._source.known
        if self._key is None or session is None or idp is None or not idp.logout_url:
            return None
        document = logout_request(logout_request_id(proof), idp.logout_url, self._us.entity_id, session, now)
        try:
            return await self._departure(idp, idp.logout_url, "SAMLRequest", document, logout_id)
        except LoginError as error:
            _log.warning("idp.logout_not_sent code=%s %s", error.code, error.detail)
            return None

    async def notified(self, message: Message, proof: Proof | None, now: float) -> LogoutNotice:
        """What a LogoutRequest, or the LogoutResponse to ours, says about sessions."""
        names = {"SAMLRequest", "SAMLResponse"} & message.fields.keys()
        if len(names) != 1:
            raise LogoutRefused(f"{len(names)} messages where there has to be one")
        name = names.pop()
        if name == "SAMLResponse" and proof is None:
            # Cheapest first: an answer to no logout of ours is not even looked at.
            raise LogoutRefused("an answer to no logout that was begun here lately")
        idp = await self._source.current(now)
        facts = await self._verified(message, name, idp, proof, now)
        if facts.is_success is not None:
            if name != "SAMLResponse":
                raise LogoutRefused("an answer in the place of a request")
            return LogoutNotice((), int(now), is_complete=facts.is_success)
        if name != "SAMLRequest":
            raise LogoutRefused("a request in the place of an answer")
        until, monotonic = facts.issued_at + AGE_LIMIT_SECONDS + self._skew + 1, asyncio.get_running_loop().time()
        if not self._spent.spend(idp.entity_id, facts.message_id, until, now, monotonic):
            raise LogoutRefused("used before, or too many were")
        departure = await self._answer(idp, facts, message.fields.get("RelayState"), now)
        return LogoutNotice(handles(facts.name_id, facts.session_indexes), int(facts.issued_at), departure)

    async def _answer(
        self, idp: IdpDescription, facts: LogoutFacts, relay_state: str | None, now: float
    ) -> Departure | None:
        if not idp.logout_response_url:
            return None
        if relay_state is not None and len(relay_state.encode()) > RELAY_STATE_LIMIT_BYTES:
            raise LogoutRefused("its RelayState is too long")
        identifier = "_" + secrets.token_hex(16)
        document = logout_response(identifier, idp.logout_response_url, self._us.entity_id, facts.message_id, now)
        return await self._departure(idp, idp.logout_response_url, "SAMLResponse", document, relay_state)

    async def _departure(
        self, idp: IdpDescription, url: str, name: str, document: bytes, relay_state: str | None
    ) -> Departure | None:
        if self._key is None:  # pragma: no cover - nothing arrives where there is no key: there are no logout paths
            return None
        if idp.logout_binding == "redirect":
            separator = "&" if "?" in url else "?"
            return Departure(f"{url}{separator}{signed_query(name, document, relay_state, self._key)}")
        question = sign_request(document, self._key.der(), self._key.certificate)
        signed = bytes_from((await self._verifier.ask(question))["document"])
        fields = {name: base64.b64encode(signed).decode()}
        return Departure(url, fields if relay_state is None else {**fields, "RelayState": relay_state})

    async def _verified(
        self, message: Message, name: str, idp: IdpDescription, proof: Proof | None, now: float
    ) -> LogoutFacts:
        try:
            return await self._judged(message, name, idp, proof, now)
        except SignatureRefused as error:
            renewed = await self._source.renewed(idp)
            if renewed is None:
                raise LogoutRefused(f"{error.code} {error.detail}") from None
        try:
            return await self._judged(message, name, renewed, proof, now)
        except SignatureRefused as error:
            raise LogoutRefused(f"{error.code} {error.detail}") from None

    async def _judged(
        self, message: Message, name: str, idp: IdpDescription, proof: Proof | None, now: float
    ) -> LogoutFacts:
        document = _document(message, name, idp)
        expected = LogoutExpectations(
            idp_entity_id=idp.entity_id,
            certificates=idp.certificates,
            destination=self._us.logout_url,
            is_signed=message.method == "GET",
            request_id="" if proof is None else logout_request_id(proof),
            now=now,
            skew=self._skew,
        )
        return logout_facts_from((await self._verifier.ask(logout_question(document, expected)))["facts"])


def _document(message: Message, name: str, idp: IdpDescription) -> bytes:
    """The bytes of the message: of a query once its signature holds."""
    if len(message.raw) > _ENCODED_LIMIT_CHARACTERS:
        raise LogoutRefused("it is too large")
    if message.method == "GET":
        try:
            return verified_document(message.raw, name, idp.certificates)
        except SignatureRefused:
            raise
        except SamlRefused as error:
            raise LogoutRefused(f"{error.code} {error.detail}") from None
    try:
        return base64.b64decode(message.fields[name].replace("\r\n", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise LogoutRefused("it is not base64") from None
