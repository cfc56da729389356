"""A cache in front of the key store: finds the key that an item names, and the key for new subscriptions."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.errors import Reason, RetryLater, Undeliverable
from shared.keys.key import BrokenKey, EncryptionKey, newest_valid
from shared.keys.store import KeyStore

REFRESH_INTERVAL = timedelta(seconds=30)
"""Least time between two looks into the store for keys that were not there."""

STORE_COOLDOWN = timedelta(seconds=15)
"""How long a store that was unavailable is left alone, instead of being asked once for each message that waits."""

_log = logging.getLogger("graph_relay.keys")


@dataclass(frozen=True)
class Snapshot:
    """What one look into the store found; never changed, only replaced by the next one.

    at: when it was taken (UTC); None before the first look. unavailable: why a key was not given out: a newer key may
    exist. broken: a key that a person has to repair; it says nothing of the others.
    """

    at: datetime | None = None
    keys: Mapping[str, EncryptionKey] = field(default_factory=dict)
    unavailable: RetryLater | None = None
    broken: BrokenKey | None = None

    def find(self, key_id: str, thumbprint: str) -> EncryptionKey | None:
        """Return the key of that id, else of that certificate thumbprint."""
        by_thumbprint = (key for key in self.keys.values() if thumbprint and key.thumbprint == thumbprint.upper())
        return self.keys.get(key_id) or next(by_thumbprint, None)

    def with_key(self, key: EncryptionKey) -> "Snapshot":
        """Return the same with one more key."""
        return Snapshot(self.at, {**self.keys, key.key_id: key}, self.unavailable, self.broken)

    def without(self, key_id: str) -> "Snapshot":
        """Return the same without a key."""
        kept = {known: key for known, key in self.keys.items() if known != key_id}
        return Snapshot(self.at, kept, self.unavailable, self.broken)


class KeyRing:
    """Finds keys; one object serves all threads. Keys, once seen, stay in memory until they are retired."""

    def __init__(self, store: KeyStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot = Snapshot()
        self._failed: tuple[datetime, RetryLater] | None = None

    def find(self, key_id: str, thumbprint: str, received: datetime) -> EncryptionKey:
        """Return the key that an item, received at that time, names: by id, else by its certificate's thumbprint.

        Raises:
            Undeliverable: the store was looked into after the item came, and has no such key.
            RetryLater: the store is unavailable, or has a key that can't be read and may be the one.
        """
        key = self._snapshot.find(key_id, thumbprint)
        if key is not None:
            return key
        snapshot = self._refresh()
        key = snapshot.find(key_id, thumbprint)
        if key is not None:
            return key
        _raise_again(snapshot.unavailable or snapshot.broken)
        if snapshot.at is None or snapshot.at <= received:
            raise RetryLater(Reason.KEY_STORE, "the key may be newer than the last look", retry_after=REFRESH_INTERVAL)
        raise Undeliverable(Reason.KEY_UNKNOWN, "no key has the id or thumbprint that the item names")

    def current(self) -> EncryptionKey:
        """Return the key for new subscriptions, the newest that is valid; make one if there is none.

        While the store is unavailable, the newest of those seen before. Raises RetryLater if none was, or if the
        store has keys that it does not give out: one of them may be the newest.
        """
        unavailable: RetryLater | None = None
        try:
            snapshot = self._refresh(at_once=True)
        except RetryLater as retry_later:
            snapshot, unavailable = self._snapshot, retry_later
        _raise_again(snapshot.unavailable)
        newest = newest_valid(snapshot.keys.values(), self._clock())
        if newest is not None:
            return newest
        _raise_again(unavailable)
        return self.create()

    def current_if_any(self) -> EncryptionKey | None:
        """Return the key for new subscriptions; None, logged, while there is none to be had."""
        try:
            return self.current()
        except RetryLater as retry_later:
            _log.error("There is no encryption key; what needs one waits: %s", retry_later)
            return None

    def every(self) -> list[EncryptionKey]:
        """Return all keys that are in the store now. Raises RetryLater."""
        return list(self._refresh(at_once=True).keys.values())

    def unreadable(self) -> RetryLater | None:
        """Return why a key of the last look could not be read, if one could not."""
        return self._snapshot.unavailable or self._snapshot.broken

    def create(self) -> EncryptionKey:
        """Make a new key; it is the current one from now on. Raises RetryLater."""
        key = self._store.create(self._clock())
        with self._lock:
            self._snapshot = self._snapshot.with_key(key)
        return key

    def retire(self, key_id: str) -> None:
        """Take a key out of use; what it encrypted can't be decrypted from now on. Raises RetryLater."""
        self._store.retire(key_id)
        with self._lock:
            self._snapshot = self._snapshot.without(key_id)

    def _refresh(self, *, at_once: bool = False) -> Snapshot:
        """Read what the store has and we do not. An id in an item is never used to look: it is anybody's text."""
        with self._lock:
            now = self._clock()
            if not at_once and self._snapshot.at and now - self._snapshot.at < REFRESH_INTERVAL:
                return self._snapshot
            if not at_once and self._failed and now - self._failed[0] < STORE_COOLDOWN:
                _raise_again(self._failed[1])
            try:
                ids = self._store.ids()
            except RetryLater as retry_later:
                self._failed = now, retry_later
                raise
            self._failed = None
            self._snapshot = self._look(ids, now)
            return self._snapshot

    def _look(self, ids: list[str], now: datetime) -> Snapshot:
        """Return what the store has, reading the keys that are new. One that can't be read must not cost the others."""
        keys = {key_id: key for key_id, key in self._snapshot.keys.items() if key_id in ids}
        unavailable: RetryLater | None = None
        broken: BrokenKey | None = None
        for key_id in ids:
            if key_id in keys:
                continue
            try:
                key = self._store.get(key_id)
            except BrokenKey as error:
                broken = error
                _log.warning("%s", error)
            except RetryLater as error:
                unavailable = error
                _log.warning("%s", error)
            else:
                keys |= {key_id: key} if key is not None else {}
        return Snapshot(now, keys, unavailable, broken)


def _raise_again(error: RetryLater | None) -> None:
    """Raise a fresh copy, if there is an error: raising one object again and again keeps every caller's frame alive."""
    if error is not None:
        raise error.again()
