"""Our own keys: read, made once, announced in the metadata, and what they sign."""

from __future__ import annotations

import base64
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from lxml import etree
from pydantic import ValidationError

from passproxy.core.errors import ConfigError
from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.idp.base import Proof
from passproxy.idp.saml.keys import FILE_NAME, OwnKey, OwnKeys, own_keys, signer_of_metadata
from passproxy.idp.saml.request import metadata, redirect_url, service_provider
from tests.fakes import idp_saml as idp

ORIGIN = Origin("https", "app.example.com", 443)
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


def settings(**changes: Any) -> SamlSettings:
    return SamlSettings.model_validate({"metadata_file": "/x", "sign_requests": True, **changes})


def obtained(folder: Path, **changes: Any) -> OwnKeys:
    return own_keys(settings(**changes), folder, "app.example.com", time.time())


def written(folder: Path, name: str, *, key: bytes | None = None, certificate: bytes | None = None) -> tuple[str, str]:
    """The paths of a key and its certificate."""
    pair = idp.keys(name)
    (folder / f"{name}.key").write_bytes(pair.key_pem if key is None else key)
    (folder / f"{name}.crt").write_bytes(pair.certificate_pem if certificate is None else certificate)
    return str(folder / f"{name}.key"), str(folder / f"{name}.crt")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OwnKeys]:
    """A folder in which a key was made: that takes a second."""
    folder = tmp_path_factory.mktemp("state")
    return folder, obtained(folder)


def test_no_key_is_made_that_nobody_needs(tmp_path: Path) -> None:
    assert obtained(tmp_path, sign_requests=False, single_logout=False) == OwnKeys()
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_made_once_and_only_we_can_read_it(made: tuple[Path, OwnKeys]) -> None:
    folder, keys = made
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600
    assert [key.certificate for key in obtained(folder).keys] == [key.certificate for key in keys.keys]
    [key] = keys.keys
    certificate = x509.load_der_x509_certificate(key.certificate)
    assert key.private.key_size == 3072
    assert certificate.subject == certificate.issuer
    assert certificate.not_valid_after_utc.timestamp() > time.time() + 9 * 365 * 86400


def test_of_two_that_start_at_once_one_key_stays(
    made: tuple[Path, OwnKeys], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (made[0] / FILE_NAME).read_bytes()

    def late(host: str, now: float) -> bytes:
        (tmp_path / FILE_NAME).write_bytes(first)
        return b"the second key"

    monkeypatch.setattr("passproxy.idp.saml.keys._new_pem", late)
    assert obtained(tmp_path).keys[0].certificate == made[1].keys[0].certificate
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_half_written_file_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"-----BEGIN PRIVATE KEY-----\nhalf")
    with pytest.raises(ConfigError, match=r"saml-key\.pem: not a private key"):
        obtained(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes().endswith(b"half")


def test_where_nothing_can_be_written_the_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read or made: No such file"):
        obtained(tmp_path / "missing")


def test_files_are_used_and_the_next_key_is_announced(tmp_path: Path) -> None:
    key, certificate = written(tmp_path, "sp")
    next_key, next_certificate = written(tmp_path, "sp-next")
    files = {"key_file": key, "certificate_file": certificate}
    following = {"next_key_file": next_key, "next_certificate_file": next_certificate}
    assert [one.certificate for one in obtained(tmp_path, **files).keys] == [idp.der(idp.keys("sp"))]
    both = obtained(tmp_path, **files, **following)
    assert [one.certificate for one in both.keys] == [idp.der(idp.keys("sp")), idp.der(idp.keys("sp-next"))]
    assert not (tmp_path / FILE_NAME).exists()


def _pem(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _of_a_curve() -> bytes:
    private, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    start = datetime.fromtimestamp(time.time(), UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 1, start, start + timedelta(days=9))
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)


UNUSABLE = [
    pytest.param({"key": b"nonsense"}, "not a private key", id="no key"),
    pytest.param({"key": _pem(rsa.generate_private_key(65537, 1024))}, "not an RSA key", id="a short key"),
    pytest.param({"key": _pem(ec.generate_private_key(ec.SECP256R1()))}, "not an RSA key", id="an elliptic curve"),
    pytest.param({"key": _pem(ec.generate_private_key(ec.SECP256R1()), b"p")}, "password", id="with a password"),
    pytest.param({"certificate": b"nonsense"}, "not one in PEM", id="no certificate"),
    pytest.param({"certificate": _of_a_curve()}, "another key", id="the certificate of an elliptic curve"),
    pytest.param({"certificate": idp.keys().certificate_pem}, "another key", id="the certificate of another key"),
]


@pytest.mark.parametrize(("content", "complaint"), UNUSABLE)
def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path, content: dict[str, bytes], complaint: str) -> None:
    key, certificate = written(tmp_path, "sp", **content)
    with pytest.raises(ConfigError, match=complaint):
        obtained(tmp_path, key_file=key, certificate_file=certificate)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"saml\.key_file: /missing: No such file"):
        obtained(tmp_path, key_file="/missing", certificate_file="/missing")


