"""Former tenants: without a declaration, but possibly with subscriptions of the app.

Such a tenant is visited until its subscriptions are removed, or must have expired.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from shared.resources.catalog import LONGEST_LIFETIME
from shared.storage.state import Times
from shared.storage.tables import Tables

WRITE_INTERVAL = timedelta(days=1)


class FormerTenants:
    """Stores when each tenant was last declared. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables) -> None:
        self._declared = Times(tables, "tenants", "declared")
        self._refusing = Times(tables, "refusing-tenants", "since")

    def former(self, declared: Collection[str], now: datetime) -> list[str]:
        """Return the former tenants, and store the current ones.

        Call it before any change in a tenant, so that no tenant is lost.
        """
        known = self._declared.all()
        for tenant_id in declared:
            if tenant_id not in known or now - known[tenant_id] > WRITE_INTERVAL:
                self._declared.set(tenant_id, now)
        return sorted(
            tenant_id
            for tenant_id, last in known.items()
            if tenant_id not in declared and now - last < LONGEST_LIFETIME + WRITE_INTERVAL
        )

    def refusing_since(self, refusing: Collection[str], now: datetime) -> dict[str, datetime]:
        """Return since when each of the tenants refuses to list its subscriptions; the others count as no longer
        refusing.
        """
        known = self._refusing.all()
        for tenant_id in known.keys() - set(refusing):
            self._refusing.forget(tenant_id)
        for tenant_id in set(refusing) - known.keys():
            self._refusing.set(tenant_id, now)
        return {tenant_id: known.get(tenant_id, now) for tenant_id in refusing}

    def forget(self, tenant_id: str) -> None:
        """Stop visiting a former tenant: it has no subscription of the app."""
        self._declared.forget(tenant_id)
