"""A configuration of oauth2-proxy goes on with PassProxy, and nobody gets in by the move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from passproxy.cli import main
from passproxy.cli.importers.draft import NOBODY_YET, Draft
from passproxy.cli.importers.oauth2_proxy import translated

GRAFANA: dict[str, str] = {
    "http_address": '"0.0.0.0:4180"',
    "provider": '"keycloak-oidc"',
    "oidc_issuer_url": '"https://sso.example.com/realms/main"',
    "client_id": '"grafana"',
    "client_secret": '"hunter2"',
    "cookie_secret": '"c2VjcmV0"',
    "redirect_url": '"https://grafana.example.com/oauth2/callback"',
    "upstreams": '["http://127.0.0.1:3000/"]',
    "email_domains": '["*"]',
    "allowed_groups": '["staff"]',
    "cookie_expire": '"12h0m0s"',
    "skip_auth_routes": '["GET=^/api/health$"]',
}


def draft(*without: str, domain: str | None = None, **more: str) -> Draft:
    options = {name: value for name, value in GRAFANA.items() if name not in without} | more
    return translated(["".join(f"{name} = {value}\n" for name, value in options.items())], domain, "/etc/passproxy")


def kinds(made: Draft, option: str) -> list[str]:
    return [note.kind for note in made.notes if note.option == option]


def test_a_usual_configuration_is_translated_whole() -> None:
    made = draft()
    assert made.problems(str) == []
    data = yaml.safe_load(made.text())
    assert data == {
        "headers": {"profile": "x-forwarded"},
        "domain": "grafana.example.com",
        "listen": "0.0.0.0:4180",
        "upstream": {"url": "http://127.0.0.1:3000"},
        "oidc": {
            "issuer": "https://sso.example.com/realms/main",
            "client_id": "grafana",
            "client_secret_file": "/etc/passproxy/grafana.client_secret",
        },
        "session": {"lifetime": "12h"},
        "access": {"require_any_group": ["staff"]},
        "passthrough": {"paths": ["/api/health"]},
    }
    assert "hunter2" not in made.text() + repr(made)
    assert "c2VjcmV0" not in made.text() + repr(made)


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"pass_user_headers": "true"}, {"profile": "x-forwarded"}),
        ({"pass_user_headers": "false"}, {"profile": "x-forwarded"}),  # pass_basic_auth is on by itself
        ({"pass_user_headers": "false", "pass_basic_auth": "false"}, {"profile": "none"}),
        (
            {"prefer_email_to_user": "true"},
            {
                "profile": "none",
                "set": {
                    "X-Forwarded-User": "{email}",
                    "X-Forwarded-Preferred-Username": "{user}",
                    "X-Forwarded-Groups": "{groups}",
                },
            },
        ),
    ],
)
def test_the_application_is_told_under_the_same_names(options: dict[str, str], headers: dict[str, Any]) -> None:
    made = draft(**options)
    assert made.problems(str) == []
    assert yaml.safe_load(made.text())["headers"] == headers


@pytest.mark.parametrize(("by_address", "username"), [("false", "{subject}"), ("true", "{email}")])
def test_a_password_for_the_application_is_kept_apart(by_address: str, username: str) -> None:
    made = draft(basic_auth_password='"s3same"', prefer_email_to_user=by_address)
    assert made.problems(str) == []
    file = "/etc/passproxy/grafana.password"
    data = yaml.safe_load(made.text())
    assert data["upstream"]["basic_auth"] == {"username": username, "password_file": file}
    assert made.secrets[file] == "s3same"
    assert "s3same" not in made.text() + repr(made)
    assert kinds(made, "basic_auth_password") == ["secret"]


def test_a_password_that_was_not_sent_is_not_sent_now() -> None:
    made = draft(basic_auth_password='"s3same"', pass_basic_auth="false")
    assert "basic_auth" not in made.text()
    assert made.secrets.keys() == {"/etc/passproxy/grafana.client_secret"}


@pytest.mark.parametrize(
    ("more", "key", "value"),
    [
        ({"client_secret": '""', "client_secret_file": '"/run/s"'}, "oidc.client_secret_file", "/run/s"),
        ({"scope": '"openid email"'}, "oidc.scopes", ["openid", "email"]),
        ({"acr_values": '"phr"'}, "oidc.acr_values", ["phr"]),
        ({"oidc_email_claim": '"mail"'}, "identity.attributes.email", ["mail"]),
        ({"oidc_groups_claim": '"teams"'}, "identity.attributes.groups", ["teams"]),
        ({"oidc_extra_audiences": '["api"]'}, "oidc.audiences", ["api"]),
        ({"insecure_oidc_allow_unverified_email": "true"}, "oidc.allow_unverified_email", True),
        ({"pass_host_header": "false"}, "upstream.preserve_host", False),
        ({"ssl_upstream_insecure_skip_verify": "true"}, "upstream.verify_tls", False),
        ({"upstream_timeout": '"1m30s"'}, "upstream.response_timeout", "90s"),
        ({"cookie_refresh": '"1h"'}, "session.refresh", "1h"),
        ({"cookie_refresh": '"0"'}, "session.refresh", "off"),
        ({"cookie_name": '"__Secure-sso"'}, "session.cookie_name", "sso"),
        ({"cookie_expire": '"9999h"'}, "session.lifetime", "31d"),
        ({"http_address": '":4180"'}, "listen", "127.0.0.1:4180"),
        ({"http_address": '"unix:///run/o.sock"'}, "listen", "unix:/run/o.sock"),
        ({"redirect_url": '"https://g.example.com:8443/x"'}, "origin", "https://g.example.com:8443"),
        ({"footer": '"-"'}, "support.footer", ""),
        ({"trusted_proxy_ips": '["10.0.0.1"]'}, "trusted_proxies", ["10.0.0.1"]),
    ],
)
def test_what_has_an_equal_is_kept(more: dict[str, str], key: str, value: Any) -> None:
    made = draft(**more)
    assert made.values[key] == value
    assert made.problems(lambda path: "x") == []


@pytest.mark.parametrize(
    ("more", "option"),
    [
        ({"authenticated_emails_file": '"/etc/emails"'}, "authenticated_emails_file"),
        ({"allowed_roles": '["admin"]'}, "allowed_roles"),
        ({"github_org": '"example"'}, "github_org"),
        ({"google_groups": '["staff@example.com"]'}, "google_groups"),
    ],
)
def test_whoever_was_kept_out_by_what_has_no_equal_stays_out(more: dict[str, str], option: str) -> None:
    alone = draft("allowed_groups", **more)
    assert alone.values["access.require_any_group"] == [NOBODY_YET]
    assert kinds(alone, option) == ["decide"]
    assert alone.problems(str) == []
    with_groups = draft(**more)
    assert with_groups.values["access.require_any_group"] == ["staff"]
    assert kinds(with_groups, option) == ["decide"]


@pytest.mark.parametrize(
    ("domains", "values", "kind"),
    [
        ('["example.com", "Example.ORG"]', ["*@example.com", "*@example.org"], []),
        ('["example.com", ".example.org"]', ["*@example.com"], ["decide"]),
        ('[".example.org"]', [NOBODY_YET], ["decide"]),
    ],
)
def test_domains_of_addresses_become_a_rule_for_everything(domains: str, values: list[str], kind: list[str]) -> None:
    made = draft(email_domains=domains)
    (rule,) = made.values["access.rules"]
    assert rule == {"name": "email_domains", "path": "/**", "require_attribute": {"email": values}}
    assert kinds(made, "email_domains") == kind
    assert made.problems(str) == []


def test_of_such_a_domain_one_may_and_of_another_one_may_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = draft("client_secret", "allowed_groups", email_domains='["example.com"]')
    (tmp_path / "app.yaml").write_text(made.text())
    for address, may in (
        ("a@example.com", True),
        ("a@example.com.evil.example", False),
        ("a@b@example.com", False),
        ("", False),
    ):
        main(["policy", str(tmp_path / "app.yaml"), "--user", "a", "--attribute", f"email={address}", "GET", "/x"])
        assert capsys.readouterr().out.startswith("allow") == may


def test_nothing_limited_means_everybody_as_before() -> None:
    for domains in ('["*"]', '["example.com", "*"]'):
        made = draft("allowed_groups", email_domains=domains)
        assert not {"access.require_any_group", "access.rules"} & made.values.keys()


@pytest.mark.parametrize("kind", ["github", "keycloak", "facebook", "login.gov"])
def test_what_is_not_openid_connect_is_to_be_decided(kind: str) -> None:
    made = draft(provider=f'"{kind}"')
    assert kinds(made, "provider") == ["decide"]


@pytest.mark.parametrize(
    ("more", "issuer"),
    [
        ({"provider": '"google"'}, "https://accounts.google.com"),
        ({"provider": '"gitlab"'}, "https://gitlab.com"),
        ({"provider": '"azure"', "azure_tenant": '"t"'}, "https://login.microsoftonline.com/t/v2.0"),
    ],
)
def test_issuers_that_oauth2_proxy_knew_by_itself(more: dict[str, str], issuer: str) -> None:
    assert draft("oidc_issuer_url", **more).values["oidc.issuer"] == issuer


@pytest.mark.parametrize("missing", ["redirect_url", "client_id", "oidc_issuer_url", "upstreams", "email_domains"])
def test_what_is_missing_is_to_be_decided_and_the_rest_is_a_configuration(missing: str) -> None:
    made = draft(missing)
    assert made.problems(str) == []
    assert bool(kinds(made, missing)) == (missing != "email_domains")


def test_the_name_can_be_given() -> None:
    assert draft("redirect_url", domain="wiki.example.com").values["domain"] == "wiki.example.com"
    assert draft("redirect_url", cookie_domains='["only.example.com"]').values["domain"] == "only.example.com"


def test_further_applications_are_left_to_the_web_server() -> None:
    made = draft(upstreams='["http://127.0.0.1:9000/api/", "file:///srv/#/static/", "http://127.0.0.1:3000"]')
    assert made.values["upstream.url"] == "http://127.0.0.1:3000"
    assert kinds(made, "upstreams") == ["no equal", "no equal"]


def test_several_files_are_one_configuration_and_later_ones_win() -> None:
    made = translated(['client_id = "a"\nclient_secret = "x"\n', "--client-id=b\n"], "a.example.com", "/etc/passproxy")
    assert made.values["oidc.client_id"] == "b"
    assert made.values["oidc.client_secret_file"] == "/etc/passproxy/a.client_secret"
