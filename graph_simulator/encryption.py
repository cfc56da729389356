"""How Graph encrypts a resource in a notification (docs/graph.md, "Rich notifications"), apart from the app's code."""

import hashlib
import hmac
import os
from base64 import b64encode
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding

KEY_BYTES = 32
IV_BYTES = 16

# SHA-1 is Graph's choice (docs/graph.md, "Rich notifications").
_OAEP = OAEP(mgf=MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


@dataclass(frozen=True)
class Recipient:
    """The recipient of encrypted content: a certificate's public key, under the id that the subscriber chose."""

    certificate_id: str
    thumbprint: str
    public_key: RSAPublicKey

    @classmethod
    def of(cls, certificate: x509.Certificate, certificate_id: str) -> "Recipient":
        """Return the recipient for an RSA certificate.

        Raises:
            TypeError: the certificate holds no RSA key.
        """
        public_key = certificate.public_key()
        if not isinstance(public_key, RSAPublicKey):
            raise TypeError("not an RSA certificate")
        thumbprint = hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()
        return cls(certificate_id, thumbprint.upper(), public_key)


def enclose(resource: bytes, recipient: Recipient) -> dict[str, str]:
    """Return `encryptedContent` for a resource (UTF-8 JSON), under a new symmetric key."""
    key = os.urandom(KEY_BYTES)
    data, signature = seal(resource, key)
    return {
        "data": data,
        "dataSignature": signature,
        "dataKey": b64encode(recipient.public_key.encrypt(key, _OAEP)).decode(),
        "encryptionCertificateId": recipient.certificate_id,
        "encryptionCertificateThumbprint": recipient.thumbprint,
    }


def seal(resource: bytes, key: bytes) -> tuple[str, str]:
    """Return `data` and `dataSignature`, both Base64: AES-256-CBC with PKCS#7, HMAC-SHA256 over the ciphertext.

    The initialisation vector is the first half of the key, so a key must never be used twice.
    """
    padder = padding.PKCS7(algorithms.AES256.block_size).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(key[:IV_BYTES])).encryptor()
    ciphertext = encryptor.update(padder.update(resource) + padder.finalize()) + encryptor.finalize()
    signature = hmac.digest(key, ciphertext, "sha256")
    return b64encode(ciphertext).decode(), b64encode(signature).decode()
