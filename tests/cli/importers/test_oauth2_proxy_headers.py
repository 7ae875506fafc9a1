"""The names under which an application was told who is there stay, and what cannot stay is said."""

from __future__ import annotations

from typing import Any

import yaml

from passproxy.cli.importers.draft import Draft
from passproxy.cli.importers.oauth2_proxy import translated

ALPHA = """\
upstreamConfig:
  upstreams: [{id: app, path: /, uri: "http://127.0.0.1:3000"}]
providers:
  - {id: p, provider: oidc, clientID: app, clientSecret: hunter2, oidcConfig: {issuerURL: "https://sso.example.com"}}
"""


def draft(headers: list[dict[str, Any]]) -> Draft:
    text = ALPHA + yaml.safe_dump({"injectRequestHeaders": headers})
    return translated([text], "app.example.com", "/etc/passproxy")


def test_each_header_that_is_made_of_a_claim_stays() -> None:
    made = draft(
        [
            {"name": "X-Forwarded-User", "values": [{"claim": "user"}]},
            {"name": "X-WEBAUTH-USER", "values": [{"claimSource": {"claim": "preferred_username"}}]},
            {"name": "X-Mail", "values": [{"claimSource": {"claim": "email", "prefix": "mailto:{x}"}}]},
            {"name": "X-Groups", "values": [{"claim": "groups"}]},
        ]
    )
    assert made.problems(str) == []
    assert yaml.safe_load(made.text())["headers"] == {
        "profile": "none",
        "set": {
            "X-Forwarded-User": "{subject}",
            "X-WEBAUTH-USER": "{user}",
            "X-Mail": "mailto:{{x}}{email}",
            "X-Groups": "{groups}",
        },
    }


def test_what_cannot_stay_is_said_and_no_secret_is_copied() -> None:
    made = draft(
        [
            {"name": "Authorization", "values": [{"claim": "id_token", "prefix": "Bearer "}]},
            {"name": "authorization", "values": [{"claim": "user", "basicAuthPassword": {"value": "czNzYW1l"}}]},
            {"name": "X-Secret", "values": [{"value": "czNzYW1l"}]},
            {"name": "X-Two", "values": [{"claim": "user"}, {"claim": "email"}]},
            {"name": "X-None"},
            {"name": "Host", "values": [{"claim": "user"}]},
        ]
    )
    assert made.problems(str) == []
    assert yaml.safe_load(made.text())["headers"] == {"profile": "none"}
    said = [note.option for note in made.notes if note.option.startswith("injectRequestHeaders")]
    names = ("Authorization", "authorization", "X-Secret", "X-Two", "X-None", "Host")
    assert said == [f"injectRequestHeaders {name}" for name in names]
    assert "czNzYW1l" not in made.text() + repr(made)


def test_tokens_of_the_provider_are_not_passed_on() -> None:
    made = translated(["--pass-access-token\n--set-xauthrequest\n"], "app.example.com", "/etc/passproxy")
    kinds = {note.option: note.kind for note in made.notes}
    assert (kinds["pass_access_token"], kinds["set_xauthrequest"]) == ("no equal", "decide")
