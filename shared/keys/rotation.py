"""Rotation of the encryption key: creates a new key in time, and retires old keys that are no longer needed.

The only state is when a key was first seen as the current one, and as unused by any subscription. If a run is
interrupted, the next run completes it; another run then has nothing to do.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from shared import telemetry
from shared.errors import RetryLater
from shared.keys.key import EncryptionKey
from shared.keys.ring import KeyRing
from shared.storage.state import Times
from shared.storage.tables import Tables

_log = logging.getLogger("graph_relay.rotation")

EXPIRY_MARGIN = timedelta(days=7)
"""Added to the overlap: a certificate must remain valid longer than its subscriptions."""

GRAPH_RETRY_PERIOD = timedelta(hours=4)
"""How long Graph retries: it may still send items encrypted before a subscription was re-keyed (docs/graph.md,
"Retries").
"""


class Rotation:
    """Decides when keys are created and retired.

    age: a key is replaced at this age. overlap: how long the old key still decrypts. longest_queued: how long a
    message can stay on the queue.
    """

    def __init__(
        self, ring: KeyRing, tables: Tables, age: timedelta, overlap: timedelta, longest_queued: timedelta
    ) -> None:
        self._ring = ring
        self._age = age
        self._overlap = overlap
        self._longest_queued = longest_queued
        self._unused = Times(tables, "unnamed-keys", "since")
        self._current = Times(tables, "current-keys", "since")

    def renew(self, now: datetime) -> EncryptionKey:
        """Return the key for subscriptions: the current key, or a new one if that is old or expires soon.

        If no key can be created, the current key stays in use and the failure is counted. Raises RetryLater if there is
        no key.
        """
        key = self._ring.current()
        telemetry.KEY_AGE_SECONDS.set((now - key.created).total_seconds())
        if now - key.created < self._age and key.expires - now > self._overlap + EXPIRY_MARGIN:
            return key
        try:
            new_key = self._ring.create()
        except RetryLater as retry_later:
            telemetry.RECONCILED.add(1, {"action": "rotate", "outcome": retry_later.reason})
            _log.error("Could not create a new encryption key; %s stays in use: %s", key.key_id, retry_later)
            return key
        telemetry.RECONCILED.add(1, {"action": "rotate", "outcome": "done"})
        _log.info("Encryption key %s replaces %s", new_key.key_id, key.key_id)
        return new_key

    def retire(
        self,
        in_use: Collection[str],
        last_used: Mapping[str, datetime],
        queue_is_empty: Callable[[], bool],
        now: datetime,
    ) -> None:
        """Retire the keys that no subscription has used, and no message has needed, for long enough.

        in_use: the certificate ids of all subscriptions in all tenants. last_used: when the last item that names the
        key arrived, by key id, if known. Raises RetryLater.
        """
        current = self._ring.current()
        for key in self._ring.all():
            if key.key_id == current.key_id or key.key_id in in_use or key.created > current.created:
                self._forget(key.key_id)
                continue
            since = self._unused.first(key.key_id, now)
            since = max(since, last_used.get(key.key_id, since))
            if now - since < max(self._overlap, GRAPH_RETRY_PERIOD):
                continue
            if now - since < self._overlap + GRAPH_RETRY_PERIOD + self._longest_queued and not queue_is_empty():
                continue
            self._ring.retire(key.key_id)
            self._forget(key.key_id)
            self._current.forget(key.key_id)
            _log.info("Encryption key %s is retired", key.key_id)

    def current_since(self, key: EncryptionKey, now: datetime) -> datetime:
        """Return since when a key has been the current one. Raises RetryLater."""
        return self._current.first(key.key_id, now)

    def unused_since(self) -> dict[str, datetime]:
        """Return since when each unused key has been unused, by key id. Raises RetryLater."""
        return self._unused.all()

    def _forget(self, key_id: str) -> None:
        if self._unused.get(key_id) is not None:
            self._unused.forget(key_id)
