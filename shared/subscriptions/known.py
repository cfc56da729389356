"""Which subscriptions are ours, and what Graph may not show of them: as it has listed, created or renewed them.

A lifecycle notification carries no validation token: a clientState vouches for it, and that names a declaration, not a
subscription. Who has captured one could name any id. What is not here is not acted upon.

Graph's list may be empty or out of date for days, and may hide properties (docs/graph.md, "Subscriptions"): what is
here is asked for by its id before anything is created in its place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.storage.state import STATE, number_in, time_in
from shared.storage.tables import Row, Tables

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


class KnownSubscriptions:
    """The subscriptions of all tenants. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime]) -> None:
        self._tables = tables
        self._clock = clock

    def all(self, tenant_id: str) -> dict[str, Known]:
        """Return those of a tenant that are not gone, by their ids, lower case."""
        rows = self._tables.partition(STATE, _partition(tenant_id))
        # version 0.2 of the app wrote rows without a time of expiry, also of subscriptions that were not its own
        return {str(row["RowKey"]): _known(row) for row in rows if "gone" not in row and "expires" in row}

    def add(self, tenant_id: str, known: Mapping[str, Known]) -> None:
        """Remember subscriptions beside those that are known."""
        if known:
            self._tables.put_all(
                STATE, _partition(tenant_id), {name.lower(): _row(noted) for name, noted in known.items()}
            )

    def note(self, tenant_id: str, known: Mapping[str, Known]) -> None:
        """Remember all the subscriptions of a tenant by their ids, and for a day those that were known before."""
        partition, now = _partition(tenant_id), self._clock()
        noted = {str(row["RowKey"]): row for row in self._tables.partition(STATE, partition)}
        current = {name.lower(): _row(noted) for name, noted in known.items()}
        changed = {name: row for name, row in current.items() if _differs(noted.get(name), row)}
        for name in noted.keys() - current.keys():
            if "gone" not in noted[name]:
                changed[name] = {"declaration": noted[name]["declaration"], "gone": now.isoformat()}
            elif now - time_in(noted[name], "gone") > REMEMBERED:
                self._tables.remove(STATE, partition, name)
        if changed:
            self._tables.put_all(STATE, partition, changed)

    def declaration_of(self, tenant_id: str, subscription_id: str) -> str | None:
        """Return the id of the declaration that a subscription, a GUID in any case, serves; None if it is not known."""
        row = self._tables.get(STATE, _partition(tenant_id), subscription_id.lower())
        return None if row is None else str(row["declaration"])


def _partition(tenant_id: str) -> str:
    return f"subscriptions-{tenant_id}"


def _differs(noted: Row | None, row: Row) -> bool:
    return noted is None or "gone" in noted or any(noted.get(name) != value for name, value in row.items())


def _row(known: Known) -> Row:
    row: Row = {"declaration": known.declaration, "expires": known.expires.isoformat(), "key": known.key}
    if known.since is not None:
        row = {**row, "since": known.since.isoformat()}
    if known.cures and known.made is not None:
        row = {**row, "cures": known.cures, "times": known.times, "made": known.made.isoformat()}
    return row


def _known(row: Row) -> Known:
    return Known(
        str(row["declaration"]),
        time_in(row, "expires"),
        str(row.get("key", "")),
        str(row.get("cures", "")),
        int(number_in(row, "times")),
        time_in(row, "made") if "made" in row else None,
        time_in(row, "since") if "since" in row else None,
    )
