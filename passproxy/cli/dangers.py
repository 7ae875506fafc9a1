"""
What a configuration allows that can do harm, and what it stands on that may not last.

The same list is printed by `check` and logged at each start by `serve`, so that
nothing that was switched off for an afternoon is forgotten.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from passproxy.app.building import keys_file_of, state_dir_of
from passproxy.cli.unreached import unreached
from passproxy.core.access import attribute_rules_of
from passproxy.core.urls import Origin, is_loopback

if TYPE_CHECKING:
    from passproxy.core.settings import Settings

#: File systems that are gone after a restart, or with the container that they belong to.
_PASSING = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})

#: Secrets that may be in the configuration itself, by their keys.
_INLINE_SECRETS = ("oidc.client_secret", "upstream.basic_auth.password")

#: Issuers of tokens for whoever asks, with the audience that was asked for.
_FOR_EVERYBODY = (
    "token.actions.githubusercontent.com",
    "gitlab.com",
    "accounts.google.com",
    "agent.buildkite.com",
    "app.terraform.io",
)

_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Danger:
    """`key` is where it is written; `is_grave` says that somebody may get in or read along."""

    key: str
    text: str
    is_grave: bool = True


def dangers(settings: Settings, file: str | None) -> list[Danger]:
    """The grave ones first; `file` is the configuration's own, if there is one."""
    found = [
        *_switches(settings),
        *_access(settings),
        *_issuers(settings),
        *_neighbours(settings),
        *_readable_secrets(settings, file),
        *_state(settings),
    ]
    return sorted(found, key=lambda danger: not danger.is_grave)


def _switches(settings: Settings) -> Iterator[Danger]:
    if not settings.upstream.verify_tls:
        yield Danger(
            "upstream.verify_tls",
            "upstream.verify_tls is off: anybody between here and the application can read and change everything",
        )
    if settings.saml and settings.saml.allow_idp_initiated:
        yield Danger("saml.allow_idp_initiated", "anybody with an account can sign somebody else in as themselves")
    if settings.oidc and settings.oidc.allow_unverified_email:
        yield Danger(
            "oidc.allow_unverified_email", "who may type in an e-mail address at the provider can be anybody here"
        )
    if not Origin.of(settings.domain, settings.origin).is_secure:
        yield Danger("origin", "plain http, for trials on this machine: cookies travel unencrypted, without __Host-")
    if settings.log.level == "debug":
        yield Danger("log.level", "debug is for an afternoon: it says more of people and requests than a log should")
    if settings.revocation.store == "none":
        yield Danger("revocation.store", "none: a copied cookie is worth as much after a logout as before", False)
    if settings.session.lifetime > 86400:
        yield Danger(
            "session.lifetime",
            "session.lifetime is above 24h: somebody who was removed at the identity provider stays in that long",
            False,
        )


def _access(settings: Settings) -> Iterator[Danger]:
    if settings.access.default == "allow":
        yield Danger("access.default", "allow: everything is public that no rule protects; so is what will be new")
    attributes = attribute_rules_of(settings)
    for group in sorted(attributes.named_groups):
        prefix = settings.identity.groups.strip_prefix
        if prefix and group.startswith(prefix):
            yield Danger(
                "access", f"{group}: {prefix} is taken off before groups are compared, so name it without", False
            )
        if attributes.list_separator in group:
            yield Danger(
                "access",
                f"{group}: no group with the separator of lists in it is kept; change headers.list_separator",
                False,
            )
    for name, front in unreached(settings):
        yield Danger("access.rules", f"{name} never decides anything: {front} covers all of it before", False)


def _issuers(settings: Settings) -> Iterator[Danger]:
    key, oidc = "bearer.issuers", settings.oidc
    for entry in settings.bearer.issuers:
        if urlsplit(entry.issuer).hostname in _FOR_EVERYBODY and not entry.require:
            yield Danger(
                key,
                f"{entry.name}: everybody in the world can get a token of this issuer, for any audience: use require",
            )
        elif not (entry.require or settings.access.require_any_group):
            yield Danger(
                key,
                f"{entry.name}: whoever gets a token of this issuer for this audience is let in: say with require who is meant",
                False,
            )
        if entry.id_tokens:
            yield Danger(key, f"{entry.name}: id_tokens: who finds an ID token in a browser or a log gets in", False)
        if entry.forward:
            yield Danger(key, f"{entry.name}: forward: the application could use these tokens elsewhere", False)
        if oidc and entry.issuer == oidc.issuer and oidc.client_id in entry.audience and not entry.id_tokens:
            yield Danger(
                key,
                f"{entry.name}: audience is oidc.client_id, as in ID tokens: use one that means this application's tokens",
                False,
            )


