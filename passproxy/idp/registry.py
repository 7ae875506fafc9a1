"""
The one place that chooses between protocol adapters.

Each is imported only where it is chosen: a process that serves one protocol has no memory for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from passproxy.core.errors import ConfigError
from passproxy.core.urls import Origin
from passproxy.idp.base import IdentityProvider
from passproxy.idp.lastgood import LastGood

if TYPE_CHECKING:
    from passproxy.core.settings import OidcSettings, SamlSettings, Settings


def section_of(settings: Settings) -> SamlSettings | OidcSettings:
    """
    The section of the provider that is configured.

    Raises:
        ConfigError: none is; a configuration that was checked has one.
    """
    section = settings.saml or settings.oidc
    if section is None:
        raise ConfigError(("no identity provider",))
    return section


def build(
    settings: Settings,
    origin: Origin,
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    state_dir: Path,
    keys: Sequence[bytes],
    clock: Callable[[], float],
) -> IdentityProvider:
    """
    The configured identity provider. `keys` protect what is kept about it in `state_dir`, the first what is new.

    Raises:
        ConfigError: its keys or certificates cannot be used, or none is configured.
    """
    saml, oidc = settings.saml, settings.oidc
    if saml is not None:
        from passproxy.idp.saml.keys import own_keys, signer_of_metadata
        from passproxy.idp.saml.provider import SamlProvider

        own = own_keys(saml, state_dir, origin.host, clock())
        last_good = LastGood(state_dir / "saml-metadata.xml", *keys)
        return SamlProvider(saml, origin, http, last_good, clock, keys=own, signer=signer_of_metadata(saml))
    if oidc is None:
        raise ConfigError(("no identity provider",))
    from passproxy.idp.oidc.provider import OidcProvider

    return OidcProvider(oidc, origin, http, LastGood(state_dir / "oidc-discovery.json", *keys), clock)


def check(settings: Settings, state_dir: Path, creatable: Callable[[Path], None]) -> None:
    """
    Whether `build` could do it; reads the same files and makes none. `creatable` raises where it could not make one.

    Raises:
        ConfigError: it could not.
    """
    if settings.oidc is not None:
        from passproxy.idp.oidc.client import client_from

        client_from(settings.oidc, "")
    if settings.saml is None:
        return
    from passproxy.idp.saml.keys import signer_of_metadata

    problems: list[str] = []
    for look in (signer_of_metadata, partial(_check_own_keys, state_dir=state_dir, creatable=creatable)):
        try:
            look(settings.saml)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))


def failures(settings: Settings, now: float) -> list[str]:
    """What this installation no longer refuses of an answer; that of the other protocol is judged, and tested, in a process of its own."""
    if settings.oidc is None and not settings.bearer.issuers:
        return []
    from passproxy.idp.oidc import selftest

    found = [] if settings.oidc is None else selftest.failures(now)
    return [*found, *(selftest.bearer_failures(now) if settings.bearer.issuers else ())]


def _check_own_keys(settings: SamlSettings, state_dir: Path, creatable: Callable[[Path], None]) -> None:
    from passproxy.idp.saml.keys import missing_key, own_keys

    missing = missing_key(settings, state_dir)
    if missing is not None:
        creatable(missing)
    else:
        own_keys(settings, state_dir, "", 0.0)
