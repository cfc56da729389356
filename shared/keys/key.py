"""One encryption key: a private key and its certificate, and the PEM text that holds both.

The id sent to Graph is the key's name in its store, so that every instance finds every key.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from shared.errors import Reason, RetryLater

KEY_BITS = 2048
"""Decrypting costs 0.28 ms with 2,048 bits and 3.8 ms with 4,096."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class BrokenKey(RetryLater):
    """A key is invalid and a person has to repair it. The other keys are not affected."""


@dataclass(frozen=True)
class EncryptionKey:
    """A private key and its certificate. `key_id` is what Graph calls `encryptionCertificateId`."""

    key_id: str
    private_key: RSAPrivateKey
    certificate: x509.Certificate

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the DER certificate, 40 upper-case hexadecimal digits, as Graph writes it."""
        return self.certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - an identifier

    @property
    def public_certificate(self) -> str:
        """Base64 of the DER certificate: a subscription's `encryptionCertificate`."""
        return base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()

    @property
    def created(self) -> datetime:
        """When the certificate becomes valid (UTC)."""
        return self.certificate.not_valid_before_utc

    @property
    def expires(self) -> datetime:
        """When the certificate expires (UTC)."""
        return self.certificate.not_valid_after_utc


def newest_valid(keys: Iterable[EncryptionKey], now: datetime) -> EncryptionKey | None:
    """Return the newest valid key: the key for new subscriptions. None if no key is valid."""
    valid = [key for key in keys if key.created <= now < key.expires]
    return max(valid, key=lambda key: (key.created, key.key_id), default=None)


def is_key_id(text: str) -> bool:
    """Whether `text` can be the id of a key: 1 to 128 letters, digits, dots, dashes and underscores."""
    return _ID.fullmatch(text) is not None


def new_key(key_id: str, now: datetime, lifetime: timedelta) -> EncryptionKey:
    """Return a new RSA key with a self-signed certificate that is valid from `now` on."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Graph Relay")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + lifetime)
        .sign(private_key, hashes.SHA256())
    )
    return EncryptionKey(key_id, private_key, certificate)


def read_pem(key_id: str, pem: bytes) -> EncryptionKey:
    """Read a private key (PKCS#8) and its certificate from one PEM text.

    Raises BrokenKey, naming the key.
    """
    try:
        private_key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: expected a private key (PKCS#8) and a certificate") from None
    return _checked(key_id, private_key, certificate)


def read_pkcs12(key_id: str, text: str) -> EncryptionKey:
    """Read a private key and its certificate from a PKCS #12 archive without a password, in Base64.

    Key Vault gives out in this form what was imported as a .pfx file. Raises BrokenKey, naming the key.
    """
    try:
        archive = base64.b64decode(text, validate=True)
        private_key, certificate, _ = pkcs12.load_key_and_certificates(archive, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: expected a PKCS #12 archive without a password") from None
    if private_key is None or certificate is None:
        raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: expected a private key and a certificate in the archive")
    return _checked(key_id, private_key, certificate)


def _checked(key_id: str, private_key: PrivateKeyTypes, certificate: x509.Certificate) -> EncryptionKey:
    if not isinstance(private_key, RSAPrivateKey) or private_key.public_key() != certificate.public_key():
        raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: expected an RSA key and the certificate that belongs to it")
    return EncryptionKey(key_id, private_key, certificate)


def write_pem(key: EncryptionKey) -> bytes:
    """Return the PEM text of a key, for `read_pem`."""
    private = key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + key.certificate.public_bytes(serialization.Encoding.PEM)
