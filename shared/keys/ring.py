"""A cache in front of the key store: finds the key that an item names, and the key for new subscriptions."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared import deadline
from shared.errors import NotAttempted, Reason, RetryLater, TimedOut, Undeliverable
from shared.keys.key import BrokenKey, EncryptionKey, newest_valid
from shared.keys.store import KeyStore
from shared.threads import held

REFRESH_INTERVAL = timedelta(seconds=30)
"""Minimum time between two refreshes caused by an unknown key."""

STORE_COOLDOWN = timedelta(seconds=15)
"""How long an unavailable store is not asked again: otherwise each waiting message would ask it."""

_log = logging.getLogger("graph_relay.keys")


@dataclass(frozen=True)
class Snapshot:
    """The keys in the store at one time. Immutable; the next refresh replaces it.

    at: when it was taken (UTC); None before the first refresh. unavailable: why the store did not return some key,
    which may be the newest. broken: an invalid key that a person has to repair.
    """

    at: datetime | None = None
    keys: Mapping[str, EncryptionKey] = field(default_factory=dict)
    unavailable: RetryLater | None = None
    broken: BrokenKey | None = None

    def find(self, key_id: str, thumbprint: str) -> EncryptionKey | None:
        """Return the key with that id, else with that certificate thumbprint."""
        by_thumbprint = (key for key in self.keys.values() if thumbprint and key.thumbprint == thumbprint.upper())
        return self.keys.get(key_id) or next(by_thumbprint, None)

    def with_key(self, key: EncryptionKey) -> "Snapshot":
        """Return a copy with one more key."""
        return Snapshot(self.at, {**self.keys, key.key_id: key}, self.unavailable, self.broken)

    def without(self, key_id: str) -> "Snapshot":
        """Return a copy without a key."""
        keys = {other_id: key for other_id, key in self.keys.items() if other_id != key_id}
        return Snapshot(self.at, keys, self.unavailable, self.broken)


class KeyRing:
    """Finds keys; one object serves all threads. Keys stay in memory until they are retired."""

    def __init__(self, store: KeyStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot = Snapshot()
        self._failed: tuple[datetime, RetryLater] | None = None

    def find(self, key_id: str, thumbprint: str, received: datetime) -> EncryptionKey:
        """Return the key that an item names, by id or by certificate thumbprint.

        received: when the item arrived (UTC).

        Raises:
            Undeliverable: the store was read after the item arrived and has no such key.
            RetryLater: the store is unavailable, or has an unreadable key that may be the right one.
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
            raise RetryLater(
                Reason.KEY_STORE, "the key may be newer than the last refresh", retry_after=REFRESH_INTERVAL
            )
        raise Undeliverable(Reason.KEY_UNKNOWN, "no key has the id or thumbprint that the item names")

    def current(self, *, recent: bool = False) -> EncryptionKey:
        """Return the key for new subscriptions: the newest valid one. Create one if there is none.

        While the store is unavailable, return the newest cached key. recent: a cache younger than REFRESH_INTERVAL
        suffices. Raises RetryLater if no key is cached, or if the store does not return some key, which may be the
        newest.
        """
        unavailable: RetryLater | None = None
        try:
            snapshot = self._refresh(force=not recent)
        except RetryLater as retry_later:
            snapshot, unavailable = self._snapshot, retry_later
        _raise_again(snapshot.unavailable)
        newest = newest_valid(snapshot.keys.values(), self._clock())
        if newest is not None:
            return newest
        _raise_again(unavailable)
        return self.create()

    def current_if_any(self) -> EncryptionKey | None:
        """Return the key for new subscriptions, possibly cached; None, logged, while there is none."""
        try:
            return self.current(recent=True)
        except RetryLater as retry_later:
            _log.error("There is no encryption key; subscriptions with resource data wait: %s", retry_later)
            return None

    def all(self) -> list[EncryptionKey]:
        """Return all keys in the store. Raises RetryLater."""
        return list(self._refresh(force=True).keys.values())

    def unreadable(self) -> RetryLater | None:
        """Return why the last refresh could not read some key, or None."""
        return self._snapshot.unavailable or self._snapshot.broken

    def create(self) -> EncryptionKey:
        """Create a new key, which becomes the current one. Raises RetryLater."""
        key = self._store.create(self._clock())
        with self._lock:
            self._snapshot = self._snapshot.with_key(key)
        return key

    def retire(self, key_id: str) -> None:
        """Retire a key; content encrypted to it can't be decrypted any more. Raises RetryLater."""
        self._store.retire(key_id)
        with self._lock:
            self._snapshot = self._snapshot.without(key_id)

    def _refresh(self, *, force: bool = False) -> Snapshot:
        """Read the keys that are not cached. The id in an item never reaches the store: anybody can write it."""
        with held(self._lock, Reason.KEY_STORE):
            now = self._clock()
            if not force and self._snapshot.at and now - self._snapshot.at < REFRESH_INTERVAL:
                return self._snapshot
            if not force and self._failed and now - self._failed[0] < STORE_COOLDOWN:
                _raise_again(self._failed[1])
            try:
                deadline.check()
                ids = self._store.ids()
            except RetryLater as retry_later:
                self._failed = self._clock(), retry_later
                raise
            self._failed = None
            self._snapshot = self._read_new(ids, now)
            return self._snapshot

    def _read_new(self, ids: list[str], now: datetime) -> Snapshot:
        """Read the new keys of the store. An unreadable key does not affect the others."""
        keys = {key_id: key for key_id, key in self._snapshot.keys.items() if key_id in ids}
        unavailable: RetryLater | None = None
        broken: BrokenKey | None = None
        for key_id in ids:
            if key_id in keys:
                continue
            try:
                deadline.check()
                key = self._store.get(key_id)
            except BrokenKey as error:
                broken = error
                _log.warning("%s", error)
            except RetryLater as error:
                unavailable = error
                _log.warning("%s", error)
                if isinstance(error, TimedOut | NotAttempted):
                    break  # otherwise each would wait as long
            else:
                keys |= {key_id: key} if key is not None else {}
        return Snapshot(now, keys, unavailable, broken)


def _raise_again(error: RetryLater | None) -> None:
    """Raise a copy of the error, if any: raising one object repeatedly would keep every caller's frame alive."""
    if error is not None:
        raise error.copy()
