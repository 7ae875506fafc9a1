"""
Learning whom to trust, once, and noticing later that it is no longer so.

A proxy describes itself in `/.passproxy/trust.json`. With `?challenge=` and a
fresh random value it also proves, signed with the key of its assertions, that
it holds that key now: a copied or cached description has no such proof. What
the description says must agree with the address that was asked, which TLS
vouches for. The proof has a type of its own, so that it is no assertion and no
assertion is a proof.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from passproxy.trusted.errors import AssertionRefused, EnrolmentRefused, SettingsInvalid
from passproxy.trusted.fetching import is_fetchable
from passproxy.trusted.jwk import PublicKey, keys_from
from passproxy.trusted.presets import HOUR_SECONDS, PRESETS
from passproxy.trusted.settings import LEEWAY_SECONDS, Settings, settings_from, variables
from passproxy.trusted.verifier import check_times, json_object, parsed, signed_claims

TRUST_PATH = "/.passproxy/trust.json"
JWKS_PATH = "/.passproxy/jwks.json"

PROOF_TYPE = "passproxy-trust+jwt"

#: A challenge has 256 random bits, in base64url.
CHALLENGE_BYTES = 32

#: A proof is made when it is asked for, and read at once.
PROOF_LIFETIME_LIMIT_SECONDS = 300

_HOST = re.compile(r"[a-z0-9.\-:\[\]]+\Z")

_PORTS = {"https": 443, "http": 80}

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Description:
    """What a proxy says about itself, read strictly; nothing in it has been proven."""

    issuer: str
    jwks_url: str
    header: str
    audience: str
    algorithms: tuple[str, ...]
    lifetime_seconds: int
    proof: str


@dataclass(frozen=True, slots=True)
class Change:
    """
    How a proxy differs from what was enrolled.

    `broken` are complete sentences: trust does not hold. `rotated` has the
    thumbprints of now when some of the enrolled keys are gone or new ones
    were added, and at least one enrolled key is still among them.
    """

    broken: tuple[str, ...] = ()
    rotated: tuple[str, ...] = ()


def origin_from(url: str) -> str:
    """
    The origin that an address names; a path below it is not allowed.

    Raises:
        EnrolmentRefused
    """
    if not is_fetchable(url):
        raise EnrolmentRefused(f"{url[:200]!a} is not an https address, or an http one of this machine")
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    if parts.path not in ("", "/") or parts.query or not _HOST.match(host):
        raise EnrolmentRefused(f"{url[:200]!a} has more than scheme, host and port")
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def enrolled(url: str, fetch: Fetch, *, now: float, challenge: str, audience: str = "") -> Settings:
    """
    The settings for the proxy at this address, which has proven its keys.

    `challenge` is fresh and random. `audience` is what the application expects,
    if it expects something else than what the proxy says.

    Raises:
        EnrolmentRefused, FetchFailed
    """
    origin = origin_from(url)
    description = description_from(fetch(f"{origin}{TRUST_PATH}?challenge={challenge}"))
    problems = tuple(_contradictions(description, origin, audience))
    if problems:
        raise EnrolmentRefused("; ".join(problems))
    keys = keys_from(fetch(description.jwks_url))
    check_proof(description, keys, now=now, challenge=challenge)
    return _settings(description, keys)


def changed(enrolled_before: Settings, fetch: Fetch, *, now: float, challenge: str) -> Change:
    """
    Compare a proxy with what was enrolled. Of proxies that do not describe themselves, only the keys.

    Raises:
        EnrolmentRefused, FetchFailed: it could not be compared, or proves nothing.
    """
    if enrolled_before.preset is not PRESETS["passproxy"]:
        current = tuple(key.thumbprint for key in keys_from(fetch(enrolled_before.jwks_url)))
        return _keys_changed(enrolled_before.thumbprints, current)
    found = enrolled(enrolled_before.issuer, fetch, now=now, challenge=challenge)
    before, after = variables(enrolled_before), variables(found)
    broken = [
        f"{name} was {before.get(name)}, and now it is {after.get(name)}"
        for name in after
        if name != "TRUSTED_PROXY_THUMBPRINTS" and before.get(name) != after.get(name)
    ]
    keys = _keys_changed(enrolled_before.thumbprints, found.thumbprints)
    return replace(keys, broken=(*broken, *keys.broken))


def description_from(document: bytes) -> Description:
    """
    Read a trust description. Members that are not known are ignored.

    Raises:
        EnrolmentRefused: a member is missing or has a wrong type.
    """
    try:
        members = json_object(document)
    except AssertionRefused as error:
        raise EnrolmentRefused(f"the description is not usable: {error.detail}") from None
    algorithms = members.get("algorithms")
    if not isinstance(algorithms, list) or not all(isinstance(name, str) for name in algorithms):
        raise EnrolmentRefused("the description has no algorithms")
    lifetime = members.get("assertion_lifetime_seconds")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int):
        raise EnrolmentRefused("the description has no assertion_lifetime_seconds")
    return Description(
        issuer=_text(members, "issuer"),
        jwks_url=_text(members, "jwks_uri"),
        header=_text(members, "assertion_header"),
        audience=_text(members, "audience"),
        algorithms=tuple(algorithms),
        lifetime_seconds=lifetime,
        proof=_text(members, "proof"),
    )


def check_proof(description: Description, keys: tuple[PublicKey, ...], *, now: float, challenge: str) -> None:
    """
    Raises:
        EnrolmentRefused: the proof is not fresh, or not of one of these keys, or for something else.
    """
    try:
        proof = parsed(description.proof.encode(), PRESETS["passproxy"].algorithms, frozenset({PROOF_TYPE}))
        fitting = [key for key in keys if key.kid == proof.kid and key.fits(proof.algorithm)]
        if len(fitting) != 1:
            raise EnrolmentRefused("the proof is signed with a key that is not published")
        claims = signed_claims(proof, fitting[0])
        check_times(claims, now, LEEWAY_SECONDS, PROOF_LIFETIME_LIMIT_SECONDS)
    except AssertionRefused as error:
        raise EnrolmentRefused(f"the proof does not hold: {error.code}, {error.detail}") from None
    expected = {"iss": description.issuer, "aud": description.audience, "challenge": challenge}
    for name, value in expected.items():
        if claims.get(name) != value:
            raise EnrolmentRefused(f"the proof has another {name} than {value!a}")


def _contradictions(description: Description, origin: str, audience: str) -> list[str]:
    found = []
    if description.issuer != origin:
        found.append(f"it says that it is {description.issuer[:200]!a}, and it was asked as {origin}")
    if description.jwks_url != origin + JWKS_PATH:
        found.append(f"its keys are at {description.jwks_url[:200]!a}, and should be at {origin}{JWKS_PATH}")
    if audience and description.audience != audience:
        found.append(f"its assertions are for {description.audience[:200]!a}, and expected is {audience!a}")
    if "ES256" not in description.algorithms:
        found.append("it does not sign with ES256")
    if not 0 < description.lifetime_seconds <= HOUR_SECONDS:
        found.append(f"its assertions live {description.lifetime_seconds} seconds; at most {HOUR_SECONDS} are accepted")
    return found


def _settings(description: Description, keys: tuple[PublicKey, ...]) -> Settings:
    said = Settings(
        preset=PRESETS["passproxy"],
        header=description.header,
        issuer=description.issuer,
        audiences=(description.audience,),
        jwks_url=description.jwks_url,
        thumbprints=tuple(key.thumbprint for key in keys),
    )
    try:
        written = settings_from(variables(said))
    except SettingsInvalid as error:
        raise EnrolmentRefused("; ".join(error.problems)) from None
    if written != said:
        raise EnrolmentRefused("its audience has a comma, or spaces around it")
    return said


def _keys_changed(before: tuple[str, ...], after: tuple[str, ...]) -> Change:
    if not before or set(before) == set(after):
        return Change()
    if not set(before) & set(after):
        return Change(broken=("none of the keys that were enrolled is published any more",))
    return Change(rotated=after)


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise EnrolmentRefused(f"the description has no {name}")
    return value
