"""Which subscriptions are ours, and what Graph may not show of them: as it has listed, created or renewed them.

A lifecycle notification carries no validation token: a clientState vouches for it, and that names a declaration, not a
subscription. Who has captured one could name any id. What is not here is not acted upon.

Graph's list may be empty or out of date for days, and may hide properties (docs/graph.md, "Subscriptions"): what is
here is asked for by its id before anything is created in its place.
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
"""How long a subscription is remembered after it is gone: lifecycle notifications of it may still be on their way."""


@dataclass(frozen=True)
class Known:
    """A subscription of ours: the declaration that it serves, the key it was given ("": none), when it expires.

    cures: the fault for which it replaced another one ("": none). times: how many replacements for that fault led to
    it. made: when the last of them was done. since: when it was noted first; None: an earlier version did.
    """

    declaration: str
    expires: datetime
    key: str = ""
    cures: str = ""
    times: int = 0
    made: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Snapshot:
    """What was known of a tenant's subscriptions when it was read, and what was noted with it since.

    rows: as stored, also of those that are gone, by their ids, lower case. known: those that are not gone.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)


class KnownSubscriptions:
    """The subscriptions of all tenants. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime]) -> None:
        self._tables = tables
        self._clock = clock

    def all(self, tenant_id: str) -> dict[str, Known]:
        """Return those of a tenant that are not gone, by their ids, lower case."""
        return self.snapshot(tenant_id).known

    def snapshot(self, tenant_id: str) -> Snapshot:
        """Return what is known now. A row that somebody else wrote is left out, which is logged."""
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

    def add(self, tenant_id: str, known: Mapping[str, Known], snapshot: Snapshot | None = None) -> None:
        """Remember subscriptions beside those that are known."""
        rows = {name.lower(): _row(noted) for name, noted in known.items()}
        if rows:
            self._tables.put_all(STATE, _partition(tenant_id), rows)
        if snapshot is not None:
            snapshot.rows.update(rows)

    def note(self, tenant_id: str, known: Mapping[str, Known], snapshot: Snapshot | None = None) -> None:
        """Remember all the subscriptions of a tenant by their ids, and for a day those that were known before.

        snapshot: what was known when it was found out which there are: what was noted by others since is not gone.
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

    def lose(self, tenant_id: str, subscription_id: str) -> None:
        """Remember that a subscription is gone."""
        row = self._tables.get(STATE, _partition(tenant_id), subscription_id.lower())
        if row is not None and "gone" not in row:
            self._tables.put(STATE, _partition(tenant_id), subscription_id.lower(), _gone(row, self._clock()))

    def declaration_of(self, tenant_id: str, subscription_id: str) -> str | None:
        """Return the id of the declaration that a subscription, a GUID in any case, serves; None if it is not known."""
        row = self._tables.get(STATE, _partition(tenant_id), subscription_id.lower())
        return None if row is None else str(row.get("declaration", ""))


def _partition(tenant_id: str) -> str:
    return f"subscriptions-{tenant_id}"


def _differs(noted: Row | None, row: Row) -> bool:
    return noted is None or "gone" in noted or any(noted.get(name) != value for name, value in row.items())


def _gone(row: Row, now: datetime) -> Row:
    return {"declaration": row.get("declaration", ""), "gone": now.isoformat()}


def _is_over(row: Row, now: datetime) -> bool:
    """Whether a subscription is gone for so long that nothing of it is on its way."""
    try:
        return now - time_in(row, "gone") > REMEMBERED
    except RetryLater:  # somebody else wrote it
        return True


def _row(known: Known) -> Row:
    row: Row = {"declaration": known.declaration, "expires": known.expires.isoformat(), "key": known.key}
    if known.since is not None:
        row = {**row, "since": known.since.isoformat()}
    if known.cures and known.made is not None:
        row = {**row, "cures": known.cures, "times": known.times, "made": known.made.isoformat()}
    return row


def _known(row: Row) -> Known:
    return Known(
        str(row.get("declaration", "")),
        time_in(row, "expires"),
        str(row.get("key", "")),
        str(row.get("cures", "")),
        int(number_in(row, "times")),
        time_in(row, "made") if "made" in row else None,
        time_in(row, "since") if "since" in row else None,
    )
