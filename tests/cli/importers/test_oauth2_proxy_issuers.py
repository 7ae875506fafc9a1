"""Whose tokens let programs in before let them in now, and nobody else's."""

from __future__ import annotations

from typing import Any

from passproxy.cli.importers.draft import Draft
from passproxy.cli.importers.oauth2_proxy import translated
from passproxy.cli.importers.oauth2_proxy_issuers import add_issuers

ISSUER = "https://sso.example.com"


def drafted(**options: Any) -> Draft:
    draft = Draft("oauth2-proxy")
    draft.set("oidc.issuer", ISSUER, "")
    draft.set("oidc.client_id", "app", "")
    add_issuers(draft, options)
    assert options == {}
    return draft


def test_without_the_switch_no_token_lets_anybody_in() -> None:
    assert "bearer.issuers" not in drafted().values
    more = drafted(skip_jwt_bearer_tokens="false", extra_jwt_issuers=["https://ci.example.com=api"])
    assert "bearer.issuers" not in more.values
    assert [note.kind for note in more.notes] == ["not needed"]


def test_the_provider_and_the_further_issuers_each_stand_once_with_their_audiences() -> None:
    pairs = ["https://ci.example.com=api", f"{ISSUER}=other", "https://ci.example.com=web", "nonsense"]
    made = drafted(skip_jwt_bearer_tokens="true", extra_jwt_issuers=pairs)
    assert [(each["issuer"], each["audience"]) for each in made.values["bearer.issuers"]] == [
        (ISSUER, ["app", "other"]),
        ("https://ci.example.com", ["api", "web"]),
    ]
    assert [note.option for note in made.notes if note.kind == "decide"] == [
        "extra_jwt_issuers",
        "skip_jwt_bearer_tokens",
    ]


def test_the_draft_is_a_configuration() -> None:
    text = (
        'provider = "oidc"\noidc_issuer_url = "https://sso.example.com"\nclient_id = "app"\nclient_secret = "s"\n'
        'redirect_url = "https://app.example.com/oauth2/callback"\nupstreams = ["http://127.0.0.1:3000"]\n'
        'skip_jwt_bearer_tokens = true\nextra_jwt_issuers = ["https://ci.example.com=api"]\n'
    )
    assert translated([text], None, "/etc/passproxy").problems(str) == []
