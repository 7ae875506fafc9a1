"""What became of the options of oauth2-proxy that are no key here: each with its reason."""

from __future__ import annotations

from typing import Any

from passproxy.cli.importers.draft import Draft

_NOT_NEEDED = {
    "api_routes": "who gets a login and who a 401 is seen from the request",
    "force_json_errors": "who gets a page and who JSON is seen from the request",
    "backend_logout_url": "a logout ends the session at the provider too, where it offers that",
    "code_challenge_method": "PKCE with S256 is always used",
    "cookie_csrf_expire": "a login under way is kept for fifteen minutes",
    "cookie_csrf_per_request": "a hundred tabs may sign in at once",
    "cookie_httponly": "always",
    "cookie_path": "always /",
    "cookie_samesite": "always Lax",
    "cookie_secure": "always, on https",
    "encode_state": "nothing of it can be read or changed on the way",
    "https_address": "TLS ends in the web server in front",
    "tls_cert_file": "TLS ends in the web server in front",
    "tls_key_file": "TLS ends in the web server in front",
    "insecure_oidc_skip_nonce": "the nonce is always checked",
    "ping_path": "now /.passproxy/health",
    "ready_path": "now /.passproxy/health",
    "proxy_prefix": "now /.passproxy",
    "proxy_websockets": "WebSockets pass",
    "real_client_ip_header": "X-Forwarded-For, of trusted_proxies alone",
    "reverse_proxy": "what is believed of whom is trusted_proxies",
    "session_store_type": "sessions are in cookies, of several parts where they are large",
    "session_cookie_minimal": "a session holds what the configuration uses, and no tokens",
    "skip_claims_from_profile_url": "see oidc.use_userinfo",
    "skip_provider_button": "nobody is asked to press one",
    "whitelist_domains": "a login returns to this domain alone",
}
_NO_EQUAL = {
    "approval_prompt": "nothing of the kind is asked for",
    "banner": "there is no page before the login",
    "custom_sign_in_logo": "there is no page before the login",
    "custom_templates_dir": "the pages are PassProxy's own",
    "display_htpasswd_form": "there are no passwords here",
    "htpasswd_file": "there are no passwords here: whom it let in signs in at the provider",
    "insecure_oidc_skip_issuer_verification": "the issuer is always checked: write the one that the tokens name",
    "login_url": "addresses are taken from the provider's description",
    "oidc_audience_claims": "the audience is in aud, as OpenID Connect has it",
    "oidc_jwks_url": "addresses are taken from the provider's description",
    "profile_url": "addresses are taken from the provider's description",
    "prompt": "not sent; oidc.max_age: 0s asks everybody to sign in anew",
    "provider_ca_files": "the system's certificate authorities are trusted: add it there",
    "providers[1]": "one provider a domain",
    "redeem_url": "addresses are taken from the provider's description",
    "skip_oidc_discovery": "the provider's description is always read",
    "ssl_insecure_skip_verify": "the provider's certificate is always checked",
    "trusted_ips": "nobody gets in by an address: what it opened now needs a login",
    "validate_url": "addresses are taken from the provider's description",
}
_GROUPED = {
    "logging": "one line an event to standard error; see log.format and log.level",
    "redis": "sessions are in cookies",
}


def note_leftovers(draft: Draft, options: dict[str, Any]) -> None:
    """A note for each option that nobody translated. Quotes no value: one may be a secret."""
    for option, value in options.items():
        if option in _NOT_NEEDED:
            draft.note("not needed", option, _NOT_NEEDED[option])
        elif option in _NO_EQUAL:
            if value not in ("false", False, "", []):
                draft.note("no equal", option, _NO_EQUAL[option])
        elif not option.startswith(("logging_", "standard_", "auth_logging", "request_", "silence_", "redis_")):
            draft.note("no equal", option, "is not known to this importer")
    grouped = {"logging": ("logging_", "standard_", "auth_logging", "request_", "silence_"), "redis": ("redis_",)}
    for name, starts in grouped.items():
        if any(option.startswith(starts) for option in options):
            draft.note("not needed", f"{name} options", _GROUPED[name])
