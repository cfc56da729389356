"""What subscriptions a tenant has: what Graph lists, and what it leaves out and is known.

Graph has shown empty or outdated lists for days (docs/graph.md, "Subscriptions"). What is known and not listed is asked
for by its id; what could not be asked for in time is taken for alive until it must have expired.
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
from shared.subscriptions.known import Known
from shared.subscriptions.recognition import completed, remembered, served_declaration
from shared.subscriptions.subscription import Subscription
from shared.subscriptions.work import Round
from shared.subscriptions.workers import Workers

_log = logging.getLogger("graph_relay.subscriptions")

ASKING_TIME = timedelta(minutes=1)
"""For asking by id what the list of a tenant leaves out: the next run asks for the rest."""


class Survey:
    """Finds the subscriptions of a tenant. known: those of before, by their ids, lower case."""

    def __init__(
        self,
        client: SubscriptionsClient,
        workers: Workers,
        run: Round,
        tenant_id: str,
        declarations: Declarations,
        known: Mapping[str, Known],
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
        """Return what is listed, and what lives besides."""
        now, shown = self._client.now(), {subscription.id.lower() for subscription in listed}
        missing = [name for name, memory in self._known.items() if name not in shown and memory.expires > now]
        found = self._ask(missing, self._remembered)
        if found:
            _log.warning("Graph's list of tenant %s omits %d subscriptions that exist", self._tenant_id, len(found))
        return [completed(subscription, self._known) for subscription in (*listed, *found)]

    def as_known(self, listed: Sequence[Subscription]) -> list[Subscription]:
        """Return what a list of some time ago has become, by what was noted since, here or by another instance.

        What was renewed since lives longer; what is not known, and would be, is asked for by its id.
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
        return remembered(name, self._known[name], declaration, self._desired)

    def _ask(self, names: list[str], otherwise: Callable[[str], Subscription]) -> list[Subscription]:
        """Return those that live, asked for by id; `otherwise`: what one is taken for that can't be asked for now."""
        if not names:
            return []
        # in another order each time: if there are too many for one run, all have their turn
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
