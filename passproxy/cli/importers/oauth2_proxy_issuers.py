"""Tokens of issuers that oauth2-proxy took from programs (`skip_jwt_bearer_tokens`), as `bearer.issuers`."""

from __future__ import annotations

from typing import Any

from passproxy.cli.importers.draft import Draft
from passproxy.cli.importers.oauth2_proxy_headers import is_true


def add_issuers(draft: Draft, options: dict[str, Any]) -> None:
    """The provider itself, for its ID tokens as before, and the further issuers, each once with all its audiences."""
    more = options.pop("extra_jwt_issuers", [])
    if not is_true(options.pop("skip_jwt_bearer_tokens", "false")):
        if more:
            draft.note("not needed", "extra_jwt_issuers", "counted with skip_jwt_bearer_tokens alone")
        return
    said = draft.values
    audiences: dict[str, list[str]] = {said["oidc.issuer"]: [said["oidc.client_id"], *said.get("oidc.audiences", [])]}
    for pair in more:
        issuer, _, audience = str(pair).rpartition("=")
        if issuer and audience:
            audiences.setdefault(issuer, []).append(audience)
        else:
            draft.note("decide", "extra_jwt_issuers", "one of them is not written issuer=audience")
    entries = [
        {"name": f"issuer-{number}", "issuer": issuer, "audience": named, "id_tokens": True}
        for number, (issuer, named) in enumerate(audiences.items(), 1)
    ]
    draft.set("bearer.issuers", entries, "skip_jwt_bearer_tokens")
    draft.note("decide", "skip_jwt_bearer_tokens", "ID tokens let programs in as before: better, use access tokens")