@pytest.mark.parametrize(
    "half",
    [
        {"key_file": "/k"},
        {"certificate_file": "/c"},
        {"key_file": "/k", "certificate_file": "/c", "next_key_file": "/n"},
        {"next_key_file": "/n", "next_certificate_file": "/m"},
    ],
)
def test_keys_and_certificates_come_in_pairs(half: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="key_file"):
        settings(**half)


def own(name: str) -> OwnKey:
    private = idp.private_key(idp.keys(name).key_pem)
    assert isinstance(private, rsa.RSAPrivateKey)
    return OwnKey(private, idp.der(idp.keys(name)))


@pytest.mark.parametrize("sso_url", [idp.SSO_URL, "https://idp.example.com/sso"])
def test_the_signature_covers_the_query_as_it_is_sent(sso_url: str) -> None:
    """SAML Bindings 3.4.4.1: SAMLRequest, RelayState and SigAlg, in this order, as they are encoded in the URL."""
    us, key = service_provider(ORIGIN, settings()), own("sp")
    url = redirect_url(sso_url, us, "login-1", Proof(b"s"), time.time(), key)
    signed, _, signature = url[url.index("SAMLRequest=") :].partition("&Signature=")
    fields = parse_qs(urlsplit(url).query)
    names = [name.partition("=")[0] for name in signed.split("&")]
    assert names == ["SAMLRequest", "RelayState", "SigAlg"]
    assert fields["SigAlg"] == [RSA_SHA256]
    assert "&" not in signature
    public = x509.load_der_x509_certificate(key.certificate).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(base64.b64decode(fields["Signature"][0]), signed.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_without_a_key_nothing_is_signed() -> None:
    url = redirect_url(idp.SSO_URL, service_provider(ORIGIN, settings()), "l", Proof(b"s"), time.time())
    assert "Sig" not in "".join(parse_qs(urlsplit(url).query))


def certificates(document: bytes, use: str) -> list[bytes]:
    role = etree.fromstring(document).find("{*}SPSSODescriptor")
    assert role is not None
    assert [etree.QName(child).localname for child in role][-2:] == ["NameIDFormat", "AssertionConsumerService"]
    descriptors = [one for one in role.findall("{*}KeyDescriptor") if one.get("use") == use]
    found = [one.findtext("{*}KeyInfo/{*}X509Data/{*}X509Certificate") for one in descriptors]
    return [base64.b64decode(text or "") for text in found]


def test_the_metadata_announces_the_signing_keys() -> None:
    keys = OwnKeys((own("sp"), own("sp-next")))
    document = metadata(service_provider(ORIGIN, settings()), keys)
    assert certificates(document, "signing") == [key.certificate for key in keys.keys]
    assert b'AuthnRequestsSigned="true"' in document


def test_the_metadata_of_who_does_not_sign_has_no_keys() -> None:
    document = metadata(service_provider(ORIGIN, settings(sign_requests=False)), OwnKeys())
    assert b"KeyDescriptor" not in document
    assert b'AuthnRequestsSigned="false"' in document


def test_a_key_does_not_show_itself() -> None:
    assert "private" not in repr(OwnKeys((own("sp"),)))


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_certificate_for_metadata_that_is_none_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "federation.crt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"saml\.metadata_certificate_file"):
        signer_of_metadata(settings(metadata_certificate_file=str(path)))
    path.write_bytes(idp.keys("federation").certificate_pem)
    assert signer_of_metadata(settings(metadata_certificate_file=str(path))) == idp.der(idp.keys("federation"))
    assert signer_of_metadata(settings()) is None
