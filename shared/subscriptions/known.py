"""Which subscriptions are ours, and which declaration each one serves, as Graph has listed or created them.

A lifecycle notification carries no validation token: a clientState vouches for it, and that names a declaration, not a
subscription. Who has captured one could name any id. What is not here is not acted upon.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from shared.configuration.declaration import Declarations, declaration_id
from shared.storage.state import STATE, time_in
from shared.storage.tables import Row, Tables
from shared.subscriptions.subscription import Subscription

REMEMBERED = timedelta(days=1)
"""How long a subscription is remembered after it is gone: lifecycle notifications of it may still be on their way."""


class KnownSubscriptions:
    """The subscriptions of all tenants. Every method raises RetryLater if storage is unavailable."""

    def __init__(self, tables: Tables, clock: Callable[[], datetime]) -> None:
        self._tables = tables
        self._clock = clock

    def note(self, tenant_id: str, declarations: Declarations, subscriptions: Iterable[Subscription]) -> None:
        """Remember the subscriptions of a tenant that serve a declaration, and for a day those that did."""
        partition, now = _partition(tenant_id), self._clock()
        noted = {str(row["RowKey"]): row for row in self._tables.partition(STATE, partition)}
        current = _serving(tenant_id, declarations, subscriptions)
        changed: dict[str, Row] = {
            name: {"declaration": declaration}
            for name, declaration in current.items()
            if name not in noted or noted[name]["declaration"] != declaration or "gone" in noted[name]
        }
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


def _serving(tenant_id: str, declarations: Declarations, subscriptions: Iterable[Subscription]) -> Mapping[str, str]:
    """Return the declaration that each subscription serves, by the subscription's id."""
    served = (
        (subscription.id.lower(), declaration_id(tenant_id, subscription.resource)) for subscription in subscriptions
    )
    return {name: declaration for name, declaration in served if declaration in declarations}
