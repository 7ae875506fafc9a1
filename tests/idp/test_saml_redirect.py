"""Messages in a query whose signature holds, by every algorithm of the list, and what is refused behind a good signature."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from passproxy.idp.saml.errors import ResponseMalformed, SignatureRefused
from passproxy.idp.saml.redirect import verified_document
from tests.fakes import idp_saml as idp

MORE = "http://www.w3.org/2001/04/xmldsig-more#"
DOCUMENT = b"<samlp:LogoutRequest/>"
RSA = idp.der(idp.keys())


def certificate_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
    start = datetime.fromtimestamp(time.time(), UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 1, start, start + timedelta(days=9))
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)


P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
BY_P256, BY_P384 = certificate_of(P256), certificate_of(P384)


def query(message: str, algorithm: str, sign: Callable[[bytes], bytes], more: str = "") -> bytes:
    signed = f"SAMLRequest={quote(message, safe='')}&SigAlg={quote(MORE + algorithm, safe='')}".encode()
    return signed + f"&Signature={quote(base64.b64encode(sign(signed)).decode(), safe='')}{more}".encode()


def by_rsa(message: bytes) -> bytes:
    private = idp.private_key(idp.keys().key_pem)
    assert isinstance(private, rsa.RSAPrivateKey)
    return private.sign(message, padding.PKCS1v15(), hashes.SHA256())


def by_curve(private: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm) -> Callable[[bytes], bytes]:
    """Both numbers, one behind the other, as XML Signature 1.1 has it (6.4.3)."""
    size = (private.curve.key_size + 7) // 8

    def sign(message: bytes) -> bytes:
        numbers = decode_dss_signature(private.sign(message, ec.ECDSA(digest)))
        return b"".join(number.to_bytes(size, "big") for number in numbers)

    return sign


GOOD = idp.deflated(DOCUMENT)


@pytest.mark.parametrize("private", [P256, P384], ids=["P-256", "P-384"])
@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda one: one.name)
def test_a_signature_by_an_elliptic_curve_holds(private: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm):
    raw = query(GOOD, f"ecdsa-{digest.name}", by_curve(private, digest))
    assert verified_document(raw, "SAMLRequest", (RSA, certificate_of(private))) == DOCUMENT


def of_zeros(_: bytes) -> bytes:
    """Both numbers zero: what some libraries once took for a good signature of anything (CVE-2022-21449)."""
    return bytes(64)


WRONG: list[tuple[str, bytes, tuple[bytes, ...]]] = [
    ("another curve's key", query(GOOD, "ecdsa-sha256", by_curve(P384, hashes.SHA256())), (BY_P256,)),
    ("another digest", query(GOOD, "ecdsa-sha384", by_curve(P256, hashes.SHA256())), (BY_P256,)),
    ("DER instead of two numbers", query(GOOD, "ecdsa-sha256", lambda m: P256.sign(m, ec.ECDSA(hashes.SHA256()))), (BY_P256,)),
    ("an odd length", query(GOOD, "ecdsa-sha256", lambda m: by_curve(P256, hashes.SHA256())(m)[:-1]), (BY_P256,)),
    ("zeros", query(GOOD, "ecdsa-sha256", of_zeros), (BY_P256,)),
    ("nothing", query(GOOD, "ecdsa-sha256", lambda _: b""), (BY_P256,)),
    ("RSA, said to be a curve's", query(GOOD, "ecdsa-sha256", by_rsa), (RSA, BY_P256)),
    ("a curve's, said to be RSA", query(GOOD, "rsa-sha256", by_curve(P256, hashes.SHA256())), (BY_P256, RSA)),
    ("no certificate", query(GOOD, "rsa-sha256", by_rsa), ()),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "certificates"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_signature_that_does_not_hold_is_refused(raw: bytes, certificates: tuple[bytes, ...]):
    with pytest.raises(SignatureRefused):
        verified_document(raw, "SAMLRequest", certificates)


BEHIND_A_GOOD_SIGNATURE: list[tuple[str, bytes]] = [
    ("not base64", query("***", "rsa-sha256", by_rsa)),
    ("not deflated", query(base64.b64encode(b"\xff" * 20).decode(), "rsa-sha256", by_rsa)),
    ("cut off", query(base64.b64encode(base64.b64decode(GOOD)[:-3]).decode(), "rsa-sha256", by_rsa)),
    ("something behind it", query(base64.b64encode(base64.b64decode(GOOD) + b"x").decode(), "rsa-sha256", by_rsa)),
    ("another encoding", query(GOOD, "rsa-sha256", by_rsa, "&SAMLEncoding=urn:x")),
    ("a signature that is not base64", query(GOOD, "rsa-sha256", by_rsa).partition(b"&Signature")[0] + b"&Signature=***"),
]  # fmt: skip


@pytest.mark.parametrize(
    "raw", [raw for _, raw in BEHIND_A_GOOD_SIGNATURE], ids=[n for n, _ in BEHIND_A_GOOD_SIGNATURE]
)
def test_a_message_that_cannot_be_read_is_refused_all_the_same(raw: bytes):
    with pytest.raises(ResponseMalformed):
        verified_document(raw, "SAMLRequest", (RSA,))


def test_the_encoding_may_be_said():
    said = "&SAMLEncoding=urn%3Aoasis%3Anames%3Atc%3ASAML%3A2.0%3Abindings%3AURL-Encoding%3ADEFLATE"
    assert verified_document(query(GOOD, "rsa-sha256", by_rsa, said), "SAMLRequest", (RSA,)) == DOCUMENT
