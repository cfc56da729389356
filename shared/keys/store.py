"""The protocol of a key store."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from shared.keys.key import EncryptionKey


class KeyStore(Protocol):
    """Stores encryption keys. Every method raises RetryLater if the store is unavailable."""

    def ids(self) -> list[str]:
        """The ids of all keys that are not retired."""

    def get(self, key_id: str) -> EncryptionKey | None:
        """The key with that id, or None. Raises BrokenKey if the key is invalid."""

    def create(self, now: datetime) -> EncryptionKey:
        """Create, store and return a new key with a new id."""

    def retire(self, key_id: str) -> None:
        """Retire a key permanently; a missing key is fine."""


class DeferredKeyStore:
    """A key store that is created on first use: importing a vault's SDK takes 0.3 s, and the first 202 after a cold
    start needs no key.
    """

    def __init__(self, make: Callable[[], KeyStore]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: KeyStore | None = None

    def ids(self) -> list[str]:
        """See KeyStore."""
        return self._store().ids()

    def get(self, key_id: str) -> EncryptionKey | None:
        """See KeyStore."""
        return self._store().get(key_id)

    def create(self, now: datetime) -> EncryptionKey:
        """See KeyStore."""
        return self._store().create(now)

    def retire(self, key_id: str) -> None:
        """See KeyStore."""
        self._store().retire(key_id)

    def _store(self) -> KeyStore:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made
