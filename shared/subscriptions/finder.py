"""Finds the subscriptions of a tenant: those that Graph lists, and stored ones that the list omits.

Graph has shown empty or outdated lists for days (docs/graph.md, "Subscriptions"). The app requests stored subscriptions
that the list omits by their ids. If there is no time for that, it assumes that they exist until they must have expired.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import msgspec

from shared.configuration.declaration import Declarations
from shared.deadline import time_limit
from shared.errors import RelayError
from shared.subscriptions.client import Listing, SubscriptionsClient
from shared.subscriptions.execution import RunContext
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.recognition import completed, expected_subscription, served_declaration
from shared.subscriptions.subscription import Subscription
from shared.subscriptions.workers import Workers

_log = logging.getLogger("graph_relay.subscriptions")

ASKING_TIME = timedelta(minutes=1)
"""Time for requesting omitted subscriptions by id; the next run requests the rest."""


class SubscriptionFinder:
    """Finds the subscriptions of a tenant. known: the stored subscriptions by id, lower case."""

    def __init__(
        self,
        client: SubscriptionsClient,
        workers: Workers,
        run: RunContext,
        tenant_id: str,
        declarations: Declarations,
        known: Mapping[str, KnownSubscription],
    ) -> None:
        self._client = client
        self._workers = workers
        self._wait = run.wait_budget.wait
        self._desired = run.desired
        self._tenant_id = tenant_id
        self._declarations = declarations
        self._known = known

    def listed(self, listing: Listing) -> list[Subscription]:
        """Read a list to its end, and return all subscriptions of the app. Raises as `SubscriptionsClient.read_on`."""
        began_now = not listing.followed
        self._client.read_on(self._tenant_id, listing, self._wait)
        return self.completed(listing.found) if began_now else self.as_known(listing.found)

    def completed(self, listed: Sequence[Subscription]) -> list[Subscription]:
        """Return the listed subscriptions, and those that exist although the list omits them."""
        now, shown = self._client.now(), {subscription.id.lower() for subscription in listed}
        missing = [name for name, memory in self._known.items() if name not in shown and memory.expires > now]
        found = self._ask(missing, self._remembered)
        if found:
            _log.warning("Graph's list of tenant %s omits %d subscriptions that exist", self._tenant_id, len(found))
        return [completed(subscription, self._known) for subscription in (*listed, *found)]

    def as_known(self, listed: Sequence[Subscription]) -> list[Subscription]:
        """Return an earlier list, updated with what this and other instances have stored since.

        A renewed subscription has its new expiry. A subscription that should be stored and is not, is requested by its
        id.
        """
        latest = {subscription.id.lower(): self._renewed(subscription) for subscription in listed}
        lost = [
            name
            for name, subscription in latest.items()
            if self._known
            and name not in self._known
            and served_declaration(subscription, self._desired, self._known, self._tenant_id) is not None
        ]
        alive = self._ask(lost, latest.__getitem__)
        return self.completed([*(held for name, held in latest.items() if name not in set(lost)), *alive])

    def _renewed(self, subscription: Subscription) -> Subscription:
        memory = self._known.get(subscription.id.lower())
        if memory is None or memory.expires <= subscription.expiration_date_time:
            return subscription
        key = memory.key or subscription.encryption_certificate_id  # a new key comes with a renewal
        return msgspec.structs.replace(subscription, expiration_date_time=memory.expires, encryption_certificate_id=key)

    def _remembered(self, name: str) -> Subscription:
        declaration = self._declarations.get(self._known[name].declaration, self._tenant_id)
        return expected_subscription(name, self._known[name], declaration, self._desired)

    def _ask(self, names: list[str], otherwise: Callable[[str], Subscription]) -> list[Subscription]:
        """Return the existing subscriptions among `names`. otherwise: the value for one that can't be requested now."""
        if not names:
            return []
        # in a different order each time, so that over several runs each one is requested
        now = self._client.now()
        names.sort(key=lambda name: hashlib.sha256(f"{name}{now}".encode()).digest())

        def ask(name: str) -> Subscription | None:
            try:
                return self._client.get(self._tenant_id, name, self._wait)
            except RelayError as error:
                _log.debug("Subscription %s is assumed to exist: %s", name, error)
                return otherwise(name)

        with time_limit(ASKING_TIME, self._client.now):
            return [subscription for subscription in self._workers.map(ask, names) if subscription is not None]
