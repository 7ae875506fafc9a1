"""
The identity provider's part: what it publishes, its certificates, its clock, and a login as far as its own page.

All through the adapter that logs people in (idp/), in a folder of its own that
is gone afterwards: nothing is stored, and nobody is logged in.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urljoin, urlsplit

import aiohttp
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from passproxy.app.building import state_dir_of
from passproxy.app.service import client_session
from passproxy.cli.doctor.client import client
from passproxy.cli.doctor.page import Landing, Registered, judged, refused
from passproxy.cli.doctor.probe import PAGE_LIMIT_BYTES, beginning, certificate_end, reason, within
from passproxy.cli.doctor.report import Finding, failed, ok, quoted, unknown, warning
from passproxy.core.errors import IdpUnavailable, LoginError
from passproxy.core.formats import ProviderUrl
from passproxy.core.routing import PREFIX
from passproxy.core.settings import Settings
from passproxy.core.urls import Origin, is_loopback
from passproxy.idp.base import IdentityProvider, Proof, ProviderFacts
from passproxy.idp.registry import build
from passproxy.idp.saml.keys import FILE_NAME

#: Ordering and installing a new certificate takes organisations weeks.
SIGNING_WARNING_DAYS = 30

#: Automatic renewal happens a month before the end; when it has not by then, it does not work.
TLS_WARNING_DAYS = 14

#: A clock that is kept is right within a second, and PassProxy forgives `clock_skew` (60 s).
CLOCK_WARNING_SECONDS = 30

#: A browser gives up after twenty; sign-in pages are behind two or three.
REDIRECT_LIMIT = 10

_DAY = 86400
_PROVIDER_URL: TypeAdapter[str] = TypeAdapter(ProviderUrl)
_BROWSER = {
    "Accept": "text/html,application/xhtml+xml",
    "Accept-Language": "en",
    "User-Agent": "Mozilla/5.0 (PassProxy)",
}


@dataclass(slots=True)
class Clocks:
    """How far the clocks of servers are from ours, by host, in seconds; the answer that took least counts."""

    clock: Callable[[], float]
    differences: dict[str, float] = field(default_factory=dict)

    def config(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._noted)
        return trace

    async def _noted(self, _: object, __: SimpleNamespace, ended: aiohttp.TraceRequestEndParams) -> None:
        headers, host = ended.response.headers, ended.url.host or ""
        # What a cache answers has the date of long ago (RFC 9111, 5.1).
        if "Age" in headers or "Date" not in headers:
            return
        with suppress(ValueError, TypeError):
            # Dates are cut to the second.
            difference = self.clock() - (parsedate_to_datetime(headers["Date"]).timestamp() + 0.5)
            self.differences[host] = min(difference, self.differences.get(host, difference), key=abs)


async def provider(settings: Settings, origin: Origin, clock: Callable[[], float]) -> list[Finding]:
    """Everything about the identity provider."""
    clocks = Clocks(clock)
    with _scratch(state_dir_of(settings)) as folder:
        with suppress(OSError):
            # The key that signs requests, as the provider knows it.
            shutil.copy(state_dir_of(settings) / FILE_NAME, folder)
        async with client_session(trace_configs=[clocks.config()]) as http:
            chosen = build(settings, origin, http, folder, (secrets.token_bytes(32),), clock)
            try:
                findings = await _findings(settings, origin, chosen, clocks)
            finally:
                if settings.saml is not None:
                    await chosen.close()  # type: ignore[attr-defined] # it has a process of its own
    return findings


@contextmanager
def _scratch(state_dir: Path) -> Iterator[Path]:
    """A folder for what is kept meanwhile; in a container that can write nowhere, the state, which stays as it is."""
    folder = state_dir
    with ExitStack() as stack:
        for place in (None, state_dir):
            with suppress(OSError):
                made = tempfile.TemporaryDirectory(prefix="passproxy-doctor-", dir=place)
                folder = Path(stack.enter_context(made))
                break
        yield folder


async def _findings(settings: Settings, origin: Origin, chosen: IdentityProvider, clocks: Clocks) -> list[Finding]:
    known: list[ProviderFacts] = []

    async def published() -> list[Finding]:
        try:
            facts = await chosen.facts(clocks.clock())
        except LoginError as error:
            return [_unpublished(error, settings)]
        known.append(facts)
        count = f"{facts.keys} key{'s' if facts.keys > 1 else ''} to verify its signatures with"
        notes = [warning("provider", quoted(note) + ".", "Ask who runs the provider.") for note in facts.notes]
        return [ok("provider", f"{facts.name} describes itself, with {count}."), *notes]

    findings = await within("provider", published())
    if not known:
        return [*findings, *await _transport(_sources(settings), clocks.clock()), _clock(settings, clocks)]
    (facts,) = known
    login = await within("login", _login(settings, origin, chosen, clocks))
    if settings.oidc is not None:
        login += await within("client", client(settings.oidc, chosen, clocks.clock()))
    return [
        *findings,
        *_signing(facts, clocks.clock()),
        *await _transport((*_sources(settings), *facts.urls), clocks.clock()),
        _clock(settings, clocks),
        *login,
    ]


def _unpublished(error: LoginError, settings: Settings) -> Finding:
    source = next(iter(_sources(settings)), "saml.metadata_file")
    if isinstance(error.__cause__, (aiohttp.ClientError, OSError)):
        hint = "Can this machine reach the provider, and is the address right?"
        return failed("provider", f"{source} cannot be reached: {reason(error.__cause__)}.", hint)
    hint = f"passproxy explain {error.code}"
    return failed("provider", f"What {source} says cannot be used: {quoted(error.detail).rstrip('.')}.", hint)


def _sources(settings: Settings) -> tuple[str, ...]:
    if settings.saml is not None:
        return (settings.saml.metadata_url,) if settings.saml.metadata_url else ()
    return (settings.oidc.issuer,) if settings.oidc else ()


def _signing(facts: ProviderFacts, now: float) -> list[Finding]:
    if facts.keys_expire is None:
        return []
    days = int((facts.keys_expire - now) // _DAY)
    if days < 0:
        text = f"The provider's signing certificate ended {-days} days ago; it is used while it is published."
        return [warning("signing", text, "Ask who runs the provider when it will be replaced.")]
    text = f"The provider's signing certificate ends in {days} days."
    if days < SIGNING_WARNING_DAYS:
        hint = "Ask who runs the provider for the next one; with metadata_url PassProxy follows by itself."
        return [warning("signing", text, hint)]
    return [ok("signing", text)]


async def _transport(urls: tuple[str, ...], now: float) -> list[Finding]:
    places = {(parts.hostname, parts.port or 443) for parts in map(urlsplit, urls) if parts.scheme == "https"}
    findings = []
    for host, port in sorted((str(host), port) for host, port in places):
        findings += await within("provider TLS", transport("provider TLS", host, port, now))
    return findings


async def transport(check: str, host: str, port: int, now: float) -> list[Finding]:
    """About the certificate of a TLS server."""
    try:
        days = int((await certificate_end(host, port) - now) // _DAY)
    except OSError as error:
        hint = "Renew or correct the certificate; browsers and PassProxy refuse it as well."
        return [failed(check, f"{host}: {reason(error)}.", hint)]
    text = f"The certificate of {host} is valid for {days} more days."
    if days < TLS_WARNING_DAYS:
        return [warning(check, text, "Renewal should have happened by now: look at what renews it.")]
    return [ok(check, text)]


def _clock(settings: Settings, clocks: Clocks) -> Finding:
    if not clocks.differences:
        return unknown("clock", "The provider does not say what time it is.")
    host, difference = max(clocks.differences.items(), key=lambda each: abs(each[1]))
    seconds = round(abs(difference))
    skew = next(each.clock_skew for each in (settings.saml, settings.oidc) if each is not None)
    if seconds <= min(CLOCK_WARNING_SECONDS, skew):
        return ok("clock", f"This clock and that of {host} agree within {max(1, seconds)} s.")
    side = "ahead of" if difference > 0 else "behind"
    text = f"This clock is {seconds} s {side} that of {host}; {skew} s are forgiven (clock_skew)."
    hint = "Compare with a third clock (timedatectl), and let both be set by NTP."
    return (failed if seconds > skew else warning)("clock", text, hint)


async def _login(settings: Settings, origin: Origin, chosen: IdentityProvider, clocks: Clocks) -> list[Finding]:
    us = Registered(_our_name(settings, origin), origin.url(PREFIX + chosen.callback_path))
    try:
        url = await chosen.start(secrets.token_urlsafe(16), Proof(secrets.token_bytes(32)), clocks.clock())
    except LoginError as error:
        if type(error) is not IdpUnavailable:
            return [refused(quoted(error.detail).rstrip("."), us)]  # a pushed request
        return [failed("login", f"{error.title}: {quoted(error.detail).rstrip('.')}.", error.hint)]
    async with aiohttp.ClientSession(
        cookie_jar=_jar(url), headers=_BROWSER, trust_env=False, trace_configs=[clocks.config()]
    ) as http:
        try:
            return [judged(await _followed(http, url, us.callback_url), us)]
        except ValidationError:
            text = "The provider redirects the browser to an address that is neither https nor loopback."
            return [failed("login", text, "Ask who runs the provider.")]
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return [
                failed("login", f"The sign-in page cannot be reached: {reason(error)}.", "Browsers need it as well.")
            ]


def _jar(url: str) -> aiohttp.CookieJar:
    """A provider may be an address, and as in browsers loopback is secure enough for Secure cookies."""
    place = URL(url).origin()
    return aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=place if is_loopback(place.host or "") else None)


def _our_name(settings: Settings, origin: Origin) -> str:
    if settings.saml is not None:
        return f"the entity id {settings.saml.entity_id or origin.url(PREFIX + 'saml/metadata')}"
    return f"the client {settings.oidc.client_id}" if settings.oidc else ""


async def _followed(http: aiohttp.ClientSession, url: str, callback_url: str) -> Landing:
    """Where a browser ends up; an answer to us is not followed, since it would be one."""
    for _ in range(REDIRECT_LIMIT):
        async with http.get(URL(_PROVIDER_URL.validate_python(url), encoded=True), allow_redirects=False) as answer:
            location = answer.headers.get("Location")
            if not 300 <= answer.status < 400 or location is None:
                return Landing(url, answer.status, await beginning(answer, PAGE_LIMIT_BYTES))
        url = urljoin(url, location)
        if url.partition("?")[0] == callback_url:
            return Landing(url, 302, b"")
    raise ValueError(f"more than {REDIRECT_LIMIT} redirects")
