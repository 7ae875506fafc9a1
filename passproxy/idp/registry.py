"""The one place that chooses between protocol adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from passproxy.core.errors import ConfigError
from passproxy.core.urls import Origin
from passproxy.idp.base import IdentityProvider
from passproxy.idp.lastgood import LastGood
from passproxy.idp.oidc.provider import OidcProvider
from passproxy.idp.saml.keys import own_keys, signer_of_metadata
from passproxy.idp.saml.provider import SamlProvider

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
        own = own_keys(saml, state_dir, origin.host, clock())
        last_good = LastGood(state_dir / "saml-metadata.xml", *keys)
        return SamlProvider(saml, origin, http, last_good, clock, keys=own, signer=signer_of_metadata(saml))
    if oidc is None:
        raise ConfigError(("no identity provider",))
    return OidcProvider(oidc, origin, http, LastGood(state_dir / "oidc-discovery.json", *keys), clock)
