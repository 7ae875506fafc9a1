"""
What is known of each proxy that signs an assertion.

A preset is a table row: which header, which algorithms and token type, where
the keys are, which claims say what. `generic` is for every other proxy that
sends a JSON Web Token and publishes its keys as a JWK set (RFC 7517). Nothing
here is taken from a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from passproxy.trusted.identity import ClaimNames

#: "" stands for a token without `typ`, as RFC 7519 allows.
_PLAIN_JWT = frozenset({"", "jwt"})

#: Without HMAC, whose key anybody who can verify can also sign with.
ASYMMETRIC = frozenset(["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"])

#: PassProxy's default is 60 seconds; nothing that is sent with each request needs more.
HOUR_SECONDS = 3600

#: Identity providers issue ID tokens for minutes to a day.
DAY_SECONDS = 86400

#: Google: ten minutes, and twice the tolerance for clocks of 30 seconds.
IAP_SECONDS = 660

#: Cloudflare's tokens live as long as the session of the application, at most a month.
MONTH_SECONDS = 31 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Preset:
    """
    One proxy.

    `jwks` is where its keys are: an address, or a path below that of the
    issuer; "" when only the administrator can know. `types` are accepted values
    of the JOSE header `typ`, in lower case. With `is_bearer` the assertion
    stands behind the word Bearer. `takes_other_audiences`: whether a token that
    is also meant for others is accepted.
    """

    name: str
    header: str
    algorithms: frozenset[str]
    lifetime_limit_seconds: int
    types: frozenset[str] = _PLAIN_JWT
    issuer: str = ""
    jwks: str = ""
    audience_is_issuer: bool = False
    is_bearer: bool = False
    takes_other_audiences: bool = False
    claims: ClaimNames = field(default_factory=ClaimNames)

    def jwks_url(self, issuer: str) -> str:
        """Where the keys are, for this issuer; "" when that does not follow from it."""
        if not self.jwks.startswith("/"):
            return self.jwks
        # Pomerium's issuer is a host name unless it was told to make it an address.
        base = issuer if "://" in issuer else f"https://{issuer}"
        parts = urlsplit(base)
        return f"{parts.scheme}://{parts.netloc}{self.jwks}" if parts.netloc else ""


_ROWS = (
    Preset(
        name="passproxy",
        header="X-Passproxy-Assertion",
        algorithms=frozenset({"ES256"}),
        types=frozenset({"passproxy-assertion+jwt"}),
        jwks="/.passproxy/jwks.json",
        audience_is_issuer=True,
        lifetime_limit_seconds=HOUR_SECONDS,
        claims=ClaimNames(user=("user",)),
    ),
    Preset(
        name="cloudflare-access",
        header="Cf-Access-Jwt-Assertion",
        algorithms=frozenset({"RS256"}),
        jwks="/cdn-cgi/access/certs",
        takes_other_audiences=True,
        lifetime_limit_seconds=MONTH_SECONDS,
        # A service token has an empty `sub`; what identifies it is in `common_name`.
        claims=ClaimNames(subject=("sub", "common_name"), user=("email", "common_name", "sub")),
    ),
    Preset(
        name="pomerium",
        header="X-Pomerium-Jwt-Assertion",
        algorithms=frozenset({"ES256"}),
        jwks="/.well-known/pomerium/jwks.json",
        takes_other_audiences=True,
        lifetime_limit_seconds=HOUR_SECONDS,
        claims=ClaimNames(user=("email", "sub")),
    ),
    Preset(
        name="google-iap",
        header="X-Goog-Iap-Jwt-Assertion",
        algorithms=frozenset({"ES256"}),
        issuer="https://cloud.google.com/iap",
        jwks="https://www.gstatic.com/iap/verify/public_key-jwk",
        lifetime_limit_seconds=IAP_SECONDS,
        claims=ClaimNames(user=("email", "sub")),
    ),
    Preset(
        # With its pass_authorization_header: the ID token of the identity provider.
        name="oauth2-proxy",
        header="Authorization",
        algorithms=ASYMMETRIC,
        is_bearer=True,
        lifetime_limit_seconds=DAY_SECONDS,
    ),
    Preset(name="generic", header="", algorithms=ASYMMETRIC, lifetime_limit_seconds=DAY_SECONDS),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ROWS})


def preset_for(header: str) -> Preset:
    """The proxy that sends its assertion in this header; `generic` when no other does."""
    return next((row for row in _ROWS if row.header.lower() == header.lower() and header), PRESETS["generic"])
