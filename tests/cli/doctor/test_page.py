"""The answers of providers to a login request, as they are found in the wild, and what they mean."""

from __future__ import annotations

import base64

import pytest

from passproxy.cli.doctor.page import Landing, Registered, judged

CALLBACK = "https://app.example.com/.passproxy/oidc/callback"
US = Registered("the client app", CALLBACK)
IDP = "https://sso.example.com/realms/main/protocol/openid-connect/auth?client_id=app"


def verdict(body: str = "", status: int = 200, url: str = IDP):
    return judged(Landing(url, status, body.encode()), US)


PASSWORD = '<form action="/login"><input name="username"><input type="password" name="password"></form>'


@pytest.mark.parametrize("status", [200, 401])
def test_a_password_form_means_that_all_is_well(status):
    assert verdict(PASSWORD, status).result == "ok"


@pytest.mark.parametrize("field", ["loginfmt", "identifier", "email", "username", "uid_user"])
def test_a_form_that_asks_who_somebody_is_does_as_well(field):
    assert verdict(f'<form><input type="text" name="{field}"></form>').result == "ok"


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (400, '<h1>We are sorry...</h1><p class="instruction">Invalid parameter: redirect_uri</p>', "Register exactly"),
        (400, '<h1>We are sorry...</h1><p class="instruction">Client not found.</p>', "the client app, written"),
        (400, "<h2>invalid_redirect_uri</h2>", "Register exactly"),
        (400, "<p>Unknown login requester</p>", "the client app, written"),
        (400, "<p>invalid_scope: Invalid scopes: openid nonsense</p>", "oidc.scopes"),
        (400, "<p>Authentication failed.</p>", "with this very secret"),
        (403, "<p>No.</p>", f"the client app, with the address {CALLBACK}"),
        (200, "<div>AADSTS50011: The redirect URI does not match the reply URLs configured</div>", "Register exactly"),
        (200, "<p>AADSTS700016: Application with identifier 'app' was not found</p>", "the client app, written"),
    ],
)
def test_a_refusal_says_what_is_to_be_registered(status, body, hint):
    found = verdict(body, status)
    assert found.result == "failed"
    assert hint in found.hint


def test_a_page_for_scripts_alone_is_unknown():
    found = verdict("<div id=root></div><script>password='<input type=password>'</script>")
    assert found.result == "unknown"
    assert "sso.example.com" in found.text


def test_a_sign_in_by_the_operating_system_is_unknown():
    assert verdict("", 401).result == "unknown"


def test_a_provider_that_breaks_has_failed():
    assert verdict("oops", 500).result == "failed"


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("error=invalid_scope&error_description=Invalid+scopes%3A+groups", "failed"),
        ("error=unauthorized_client", "failed"),
        ("error=login_required", "unknown"),
        ("code=abc&state=x", "ok"),
    ],
)
def test_an_answer_to_us_is_judged_by_its_error(query, result):
    found = verdict(url=f"{CALLBACK}?{query}", status=302)
    assert found.result == result
    assert "abc" not in found.text


def test_an_answer_in_a_form_is_one_as_well():
    body = f'<form action="{CALLBACK}"><input type="hidden" name="error" value="invalid_request"></form>'
    assert verdict(body).result == "failed"
    assert "invalid_request" in verdict(body).text


@pytest.mark.parametrize(
    ("codes", "result"), [(["Success"], "ok"), (["Requester", "UnsupportedBinding"], "failed"), ([], "failed")]
)
def test_a_saml_response_is_judged_by_its_status(codes, result):
    xml = "".join(f'<StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:{code}">' for code in codes)
    encoded = base64.b64encode(xml.encode()).decode()
    found = verdict(f'<form action="{CALLBACK}"><input name="SAMLResponse" value="{encoded}"></form>')
    assert found.result == result


@pytest.mark.parametrize(
    "body", ["<" * 5000, "<form " * 3000, "\x00\xff<input type=password", "<![CDATA[", "&#x110000;" * 9]
)
def test_no_page_is_too_broken_to_be_judged(body):
    assert verdict(body, 400).result in ("ok", "failed", "unknown")


def test_what_a_page_says_cannot_command_the_terminal():
    assert "\x1b" not in verdict("<p>\x1b[31mred", 400).text
