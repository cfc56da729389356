"""Rotation of the encryption key: a new one in time, the old ones retired once nothing can need them any more.

Nothing is remembered but when a key was first seen to be the current one, and to be named by no subscription. A run
that is interrupted anywhere is completed by the next one; a second run finds nothing to do.
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

EXPIRES_SOON = timedelta(days=7)
"""Added to the overlap: a certificate must outlive its subscriptions."""

RETRIED_BY_GRAPH = timedelta(hours=4)
"""For so long Graph may still send what was encrypted before a subscription was re-keyed (docs/graph.md, "Retries")."""


class Rotation:
    """When keys come and go.

    age: at which a key is replaced. overlap: how long the old one still decrypts. longest_queued: how long a message
    can stay on the queue.
    """

    def __init__(
        self, ring: KeyRing, tables: Tables, age: timedelta, overlap: timedelta, longest_queued: timedelta
    ) -> None:
        self._ring = ring
        self._age = age
        self._overlap = overlap
        self._longest_queued = longest_queued
        self._unnamed = Times(tables, "unnamed-keys", "since")
        self._current = Times(tables, "current-keys", "since")

    def renew(self, now: datetime) -> EncryptionKey:
        """Return the key for subscriptions: the current one, or a new one if that is old or expires before long.

        Where no new one can be made, the current one goes on, and that is counted. Raises RetryLater if there is none.
        """
        key = self._ring.current()
        telemetry.KEY_AGE_SECONDS.set((now - key.made).total_seconds())
        if now - key.made < self._age and key.expires - now > self._overlap + EXPIRES_SOON:
            return key
        try:
            made = self._ring.create()
        except RetryLater as retry_later:
            telemetry.RECONCILED.add(1, {"action": "rotate", "outcome": retry_later.reason})
            _log.error("Could not create a new encryption key; %s stays in use: %s", key.key_id, retry_later)
            return key
        telemetry.RECONCILED.add(1, {"action": "rotate", "outcome": "done"})
        _log.info("Encryption key %s follows %s", made.key_id, key.key_id)
        return made

    def retire(
        self,
        named: Collection[str],
        last_used: Mapping[str, datetime],
        queue_is_empty: Callable[[], bool],
        now: datetime,
    ) -> None:
        """Retire the keys that no subscription has named, and no message has needed, for long enough.

        `named`: the certificate ids of all subscriptions there are, in every tenant. `last_used`: when an item came
        last that named a key, by its id, as far as is known. Raises RetryLater.
        """
        current = self._ring.current()
        for key in self._ring.every():
            if key.key_id == current.key_id or key.key_id in named or key.made > current.made:
                self._forget(key.key_id)
                continue
            since = self._unnamed.first(key.key_id, now)
            since = max(since, last_used.get(key.key_id, since))
            if now - since < max(self._overlap, RETRIED_BY_GRAPH):
                continue
            if now - since < self._overlap + RETRIED_BY_GRAPH + self._longest_queued and not queue_is_empty():
                continue
            self._ring.retire(key.key_id)
            self._forget(key.key_id)
            self._current.forget(key.key_id)
            _log.info("Encryption key %s is retired", key.key_id)

    def current_since(self, key: EncryptionKey, now: datetime) -> datetime:
        """Return since when a key has been the one for subscriptions. Raises RetryLater."""
        return self._current.first(key.key_id, now)

    def unnamed(self) -> dict[str, datetime]:
        """Return since when keys have been named by no subscription, by their ids. Raises RetryLater."""
        return self._unnamed.all()

    def _forget(self, key_id: str) -> None:
        if self._unnamed.get(key_id) is not None:
            self._unnamed.forget(key_id)
