"""Rotation of the encryption key: a new one in time, the old ones retired once nothing can need them any more.

Nothing is remembered but when a key was first seen to be the current one, and to be named by no subscription. A run
that is interrupted anywhere is completed by the next one; a second run finds nothing to do.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared import telemetry
from shared.errors import RetryLater
from shared.keys.ring import EncryptionKey, KeyRing
from shared.storage.tables import Row, Tables

_log = logging.getLogger("graph_relay.rotation")

EXPIRES_SOON = timedelta(days=7)
"""Added to the overlap: a certificate must outlive its subscriptions."""

RETRIED_BY_GRAPH = timedelta(hours=4)
"""For so long Graph may still send what was encrypted before a subscription was re-keyed (contract §2)."""

_TABLE = "state"
_PARTITION = "unnamed-keys"
_CURRENT = "current-keys"


@dataclass(frozen=True)
class Rotation:
    """When keys come and go. `longest_queued`: how long a message can stay on the queue."""

    ring: KeyRing
    tables: Tables
    age: timedelta
    overlap: timedelta
    longest_queued: timedelta

    def renew(self, now: datetime) -> EncryptionKey:
        """Return the key for subscriptions: the current one, or a new one if that is old or expires before long.

        Where no new one can be made, the current one goes on, and that is counted. Raises RetryLater if there is none.
        """
        key = self.ring.current()
        telemetry.KEY_AGE_SECONDS.set((now - key.made).total_seconds())
        if now - key.made < self.age and key.expires - now > self.overlap + EXPIRES_SOON:
            return key
        try:
            made = self.ring.create()
        except RetryLater as retry_later:
            telemetry.RECONCILED.add(1, {"action": "rotate", "outcome": retry_later.reason})
            _log.error("No key could be made to follow %s, which goes on: %s", key.key_id, retry_later)
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
        current = self.ring.current()
        for key in self.ring.every():
            if key.key_id == current.key_id or key.key_id in named or key.made > current.made:
                self._forget(key.key_id)
                continue
            since = self._first_seen(_PARTITION, key.key_id, now)
            since = max(since, last_used.get(key.key_id, since))
            if now - since < max(self.overlap, RETRIED_BY_GRAPH):
                continue
            if now - since < self.overlap + RETRIED_BY_GRAPH + self.longest_queued and not queue_is_empty():
                continue
            self.ring.retire(key.key_id)
            self._forget(key.key_id)
            self.tables.remove(_TABLE, _CURRENT, key.key_id)
            _log.info("Encryption key %s is retired", key.key_id)

    def current_since(self, key: EncryptionKey, now: datetime) -> datetime:
        """Return since when a key has been the one for subscriptions. Raises RetryLater."""
        return self._first_seen(_CURRENT, key.key_id, now)

    def unnamed(self) -> dict[str, datetime]:
        """Return since when keys have been named by no subscription, by their ids. Raises RetryLater."""
        rows = self.tables.find(_TABLE, "PartitionKey eq @partition", {"partition": _PARTITION})
        return {str(row["RowKey"]): _since(row) for row in rows}

    def _first_seen(self, partition: str, key_id: str, now: datetime) -> datetime:
        row = self.tables.get(_TABLE, partition, key_id)
        if row is not None:
            return _since(row)
        self.tables.put(_TABLE, partition, key_id, {"since": now.isoformat()})
        return now

    def _forget(self, key_id: str) -> None:
        if self.tables.get(_TABLE, _PARTITION, key_id) is not None:
            self.tables.remove(_TABLE, _PARTITION, key_id)


def _since(row: Row) -> datetime:
    return datetime.fromisoformat(str(row["since"])).astimezone(UTC)
