"""
oauth2-proxy, of the versions 7: what its options say, as far as PassProxy can say it.

Whoever was kept out must stay out: where something that has no equal was all that
limited who may use the application, the draft admits nobody until somebody decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from passproxy.cli.importers.draft import NOBODY_YET, Draft
from passproxy.cli.importers.oauth2_proxy_headers import add_headers, is_true
from passproxy.cli.importers.oauth2_proxy_issuers import add_issuers
from passproxy.cli.importers.oauth2_proxy_leftovers import note_leftovers
from passproxy.cli.importers.oauth2_proxy_options import Options, options_of
from passproxy.cli.importers.oauth2_proxy_routes import add_routes
from passproxy.core.formats import duration_text
from passproxy.core.settings import SESSION_LIFETIME_BOUNDS_SECONDS

#: Issuers of providers for which oauth2-proxy needs none to be written.
_ISSUERS = {"google": "https://accounts.google.com", "gitlab": "https://gitlab.com"}

#: Those that speak OpenID Connect and are told their issuer.
_WITH_ISSUER = frozenset(
    {"oidc", "keycloak-oidc", "adfs", "azure", "entra-id", "cidaas", "gitlab", "google", "sourcehut"}
)

_DEFAULT_LISTEN = "127.0.0.1:4180"

_GO_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z")


def translated(texts: list[str], domain: str | None, folder: str) -> Draft:
    """
    The draft of an oauth2-proxy configuration, from one file or several.

    Raises:
        ValueError: one of them is in no form that is known.
    """
    options: Options = {}
    for text in texts:
        options |= options_of(text)
    draft = Draft("oauth2-proxy", folder)
    _domain(draft, options, domain)
    _application(draft, options)
    _provider(draft, options)
    _session(draft, options)
    _who_may(draft, options)
    add_routes(draft, options)
    add_headers(draft, options)
    if address := options.pop("metrics_address", ""):
        draft.set_if_known("admin.listen", str(address), "metrics_address", "there are no metrics to be fetched")
    for option, (key, read) in _SAME.items():
        if option in options:
            draft.set(key, read(options.pop(option)), option)
    add_issuers(draft, options)
    note_leftovers(draft, options)
    return draft


def _domain(draft: Draft, options: Options, domain: str | None) -> None:
    redirect = urlsplit(str(options.pop("redirect_url", "")))
    cookie_domains = [name for name in options.pop("cookie_domains", []) if not name.startswith(".")]
    found = domain or redirect.hostname or (cookie_domains[0] if len(cookie_domains) == 1 else "")
    draft.set(
        "domain", found or "app.example.com", "--domain" if domain else "redirect_url" if redirect.hostname else ""
    )
    if not found:
        draft.note("decide", "redirect_url", "was not given: write the name that is protected (or use --domain)")
    if redirect.port not in (None, 443):
        draft.set("origin", f"https://{redirect.netloc}", "redirect_url")
    origin = draft.values.get("origin", f"https://{draft.values['domain']}")
    draft.note("changed", "redirect URI", f"register {origin}/.passproxy/oidc/callback at the provider")


def _application(draft: Draft, options: Options) -> None:
    address = str(options.pop("http_address", _DEFAULT_LISTEN)).removeprefix("http://")
    if address.startswith("unix:"):
        address = "unix:/" + address.removeprefix("unix:").lstrip("/")
    elif address.startswith(":"):
        draft.note("changed", "http_address", f"{address} was every interface; now this machine alone")
        address = f"127.0.0.1{address}"
    draft.set("listen", address, "http_address")
    upstreams = options.pop("upstreams", [])
    at_root = [url for url in upstreams if re.fullmatch(r"https?://[^/?#]+/?", url)]
    draft.set("upstream.url", (at_root or ["http://127.0.0.1:3000"])[0].rstrip("/"), "upstreams")
    if not at_root:
        draft.note("decide", "upstreams", "none is a whole application at /: write where it listens")
    for url in upstreams:
        if url not in at_root[:1]:
            draft.note("no equal", "upstreams", f"{url}: one application a domain; let the web server in front choose")


def _provider(draft: Draft, options: Options) -> None:
    kind = str(options.pop("provider", "google"))
    issuer = str(options.pop("oidc_issuer_url", "") or _ISSUERS.get(kind, ""))
    tenant = options.pop("azure_tenant", "")
    if not issuer and tenant and kind in ("azure", "entra-id"):
        issuer = f"https://login.microsoftonline.com/{tenant}/v2.0"
    if kind not in _WITH_ISSUER:
        draft.note(
            "decide", "provider", f"{kind} is not OpenID Connect: put a provider that is between, such as Keycloak"
        )
    elif not issuer:
        draft.note("decide", "oidc_issuer_url", "was not given: write the provider's issuer")
    draft.set("oidc.issuer", issuer or "https://sso.example.com", "oidc_issuer_url")
    if "client_id" not in options:
        draft.note("decide", "client_id", "was not given")
    draft.set("oidc.client_id", str(options.pop("client_id", "app")), "client_id")
    if secret := options.pop("client_secret", ""):
        draft.secret("oidc.client_secret", str(secret), "client_secret")
        options.pop("client_secret_file", None)
    if file := options.pop("client_secret_file", ""):
        draft.set("oidc.client_secret_file", str(file), "client_secret_file")
    _claims(draft, options)


def _claims(draft: Draft, options: Options) -> None:
    for option, ours in (("oidc_email_claim", "email"), ("oidc_groups_claim", "groups"), ("user_id_claim", "email")):
        claim = str(options.pop(option, ours))
        if claim != ours:
            draft.set(f"identity.attributes.{ours}", [claim], option)
    if scope := str(options.pop("scope", "")).split():
        draft.set("oidc.scopes", scope, "scope")
    if values := str(options.pop("acr_values", "")).split():
        draft.set("oidc.acr_values", values, "acr_values")
        draft.note("changed", "acr_values", "were a wish; now no other way to authenticate is accepted")


def _session(draft: Draft, options: Options) -> None:
    shortest, longest = SESSION_LIFETIME_BOUNDS_SECONDS
    if "cookie_expire" in options:
        written = str(options.pop("cookie_expire"))
        seconds = _seconds(written)
        lifetime = min(max(seconds or 86400, shortest), longest)
        draft.set("session.lifetime", duration_text(lifetime), "cookie_expire")
        if lifetime != seconds:
            draft.note("changed", "cookie_expire", f"{written} cannot be had; now {duration_text(lifetime)}")
    else:
        draft.note("changed", "cookie_expire", "sessions lasted a week unless told otherwise; now a day")
    if "cookie_refresh" in options:
        seconds = _seconds(str(options.pop("cookie_refresh")))
        draft.set("session.refresh", duration_text(min(max(seconds, 5), 86400)) if seconds else "off", "cookie_refresh")
    name = str(options.pop("cookie_name", "")).removeprefix("__Host-").removeprefix("__Secure-")
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        draft.set("session.cookie_name", name, "cookie_name")
    if options.pop("cookie_secret", None) or options.pop("cookie_secret_file", None):
        draft.note("not needed", "cookie_secret", "keys are made at the first start; everybody signs in once more")


def _who_may(draft: Draft, options: Options) -> None:
    groups = [*options.pop("allowed_groups", []), *options.pop("keycloak_groups", [])]
    if groups:
        draft.set("access.require_any_group", groups, "allowed_groups")
    _email_domains(draft, options.pop("email_domains", []))
    for option in _LIMITS:
        if not options.pop(option, None):
            continue
        if not groups:
            draft.set("access.require_any_group", [NOBODY_YET], option)
        remaining = "Now the groups alone do" if groups else "Nobody may until you name groups"
        draft.note("decide", option, f"limited who may use the application, and has no equal. {remaining}")


def _email_domains(draft: Draft, domains: list[str]) -> None:
    if not domains or "*" in domains:
        return
    # With a dot in front a domain meant all below it as well, which nothing here does.
    plain = [f"*@{name.lower()}" for name in domains if re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9.-]*", name)]
    if len(plain) < len(domains):
        draft.note("decide", "email_domains", "those with a dot in front have no equal: name each domain")
    rule = {"name": "email_domains", "path": "/**", "require_attribute": {"email": plain or [NOBODY_YET]}}
    draft.set("access.rules", [rule], "email_domains")


#: Options that keep somebody out, besides groups.
_LIMITS = [
    "authenticated_emails_file",
    "allowed_roles",
    "github_org",
    "github_team",
    "github_repo",
    "github_users",
    "gitlab_groups",
    "gitlab_projects",
    "google_groups",
    "bitbucket_team",
    "bitbucket_repository",
]


def _seconds(text: str) -> int:
    """A duration as Go writes it; 0 for what is none."""
    match = _GO_DURATION.match(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in (match.groups() if match else ("0", "0", "0")))
    return hours * 3600 + minutes * 60 + seconds


def _timeout(value: Any) -> str:
    return duration_text(min(max(_seconds(str(value)), 1), 86400))


def _footer(value: Any) -> str:
    return "" if value == "-" else str(value)


_SAME: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "pass_host_header": ("upstream.preserve_host", is_true),
    "ssl_upstream_insecure_skip_verify": ("upstream.verify_tls", lambda value: not is_true(value)),
    "upstream_timeout": ("upstream.response_timeout", _timeout),
    "oidc_extra_audiences": ("oidc.audiences", list),
    "insecure_oidc_allow_unverified_email": ("oidc.allow_unverified_email", is_true),
    "trusted_proxy_ips": ("trusted_proxies", list),
    "footer": ("support.footer", _footer),
}
