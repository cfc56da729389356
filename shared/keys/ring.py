"""Encryption certificates by id: where they are kept, and a cache in front of it.

The id given to Graph is the name of the key in its store, so that any instance finds any key it has never seen.
"""

import base64
import logging
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from shared.errors import RetryLater, Reason, Undeliverable

KEY_BITS = 2048
"""Opening costs 0.28 ms with 2,048 bits and 3.8 ms with 4,096."""

LOOK_AGAIN = timedelta(seconds=30)
"""Least time between two looks into the store for keys that were not there."""

STORE_COOLDOWN = timedelta(seconds=15)
"""For so long a store that was found away is not asked again, once for each message that waits for it."""

_log = logging.getLogger("graph_relay.keys")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class EncryptionKey:
    """A private key and its certificate. `key_id` is what Graph calls `encryptionCertificateId`."""

    key_id: str
    private_key: RSAPrivateKey
    certificate: x509.Certificate

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the DER certificate, 40 upper-case hexadecimal digits, as Graph writes it."""
        return self.certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, not a proof

    @property
    def public_certificate(self) -> str:
        """Base64 of the DER certificate: what a subscription takes."""
        return base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()

    @property
    def made(self) -> datetime:
        """When the certificate begins."""
        return self.certificate.not_valid_before_utc

    @property
    def expires(self) -> datetime:
        """When the certificate ends."""
        return self.certificate.not_valid_after_utc


class BrokenKey(RetryLater):
    """A key that can't be read until a person has mended it; it says nothing of the others."""


class KeyStore(Protocol):
    """Where keys are kept. Every method raises RetryLater if the store is away."""

    def ids(self) -> list[str]:
        """The ids of all keys that have not been retired."""

    def get(self, key_id: str) -> EncryptionKey | None:
        """The key of that id, or None if there is none. Raises BrokenKey if it is not what a key should be."""

    def create(self, now: datetime) -> EncryptionKey:
        """Make, keep and return a new key under a new id."""

    def retire(self, key_id: str) -> None:
        """Take a key out of use for good; one that is gone already is fine."""


class KeyRing:
    """Finds keys; one object serves all threads. Keys, once seen, stay in memory until they are retired."""

    def __init__(self, store: KeyStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, EncryptionKey] = {}
        self._looked: datetime | None = None
        self._failed: tuple[datetime, RetryLater] | None = None
        self._unread: RetryLater | None = None
        self._away: RetryLater | None = None

    def find(self, key_id: str, thumbprint: str, received: datetime) -> EncryptionKey:
        """Return the key that an item, received at that time, names: by id, else by its certificate's thumbprint.

        Raises:
            Undeliverable: the store was looked into after the item came, and has no such key.
            RetryLater: the store is away, or has a key that can't be read and may be the one.
        """
        key = self._known(key_id, thumbprint)
        if key is None:
            self._look()
            key = self._known(key_id, thumbprint)
        if key is not None:
            return key
        if self._unread is not None:
            raise self._unread
        if self._looked is None or self._looked <= received:
            raise RetryLater(Reason.KEY_STORE, "the key may be newer than the last look", retry_after=LOOK_AGAIN)
        raise Undeliverable(Reason.KEY_UNKNOWN, "no key has the id or thumbprint that the item names")

    def current(self) -> EncryptionKey:
        """Return the key for new subscriptions, the newest that is valid; make one if there is none.

        While the store is away, the newest of those seen before. Raises RetryLater if none was, or if the store has keys
        that it doesn't give out just now: one of them may be the newest.
        """
        away = self._looked_at()
        newest = newest_valid(self._keys.values(), self._clock())
        if self._away is not None:
            raise self._away
        if newest is not None:
            return newest
        if away is not None:
            raise away
        return self.create()

    def current_if_any(self) -> EncryptionKey | None:
        """Return the key for new subscriptions; None, logged, while there is none to be had."""
        try:
            return self.current()
        except RetryLater as retry_later:
            _log.error("No encryption key can be had, what needs one waits: %s", retry_later)
            return None

    def every(self) -> list[EncryptionKey]:
        """Return all keys that are in the store now. Raises RetryLater."""
        self._look(at_once=True)
        return list(self._keys.values())

    def create(self) -> EncryptionKey:
        """Make a new key; it is the current one from now on. Raises RetryLater."""
        key = self._store.create(self._clock())
        with self._lock:
            self._keys = {**self._keys, key.key_id: key}
        return key

    def retire(self, key_id: str) -> None:
        """Take a key out of use; what it encrypted can't be opened from now on. Raises RetryLater."""
        self._store.retire(key_id)
        with self._lock:
            self._keys = {known: key for known, key in self._keys.items() if known != key_id}

    def _known(self, key_id: str, thumbprint: str) -> EncryptionKey | None:
        keys = self._keys
        by_thumbprint = (key for key in keys.values() if thumbprint and key.thumbprint == thumbprint.upper())
        return keys.get(key_id) or next(by_thumbprint, None)

    def _looked_at(self) -> RetryLater | None:
        """Look into the store at once; return why that was not possible, if so."""
        try:
            self._look(at_once=True)
        except RetryLater as away:
            return away
        return None

    def _look(self, *, at_once: bool = False) -> None:
        """Read what the store has and we have not. An id in an item is never used to look: it is anybody's text."""
        with self._lock:
            now = self._clock()
            if not at_once and self._looked and now - self._looked < LOOK_AGAIN:
                return
            if not at_once and self._failed and now - self._failed[0] < STORE_COOLDOWN:
                raise self._failed[1]
            ids = self._ids()
            known = {key_id: key for key_id, key in self._keys.items() if key_id in ids}
            self._unread = self._away = None
            fresh = {key_id: self._get(key_id) for key_id in ids if key_id not in known}
            self._keys = known | {key_id: key for key_id, key in fresh.items() if key is not None}
            self._looked = now

    def _ids(self) -> list[str]:
        try:
            ids = self._store.ids()
        except RetryLater as retry_later:
            self._failed = self._clock(), retry_later
            raise
        self._failed = None
        return ids

    def _get(self, key_id: str) -> EncryptionKey | None:
        """One key that can't be read must not cost the others."""
        try:
            return self._store.get(key_id)
        except RetryLater as retry_later:
            self._unread = retry_later
            if not isinstance(retry_later, BrokenKey):
                self._away = retry_later
            _log.warning("%s", retry_later)
            return None


def newest_valid(keys: Iterable[EncryptionKey], now: datetime) -> EncryptionKey | None:
    """Return the key for new subscriptions, of those given."""
    valid = [key for key in keys if key.made <= now < key.expires]
    return max(valid, key=lambda key: (key.made, key.key_id), default=None)


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
    if not isinstance(private_key, RSAPrivateKey) or private_key.public_key() != certificate.public_key():
        raise BrokenKey(Reason.KEY_STORE, f"key {key_id}: expected an RSA key and the certificate that belongs to it")
    return EncryptionKey(key_id, private_key, certificate)


def write_pem(key: EncryptionKey) -> bytes:
    """Return what `read_pem` reads."""
    private = key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + key.certificate.public_bytes(serialization.Encoding.PEM)
