"""The stored subscriptions of the app: those that Graph has listed, created or renewed.

A lifecycle notification carries no validation token. Its clientState names a declaration, not a subscription, so
whoever has captured a clientState could name any id. The app acts only on ids that are stored here.

Graph's list may be empty or outdated for days, and may hide properties (docs/graph.md, "Subscriptions"): the app
requests stored subscriptions by id before it creates others in their place.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.errors import RetryLater
from shared.storage.state import STATE, number_in, time_in
from shared.storage.tables import Row, Tables

_log = logging.getLogger("graph_relay.subscriptions")

REMEMBERED = timedelta(days=1)
"""How long a deleted subscription stays stored: its last lifecycle notifications may still arrive."""


@dataclass(frozen=True)
class KnownSubscription:
    """A subscription of the app: the declaration that it serves, its key id ("": none), its expiry.

    replaced_for: the fault because of which it replaced another one ("": none). times: the number of replacements for
    that fault. made: the time of the last one. since: when it was first stored; None: by an earlier version.
    """

    declaration: str
    expires: datetime
    key: str = ""
    replaced_for: str = ""
    times: int = 0
    made: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Snapshot:
    """The stored subscriptions of a tenant at one time, with later additions of this run.

    rows: as stored, including deleted ones, by id, lower case. known: those that are not deleted.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    known: dict[str, KnownSubscription] = field(default_factory=dict)


class KnownSubscriptions:
    """The stored subscriptions of all tenants. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime]) -> None:
        self._tables = tables
        self._clock = clock

    def all(self, tenant_id: str) -> dict[str, KnownSubscription]:
        """Return the subscriptions of a tenant that are not deleted, by id, lower case."""
        return self.snapshot(tenant_id).known

    def snapshot(self, tenant_id: str) -> Snapshot:
        """Return the stored subscriptions. Rows in an unknown form are skipped and logged."""
        rows = {str(row["RowKey"]): row for row in self._tables.partition(STATE, _partition(tenant_id))}
        known = {}
        for name, row in rows.items():
            # version 0.2 of the app wrote rows without a time of expiry, also of subscriptions that were not its own
            if "gone" not in row and "expires" in row:
                try:
                    known[name] = _known(row)
                except RetryLater as unreadable:
                    _log.warning("The stored row of a subscription is ignored: %s", unreadable)
        return Snapshot(rows, known)

    def add(self, tenant_id: str, known: Mapping[str, KnownSubscription], snapshot: Snapshot | None = None) -> None:
        """Store further subscriptions."""
        rows = {name.lower(): _row(noted) for name, noted in known.items()}
        if rows:
            self._tables.put_all(STATE, _partition(tenant_id), rows)
        if snapshot is not None:
            snapshot.rows.update(rows)

    def note(self, tenant_id: str, known: Mapping[str, KnownSubscription], snapshot: Snapshot | None = None) -> None:
        """Store all subscriptions of a tenant by id; those no longer among them count as deleted, and stay for a day.

        snapshot: the stored subscriptions when the search began: rows that other instances have added since do not
        count as deleted.
        """
        partition, now = _partition(tenant_id), self._clock()
        noted = (snapshot or self.snapshot(tenant_id)).rows
        current = {name.lower(): _row(noted) for name, noted in known.items()}
        changed = {name: row for name, row in current.items() if _differs(noted.get(name), row)}
        for name in noted.keys() - current.keys():
            if "gone" not in noted[name]:
                changed[name] = _gone(noted[name], now)
            elif _is_over(noted[name], now):
                self._tables.remove(STATE, partition, name)
        if changed:
            self._tables.put_all(STATE, partition, changed)

    def mark_deleted(self, tenant_id: str, subscription_id: str) -> None:
        """Store that a subscription is deleted."""
        row = self._tables.get(STATE, _partition(tenant_id), subscription_id.lower())
        if row is not None and "gone" not in row:
            self._tables.put(STATE, _partition(tenant_id), subscription_id.lower(), _gone(row, self._clock()))

    def declaration_of(self, tenant_id: str, subscription_id: str) -> str | None:
        """Return the id of the declaration that a subscription (GUID, any case) serves; None if it is not stored."""
        row = self._tables.get(STATE, _partition(tenant_id), subscription_id.lower())
        return None if row is None else str(row.get("declaration", ""))


def _partition(tenant_id: str) -> str:
    return f"subscriptions-{tenant_id}"


def _differs(noted: Row | None, row: Row) -> bool:
    return noted is None or "gone" in noted or any(noted.get(name) != value for name, value in row.items())


def _gone(row: Row, now: datetime) -> Row:
    return {"declaration": row.get("declaration", ""), "gone": now.isoformat()}


def _is_over(row: Row, now: datetime) -> bool:
    """Whether a subscription was deleted so long ago that no notification of it can still arrive."""
    try:
        return now - time_in(row, "gone") > REMEMBERED
    except RetryLater:  # in an unknown form
        return True


def _row(known: KnownSubscription) -> Row:
    row: Row = {"declaration": known.declaration, "expires": known.expires.isoformat(), "key": known.key}
    if known.since is not None:
        row = {**row, "since": known.since.isoformat()}
    if known.replaced_for and known.made is not None:
        row = {**row, "cures": known.replaced_for, "times": known.times, "made": known.made.isoformat()}
    return row


def _known(row: Row) -> KnownSubscription:
    return KnownSubscription(
        str(row.get("declaration", "")),
        time_in(row, "expires"),
        str(row.get("key", "")),
        str(row.get("cures", "")),
        int(number_in(row, "times")),
        time_in(row, "made") if "made" in row else None,
        time_in(row, "since") if "since" in row else None,
    )
