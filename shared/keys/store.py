"""Where encryption keys are kept: the protocol of a key store."""

from datetime import datetime
from typing import Protocol

from shared.keys.key import EncryptionKey


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
