"""oauth2-proxy's options are the same, wherever they are written."""

from __future__ import annotations

from typing import Any

import pytest

from passproxy.cli.importers.oauth2_proxy_options import options_of

CFG = """\
## a comment
http_address = "127.0.0.1:4180"
upstreams = ["http://127.0.0.1:3000/"]
client_id = "grafana"
cookie_secure = true
skip_auth_routes = [
  "GET=^/health$",
  "^/a,b$",
]
"""
ARGUMENTS = """\
# as in a unit file
--http-address=127.0.0.1:4180 \\
--upstream=http://127.0.0.1:3000/
--client-id grafana
--cookie-secure
--skip-auth-route="GET=^/health$"
--skip-auth-route '^/a,b$'
"""
COMPOSE = """\
- --http-address=127.0.0.1:4180
- --upstream=http://127.0.0.1:3000/
- --client-id=grafana
- --cookie-secure=true
- --skip-auth-route=GET=^/health$
- --skip-auth-route=^/a,b$
"""
SAME = {
    "http_address": "127.0.0.1:4180",
    "upstreams": ["http://127.0.0.1:3000/"],
    "client_id": "grafana",
    "skip_auth_routes": ["GET=^/health$", "^/a,b$"],
}


@pytest.mark.parametrize(("text", "secure"), [(CFG, True), (ARGUMENTS, "true"), (COMPOSE, "true")])
def test_a_file_and_arguments_say_the_same(text: str, secure: Any) -> None:
    assert options_of(text) == SAME | {"cookie_secure": secure}


def test_variables_say_it_too() -> None:
    text = (
        "PATH=/bin\nexport OAUTH2_PROXY_CLIENT_ID='grafana'\nOAUTH2_PROXY_UPSTREAMS=http://a/,http://b/\n"
        'OAUTH2_PROXY_EMAIL_DOMAINS="*"\nOAUTH2_PROXY_COOKIE_EXPIRE=12h\n'
    )
    assert options_of(text) == {
        "client_id": "grafana",
        "upstreams": ["http://a/", "http://b/"],
        "email_domains": ["*"],
        "cookie_expire": "12h",
    }


ALPHA = """\
upstreamConfig:
  upstreams:
    - id: main
      path: /
      uri: http://127.0.0.1:3000
      insecureSkipTLSVerify: true
      timeout: 30s
    - id: api
      path: /api/
      uri: http://127.0.0.1:9000
providers:
  - id: keycloak
    provider: keycloak-oidc
    clientID: grafana
    clientSecretFile: /run/secret
    allowedGroups: [staff]
    oidcConfig:
      issuerURL: https://sso.example.com/realms/main
      groupsClaim: teams
      extraAudiences: [other]
    somethingNew: {deep: 1}
server:
  BindAddress: 0.0.0.0:4180
injectRequestHeaders:
  - name: X-Forwarded-Groups
"""


def test_the_alpha_configuration_says_it_in_other_words() -> None:
    assert options_of(ALPHA) == {
        "provider": "keycloak-oidc",
        "client_id": "grafana",
        "client_secret_file": "/run/secret",
        "allowed_groups": ["staff"],
        "oidc_issuer_url": "https://sso.example.com/realms/main",
        "oidc_groups_claim": "teams",
        "oidc_extra_audiences": ["other"],
        "providers[0].somethingNew.deep": "1",
        "http_address": "0.0.0.0:4180",
        "upstreams": ["http://127.0.0.1:3000", "http://127.0.0.1:9000/api/"],
        "ssl_upstream_insecure_skip_verify": "true",
        "upstream_timeout": "30s",
        "injectRequestHeaders": [{"name": "X-Forwarded-Groups"}],
    }


@pytest.mark.parametrize("text", ["just words\n", "- a\n- b\n", "\x00", "a: [\n"])
def test_what_is_none_of_them_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a"):
        options_of(text)
