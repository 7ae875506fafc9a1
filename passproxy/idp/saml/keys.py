"""
Our own keys in SAML: the one that signs requests and opens assertions, and the next one.

Read from files, or made at first use and kept in one file beside the other
state, key and certificate together, so that there is never one without the
other. The certificate only carries the public key: providers take it for what
our metadata says, so it is self-signed and lives long.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from passproxy.core.errors import ConfigError

if TYPE_CHECKING:
    from passproxy.core.settings import SamlSettings

#: What a first use makes; good for as long as its certificate says.
RSA_BITS = 3072
CERTIFICATE_DAYS = 3650

#: Below this providers refuse a key, and above 8192 it only costs time.
_USABLE_BITS = range(2048, 8193)

FILE_NAME = "saml-key.pem"


@dataclass(frozen=True, slots=True)
class OwnKey:
    """An RSA key and the certificate that tells the provider its public half (DER)."""

    private: rsa.RSAPrivateKey = field(repr=False)
    certificate: bytes

    def sign(self, message: bytes) -> bytes:
        """By RSA-SHA256 as XML Signature means it: PKCS #1 v1.5."""
        return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def der(self) -> bytes:
        """The private key, PKCS #8."""
        return self.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The first key signs, each of them decrypts; those after the first are announced before they are used."""

    keys: tuple[OwnKey, ...] = ()

    def decryption_keys(self) -> tuple[bytes, ...]:
        """PKCS #8, DER."""
        return tuple(key.der() for key in self.keys)


def missing_key(settings: SamlSettings, state_dir: Path) -> Path | None:
    """Where `own_keys` would make a key now; None when it would only read."""
    needed = settings.sign_requests or settings.want_encrypted_assertions or settings.single_logout
    path = state_dir / FILE_NAME
    return path if needed and settings.key_file is None and not path.exists() else None


def own_keys(settings: SamlSettings, state_dir: Path, host: str, now: float) -> OwnKeys:
    """
    The keys that the settings need: none, those of their files, or one that is made here.

    Raises:
        ConfigError: a file cannot be read or written, or holds no usable key.
    """
    if not settings.sign_requests and not settings.want_encrypted_assertions and not settings.single_logout:
        return OwnKeys()
    if settings.key_file is None or settings.certificate_file is None:
        return OwnKeys((_generated(state_dir / FILE_NAME, host, now),))
    keys = [_read("saml.key_file", settings.key_file, settings.certificate_file)]
    if settings.next_key_file is not None and settings.next_certificate_file is not None:
        keys.append(_read("saml.next_key_file", settings.next_key_file, settings.next_certificate_file))
    return OwnKeys(tuple(keys))


def signer_of_metadata(settings: SamlSettings) -> bytes | None:
    """
    The certificate (DER) by which metadata has to be signed, if it has to.

    Raises:
        ConfigError: the file cannot be read, or is no certificate.
    """
    name = settings.metadata_certificate_file
    if name is None:
        return None
    try:
        return x509.load_pem_x509_certificate(Path(name).read_bytes()).public_bytes(Encoding.DER)
    except OSError as error:
        raise ConfigError((f"saml.metadata_certificate_file: {name}: {error.strerror}",)) from None
    except ValueError:
        raise ConfigError((f"saml.metadata_certificate_file: {name}: not a certificate in PEM",)) from None


def _read(name: str, key_file: str, certificate_file: str) -> OwnKey:
    try:
        return _key_from(Path(key_file).read_bytes(), Path(certificate_file).read_bytes())
    except OSError as error:
        raise ConfigError((f"{name}: {error.filename}: {error.strerror}",)) from None
    except ValueError as error:
        raise ConfigError((f"{name}: {key_file}: {error}",)) from None


# Examining a private key takes a tenth of a second, in which a process that reloads would serve nobody. Room for what
# was read before a reload and after it.
@functools.lru_cache(maxsize=4)
def _key_from(key_pem: bytes, certificate_pem: bytes) -> OwnKey:
    try:
        private = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        # The library's own words may quote the file.
        raise ValueError("not a private key in PEM without a password") from None
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size not in _USABLE_BITS:
        raise ValueError("not an RSA key of 2048 to 8192 bits")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        is_ours = _public(certificate.public_key()) == _public(private.public_key())
    except ValueError:
        raise ValueError("its certificate is not one in PEM") from None
    if not is_ours:
        raise ValueError("its certificate belongs to another key")
    return OwnKey(private, certificate.public_bytes(Encoding.DER))


def _public(key: object) -> bytes:
    if not isinstance(key, rsa.RSAPublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _generated(path: Path, host: str, now: float) -> OwnKey:
    try:
        if not path.exists():
            _create(path, _new_pem(host, now))
        both = path.read_bytes()
        return _key_from(both, both)
    except OSError as error:
        raise ConfigError((f"{path}: our SAML key cannot be read or made: {error.strerror}",)) from None
    except ValueError as error:
        raise ConfigError((f"{path}: {error}",)) from None


def _create(path: Path, content: bytes) -> None:
    """A whole file, readable by us alone, or none; of two that start at once the first one's stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _new_pem(host: str, now: float) -> bytes:
    private = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    # X.509 allows 64 characters in a common name; nobody reads it.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    start = datetime.fromtimestamp(int(now), UTC) - timedelta(days=1)
    certificate = x509.CertificateBuilder(
        name, name, private.public_key(), x509.random_serial_number(), start, start + timedelta(days=CERTIFICATE_DAYS)
    ).sign(private, hashes.SHA256())
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(
        Encoding.PEM
    )
