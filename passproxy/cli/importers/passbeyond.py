"""
PassBeyond: one YAML file a domain, SAML alone.

What is known of its keys is public in its author's article; a key that is not
listed here is reported and not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import yaml

from passproxy.cli.importers.draft import Draft
from passproxy.core.formats import duration_text
from passproxy.core.settings import SESSION_LIFETIME_BOUNDS_SECONDS
from passproxy.core.urls import is_loopback

_DEFAULT_TIMEOUT_MINUTES = 1440


def translated(texts: list[str], domain: str | None, folder: str) -> Draft:
    """
    The draft of a PassBeyond configuration; of several texts the later ones win.

    Raises:
        ValueError: one is not a YAML mapping.
    """
    options: dict[str, Any] = {}
    for text in texts:
        options |= _options(text)
    draft = Draft("PassBeyond", folder)
    name = domain or options.pop("domain", None)
    if not name:
        draft.note("decide", "domain", "none was given: write the name that is protected, here and below")
    draft.set("domain", name or "app.example.com", "domain")
    for option, translate in _TRANSLATIONS.items():
        if option in options:
            translate(draft, options.pop(option))
    if "upstream.url" not in draft.values:
        draft.set("upstream.url", "http://127.0.0.1:3000", "")
        draft.note("decide", "proxy.targetURL", "none was given: write where the application listens")
    if not {"saml.metadata_url", "saml.metadata_file"} & draft.values.keys():
        _metadata(draft, "")
    draft.set("headers.profile", "passbeyond", "")
    draft.note(
        "changed",
        "X-Passbeyond-...",
        "Email and Groups are as they were; the names of the others are not public, nor is what stood between groups: "
        "compare them with what the application reads",
    )
    draft.note(
        "changed",
        "identity provider",
        f"knows other addresses for {draft.values['domain']}: give it the metadata at "
        f"https://{draft.values['domain']}/.passproxy/saml/metadata",
    )
    for option in options:
        draft.note("no equal", option, "is not known to this importer")
    return draft


def _options(text: str) -> dict[str, Any]:
    """Dotted names of its keys -> values, all scalars as text."""
    data = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes text, lists and maps alone
    if not isinstance(data, dict):
        raise ValueError("is not a YAML mapping")
    proxy = data.pop("proxy", None)
    below = proxy if isinstance(proxy, dict) else {}
    return data | {f"proxy.{name}": value for name, value in below.items()}


def _metadata(draft: Draft, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        draft.set("saml.metadata_url", url, "idpMetadataURL")
        return
    file = f"{draft.folder}/{draft.name}.idp.xml"
    draft.set("saml.metadata_file", file, "idpMetadataURL")
    draft.note(
        "decide",
        "idpMetadataURL",
        f"is no https address: who answers there decides who gets in. Put a copy into {file}, or write an https address",
    )


def _listen(draft: Draft, address: str) -> None:
    host, _, port = address.rpartition(":")
    if host in ("", "*"):
        draft.set("listen", f"127.0.0.1:{port}", "proxy.listenAddress")
        draft.note(
            "changed",
            "proxy.listenAddress",
            f"{address} was every interface; now this machine alone. For a web server elsewhere write 0.0.0.0:{port}",
        )
    else:
        draft.set("listen", address, "proxy.listenAddress")


def _target(draft: Draft, url: str) -> None:
    parts = urlsplit(url)
    draft.set("upstream.url", f"{parts.scheme}://{parts.netloc}", "proxy.targetURL")
    if parts.path not in ("", "/"):
        draft.note(
            "changed", "proxy.targetURL", f"{parts.path} is left out: each path is passed on as it was asked for"
        )


def _no_verification(draft: Draft, value: str) -> None:
    if _is_true(value):
        draft.set("upstream.verify_tls", False, "proxy.targetDisableSSLVerify")
        draft.note(
            "decide",
            "proxy.targetDisableSSLVerify",
            "is kept, and anybody between here and the application can read and change everything: upstream.ca_file "
            "with its certificate, and verify_tls: true, is nearly always possible",
        )


def _timeout(draft: Draft, value: str) -> None:
    shortest, longest = SESSION_LIFETIME_BOUNDS_SECONDS
    minutes = int(value) if value.isdecimal() else 0
    seconds = min(max(minutes * 60, shortest), longest)
    if minutes == 0:
        seconds = _DEFAULT_TIMEOUT_MINUTES * 60
    draft.set("session.lifetime", duration_text(seconds), "sessionTimeout")
    if seconds != minutes * 60:
        draft.note("changed", "sessionTimeout", f"{value} minutes cannot be had; now {duration_text(seconds)}")


def _paths(draft: Draft, paths: Any) -> None:
    for number, path in enumerate(_list(paths)):
        source = f"passthroughPaths[{number}]"
        if draft.public(path, source) and path.endswith("/*"):
            draft.note("changed", source, f"{path} opens one level; {path}* opens everything below it")


def _tokens(draft: Draft, tokens: Any) -> None:
    draft.note(
        "decide",
        "passthroughTokens",
        f"{len(_list(tokens))} of them are secrets and not copied: their clients are sent to the login until they get "
        "another way in",
    )


def _basic_auth(draft: Draft, value: str) -> None:
    if _is_true(value):
        draft.note(
            "decide",
            "proxy.useBasicAuth",
            "user name and password for the application are not translated: upstream.basic_auth sends them",
        )


def _as(key: str, option: str, read: Callable[[str], Any] = str) -> Callable[[Draft, Any], None]:
    def translate(draft: Draft, value: Any) -> None:
        draft.set(key, read(value), option)

    return translate


def _is_true(value: str) -> bool:
    return value.lower() in ("true", "yes", "on", "1")


def _list(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []


_TRANSLATIONS: dict[str, Callable[[Draft, Any], None]] = {
    "proxy.listenAddress": _listen,
    "proxy.targetURL": _target,
    "proxy.targetDisableSSLVerify": _no_verification,
    "proxy.stripVersionHeaders": _as("upstream.strip_version_headers", "proxy.stripVersionHeaders", _is_true),
    "proxy.useBasicAuth": _basic_auth,
    "idpMetadataURL": _metadata,
    "samlRequestSigning": _as("saml.sign_requests", "samlRequestSigning", _is_true),
    "sessionTimeout": _timeout,
    "passthroughPaths": _paths,
    "passthroughTokens": _tokens,
    "supportURL": _as("support.url", "supportURL"),
    "footer": _as("support.footer", "footer"),
}
