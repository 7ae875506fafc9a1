"""
Which proxy is trusted, from the environment variables `TRUSTED_PROXY_*`.

Four say everything: the header, the address of the keys, the issuer and the
audience. What follows from a preset need not be given; the preset follows from
the header when it is not named. Whatever is wrong is reported at once, and an
application without a valid configuration does not start.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from passproxy.trusted.errors import SettingsInvalid
from passproxy.trusted.fetching import is_fetchable
from passproxy.trusted.presets import PRESETS, Preset, preset_for

PREFIX = "TRUSTED_PROXY_"

#: Without the prefix: what each is for.
VARIABLES: Mapping[str, str] = {
    "PRESET": "which proxy it is; follows from the header",
    "ASSERTION_HEADER": "the request header with the assertion",
    "ISSUER": "who must have issued it, `iss`",
    "AUDIENCE": "for whom it must be meant, `aud`; several with commas between them",
    "JWKS_URL": "where the public keys are",
    "THUMBPRINTS": "the keys at the time of enrolment; for `verify` alone",
}

#: How far the clocks of the proxy and of the application may be apart.
LEEWAY_SECONDS = 30

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_NAME = re.compile(r"[\x21-\x7e]{1,512}\Z")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an assertion is measured by. `settings_from` makes one that has been checked."""

    preset: Preset
    header: str
    issuer: str
    audiences: tuple[str, ...]
    jwks_url: str
    thumbprints: tuple[str, ...] = ()
    leeway_seconds: int = LEEWAY_SECONDS


def settings_from(environ: Mapping[str, str]) -> Settings:
    """
    The settings in these variables; others than `TRUSTED_PROXY_*` are not looked at.

    Raises:
        SettingsInvalid: names every problem.
    """
    given = {name.removeprefix(PREFIX): value.strip() for name, value in environ.items() if name.startswith(PREFIX)}
    problems = [problem for name in sorted(given) if name not in VARIABLES and (problem := _mistyped(name))]
    preset = _preset(given, problems)
    issuer = given.get("ISSUER") or preset.issuer
    settings = Settings(
        preset=preset,
        header=given.get("ASSERTION_HEADER") or preset.header,
        issuer=issuer,
        audiences=_listed(given.get("AUDIENCE", "")) or ((issuer,) if preset.audience_is_issuer and issuer else ()),
        jwks_url=given.get("JWKS_URL") or preset.jwks_url(issuer),
        thumbprints=_listed(given.get("THUMBPRINTS", "")),
    )
    problems += _problems(settings)
    if problems:
        raise SettingsInvalid(tuple(problems))
    return settings


def variables(settings: Settings) -> Mapping[str, str]:
    """The variables that `settings_from` reads the same settings from."""
    values = {
        "PRESET": settings.preset.name,
        "ASSERTION_HEADER": settings.header,
        "ISSUER": settings.issuer,
        "AUDIENCE": ",".join(settings.audiences),
        "JWKS_URL": settings.jwks_url,
        "THUMBPRINTS": ",".join(settings.thumbprints),
    }
    return {PREFIX + name: value for name, value in values.items() if value}


def _mistyped(name: str) -> str:
    """Names that resemble none of ours belong to somebody else: frameworks have TRUSTED_PROXY_COUNT and the like."""
    near = difflib.get_close_matches(name, VARIABLES, n=1)
    return f"{PREFIX}{name} is not known; did you mean {PREFIX}{near[0]}?" if near else ""


def _preset(given: Mapping[str, str], problems: list[str]) -> Preset:
    name = given.get("PRESET")
    if not name:
        return preset_for(given.get("ASSERTION_HEADER", ""))
    if name not in PRESETS:
        problems.append(f"{PREFIX}PRESET must be one of {', '.join(PRESETS)}")
    return PRESETS.get(name, PRESETS["generic"])


def _listed(text: str) -> tuple[str, ...]:
    return tuple(stripped for entry in text.split(",") if (stripped := entry.strip()))


def _problems(settings: Settings) -> list[str]:
    header, issuer, preset = settings.header, settings.issuer, settings.preset
    wrong: tuple[tuple[bool, str], ...] = (
        (not header, "ASSERTION_HEADER is not set: the header in which the proxy sends its assertion"),
        (
            bool(header and not _HEADER_NAME.match(header)),
            "ASSERTION_HEADER must be the name of a header, of letters, digits and hyphens",
        ),
        (not issuer, "ISSUER is not set: the `iss` of the proxy's assertions"),
        (bool(issuer and not _NAME.match(issuer)), "ISSUER must be printable, without spaces"),
        (
            preset.issuer not in ("", issuer),
            f"ISSUER can only be {preset.issuer} with the preset {preset.name}",
        ),
        (
            not settings.audiences,
            "AUDIENCE is not set: without it, an assertion for any other application would do",
        ),
        (not all(map(_NAME.match, settings.audiences)), "AUDIENCE must be printable, without spaces"),
        (not settings.jwks_url, "JWKS_URL is not set: where the proxy publishes its keys"),
        (
            bool(settings.jwks_url and not is_fetchable(settings.jwks_url)),
            "JWKS_URL must be an https address, or an http one of this machine",
        ),
        (
            not all(map(_THUMBPRINT.match, settings.thumbprints)),
            "THUMBPRINTS must be RFC 7638 thumbprints with commas between them",
        ),
    )
    return [PREFIX + sentence for is_wrong, sentence in wrong if is_wrong]
