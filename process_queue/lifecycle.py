"""Lifecycle items, handled at once (docs/graph.md, "Lifecycle notifications"). Every action may be repeated.

They come in bursts and repeatedly. An action that ran after an item arrived is not repeated for it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from process_queue.retries import Retries
from shared import telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.configuration.values import GUID
from shared.errors import Reason, Refused, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.graph.client_state import id_in_client_state
from shared.graph.notification import LIFECYCLE_EVENTS, Notification, read_notification
from shared.messages.envelope import LifecycleBatch
from shared.readback.sweep import Sweep
from shared.subscriptions.advice import advice
from shared.subscriptions.client import DEBOUNCE, SubscriptionsClient
from shared.subscriptions.known import KnownSubscriptions
from shared.subscriptions.plan import renews_with_more
from shared.subscriptions.reconcile import Reconciler
from shared.subscriptions.results import report_listing_failure
from shared.subscriptions.single_flight import SingleFlight
from shared.subscriptions.subscription import DesiredState, Subscription
from shared.subscriptions.wait_budget import WaitBudget

_log = logging.getLogger("graph_relay.lifecycle")

LISTED_AT_ONCE = 1_000
"""Up to this number of declarations, a tenant is listed when Graph reports a removed subscription."""

UNKNOWN_FOR = timedelta(minutes=10)
"""How long after receipt an item waits until its subscription is stored."""


@dataclass
class LifecycleOutcome:
    """The items that were not handled. refused: their number."""

    retries: Retries = field(default_factory=Retries)
    refused: int = 0


@dataclass(frozen=True)
class LifecycleHandler:
    """Keeps subscriptions alive. `desired` is called only when needed: it may have to create a key."""

    tenant_id: str
    declarations: Declarations
    subscriptions: SubscriptionsClient
    reconciler: Reconciler
    known: KnownSubscriptions
    sweep: Sweep
    desired: Callable[[], DesiredState]
    clock: Callable[[], datetime]
    actions: SingleFlight

    def handle(self, envelope: LifecycleBatch) -> LifecycleOutcome:
        """Handle each lifecycle item; return those to retry, and the number of refused ones.

        A refusal by Graph is logged, and left to the next run of `renew_timer` where that repeats the action: it
        recreates subscriptions. A re-authorization has no such fallback, so it is retried until consent returns.
        """
        outcome = LifecycleOutcome()
        for item in envelope.items:
            try:
                notification = read_notification(item)
                self._act(notification, envelope)
            except RetryLater as retry_later:
                outcome.retries.add(item, retry_later)
            except Refused as refused:
                outcome.refused += 1
                telemetry.REFUSED.add(1, {"reason": refused.reason})
            except RelayError as error:
                _log.error("Handling a lifecycle notification failed: %s", error)
                telemetry.LIFECYCLE.add(1, {"event": _known(notification.lifecycle_event)})
            else:  # counted at its end, since it may be retried many times
                telemetry.LIFECYCLE.add(1, {"event": _known(notification.lifecycle_event)})
        return outcome

    def _act(self, notification: Notification, envelope: LifecycleBatch) -> None:
        event, received = notification.lifecycle_event, envelope.received
        tenant_id = notification.tenant(self.tenant_id)
        declaration = self.declarations.get(id_in_client_state(notification.client_state), tenant_id)
        if declaration is None or event not in LIFECYCLE_EVENTS:
            return  # no longer declared: renew_timer removes the subscription
        self._check_known(notification.subscription_id, declaration, received)
        match event:
            case "reauthorizationRequired":
                self._reauthorize(notification.subscription_id, declaration, received)
                if envelope.attempt:  # Graph may have withheld notifications in the meantime
                    self.sweep.suspect_gap(declaration, self.clock())
            case "missed":
                self.actions.run(f"read back {declaration.id}", received, lambda: self._read_back(declaration))
            case _:
                self._replace_removed(notification.subscription_id, declaration, received)

    def _check_known(self, subscription_id: str, declaration: Declaration, received: datetime) -> None:
        """Refuse an item of a subscription that does not serve the declaration of its clientState.

        An unknown one may have been created a moment ago, by another instance.
        """
        if not GUID.fullmatch(subscription_id.lower()):
            raise Refused(Reason.MALFORMED)
        serves = self.known.declaration_of(declaration.tenant_id, subscription_id)
        if serves == declaration.id:
            return
        left = received + UNKNOWN_FOR - self.clock()
        if serves is None and left > timedelta(0):
            detail = "a lifecycle notification names a subscription that is not known yet"
            raise RetryLater(Reason.SUBSCRIPTION_UNKNOWN, detail, retry_after=left)
        raise Refused(Reason.SUBSCRIPTION_UNKNOWN)

    def _reauthorize(self, subscription_id: str, declaration: Declaration, received: datetime) -> None:
        """Renew, which also re-authorizes: Graph allows only one of both within ten minutes."""
        action = f"extend {subscription_id.lower()}"
        self.actions.run(action, received - DEBOUNCE, lambda: self._extend(subscription_id, declaration, received))

    def _extend(self, subscription_id: str, declaration: Declaration, received: datetime) -> None:
        found: Subscription | None = None
        try:
            found = self.subscriptions.to_reauthorize(declaration.tenant_id, subscription_id, declaration)
            if found is not None:
                self.subscriptions.reauthorize(found, declaration)
        except GraphRequestError as refusal:
            if refusal.status == 404:
                self._replace_removed(subscription_id, declaration, received)
            elif found is not None and renews_with_more(declaration, refusal):
                self._replace(declaration, found)
            else:
                where = f"{declaration.resource} in tenant {declaration.tenant_id}"
                next_step = advice(refusal, declaration.resource, declaration.consent)
                _log.error("extend %s failed: %s. %s", where, refusal, next_step)
                raise RetryLater(Reason.GRAPH_REFUSED, str(refusal)) from None

    def _replace(self, declaration: Declaration, subscription: Subscription) -> None:
        outcome = self.reconciler.replace(declaration, subscription, self.desired(), self._before_gap)
        if isinstance(outcome.error, RetryLater):
            raise outcome.error
        if outcome.error is not None:
            raise RetryLater(Reason.GRAPH_REFUSED, str(outcome.error))
        self.sweep.start([declaration], (), self.clock())

    def _read_back(self, declaration: Declaration) -> None:
        """The subscription exists: read back what it missed."""
        self.sweep.suspect_gap(declaration, self.clock())
        self.sweep.start([declaration], (), self.clock())

    def _replace_removed(self, subscription_id: str, declaration: Declaration, received: datetime) -> None:
        """Recreate the removed subscriptions of the whole tenant: they are often removed together, and lists are
        limited.

        For one declaration, once in ten minutes; the timer does the rest. With many declarations, listing takes longer
        than an invocation has: each subscription is requested and recreated separately.
        """
        tenant_id = declaration.tenant_id
        if len(self.declarations) > LISTED_AT_ONCE:
            restore = partial(self._restore, subscription_id, declaration)
            self.actions.run(f"replace {declaration.id}", received - DEBOUNCE, restore)
            return

        def replace() -> None:
            self.sweep.suspect_gap(declaration, self.clock())
            try:
                self._reconcile(tenant_id)
            except GraphRequestError as refusal:  # renew_timer tries again
                report_listing_failure(tenant_id, self.declarations.of_tenant(tenant_id), refusal)

        def replace_in_tenant() -> None:
            self.actions.run(f"replace in {tenant_id}", received, replace)

        self.actions.run(f"replace {declaration.id}", received - DEBOUNCE, replace_in_tenant)

    def _restore(self, subscription_id: str, declaration: Declaration) -> None:
        self.sweep.suspect_gap(declaration, self.clock())
        outcome = self.reconciler.restore(declaration, subscription_id, self.desired(), self._before_gap)
        if outcome is not None and isinstance(outcome.error, RetryLater):
            raise outcome.error
        if outcome is None or outcome.error is None:
            self.sweep.start([declaration], (), self.clock())

    def _reconcile(self, tenant_id: str) -> None:
        reconciled = self.reconciler.tenant(tenant_id, self.desired(), self._before_gap, WaitBudget.none())
        self.sweep.start(self.declarations.of_tenant(tenant_id), reconciled.failing, self.clock())
        for outcome in reconciled.outcomes:
            if isinstance(outcome.error, RetryLater):
                raise outcome.error

    def _before_gap(self, declarations: Sequence[Declaration]) -> None:
        self.sweep.suspect_gaps(declarations, self.clock())


def _known(event: str | None) -> str:
    return event if event in LIFECYCLE_EVENTS and event else "unknown"
