"""oauth2-proxy: under which names the application was told who is there, so that it is told under the same."""

from __future__ import annotations

from typing import Any

from passproxy.cli.importers.draft import Draft
from passproxy.core.identity_headers import name_problem

#: The claims of its sessions, as placeholders. Its user is the claim `sub` unless it was told otherwise.
_CLAIMS = {"user": "{subject}", "email": "{email}", "groups": "{groups}", "preferred_username": "{user}"}

#: What the application gets where the address stands for the user.
_BY_ADDRESS = {
    "X-Forwarded-User": "{email}",
    "X-Forwarded-Preferred-Username": "{user}",
    "X-Forwarded-Groups": "{groups}",
}


def add_headers(draft: Draft, options: dict[str, Any]) -> None:
    """Take from the options whatever is about header fields for the application."""
    by_address, basic = is_true(options.pop("prefer_email_to_user", "false")), options.pop("pass_basic_auth", "true")
    # Either of them is enough there, and both are on unless they are switched off.
    is_told = is_true(options.pop("pass_user_headers", "true")) or is_true(basic)
    if "injectRequestHeaders" in options:
        _set(draft, _injected(draft, options.pop("injectRequestHeaders")), "injectRequestHeaders")
    elif is_told and by_address:
        _set(draft, _BY_ADDRESS, "prefer_email_to_user")
    else:
        draft.set("headers.profile", "x-forwarded" if is_told else "none", "pass_user_headers")
    if (password := options.pop("basic_auth_password", "")) and is_true(basic):
        draft.set("upstream.basic_auth.username", "{email}" if by_address else "{subject}", "pass_basic_auth")
        draft.secret("upstream.basic_auth.password", str(password), "basic_auth_password")
    for option in ("pass_access_token", "pass_authorization_header", "set_authorization_header"):
        if is_true(options.pop(option, "false")):
            draft.note("no equal", option, "the application gets no token of the provider")
    if is_true(options.pop("set_xauthrequest", "false")):
        text = "let PassProxy stand in the path; where the web server has to ask instead, see forward_auth"
        draft.note("decide", "set_xauthrequest", text)


def is_true(value: Any) -> bool:
    return str(value).lower() in ("true", "1", "yes", "t")


def _set(draft: Draft, headers: dict[str, str], source: str) -> None:
    draft.set("headers.profile", "none", source)
    if headers:
        draft.set("headers.set", headers, source)


def _injected(draft: Draft, listed: Any) -> dict[str, str]:
    """Of the alpha configuration: each header with one value that is made of a claim."""
    found: dict[str, str] = {}
    for header in listed if isinstance(listed, list) else ():
        name, values = str(header.get("name", "")), header.get("values") or []
        value = values[0] if len(values) == 1 else {}
        claim = value.get("claimSource", value)
        placeholder = _CLAIMS.get(str(claim.get("claim", "")))
        if placeholder is None or claim.get("basicAuthPassword") or (name_problem(name) is not None):
            draft.note("no equal", f"injectRequestHeaders {name}", "is not made of one claim that PassProxy has")
        else:
            prefix = str(claim.get("prefix", "")).replace("{", "{{").replace("}", "}}")
            found[name] = prefix + placeholder
    return found
