"""
The SAML 2.0 adapter: a service provider behind the one interface of idp/base.py.

Sends the browser out by HTTP-Redirect and takes it back by HTTP-POST. What an
answer is worth is judged in a process of its own (verify.py in worker.py);
here it is decoded, compared with what was used before, and translated into an
`Authentication`. Each answer must name, signed, the request that is derived
from this login's proof; one that names none is taken only where the
configuration permits it. The end of sessions is in single_logout.py.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import aiohttp

from passproxy.core.errors import RenewalRefused
from passproxy.core.identity import ALIASES, Authentication
from passproxy.core.urls import Origin
from passproxy.idp.base import Callback, Departure, Document, LogoutNotice, Message, Proof, ProviderFacts
from passproxy.idp.lastgood import LastGood
from passproxy.idp.replay import ReplayCache
from passproxy.idp.saml.description import DescriptionSource
from passproxy.idp.saml.errors import (
    AssertionReplayed,
    GroupsElsewhere,
    InResponseToRefused,
    ResponseMalformed,
    SignatureRefused,
    SubjectMissing,
    VerifierBusy,
)
from passproxy.idp.saml.keys import OwnKeys
from passproxy.idp.saml.logout import handles_of, named_session, packed
from passproxy.idp.saml.messages import AssertionFacts, Expectations, IdpDescription, facts_from, verify_request
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.request import (
    ACS_PATH,
    LOGOUT_PATH,
    METADATA_PATH,
    dating_key,
    metadata,
    redirect_url,
    request_id,
    service_provider,
)
from passproxy.idp.saml.single_logout import SingleLogout
from passproxy.idp.standing import Standing

if TYPE_CHECKING:
    from passproxy.core.settings import SamlSettings

#: The decoded limit of precheck.py in base64, with room for its line breaks.
_ENCODED_LIMIT_CHARACTERS = 384 * 1024

_TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

#: What Entra ID sends instead of more than 150 groups.
GROUPS_LINK = "http://schemas.microsoft.com/claims/groups.link"

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
    login_initiators: frozenset[str] = frozenset()

    def __init__(
        self,
        settings: SamlSettings,
        origin: Origin,
        http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
        last_good: LastGood,
        clock: Callable[[], float],
        verifier: Verifier | None = None,
        keys: OwnKeys = OwnKeys(),  # noqa: B008 - frozen and empty
        signer: bytes | None = None,
    ) -> None:
        self.accepts_unsolicited = settings.allow_idp_initiated
        self.logout_paths: Mapping[str, tuple[str, ...]] = (
            {LOGOUT_PATH: ("GET", "POST")} if settings.single_logout and keys.keys else {}
        )
        self._keys = keys
        self._signing_key = keys.keys[0] if settings.sign_requests else None
        self._decryption_keys = keys.decryption_keys() if settings.want_encrypted_assertions else ()
        self._skew = float(settings.clock_skew)
        self._us = service_provider(origin, settings)
        self._verifier = verifier or Verifier(clock)
        self._source = DescriptionSource(settings, origin, http, last_good, self._verifier, clock, signer)
        self._replays = ReplayCache()
        key = keys.keys[0] if self.logout_paths else None
        self._logout = SingleLogout(self._us, key, self._source, self._verifier, self._skew)
        # The replay cache starts empty, so what may have been used before us is refused (CLK-06).
        self._started_at = clock()

    async def start(self, login_id: str, proof: Proof, now: float) -> str:
        idp = await self._source.current(now)
        return redirect_url(idp.sso_url, self._us, login_id, proof, now, self._signing_key)

    async def finish(self, callback: Callback, proof: Proof, now: float) -> Authentication:
        return await self._finished(callback, proof, now)

    async def _finished(self, callback: Callback, proof: Proof | None, now: float) -> Authentication:
        document = _document(callback)
        facts = await self._verified(document, proof, now)
        if self._replays.is_full():
            raise VerifierBusy("the replay cache is full")
        monotonic = asyncio.get_running_loop().time()
        if not self._replays.spend(facts.issuer, facts.assertion_id, facts.usable_until, now, monotonic):
            raise AssertionReplayed("this assertion was used before")
        return _authentication(facts)

    async def finish_unsolicited(self, callback: Callback, now: float) -> Authentication:
        if not self.accepts_unsolicited:
            raise InResponseToRefused("unsolicited answers are not accepted")
        return await self._finished(callback, None, now)

    async def renew(self, kept: bytes, subject: str, now: float) -> Authentication:
        raise RenewalRefused("SAML has nothing to ask again with")

    async def end(self, kept: bytes, logout_id: str, proof: Proof, now: float) -> Departure | None:
        return await self._logout.end(kept, logout_id, proof, now)

    async def notified(self, message: Message, proof: Proof | None, now: float) -> LogoutNotice:
        return await self._logout.notified(message, proof, now)

    async def facts(self, now: float) -> ProviderFacts:
        idp = await self._source.current(now)
        urls = tuple(url for url in (idp.sso_url, idp.logout_url) if url)
        return ProviderFacts(idp.entity_id, urls, len(idp.certificates), idp.certificates_expire, idp.notes)

    def documents(self) -> Mapping[str, Document]:
        return {METADATA_PATH: Document("application/samlmetadata+xml", metadata(self._us, self._keys))}

    def standing(self) -> Standing:
        return self._source.standing()

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

    async def _verified(self, document: bytes, proof: Proof | None, now: float) -> AssertionFacts:
        idp = await self._source.current(now)
        try:
            return await self._judged(document, idp, proof, now)
        except SignatureRefused:
            # Perhaps the provider rolled its keys over since we last looked.
            renewed = await self._source.renewed(idp)
            if renewed is None:
                raise
            return await self._judged(document, renewed, proof, now)

    async def _judged(self, document: bytes, idp: IdpDescription, proof: Proof | None, now: float) -> AssertionFacts:
        expected = Expectations(
            idp_entity_id=idp.entity_id,
            certificates=idp.certificates,
            sp_entity_id=self._us.entity_id,
            acs_url=self._us.acs_url,
            request_id="" if proof is None else request_id(proof),
            now=now,
            skew=self._skew,
            not_issued_before=self._started_at - self._skew,
            authn_contexts=self._us.authn_contexts,
            dating_key=dating_key(proof) if proof is not None and self._us.force_authn else "",
            decryption_keys=self._decryption_keys,
            is_unsolicited=proof is None,
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
    if GROUPS_LINK in facts.attributes and not any(facts.attributes.get(name) for name in ALIASES["groups"]):
        raise GroupsElsewhere("the groups are only referred to (groups.link)")
    session = named_session(facts)
    return Authentication(
        issuer=facts.issuer,
        subject=_subject(facts),
        attributes=facts.attributes,
        authenticated_at=int(facts.authenticated_at),
        expires_at=None if end is None else int(end),
        handles=handles_of(session),
        kept=packed(session),
    )


def _subject(facts: AssertionFacts) -> str:
    if facts.name_id and facts.name_id_format != _TRANSIENT:
        return facts.name_id
    stable = (facts.attributes.get(name, ()) for name in _STABLE_IDENTIFIERS)
    subject = next((values[0] for values in stable if len(values) == 1 and values[0].strip()), facts.name_id)
    if not subject:
        raise SubjectMissing("neither a NameID nor an attribute with a stable identifier")
    return subject
