"""
What is known about the identity provider, and how it stays true.

Metadata comes from its URL, its file, or the last good copy; a new document
replaces the old one only when it is valid and still describes the same entity.
While none was ever obtained, logins are refused and nothing is guessed. The
documents are read by the verifier's process; here only its findings arrive.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from passproxy.core.errors import IdpUnavailable, LoginError
from passproxy.core.urls import Origin
from passproxy.idp.fetch import fetch
from passproxy.idp.lastgood import LastGood
from passproxy.idp.saml.errors import MetadataRefused
from passproxy.idp.saml.messages import IdpDescription, describe_request, description_from
from passproxy.idp.saml.pool import Verifier
from passproxy.idp.saml.request import guard_provider_url
from passproxy.idp.standing import Freshness, Standing

if TYPE_CHECKING:
    from passproxy.core.settings import SamlSettings

logger = logging.getLogger("passproxy.idp")

#: First pause after a failure; it doubles up to the refresh interval. Visitors wait behind it.
RETRY_SECONDS = 5.0

#: How often an answer signed by an unknown key may make us look for new metadata.
RENEWAL_SECONDS = 60.0

#: Refreshes that failed one after the other before it is an error: the copy that is held grows old.
ALARMING_FAILURES = 5

#: Share of each pause that is left to chance, so that replicas do not ask in step.
_JITTER = 0.1


class DescriptionSource:
    """The current `IdpDescription`. `run` keeps it fresh; without it, it is obtained on first use."""

    def __init__(
        self,
        settings: SamlSettings,
        origin: Origin,
        http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
        last_good: LastGood,
        verifier: Verifier,
        clock: Callable[[], float],
        signer: bytes | None = None,
    ) -> None:
        self._settings = settings
        self._origin = origin
        self._http = http
        self._last_good = last_good
        self._verifier = verifier
        self._clock = clock
        self._signer = signer
        self._description: IdpDescription | None = None
        self._document = b""
        self._was_last_good_read = False
        self._one_at_a_time = asyncio.Lock()
        self._tried_at = float("-inf")
        self._freshness = Freshness()

    async def current(self, now: float) -> IdpDescription:
        """
        The identity provider as it is known now.

        Raises:
            IdpUnavailable: it never was obtained, or it has expired.
        """
        if self._description is None:
            async with self._one_at_a_time:
                await self._obtain()
        description = self._description
        if description is None:
            raise IdpUnavailable("the identity provider's metadata was never obtained")
        if description.valid_until is not None and description.valid_until <= now:
            raise MetadataRefused("the identity provider's metadata has expired and could not be renewed")
        return description

    @property
    def known(self) -> IdpDescription | None:
        """What is known, without asking anybody."""
        return self._description

    def standing(self) -> Standing:
        known = self._description
        if known is None:
            return self._freshness.standing(is_known=False, signing_keys=0)
        is_known = known.valid_until is None or known.valid_until > self._clock()
        count, end = len(known.certificates), known.certificates_expire
        return self._freshness.standing(is_known=is_known, signing_keys=count, keys_expire_at=end)

    async def renewed(self, known: IdpDescription) -> IdpDescription | None:
        """A description that differs from `known`, if looking again, at most once a minute, finds one."""
        async with self._one_at_a_time:
            if self._description == known and self._since_last_try() >= RENEWAL_SECONDS:
                try:
                    await self._refresh()
                except LoginError as error:
                    self._log_failure(error)
            return self._description if self._description != known else None

    async def run(self) -> None:
        """Refresh in time, sooner after a failure, until cancelled."""
        failures = 0
        while True:
            try:
                async with self._one_at_a_time:
                    await self._read_last_good()
                    await self._refresh()
                failures = 0
            except LoginError as error:
                failures += 1
                self._log_failure(error, failures)
            await asyncio.sleep(self._pause(failures))

    def _pause(self, failures: int) -> float:
        longest = float(self._settings.metadata_refresh)
        pause = min(RETRY_SECONDS * 2.0 ** min(failures - 1, 20), longest) if failures else longest
        return pause * (1 - _JITTER * secrets.SystemRandom().random())

    def _log_failure(self, error: LoginError, failures: int = 1) -> None:
        self._freshness.failed(error)
        held = "none is held" if self._description is None else "the previous one stays in use"
        level = logging.ERROR if failures >= ALARMING_FAILURES else logging.WARNING
        logger.log(level, "idp.metadata_failed %s; %s", error.detail or error.code, held)

    def _since_last_try(self) -> float:
        return asyncio.get_running_loop().time() - self._tried_at

    async def _obtain(self) -> None:
        await self._read_last_good()
        if self._description is None and self._since_last_try() >= RETRY_SECONDS:
            try:
                await self._refresh()
            except LoginError as error:
                self._log_failure(error)
                raise

    async def _refresh(self) -> None:
        self._tried_at = asyncio.get_running_loop().time()
        document = await self._read()
        description = await self._described(document)
        self._adopt(description, document)
        self._freshness.confirmed(self._clock())
        try:
            await asyncio.to_thread(self._last_good.store, self._as_last_good(document))
        except OSError as error:
            logger.warning("idp.metadata_not_stored %s", error.strerror)

    async def _read(self) -> bytes:
        if self._settings.metadata_file is not None:
            try:
                return await asyncio.to_thread(Path(self._settings.metadata_file).read_bytes)
            except OSError as error:
                raise MetadataRefused(f"{self._settings.metadata_file}: {error.strerror}") from error
        if self._settings.metadata_url is None:
            raise MetadataRefused("neither saml.metadata_url nor saml.metadata_file is set")
        answer = await fetch(self._http, self._settings.metadata_url)
        if answer.status != 200:
            raise IdpUnavailable(f"{self._settings.metadata_url} answers with status {answer.status}")
        return answer.body

    async def _described(self, document: bytes) -> IdpDescription:
        request = describe_request(document, self._settings.idp_entity_id, self._clock(), self._signer)
        description = description_from((await self._verifier.ask(request))["description"])
        guard_provider_url(description.sso_url, self._origin)
        for url in (description.logout_url, description.logout_response_url):
            if url:
                guard_provider_url(url, self._origin)
        return description

    def _adopt(self, description: IdpDescription, document: bytes) -> None:
        """Replace what is known, unless the new document speaks of somebody else."""
        held = self._description
        if held is not None and held.entity_id != description.entity_id:
            raise MetadataRefused(
                f"the metadata now describes {description.entity_id!r} instead of {held.entity_id!r}; "
                "if that is intended, set saml.idp_entity_id"
            )
        if held is not None and self._is_older(held, description):
            # A copy from before keys were withdrawn would bring them back.
            raise MetadataRefused("the signed metadata is older than what is held: it ends sooner")
        if held is None or document != self._document:
            for note in description.notes:
                logger.warning("idp.metadata_note %s", note)
        if held is None:
            logger.info(
                "idp.metadata_loaded %s, certificates: %d", description.entity_id, len(description.certificates)
            )
        elif set(held.certificates) != set(description.certificates):
            logger.warning("idp.keys_changed %s, certificates: %d", held.entity_id, len(description.certificates))
        self._description, self._document = description, document

    def _is_older(self, held: IdpDescription, offered: IdpDescription) -> bool:
        """Only signed metadata has an end that nobody can move; once the held one has ended, any is better."""
        if self._signer is None or held.valid_until is None or held.valid_until <= self._clock():
            return False
        return offered.valid_until is not None and offered.valid_until < held.valid_until

    async def _read_last_good(self) -> None:
        """The copy of an earlier run, once; one that was made from another source is none."""
        if self._was_last_good_read:
            return
        stored = await asyncio.to_thread(self._last_good.load)
        if stored is not None and self._description is None:
            try:
                content = json.loads(stored)
                if content["source"] == self._source():
                    document = base64.b64decode(content["document"], validate=True)
                    self._adopt(await self._described(document), document)
            except (ValueError, KeyError, TypeError, binascii.Error, MetadataRefused) as error:
                logger.warning("idp.last_good_unusable %s", getattr(error, "detail", type(error).__name__))
        self._was_last_good_read = True

    def _source(self) -> list[str | None]:
        settings = self._settings
        return [settings.metadata_url, settings.metadata_file, settings.idp_entity_id]

    def _as_last_good(self, document: bytes) -> bytes:
        return json.dumps({"source": self._source(), "document": base64.b64encode(document).decode()}).encode()
