"""
The SAML 2.0 adapter: a service provider behind the one interface of idp/base.py.

Sends the browser out by HTTP-Redirect and takes it back by HTTP-POST. What an
answer is worth is judged in a process of its own (verify.py in worker.py);
here it is decoded, compared with what was used before, and translated into an
`Authentication`. Unsolicited answers are not accepted: each must name, signed,
the request that is derived from this login's proof.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Literal

import aiohttp

from passproxy.core.errors import CallbackMalformed, LoginUnknown, RenewalRefused
from passproxy.core.identity import Authentication
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.idp.base import Callback, Departure, Document, LogoutNotice, Message, Proof
from passproxy.idp.lastgood import LastGood
from passproxy.idp.replay import ReplayCache
from passproxy.idp.saml.description import DescriptionSource
from passproxy.idp.saml.errors import (
    AssertionReplayed,
    ResponseMalformed,
    SignatureRefused,
    SubjectMissing,
    VerifierBusy,
)
from passproxy.idp.saml.keys import OwnKeys
from passproxy.idp.saml.messages import AssertionFacts, Expectations, IdpDescription, facts_from, verify_request
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.request import (
    ACS_PATH,
    METADATA_PATH,
    dating_key,
    metadata,
    redirect_url,
    request_id,
    service_provider,
)

#: The decoded limit of precheck.py in base64, with room for its line breaks.
_ENCODED_LIMIT_CHARACTERS = 384 * 1024

_TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

#: Where else a provider says who it is, when there is no NameID or one that changes with
#: each login: the OASIS subject identifiers, then Entra's and AD FS's claims.
_STABLE_IDENTIFIERS = (
    "urn:oasis:names:tc:SAML:attribute:subject-id",
    "urn:oasis:names:tc:SAML:attribute:pairwise-id",
    "http://schemas.microsoft.com/identity/claims/objectidentifier",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier",
)


class SamlProvider:
    """`IdentityProvider` for SAML. Without `run`, call `close` when done with it."""

    callback_method: Literal["GET", "POST"] = "POST"
    callback_path = ACS_PATH
    login_id_field = "RelayState"
    accepts_unsolicited = False
    logout_paths: Mapping[str, tuple[str, ...]] = {}

    def __init__(
        self,
        settings: SamlSettings,
        origin: Origin,
        http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
        last_good: LastGood,
        clock: Callable[[], float],
        verifier: Verifier | None = None,
        keys: OwnKeys = OwnKeys(),  # noqa: B008 - frozen and empty
    ) -> None:
        self._keys = keys
        self._signing_key = keys.keys[0] if settings.sign_requests else None
        self._decryption_keys = keys.decryption_keys() if settings.want_encrypted_assertions else ()
        self._skew = float(settings.clock_skew)
        self._us = service_provider(origin, settings)
        self._verifier = verifier or Verifier(clock)
        self._source = DescriptionSource(settings, origin, http, last_good, self._verifier, clock)
        self._replays = ReplayCache()
        # The replay cache starts empty, so what may have been used before us is refused (CLK-06).
        self._started_at = clock()

    async def start(self, login_id: str, proof: Proof, now: float) -> str:
        idp = await self._source.current(now)
        return redirect_url(idp.sso_url, self._us, login_id, proof, now, self._signing_key)

    async def finish(self, callback: Callback, proof: Proof, now: float) -> Authentication:
        document = _document(callback)
        facts = await self._verified(document, proof, now)
        if self._replays.is_full():
            raise VerifierBusy("the replay cache is full")
        monotonic = asyncio.get_running_loop().time()
        if not self._replays.spend(facts.issuer, facts.assertion_id, facts.usable_until, now, monotonic):
            raise AssertionReplayed("this assertion was used before")
        return _authentication(facts)

    async def finish_unsolicited(self, callback: Callback, now: float) -> Authentication:
        raise LoginUnknown("unsolicited answers are not accepted")

    async def renew(self, kept: bytes, subject: str, now: float) -> Authentication:
        raise RenewalRefused("nothing is renewed here")

    async def end(self, kept: bytes, logout_id: str, proof: Proof, now: float) -> Departure | None:
        return None

    async def notified(self, message: Message, proof: Proof | None, now: float) -> LogoutNotice:
        raise CallbackMalformed("no messages are taken here")

    def documents(self) -> Mapping[str, Document]:
        return {METADATA_PATH: Document("application/samlmetadata+xml", metadata(self._us, self._keys))}

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._verifier.run(), name="saml verifier")
                tasks.create_task(self._source.run(), name="saml metadata")
        finally:
            await self.close()

    async def close(self) -> None:
        """End the verifying process. `run` does so by itself."""
        await self._verifier.close()

    async def _verified(self, document: bytes, proof: Proof, now: float) -> AssertionFacts:
        idp = await self._source.current(now)
        try:
            return await self._judged(document, idp, proof, now)
        except SignatureRefused:
            # Perhaps the provider rolled its keys over since we last looked.
            renewed = await self._source.renewed(idp)
            if renewed is None:
                raise
            return await self._judged(document, renewed, proof, now)

    async def _judged(self, document: bytes, idp: IdpDescription, proof: Proof, now: float) -> AssertionFacts:
        expected = Expectations(
            idp_entity_id=idp.entity_id,
            certificates=idp.certificates,
            sp_entity_id=self._us.entity_id,
            acs_url=self._us.acs_url,
            request_id=request_id(proof),
            now=now,
            skew=self._skew,
            not_issued_before=self._started_at - self._skew,
            authn_contexts=self._us.authn_contexts,
            dating_key=dating_key(proof) if self._us.force_authn else "",
            decryption_keys=self._decryption_keys,
        )
        return facts_from((await self._verifier.ask(verify_request(document, expected)))["facts"])


def _document(callback: Callback) -> bytes:
    encoded = callback.fields.get("SAMLResponse", "")
    if not encoded or len(encoded) > _ENCODED_LIMIT_CHARACTERS:
        raise ResponseMalformed("SAMLResponse is missing, empty or too large")
    try:
        # Java libraries wrap their lines; nothing else may stand between the digits.
        return base64.b64decode(encoded.replace("\r\n", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise ResponseMalformed("SAMLResponse is not base64") from None


def _authentication(facts: AssertionFacts) -> Authentication:
    end = facts.session_not_on_or_after
    return Authentication(
        issuer=facts.issuer,
        subject=_subject(facts),
        attributes=facts.attributes,
        authenticated_at=int(facts.authenticated_at),
        expires_at=None if end is None else int(end),
    )


def _subject(facts: AssertionFacts) -> str:
    if facts.name_id and facts.name_id_format != _TRANSIENT:
        return facts.name_id
    stable = (facts.attributes.get(name, ()) for name in _STABLE_IDENTIFIERS)
    subject = next((values[0] for values in stable if len(values) == 1 and values[0].strip()), facts.name_id)
    if not subject:
        raise SubjectMissing("neither a NameID nor an attribute with a stable identifier")
    return subject
