"""The one place that chooses between protocol adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp

from passproxy.core.settings import OidcSettings, SamlSettings
from passproxy.core.urls import Origin
from passproxy.idp.base import IdentityProvider
from passproxy.idp.lastgood import LastGood
from passproxy.idp.oidc.provider import OidcProvider
from passproxy.idp.saml.keys import own_keys, signer_of_metadata
from passproxy.idp.saml.provider import SamlProvider


def build(
    settings: SamlSettings | OidcSettings,
    origin: Origin,
    http: aiohttp.ClientSession,  # noqa: TID251 - a type here, not a second session
    state_dir: Path,
    keys: Sequence[bytes],
    clock: Callable[[], float],
) -> IdentityProvider:
    """The configured identity provider. `keys` protect what is kept about it in `state_dir`, the first what is new."""
    if isinstance(settings, SamlSettings):
        own = own_keys(settings, state_dir, origin.host, clock())
        last_good = LastGood(state_dir / "saml-metadata.xml", *keys)
        return SamlProvider(settings, origin, http, last_good, clock, keys=own, signer=signer_of_metadata(settings))
    return OidcProvider(settings, origin, http, LastGood(state_dir / "oidc-discovery.json", *keys), clock)
