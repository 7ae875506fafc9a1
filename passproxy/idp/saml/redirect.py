"""
Messages in the query of an address (SAML Bindings 3.4), in both directions.

A signature is over the octets of the query exactly as they stand, so it is verified over those and
over nothing that was decoded and encoded again: AD FS writes its escapes in lower case, and a name
that is escaped or comes twice could hide a second message behind the signed one. Signature first;
then the message is inflated, up to a limit. What it says is logout_message.py's business.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote, unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from passproxy.idp.saml.errors import AlgorithmRefused, ResponseMalformed, SignatureRefused
from passproxy.idp.saml.keys import OwnKey

#: What a message may inflate to; one about a logout has 1 or 2 KiB.
INFLATED_LIMIT_BYTES = 256 * 1024

#: Bindings 3.4.3.
RELAY_STATE_LIMIT_BYTES = 80

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"

# The same list as for signatures inside a document (precheck.py).
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_HASHES: Mapping[str, tuple[str, hashes.HashAlgorithm]] = MappingProxyType(
    {
        f"{_MORE}{kind}-{name}": (kind, algorithm)
        for kind in ("rsa", "ecdsa")
        for name, algorithm in (("sha256", hashes.SHA256()), ("sha384", hashes.SHA384()), ("sha512", hashes.SHA512()))
    }
)

_DEFLATE = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"


def signed_query(name: str, document: bytes, relay_state: str | None, key: OwnKey | None) -> str:
    """A query with a message, signed by `key` as it is written here, in this order."""
    compressor = zlib.compressobj(wbits=-15)
    deflated = compressor.compress(document) + compressor.flush()
    query = f"{name}={quote(base64.b64encode(deflated).decode(), safe='')}"
    if relay_state is not None:
        query += f"&RelayState={quote(relay_state, safe='')}"
    if key is None:
        return query
    # What the address itself has for a query is not part of it.
    query += f"&SigAlg={quote(RSA_SHA256, safe='')}"
    signature = base64.b64encode(key.sign(query.encode())).decode()
    return f"{query}&Signature={quote(signature, safe='')}"


def verified_document(raw: bytes, name: str, certificates: tuple[bytes, ...]) -> bytes:
    """
    The message of this name in a raw query, whose signature one of the certificates (DER) confirms.

    The caller has checked that each name is there once and none is escaped.

    Raises:
        SignatureRefused: there is none that holds; newer certificates may help.
        SamlRefused: for any other reason.
    """
    values = {key: value for key, _, value in (pair.partition(b"=") for pair in raw.split(b"&"))}
    signed = b"&".join(key + b"=" + values[key] for key in (name.encode(), b"RelayState", b"SigAlg") if key in values)
    algorithm = unquote_to_bytes(values.get(b"SigAlg", b"")).decode("latin-1")
    if algorithm not in _HASHES:
        raise AlgorithmRefused("SigAlg is missing, or not RSA or ECDSA with SHA-256, SHA-384 or SHA-512")
    signature = _decoded(values.get(b"Signature", b""))
    if not any(_is_signed_by(certificate, signature, signed, *_HASHES[algorithm]) for certificate in certificates):
        raise SignatureRefused("none of the identity provider's certificates confirms the query")
    if unquote_to_bytes(values.get(b"SAMLEncoding", _DEFLATE.encode())).decode("latin-1") != _DEFLATE:
        raise ResponseMalformed("SAMLEncoding is not DEFLATE")
    return _inflated(_decoded(values[name.encode()]))


def _is_signed_by(
    certificate: bytes, signature: bytes, signed: bytes, kind: str, algorithm: hashes.HashAlgorithm
) -> bool:
    key = x509.load_der_x509_certificate(certificate).public_key()
    try:
        if kind == "rsa" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
            return True
        if kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            # As XML Signature writes it: both numbers, one behind the other, each of half the length.
            half = len(signature) // 2
            numbers = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(algorithm))
            return True
    except (InvalidSignature, ValueError):
        return False
    return False


def _decoded(escaped: bytes) -> bytes:
    # A plus is one here and no space: a form would have escaped it.
    text = re.sub(rb"[\r\n]", b"", unquote_to_bytes(escaped))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ResponseMalformed("a value of the query is not base64") from None


def _inflated(deflated: bytes) -> bytes:
    inflate = zlib.decompressobj(wbits=-15)
    try:
        document = inflate.decompress(deflated, INFLATED_LIMIT_BYTES)
    except zlib.error:
        raise ResponseMalformed("the message is not deflated") from None
    if not inflate.eof or inflate.unused_data:
        raise ResponseMalformed(f"the message inflates to more than {INFLATED_LIMIT_BYTES} bytes, or is cut off")
    return document
