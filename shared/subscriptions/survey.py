"""What subscriptions a tenant has: what Graph lists, and what it leaves out and is known.

Graph has shown empty or outdated lists for days (docs/graph.md, "Subscriptions"). What is known and not listed is asked
for by its id; what could not be asked for in time is taken for alive until it must have expired.
"""

import hashlib
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from shared.configuration.declaration import Declarations
from shared.deadline import time_limit
from shared.errors import RelayError
from shared.subscriptions.client import SubscriptionsClient
from shared.subscriptions.known import Known
from shared.subscriptions.recognition import completed, remembered
from shared.subscriptions.subscription import DesiredState, Subscription
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import Workers

_log = logging.getLogger("graph_relay.subscriptions")

ASKING_TIME = timedelta(minutes=1)
"""For asking by id what the list of a tenant leaves out: the next run asks for the rest."""


class Survey:
    """Finds the subscriptions of a tenant."""

    def __init__(self, client: SubscriptionsClient, workers: Workers, wait_budget: WaitBudget) -> None:
        self._client = client
        self._workers = workers
        self._wait_budget = wait_budget

    def all(
        self,
        tenant_id: str,
        known: Mapping[str, Known],
        declarations: Declarations,
        desired: DesiredState,
        now: datetime,
    ) -> list[Subscription]:
        """Return all subscriptions of the app in a tenant. Raises as `SubscriptionsClient.list`."""
        listed = [
            completed(subscription, known) for subscription in self._client.list(tenant_id, self._wait_budget.wait)
        ]
        shown = {subscription.id.lower() for subscription in listed}
        missing = [name for name, memory in known.items() if name not in shown and memory.expires > now]
        if not missing:
            return listed
        # in another order each time: if there are too many for one run, all have their turn
        missing.sort(key=lambda name: hashlib.sha256(f"{name}{now}".encode()).digest())

        def ask(name: str) -> Subscription | None:
            try:
                return self._client.get(tenant_id, name, self._wait_budget.wait)
            except RelayError as error:
                _log.debug("Subscription %s is taken for alive: %s", name, error)
                declaration = declarations.get(known[name].declaration, tenant_id)
                return remembered(name, known[name], declaration, desired)

        with time_limit(ASKING_TIME, self._client.now):
            found = [
                completed(subscription, known)
                for subscription in self._workers.map(ask, missing)
                if subscription is not None
            ]
        if found:
            _log.warning("Graph's list of tenant %s leaves %d living subscriptions out", tenant_id, len(found))
        return listed + found
