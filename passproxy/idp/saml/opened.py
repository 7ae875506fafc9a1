"""
A response whose assertion was encrypted, as the document that it would be without.

Tries each of our keys. Whatever goes wrong is one and the same refusal, that of
a wrong signature: whoever may try again and again must not learn whether it was
the key, the padding or the text (SAML-28). The whole result is to be judged
like any other document; nothing in it is trusted for having been encrypted,
since everybody can encrypt for us.
"""

from __future__ import annotations

from html import escape

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_der_private_key
from lxml import etree

from passproxy.idp.saml.document import parsed
from passproxy.idp.saml.errors import SamlRefused, SignatureRefused
from passproxy.idp.saml.precheck import SAML
from passproxy.idp.saml.sealed import Box, Sealed

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - within OAEP, where collisions do not matter
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_GCM_NONCE_BYTES = 12
_AES_BLOCK_BYTES = 16


def opened(sealed: Sealed, keys: tuple[bytes, ...]) -> bytes:
    """
    The document with its assertion in the open, and without the signature around it.

    Changes the tree of `sealed`, whose signature must have been verified before.

    Raises:
        SignatureRefused: it cannot be decrypted, or what comes out is no assertion.
    """
    for key in keys:
        assertion = _assertion(sealed, key)
        if assertion is not None:
            sealed.response.replace(sealed.encrypted, assertion)
            if sealed.response_signature is not None:
                sealed.response.remove(sealed.response_signature)
            return etree.tostring(sealed.response, encoding="UTF-8")
    raise SignatureRefused("the assertion cannot be decrypted, or what is encrypted is none")


def _assertion(sealed: Sealed, key: bytes) -> etree._Element | None:
    try:
        plaintext = _decrypted(sealed.box, key)
        # Names that are declared around the encrypted element hold inside it (XML Encryption 4.5.3).
        names = "".join(
            f' xmlns{f":{prefix}" if prefix else ""}="{escape(uri)}"' for prefix, uri in sealed.encrypted.nsmap.items()
        )
        root = parsed(f"<context{names}>".encode() + plaintext + b"</context>")
    except (SamlRefused, ValueError, InvalidTag):
        return None
    is_alone = (
        len(root) == 1 and root[0].tag == f"{SAML}Assertion" and not ((root.text or "") + (root[0].tail or "")).strip()
    )
    return root[0] if is_alone else None


def _decrypted(box: Box, key: bytes) -> bytes:
    private = load_der_private_key(key, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, rsa.RSAPrivateKey):  # pragma: no cover - keys.py takes RSA keys only
        raise ValueError("not an RSA key")
    scheme = padding.OAEP(padding.MGF1(_HASHES[box.mask]), _HASHES[box.digest], None)
    session_key = private.decrypt(box.wrapped_key, scheme)
    if len(session_key) != box.key_bytes:
        raise ValueError("a key of the wrong length")
    if box.is_gcm:
        nonce, rest = box.ciphertext[:_GCM_NONCE_BYTES], box.ciphertext[_GCM_NONCE_BYTES:]
        return AESGCM(session_key).decrypt(nonce, rest, None)
    return _cbc(session_key, box.ciphertext)


def _cbc(session_key: bytes, ciphertext: bytes) -> bytes:
    vector, rest = ciphertext[:_AES_BLOCK_BYTES], ciphertext[_AES_BLOCK_BYTES:]
    if not rest:
        raise ValueError("nothing is encrypted")
    decryptor = Cipher(algorithms.AES(session_key), modes.CBC(vector)).decryptor()
    padded = decryptor.update(rest) + decryptor.finalize()
    # XML Encryption 5.2: the last byte says how many there are; the others may be anything.
    if not 1 <= padded[-1] <= _AES_BLOCK_BYTES:
        raise ValueError("the padding is impossible")
    return padded[: -padded[-1]]
