"""`passproxy metadata`: what is registered at the provider is what the running instance uses."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from passproxy.cli import main
from tests.fakes.gateway import demo_idp, get, protecting, saml_at
from tests.fakes.raw import Raw

HEAD = "domain: app.example.com\nupstream: {url: 'http://127.0.0.1:3000'}\n"


def configuration(folder: Path, provider: str) -> str:
    file = folder / "app.yaml"
    file.write_text(f"{HEAD}state_dir: {folder}\n{provider}")
    return str(file)


def oidc(more: str = "") -> str:
    return f"oidc: {{issuer: 'https://sso.example.com', client_id: app{more}}}\n"


async def test_the_metadata_of_the_endpoint_is_printed_byte_for_byte(upstream, tmp_path, capfdbinary):
    async with demo_idp() as idp, protecting(upstream.url, tmp_path, **saml_at(idp)) as passproxy:
        async with Raw(passproxy.address) as raw:
            served = await raw.ask(get("/.passproxy/saml/metadata"))
        file = configuration(tmp_path, f"saml: {{metadata_url: '{idp.metadata_url}'}}\n")
        assert main(["metadata", file]) == 0
        assert capfdbinary.readouterr().out == served.body
        assert main(["metadata", "--format", "json", file]) == 0
        facts = json.loads(capfdbinary.readouterr().out)
        assert facts["metadata"].encode() == served.body
        assert facts["assertion_consumer_service"] == "https://app.example.com/.passproxy/saml/acs"


def test_a_key_that_does_not_exist_yet_is_not_made(tmp_path, capsys):
    """Made by root it could not be read by the service."""
    assert main(["metadata", configuration(tmp_path, "saml: {metadata_url: 'https://sso.example.com/m'}\n")]) == 1
    assert "Start PassProxy once" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["app.yaml"]


def test_without_signatures_no_key_is_needed(tmp_path, capfdbinary):
    provider = "saml: {metadata_url: 'https://sso.example.com/m', single_logout: false}\n"
    assert main(["metadata", configuration(tmp_path, provider)]) == 0
    assert b"AssertionConsumerService" in capfdbinary.readouterr().out


def test_what_to_register_over_openid_connect_is_listed(tmp_path, capsys):
    file = configuration(tmp_path, oidc(", client_secret: correct-horse-battery"))
    assert main(["metadata", file]) == 0
    text = capsys.readouterr().out
    for path in ("oidc/callback", "logged-out", "oidc/backchannel-logout", "oidc/frontchannel-logout"):
        assert f"https://app.example.com/.passproxy/{path}" in text
    assert "client_secret_basic or client_secret_post" in text
    assert "correct-horse-battery" not in text


@pytest.mark.parametrize(
    ("more", "method"),
    [
        ("", "none"),
        (", client_secret: correct-horse-battery", "client_secret_basic"),
        (
            ", client_secret: correct-horse-battery, token_endpoint_auth_method: client_secret_post",
            "client_secret_post",
        ),
    ],
)
def test_how_the_client_proves_itself_is_said(tmp_path, capsys, more, method):
    assert main(["metadata", "--format", "json", configuration(tmp_path, oidc(more))]) == 0
    assert json.loads(capsys.readouterr().out)["token_endpoint_auth_method"] == method


def test_the_public_half_of_a_private_key_is_what_its_assertions_verify_with(tmp_path, capsys):
    private = rsa.generate_private_key(65537, 2048)
    (tmp_path / "key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file = configuration(tmp_path, oidc(f", private_key_file: '{tmp_path}/key.pem'"))
    assert main(["metadata", "--format", "json", file]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["token_endpoint_auth_method"] == "private_key_jwt"
    (key,) = facts["jwks"]["keys"]
    assert not {"d", "p", "q"} & key.keys()
    signed = jwt.encode({"a": 1}, private, "RS256")
    assert jwt.decode(signed, jwt.PyJWK({**key, "alg": "RS256"}).key, ["RS256"]) == {"a": 1}
    assert main(["metadata", file]) == 0
    assert key["kid"] in capsys.readouterr().out
