"""
The OpenID Connect adapter: a login id becomes a redirect, the answer an `Authentication`.

Each login has its own nonce and PKCE verifier, derived from its proof, so that
nothing is stored here. No request leaves before everything that can be checked
without one has been checked. What is judged, and how, is in the modules beside
this one; who may finish which login is decided by the caller.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

import aiohttp
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from passproxy.core.errors import IdpUnavailable, LoginError, LoginUnknown, RenewalRefused
from passproxy.core.identity import Authentication
from passproxy.core.urls import Origin
from passproxy.idp.base import Callback, Departure, Document, LogoutNotice, Message, Proof, ProviderFacts
from passproxy.idp.fetch import fetched
from passproxy.idp.lastgood import LastGood
from passproxy.idp.oidc.answer import code_from
from passproxy.idp.oidc.claims import attributes_from
from passproxy.idp.oidc.client import client_from
from passproxy.idp.oidc.discovery import ProviderMetadata, discovery_url, metadata_from
from passproxy.idp.oidc.endings import end_session_url, revoke
from passproxy.idp.oidc.errors import (
    CodeRefused,
    DiscoveryRefused,
    FrontchannelRefused,
    GroupsRefused,
    IssuerRefused,
    KeysRefused,
    LogoutTokenRefused,
    SignatureRefused,
    UserinfoRefused,
    quoted,
)
from passproxy.idp.oidc.id_token import Expected, verified_claims, verified_userinfo
from passproxy.idp.oidc.jwks import KeySet, keys_from
from passproxy.idp.oidc.kept import Kept
from passproxy.idp.oidc.logout_token import verified_logout
from passproxy.idp.oidc.overage import group_source, groups_at, is_permitted
from passproxy.idp.oidc.pauses import pause_seconds
from passproxy.idp.oidc.pushed_request import push_endpoint, pushed
from passproxy.idp.oidc.remembered import Remembered, packed, remembered_from
from passproxy.idp.oidc.token_endpoint import Tokens, redeem, refreshed
from passproxy.idp.oidc.userinfo import SubjectForeign, is_needed, userinfo
from passproxy.idp.replay import ReplayCache
from passproxy.idp.standing import Freshness, Standing

if TYPE_CHECKING:
    from passproxy.core.settings import OidcSettings

CALLBACK_PATH = "oidc/callback"
BACKCHANNEL_PATH = "oidc/backchannel-logout"
FRONTCHANNEL_PATH = "oidc/frontchannel-logout"

#: Where the provider sends the browser after a logout; it has to be registered there.
LOGGED_OUT = "/.passproxy/logged-out"

#: Anybody's visit makes us push a request, so a flood of visits must not become one at the provider.
PUSHES_AT_ONCE = 32

_CHANCE = random.SystemRandom()

T = TypeVar("T")

_log = logging.getLogger(__name__)


class OidcProvider:
    """One OpenID provider (`IdentityProvider`). `chance` yields numbers from 0 to 1, for the jitter."""

    callback_path = CALLBACK_PATH
    login_id_field = "state"
    accepts_unsolicited = False
    logout_paths: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {BACKCHANNEL_PATH: ("POST",), FRONTCHANNEL_PATH: ("GET",)}
    )

    def __init__(
        self,
        settings: OidcSettings,
        origin: Origin,
        http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
        last_good: LastGood,
        clock: Callable[[], float],
        chance: Callable[[], float] = _CHANCE.random,
    ) -> None:
        self._settings = settings
        self._origin = origin
        self._http = http
        self._last_good = last_good
        self._chance = chance
        self.callback_method: Literal["GET", "POST"] = "POST" if settings.response_mode == "form_post" else "GET"
        self.login_initiators = frozenset({settings.issuer})
        self._pushes = asyncio.Semaphore(PUSHES_AT_ONCE)
        self._client = client_from(settings, origin.url(f"/.passproxy/{CALLBACK_PATH}"))
        self._metadata = Kept(self._read_metadata, clock, self._metadata_on_disk())
        self._keys = Kept(self._read_keys, clock)
        self._spent = ReplayCache()
        self._clock = clock
        self._freshness = Freshness()

    async def start(self, login_id: str, proof: Proof, now: float) -> str:
        """The authorization request, with `state`, `nonce` and PKCE (S256) always."""
        metadata = await self._metadata.get()
        request = self._request(metadata, login_id, proof)
        endpoint = push_endpoint(self._settings.pushed_authorization_requests, metadata)
        if endpoint is not None:
            request = {
                "client_id": self._client.client_id,
                "request_uri": await self._push(endpoint, metadata, request, now),
            }
        url: str = add_params_to_uri(metadata.authorization_endpoint, list(request.items()))
        return url

    async def finish(self, callback: Callback, proof: Proof, now: float) -> Authentication:
        code = code_from(callback.fields, self._settings.issuer)
        metadata = await self._metadata.get()
        if metadata.names_itself_in_answers and "iss" not in callback.fields:
            raise IssuerRefused("the answer does not name its issuer, although the provider always does")
        # Before the code is spent: without keys its ID token could not be verified.
        keys = await self._keys.get()
        tokens = await redeem(self._http, metadata, self._client, code, _code_verifier(proof), now)
        bound = {"at_hash": tokens.access_token, "c_hash": code}
        expected, id_token = self._expected(proof), tokens.id_token or ""
        claims = await self._judged(lambda keys: verified_claims(id_token, keys, expected, now, bound), keys)
        return await self._authentication(metadata, tokens, claims, None, now)

    async def _authentication(
        self,
        metadata: ProviderMetadata,
        tokens: Tokens,
        claims: dict[str, Any],
        before: Remembered | None,
        now: float,
    ) -> Authentication:
        """What verified claims and all that they refer to say; `before` is what is known at a renewal."""
        further, is_whole = await self._further_claims(metadata, tokens, claims, before is not None, now)
        claims |= await self._groups_elsewhere(tokens, claims, further)
        kept = packed(Remembered(tokens.refresh_token, tokens.id_token or (before.id_token if before else None)))
        return Authentication(
            issuer=claims["iss"],
            subject=claims["sub"],
            attributes=attributes_from(claims, further, allow_unverified_email=self._settings.allow_unverified_email),
            # Some providers write auth_time 0 for "unknown".
            authenticated_at=claims.get("auth_time") or claims.get("iat", int(now)),
            handles=tuple(f"{name}:{claims[name]}" for name in ("sub", "sid") if isinstance(claims.get(name), str)),
            kept=kept,
            is_renewable=tokens.refresh_token is not None and kept != b"",
            keeps_identity=not is_whole,
        )

    async def finish_unsolicited(self, callback: Callback, now: float) -> Authentication:
        raise LoginUnknown("an answer that no login asked for")

    async def renew(self, kept: bytes, subject: str, now: float) -> Authentication:
        known = remembered_from(kept)
        if known.refresh_token is None:
            raise RenewalRefused("no refresh token is kept")
        metadata, keys = await self._metadata.get(), await self._keys.get()
        try:
            tokens = await refreshed(self._http, metadata, self._client, known.refresh_token, now)
        except CodeRefused as error:
            raise RenewalRefused(error.detail) from None
        claims: dict[str, Any] = {"iss": self._settings.issuer, "sub": subject}
        if (id_token := tokens.id_token) is not None:
            expected, bound = self._expected(None), {"at_hash": tokens.access_token}
            claims = await self._judged(lambda keys: verified_claims(id_token, keys, expected, now, bound), keys)
        if claims["sub"] != subject:
            raise RenewalRefused("the new ID token is about somebody else")
        return await self._authentication(metadata, tokens, claims, known, now)

    async def end(self, kept: bytes, logout_id: str, proof: Proof, now: float) -> Departure | None:
        known, metadata = remembered_from(kept), self._metadata.value
        if metadata is None:
            return None
        if known.refresh_token is not None:
            await revoke(self._http, metadata, self._client, known.refresh_token, now)
        url = end_session_url(metadata, self._client, self._origin.url(LOGGED_OUT), known.id_token)
        return None if url is None else Departure(url)

    async def notified(self, message: Message, proof: Proof | None, now: float) -> LogoutNotice:
        if message.path == FRONTCHANNEL_PATH:
            return self._frontchannel(message.fields, now)
        token = message.fields.get("logout_token", "")
        expected, keys = self._expected(None), await self._keys.get()
        try:
            logout = await self._judged(lambda keys: verified_logout(token, keys, expected, now), keys)
        except SignatureRefused as error:
            raise LogoutTokenRefused(f"{error.code} {error.detail}") from None
        monotonic = asyncio.get_running_loop().time()
        if not self._spent.spend(self._settings.issuer, logout.token_id, logout.until, now, monotonic):
            raise LogoutTokenRefused("used before, or too many were")
        return LogoutNotice(logout.handles, logout.issued_at)

    def _frontchannel(self, fields: Mapping[str, str], now: float) -> LogoutNotice:
        """Front-Channel Logout 1.0, 3: proves nothing, but names a session that only the provider and we can name."""
        session = fields.get("sid", "")
        if fields.get("iss") != self._settings.issuer or not session:
            raise FrontchannelRefused(f"iss is {quoted(fields.get('iss'))}, sid is {'given' if session else 'missing'}")
        parts = urlsplit(self._settings.issuer)
        return LogoutNotice((f"sid:{session}",), int(now), framed_by=f"{parts.scheme}://{parts.netloc}")

    async def facts(self, now: float) -> ProviderFacts:
        metadata, keys = await self._metadata.get(), await self._keys.get()
        urls = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        return ProviderFacts(metadata.issuer, urls, len(keys.keys))

    def documents(self) -> Mapping[str, Document]:
        """A relying party publishes nothing."""
        return {}

    def standing(self) -> Standing:
        keys = self._keys.value
        is_known = self._metadata.value is not None
        return self._freshness.standing(is_known=is_known, signing_keys=0 if keys is None else len(keys.keys))

    async def run(self) -> None:
        """Keep description and keys fresh; after a failure sooner, and less and less often."""
        failures = 0
        while True:
            try:
                await self._metadata.refresh()
                await self._keys.refresh()
                self._freshness.confirmed(self._clock())
                failures = 0
            except LoginError as error:
                failures += 1
                self._freshness.failed(error)
                _log.warning("idp.refresh_failed code=%s attempt=%d %s", error.code, failures, error.detail)
            await asyncio.sleep(pause_seconds(failures, self._chance()))

    def _request(self, metadata: ProviderMetadata, login_id: str, proof: Proof) -> dict[str, str]:
        request = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": self._client.redirect_uri,
            "scope": " ".join(self._scopes(metadata)),
            "state": login_id,
            "nonce": _nonce(proof),
            "code_challenge": create_s256_code_challenge(_code_verifier(proof)),
            "code_challenge_method": "S256",
        }
        if self._settings.acr_values:
            request["acr_values"] = " ".join(self._settings.acr_values)
        if self._settings.max_age is not None:
            request["max_age"] = str(self._settings.max_age)
        # For a code, query is the default (OAuth 2.0 Multiple Response Types 2.1); some refuse what they know anyway.
        return request if self._settings.response_mode == "query" else {**request, "response_mode": "form_post"}

    async def _push(self, endpoint: str, metadata: ProviderMetadata, request: Mapping[str, str], now: float) -> str:
        if self._pushes.locked():
            raise IdpUnavailable(f"{PUSHES_AT_ONCE} pushed requests are under way already")
        async with self._pushes:
            return await pushed(self._http, endpoint, metadata, self._client, request, now)

    def _scopes(self, metadata: ProviderMetadata) -> tuple[str, ...]:
        """
        What was configured; of our own defaults only what the provider knows.

        Keycloak, Entra ID and Google refuse a request with a scope they do not
        know, and `groups` is one that many do not.
        """
        scopes = self._settings.scopes
        if "scopes" not in self._settings.model_fields_set and metadata.scopes:
            scopes = tuple(scope for scope in scopes if scope in metadata.scopes)
        return scopes if "openid" in scopes else ("openid", *scopes)

    def _expected(self, proof: Proof | None) -> Expected:
        """Of a token that answers this login; without one, of any other."""
        settings = self._settings
        return Expected(
            issuer=settings.issuer,
            client_id=settings.client_id,
            nonce=None if proof is None else _nonce(proof),
            audiences=frozenset(settings.audiences),
            leeway_seconds=settings.clock_skew,
            algorithms=frozenset(settings.signing_algorithms),
            acr_values=() if proof is None else settings.acr_values,
            max_age=None if proof is None else settings.max_age,
        )

    async def _judged(self, judge: Callable[[KeySet], T], keys: KeySet) -> T:
        """The verified claims. A key that is not known yet is worth one look at the key set, within its cool-down."""
        try:
            return judge(keys)
        except SignatureRefused:
            newer = await self._keys.newer_than(keys)
            if newer is keys:
                raise
            return judge(newer)

    async def _further_claims(
        self, metadata: ProviderMetadata, tokens: Tokens, claims: Mapping[str, Any], is_renewal: bool, now: float
    ) -> tuple[Mapping[str, Any], bool]:
        """What userinfo adds, and whether all that was said at the login is said now."""

        async def verify(token: str) -> dict[str, Any]:
            return await self._judged(
                lambda keys: verified_userinfo(token, keys, self._expected(None), now), await self._keys.get()
            )

        mode = self._settings.use_userinfo
        if not is_needed(mode, claims) or (mode == "auto" and metadata.userinfo_endpoint is None):
            return {}, tokens.id_token is not None
        try:
            if metadata.userinfo_endpoint is None or tokens.access_token is None:
                raise UserinfoRefused("there is no userinfo endpoint, or no access token for it")
            found = await userinfo(self._http, metadata.userinfo_endpoint, tokens.access_token, claims["sub"], verify)
            return found, True
        except SubjectForeign:
            raise
        except LoginError as error:
            # A renewal has spent its refresh token by now: what was known stands, and the new one is kept.
            if mode == "always" and not is_renewal:
                raise
            _log.warning("idp.userinfo_failed code=%s %s", error.code, error.detail)
            return {}, not is_renewal

    async def _groups_elsewhere(
        self, tokens: Tokens, claims: Mapping[str, Any], further: Mapping[str, Any]
    ) -> dict[str, list[str]]:
        """The groups that the ID token only refers to, if the reference may be followed. Else they stay missing."""
        found = group_source(claims, further)
        if found is None:
            return {}
        name, endpoint = found
        if not is_permitted(endpoint, self._settings.group_overage_endpoints):
            _log.warning("idp.groups_elsewhere endpoint=%s is not in oidc.group_overage_endpoints", quoted(endpoint))
            return {}
        if tokens.access_token is None:
            raise GroupsRefused("the groups are elsewhere, and there is no access token to ask for them with")
        return {name: await groups_at(self._http, endpoint, tokens.access_token)}

    def _metadata_on_disk(self) -> ProviderMetadata | None:
        document = self._last_good.load()
        if document is None:
            return None
        try:
            return metadata_from(document, self._settings.issuer, self._origin)
        except DiscoveryRefused as error:
            # The configuration has changed since, or the rules here have.
            _log.info("idp.last_good_refused code=%s %s", error.code, error.detail)
            return None

    async def _read_metadata(self) -> ProviderMetadata:
        document = await fetched(self._http, discovery_url(self._settings.issuer), DiscoveryRefused)
        metadata = metadata_from(document, self._settings.issuer, self._origin)
        if metadata != self._metadata.value:
            _log.info("idp.metadata_changed issuer=%s", metadata.issuer)
            try:
                await asyncio.to_thread(self._last_good.store, document)
            except OSError as error:
                _log.warning("idp.last_good_failed %s", error)
        return metadata

    async def _read_keys(self) -> KeySet:
        metadata = await self._metadata.get()
        keys = keys_from(await fetched(self._http, metadata.jwks_uri, KeysRefused))
        if keys != self._keys.value:
            _log.info("idp.keys_changed keys=%s", quoted(" ".join(keys.names())))
        return keys


def _nonce(proof: Proof) -> str:
    return proof.derive("nonce")


def _code_verifier(proof: Proof) -> str:
    return proof.derive("code verifier")
