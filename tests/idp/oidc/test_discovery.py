"""What of a discovery document is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passproxy.core.urls import Origin
from passproxy.idp.oidc.discovery import ProviderMetadata, discovery_url, metadata_from
from passproxy.idp.oidc.errors import DiscoveryRefused
from tests.fakes.idp_oidc import DROP, overlaid

ORIGIN = Origin("https", "app.example.com", 443)
ISSUER = "https://idp.example"
LOOPBACK = "http://127.0.0.1:9000"


def members(issuer: str = ISSUER) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "userinfo_endpoint": f"{issuer}/userinfo",
    }


def read(issuer: str = ISSUER, **overlay: Any) -> ProviderMetadata:
    return metadata_from(json.dumps(overlaid(members(issuer), overlay)).encode(), issuer, ORIGIN)


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://a.example", "https://a.example/.well-known/openid-configuration"),
        ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
        ("https://a.example/realms/x", "https://a.example/realms/x/.well-known/openid-configuration"),
    ],
)
def test_where_the_document_is(issuer, url):
    assert discovery_url(issuer) == url


def test_a_document_is_read():
    metadata = read(
        token_endpoint_auth_methods_supported=["client_secret_post", 7],
        scopes_supported=["openid"],
        authorization_response_iss_parameter_supported=True,
        id_token_signing_alg_values_supported=["none"],
    )
    assert metadata == ProviderMetadata(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/authorize",
        token_endpoint=f"{ISSUER}/token",
        jwks_uri=f"{ISSUER}/jwks",
        userinfo_endpoint=f"{ISSUER}/userinfo",
        token_endpoint_auth_methods=("client_secret_post",),
        token_endpoint_signing_algorithms=(),
        scopes=("openid",),
        pushed_authorization_request_endpoint=None,
        requires_pushed_requests=False,
        end_session_endpoint=None,
        revocation_endpoint=None,
        names_itself_in_answers=True,
    )


@pytest.mark.parametrize("value", [DROP, False, None, "true", 1])
def test_only_true_means_that_answers_name_their_issuer(value):
    assert not read(authorization_response_iss_parameter_supported=value).names_itself_in_answers


@pytest.mark.parametrize("value", [DROP, None, "openid", 7, {}])
def test_a_list_that_is_none_is_empty(value):
    assert read(scopes_supported=value).scopes == ()


@pytest.mark.parametrize(
    "issuer",
    [DROP, None, "", ISSUER + "/", "https://other.example", "HTTPS://idp.example", "http://idp.example", [ISSUER], 7],
)
def test_the_document_of_another_issuer_is_refused(issuer):
    document = json.dumps(overlaid(members(), {"issuer": issuer})).encode()
    with pytest.raises(DiscoveryRefused):
        metadata_from(document, ISSUER, ORIGIN)


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"<html>login</html>", b'{"issuer":"https://idp.example","issuer":"x"}']
)
def test_what_is_no_document_is_refused(document):
    with pytest.raises(DiscoveryRefused):
        metadata_from(document, ISSUER, ORIGIN)


FOR_US = ["token_endpoint", "jwks_uri", "userinfo_endpoint", "pushed_authorization_request_endpoint"]

HOSTILE_EVERYWHERE = [
    "", None, 7, ["https://idp.example/x"], "/token", "token", "//idp.example/x", "http://idp.example/x",
    "ftp://idp.example/x", "file:///etc/passwd", "data:text/html,x", "gopher://idp.example/", "javascript:alert(1)",
    "jar:https://idp.example/x!/", "https://", "https:///x", "https://user:pw@idp.example/x",
    "https://idp.example@evil.example/x", "https://idp.example\\@evil.example/x", "https://idp.example/x\r\nX: y",
    "https://idp.example/x y", "https://idp.example/\"x", "https://idp.example/x#fragment", "https://idp.example:99999/",
    "https://idp.exämple/x", "https://idp.example/" + "x" * 1100, "http://127.0.0.1:3000/x", "https://localhost/x",
    "http://[::1]/x", "https://app.example.com/logout", "https://app.example.com:443/.passproxy/logout",
]  # fmt: skip

HOSTILE_FOR_US = [
    "https://10.0.0.1/x", "https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/x", "https://[::ffff:10.0.0.1]/x",
    "https://93.184.216.34/x", "https://2130706433/x", "https://0x7f.1/x", "https://127.1/x", "https://0/x",
    "https://app.localhost/x", "https://localhost./x", "https://metadata/x", "https://127.0.0.1./x", "https://10.1./x",
    "https://a.0x7f000001/",
]  # fmt: skip


@pytest.mark.parametrize("name", [*FOR_US, "authorization_endpoint"])
@pytest.mark.parametrize("url", HOSTILE_EVERYWHERE)
def test_an_endpoint_that_no_provider_has_is_refused(name, url):
    with pytest.raises(DiscoveryRefused):
        read(**{name: url})


@pytest.mark.parametrize("name", FOR_US)
@pytest.mark.parametrize("url", HOSTILE_FOR_US)
def test_an_endpoint_that_only_this_server_can_reach_is_refused(name, url):
    with pytest.raises(DiscoveryRefused):
        read(**{name: url})


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri", "authorization_endpoint"])
def test_an_endpoint_is_missing(name):
    with pytest.raises(DiscoveryRefused):
        read(**{name: DROP})


def test_no_userinfo_endpoint_is_fine():
    assert read(userinfo_endpoint=DROP).userinfo_endpoint is None


def test_public_names_elsewhere_are_fine():
    """Google's endpoints are on three hosts."""
    metadata = read(
        "https://accounts.google.com",
        authorization_endpoint="https://accounts.google.com/o/oauth2/v2/auth",
        token_endpoint="https://oauth2.googleapis.com/token",
        jwks_uri="https://www.googleapis.com/oauth2/v3/certs",
        userinfo_endpoint="https://openidconnect.googleapis.com/v1/userinfo",
    )
    assert metadata.token_endpoint == "https://oauth2.googleapis.com/token"


@pytest.mark.parametrize("issuer", [LOOPBACK, "http://localhost:9000", "https://10.1.2.3/realm", "https://idp/realm"])
def test_endpoints_on_the_issuers_own_host_are_fine(issuer):
    assert read(issuer).token_endpoint == f"{issuer}/token"


def test_a_loopback_issuer_may_use_other_loopback_addresses_but_no_other_private_ones():
    assert read(LOOPBACK, token_endpoint="http://localhost:9001/token").token_endpoint == "http://localhost:9001/token"
    with pytest.raises(DiscoveryRefused):
        read(LOOPBACK, token_endpoint="https://10.0.0.1/token")
    with pytest.raises(DiscoveryRefused):
        read(LOOPBACK, token_endpoint="http://idp.example/token")


def test_an_issuer_on_the_protected_origin_may_have_its_endpoints_there():
    issuer = "https://app.example.com/auth"
    assert read(issuer).token_endpoint == f"{issuer}/token"


def test_the_refusal_of_another_issuer_names_both():
    with pytest.raises(DiscoveryRefused) as refusal:
        metadata_from(b'{"issuer":"https://idp.example/"}', ISSUER, ORIGIN)
    assert "'https://idp.example/'" in refusal.value.detail
    assert "'https://idp.example'" in refusal.value.detail
