"""The tenants in which we may have subscriptions: those declared, our own, and those declared before.

A tenant that is declared no more is looked after until its subscriptions are gone, or must have expired.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from shared.configuration.declaration import Declaration
from shared.lifetimes import LONGEST_LIFETIME
from shared.storage.tables import Row, Tables

NOTED_EVERY = timedelta(days=1)

_TABLE = "state"
_PARTITION = "tenants"


def by_tenant(home: str, declarations: Iterable[Declaration]) -> dict[str, list[Declaration]]:
    """Return the declarations of each tenant; our own is always there, so that its last one can be removed."""
    found: dict[str, list[Declaration]] = {home: []}
    for one in declarations:
        found.setdefault(one.tenant_id, []).append(one)
    return found


def former(declared: Collection[str], tables: Tables, now: datetime) -> list[str]:
    """Return the tenants that were declared before, and remember those that are now. Raises RetryLater.

    To be called before anything is done in a tenant, so that none is forgotten.
    """
    known = {str(row["RowKey"]): _declared(row) for row in _rows(tables)}
    for tenant_id in declared:
        if tenant_id not in known or now - known[tenant_id] > NOTED_EVERY:
            tables.put(_TABLE, _PARTITION, tenant_id, {"declared": now.isoformat()})
    return sorted(
        tenant_id
        for tenant_id, last in known.items()
        if tenant_id not in declared and now - last < LONGEST_LIFETIME + NOTED_EVERY
    )


def forget(tenant_id: str, tables: Tables) -> None:
    """Look after a tenant no more, since nothing of ours is left there. Raises RetryLater."""
    tables.remove(_TABLE, _PARTITION, tenant_id)


def _rows(tables: Tables) -> Iterable[Row]:
    return tables.find(_TABLE, "PartitionKey eq @partition", {"partition": _PARTITION})


def _declared(row: Row) -> datetime:
    return datetime.fromisoformat(str(row["declared"])).astimezone(UTC)
