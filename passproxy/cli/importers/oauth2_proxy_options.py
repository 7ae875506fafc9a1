"""
oauth2-proxy's options, wherever they are written: its .cfg (TOML), its alpha configuration (YAML), arguments, variables.

All become one flat mapping with the names of the .cfg file; of what may be
given several times the name is plural and the value a list.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import yaml

Options = dict[str, Any]

#: Options that may be given several times, by the singular that an argument has.
_PLURALS = {
    name: f"{name}s"
    for name in [
        "allowed_group",
        "allowed_role",
        "api_route",
        "cookie_domain",
        "email_domain",
        "extra_jwt_issuer",
        "github_user",
        "gitlab_group",
        "gitlab_project",
        "google_group",
        "htpasswd_user_group",
        "keycloak_group",
        "oidc_audience_claim",
        "oidc_extra_audience",
        "provider_ca_file",
        "redis_cluster_connection_url",
        "redis_sentinel_connection_url",
        "skip_auth_route",
        "trusted_ip",
        "trusted_proxy_ip",
        "upstream",
        "whitelist_domain",
    ]
}
LISTS = frozenset(_PLURALS.values()) | {"skip_auth_regex"}

_ARGUMENT = re.compile(r"--?([a-z][a-z0-9-]*)(?:=(.*))?\Z", re.DOTALL)
_VARIABLE = re.compile(r"(?:export\s+)?OAUTH2_PROXY_([A-Z0-9_]+)=(.*)\Z")


def options_of(text: str) -> Options:
    """
    The options of one file, in whichever form it is.

    Raises:
        ValueError: it is in none of them.
    """
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    meaningful = [line for line in lines if line and not line.startswith("#")]
    if any(_VARIABLE.match(line) for line in meaningful):
        return dict(_variables(meaningful))
    if any(line.startswith(("--", "-h", "'--", '"--')) for line in meaningful):
        return dict(_arguments(meaningful))
    try:
        return _listed(tomllib.loads(text))
    except tomllib.TOMLDecodeError as toml_error:
        data = _yaml(text)
        if data is None:
            raise ValueError(f"is neither a .cfg file of oauth2-proxy ({toml_error}) nor YAML") from None
        return _alpha(data)


def _yaml(text: str) -> dict[str, Any] | None:
    try:
        data = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes text, lists and maps alone
    except yaml.YAMLError:
        return None
    return data if isinstance(data, dict) else None


def _listed(options: Options) -> Options:
    return {name: _as_list(value) if name in LISTS else value for name, value in options.items()}


def _as_list(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(each) for each in value]
    return [each.strip() for each in str(value).split(",") if each.strip()]


def _variables(lines: list[str]) -> Iterator[tuple[str, Any]]:
    for line in lines:
        if match := _VARIABLE.match(line):
            name, value = match[1].lower(), match[2].strip()
            value = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
            name = _PLURALS.get(name, name)
            yield name, _as_list(value) if name in LISTS else value


def _arguments(lines: list[str]) -> Iterator[tuple[str, Any]]:
    """As on a command line, one or several a line; `--name` alone means true, `--name value` is understood."""
    found: Options = {}
    waiting = ""  # the option whose value may be the next word
    for word in shlex.split(" ".join(line.removesuffix("\\") for line in lines)):
        match = _ARGUMENT.match(word)
        if match is not None:
            name = match[1].replace("-", "_")
            name = _PLURALS.get(name, name)
            _put(found, name, "true" if match[2] is None else match[2])
            waiting = name if match[2] is None else ""
        elif waiting:
            _put(found, waiting, word, replace=True)
            waiting = ""
    yield from found.items()


def _put(found: Options, name: str, value: str, *, replace: bool = False) -> None:
    if name not in LISTS:
        found[name] = value
        return
    before = found.get(name, [])
    # Of a regular expression a comma may be a part; of the others it parts two.
    values = [value] if name in ("skip_auth_regex", "skip_auth_routes") else _as_list(value)
    found[name] = [*(before[:-1] if replace else before), *values]


# --- alpha configuration

#: Below a provider: where it is there -> the option that says the same.
_PROVIDER = {
    "provider": "provider",
    "clientID": "client_id",
    "clientSecret": "client_secret",
    "clientSecretFile": "client_secret_file",
    "scope": "scope",
    "allowedGroups": "allowed_groups",
    "loginURL": "login_url",
    "redeemURL": "redeem_url",
    "profileURL": "profile_url",
    "validateURL": "validate_url",
    "backendLogoutURL": "backend_logout_url",
    "code_challenge_method": "code_challenge_method",
    "caFiles": "provider_ca_files",
    "oidcConfig.issuerURL": "oidc_issuer_url",
    "oidcConfig.insecureAllowUnverifiedEmail": "insecure_oidc_allow_unverified_email",
    "oidcConfig.insecureSkipIssuerVerification": "insecure_oidc_skip_issuer_verification",
    "oidcConfig.insecureSkipNonce": "insecure_oidc_skip_nonce",
    "oidcConfig.skipDiscovery": "skip_oidc_discovery",
    "oidcConfig.jwksURL": "oidc_jwks_url",
    "oidcConfig.emailClaim": "oidc_email_claim",
    "oidcConfig.groupsClaim": "oidc_groups_claim",
    "oidcConfig.userIDClaim": "user_id_claim",
    "oidcConfig.audienceClaims": "oidc_audience_claims",
    "oidcConfig.extraAudiences": "oidc_extra_audiences",
    "keycloakConfig.groups": "keycloak_groups",
    "keycloakConfig.roles": "allowed_roles",
    "azureConfig.tenant": "azure_tenant",
    "githubConfig.org": "github_org",
    "gitlabConfig.group": "gitlab_groups",
    "googleConfig.group": "google_groups",
}
_UPSTREAM = {
    "insecureSkipTLSVerify": "ssl_upstream_insecure_skip_verify",
    "passHostHeader": "pass_host_header",
    "proxyWebSockets": "proxy_websockets",
    "timeout": "upstream_timeout",
}


def _alpha(data: dict[str, Any]) -> Options:
    """What the alpha configuration says that the options can say too; the rest under its own name."""
    found: Options = {}
    providers = data.pop("providers", None) or [{}]
    for name, value in _flat(providers[0], lambda path: path in _PROVIDER):
        found[_PROVIDER.get(name, f"providers[0].{name}")] = value
    if len(providers) > 1:
        found["providers[1]"] = ""
    server = data.pop("server", {})
    for name, option in (
        ("BindAddress", "http_address"),
        ("bindAddress", "http_address"),
        ("SecureBindAddress", "https_address"),
    ):
        if server.get(name):
            found[option] = server[name]
    upstreams = (data.pop("upstreamConfig", None) or {}).get("upstreams", data.pop("upstreams", []))
    for place, upstream in enumerate(upstreams):
        uri, path = upstream.pop("uri", f"static {upstream.pop('id', place)}"), upstream.pop("path", "/")
        found.setdefault("upstreams", []).append(uri if path == "/" else f"{uri.rstrip('/')}{path}")
        for name, value in upstream.items():
            if name != "id":
                found[_UPSTREAM.get(name, f"upstreams[{place}].{name}")] = value
    for name, value in data.items():
        found[name] = value if name == "injectRequestHeaders" else ""
    return _listed(found)


def _flat(value: dict[str, Any], is_known: Callable[[str], bool], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in value.items():
        path = f"{prefix}{name}"
        if isinstance(below, dict) and not is_known(path):
            yield from _flat(below, is_known, f"{path}.")
        elif path not in ("id", "name"):
            yield path, below