def _neighbours(settings: Settings) -> Iterator[Danger]:
    if _is_open(settings.listen):
        yield Danger(
            "listen", "listen is open to every network: make sure that only the web server in front can reach it"
        )
    if settings.admin.listen is not None and _is_open(settings.admin.listen):
        yield Danger(
            "admin.listen",
            "admin.listen is open to every network: it asks nobody who they are, so let only your monitoring reach it",
        )
    if any(ipaddress.ip_network(network, strict=False).prefixlen == 0 for network in settings.trusted_proxies):
        yield Danger("trusted_proxies", "everybody is believed about the address they come from")
    parts = urlsplit(settings.upstream.url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield Danger(
            "upstream.url", "plain http to another machine: whoever is on the way reads and changes everything", False
        )


def _is_open(listen: str) -> bool:
    return listen.rpartition(":")[0] in ("0.0.0.0", "[::]", "::")  # noqa: S104 - compared, not bound


def _readable_secrets(settings: Settings, file: str | None) -> Iterator[Danger]:
    text = Path(file).read_text("utf-8") if file and _is_readable_by_others(file) else ""
    for key in _INLINE_SECRETS:
        variable, name = f"PASSPROXY_{key.replace('.', '_').upper()}", key.rpartition(".")[2]
        if variable not in os.environ and re.search(rf"^[^#\n]*\b{name}\s*:", text, re.MULTILINE):
            yield Danger(key, f"{file} contains {name} and can be read by others: use {name}_file, or chmod 600")
    yield from _plain_tokens(settings, file)
    for key, path in _secret_files(settings):
        if _is_readable_by_others(path):
            yield Danger(key, f"{path} can be read by others: chmod 600")


def _plain_tokens(settings: Settings, file: str | None) -> Iterator[Danger]:
    if file is None:
        return  # the server; reading it again would take a library that it has no other use for
    for key, path, where in (
        ("passthrough.tokens", file, ("passthrough", "tokens")),
        ("passthrough.tokens_file", settings.passthrough.tokens_file, ("tokens",)),
    ):
        if path and _is_readable_by_others(path) and _has_plain_token(Path(path), where):
            text = f"{path} has a token in plain text and can be read by others: keep what `passproxy token new` prints"
            yield Danger(key, text)


def _has_plain_token(path: Path, where: tuple[str, ...]) -> bool:
    import yaml

    found = yaml.safe_load(path.read_text("utf-8"))
    for name in where:
        found = found.get(name) if isinstance(found, dict) else None
    entries = found if isinstance(found, list) else []
    return any(isinstance(entry, str) and not entry.startswith("sha256:") for entry in entries)


def _secret_files(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.oidc and settings.oidc.private_key_file:
        yield "oidc.private_key_file", settings.oidc.private_key_file
    if settings.saml and settings.saml.key_file:
        yield "saml.key_file", settings.saml.key_file
    if settings.saml and settings.saml.next_key_file:
        yield "saml.next_key_file", settings.saml.next_key_file
    yield "session.keys_file" if settings.session.keys_file else "state_dir", str(keys_file_of(settings))


def _is_readable_by_others(path: str) -> bool:
    try:
        found = os.stat(path)
        # On a read-only mount it is a copy or somebody else's, whose mode says nothing about who reads the original.
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return False
    except OSError:
        return False
    # A secret that an orchestrator mounts is root's: through its group alone can we read it at all.
    is_by_group_alone = os.geteuid() not in (0, found.st_uid) and found.st_gid in (os.getegid(), *os.getgroups())
    return bool(found.st_mode & (stat.S_IROTH if is_by_group_alone else stat.S_IRGRP | stat.S_IROTH))


def _state(settings: Settings) -> Iterator[Danger]:
    path = state_dir_of(settings)
    if settings.saml and settings.saml.metadata_file and not os.access(settings.saml.metadata_file, os.R_OK):
        yield Danger(
            "saml.metadata_file",
            f"{settings.saml.metadata_file} cannot be read: nobody can log in until it can",
            False,
        )
    if _needs_no_state(settings):
        return
    if not os.path.exists(path):  # unlike Path.exists, never an error
        yield Danger("state_dir", f"{path} does not exist yet: the first start makes it, and the keys in it", False)
    kind = file_system_of(path)
    if kind in _PASSING:
        yield Danger(
            "state_dir",
            f"{path} is on {kind}, which may not outlive this container or a restart of the machine: new keys log "
            "everybody out; mount a volume there",
            False,
        )


def _needs_no_state(settings: Settings) -> bool:
    """With all keys given, what is kept are copies that are fetched again."""
    return settings.session.keys_file is not None and (settings.saml is None or settings.saml.key_file is not None)


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of file system on which something is, or would be made; None where the system does not say (proc(5))."""
    try:
        lines, place = mounts.read_text("utf-8", "replace").splitlines(), path.resolve()
    except OSError:
        return None
    longest, kind = -1, None
    for line in lines:
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), right.split()[0]
    return kind
