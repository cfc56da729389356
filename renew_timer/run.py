"""One run of the timer: keys, subscriptions, sweeps, in every tenant."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from shared import telemetry
from shared.access import key_access, storage_access
from shared.configuration.declaration import Declaration, Declarations
from shared.deadline import time_limit
from shared.errors import NotAttempted, Reason, RelayError, RetryLater
from shared.keys.key import EncryptionKey
from shared.log_lines import log_first
from shared.messages import backlog
from shared.messages.account import ANY
from shared.messages.retry import MAX_DELAY
from shared.readback.recovered_changes import is_silent
from shared.readback.sweep import PUSHED_WITHIN
from shared.relay import Relay
from shared.resources.catalog import longest_lifetime
from shared.resources.renewal import too_rare
from shared.storage.queues import Queue
from shared.subscriptions.endpoint import probe
from shared.subscriptions.plan import renewal_period
from shared.subscriptions.results import ListingFailed, Reconciled, report_listing_failure
from shared.subscriptions.silence import LastNotification
from shared.subscriptions.subscription import DesiredState
from shared.subscriptions.wait_budget import WaitBudget

_log = logging.getLogger("graph_relay.renew")

T = TypeVar("T")

_BETWEEN_COMPARISONS = timedelta(hours=3)
"""Minimum time between comparisons of an unusually silent declaration: a holiday lasts longer."""

_EXPIRY_MARGIN = timedelta(hours=1)
"""A subscription may have been renewed shortly before its tenant refused."""

LONGEST_RUN = timedelta(minutes=4, seconds=30)
"""Draining the queue follows in the same invocation, and the host ends it after functionTimeout (host.json)."""

_SHARE_OF_PAUSE = 0.8
"""Share of the shortest time between two runs, so that no run is late."""

_SHARE_OF_SUBSCRIPTIONS = 0.75
"""Share of a run's time, from its beginning: the gauges, the sweeps and the heartbeat at its end must not wait for a
Graph that hangs."""


def run_time(shortest_pause: timedelta) -> timedelta:
    """Return the time after which a run begins no further call to Graph or the key store; the next run continues."""
    return LONGEST_RUN if shortest_pause > LONGEST_RUN * 2 else min(shortest_pause * _SHARE_OF_PAUSE, LONGEST_RUN)


class RenewalRun:
    """One run. wait_budget: how long it may wait on Graph's request."""

    def __init__(self, relay: Relay, wait_budget: WaitBudget) -> None:
        self._relay = relay
        self._declarations = relay.declarations
        self._wait_budget = wait_budget
        self._endpoint_checked = False

    def __call__(self) -> None:
        """Execute the run. A failing step is logged, does not affect the others, and is retried by the next run.

        Raises RetryLater if storage is unavailable, so that nothing can be done.
        """
        self._time = run_time(self._relay.shortest_pause())
        with time_limit(self._time, self._relay.clock):
            self._run()

    def _run(self) -> None:
        began = self._now()
        self._relay.storage.queues.create_missing()
        self._relay.read_blobs()
        attempt("Reading the members of lists", self._relay.declarations.refresh)
        latest = attempt("Reading when each subscription last sent something", self._relay.last_seen.all) or []
        key = attempt("Looking for the encryption key", self._current_key)
        attempt("Recording what the app can access", self._record_access)
        lagging = attempt("Looking for old keys in use", lambda: self._lagging_subscriptions(key, latest))
        silent = attempt("Looking for subscriptions that send nothing", lambda: self._silent_subscriptions(latest))
        desired = replace(self._relay.desired_state(key), lagging=lagging or (), silent=silent or ())
        attempt("Checking RENEW_SCHEDULE", self._warn_of_rare_runs)
        with time_limit(began + self._time * _SHARE_OF_SUBSCRIPTIONS - self._now(), self._relay.clock):
            tenants = self._reconcile_tenants(desired)
        attempt("Recording the time left", lambda: self._record_time_left(tenants))
        attempt("Retiring keys", lambda: self._retire_keys(tenants, latest))
        attempt("Comparing the counts of queued and handled notifications", self._close_account)
        failing = self._without_subscription(tenants)
        attempt("Starting sweeps", lambda: self._relay.sweep.start(self._declarations, failing, self._now()))
        for name, step in self._housekeeping():
            attempt(name, step)
        telemetry.TIMER_RUNS.add(1)

    def _now(self) -> datetime:
        return self._relay.clock()

    def _current_key(self) -> EncryptionKey | None:
        """Return the key for subscriptions; without one, existing subscriptions are still renewed."""
        try:
            return self._relay.rotation.renew(self._now())
        except RetryLater as retry_later:
            telemetry.RECONCILED.add(1, {"action": "key", "outcome": retry_later.reason})
            _log.error(
                ("There is no encryption key. Subscriptions are renewed; those that need a key wait: %s"), retry_later
            )
            return None

    def _lagging_subscriptions(self, key: EncryptionKey | None, latest: Sequence[LastNotification]) -> frozenset[str]:
        """Return the subscriptions that still send items encrypted to an old key long after rotation.

        Graph does not document that a certificate update always takes effect; resent notifications keep the old key.
        """
        if key is None:
            return frozenset()
        since = self._relay.rotation.current_since(key, self._now())
        declared = {declaration.id: declaration for declaration in self._declarations}
        return frozenset(
            notification.source.subscription_id
            for notification in latest
            if notification.source.key_id not in ("", key.key_id)
            and notification.declaration in declared
            and notification.last - since > max(renewal_period(declared[notification.declaration]), PUSHED_WITHIN)
        )

    def _silent_subscriptions(self, latest: Sequence[LastNotification]) -> frozenset[str]:
        """Return the subscriptions that no longer send notifications: their changes have to be read back."""
        relay, now = self._relay, self._now()
        recovered = relay.recovered_changes.all()
        concerned = [declaration for declaration in self._declarations if declaration.id in recovered]
        seen = {notification.declaration: notification.last for notification in latest}
        declared = {declaration.id for declaration in concerned}
        return frozenset(
            name
            for tenant_id in {declaration.tenant_id for declaration in concerned}
            for name, known in relay.known_subscriptions.all(tenant_id).items()
            if known.declaration in declared
            and known.since is not None
            and is_silent(recovered[known.declaration], seen.get(known.declaration), known.since, now)
        )

    def _compare_silent(self) -> None:
        """Warn of unusual silence, and compare at once: that distinguishes a quiet time from a dead subscription."""
        relay, now = self._relay, self._now()
        unusual = relay.last_seen.report(self._declarations, now)
        compared = relay.checkpoints.all() if unusual else {}
        due = [
            declaration
            for declaration in unusual
            if declaration.id in compared and now - compared[declaration.id].until > _BETWEEN_COMPARISONS
        ]
        relay.sweep.suspect_gaps(due, now)

    def _reconcile_tenants(self, desired: DesiredState) -> dict[str, Reconciled | ListingFailed]:
        """Return the result for each declared and each former tenant."""
        reconciler, results = self._relay.reconciler, {}
        for tenant_id, declarations, result in reconciler.every_tenant(desired, self._before_gap, self._wait_budget):
            if isinstance(result, ListingFailed):
                self._note_listing_failure(tenant_id, declarations, result.error)
                if not declarations:
                    continue  # nobody there waits for anything
            elif not declarations and result.is_clean:
                attempt("Forgetting a tenant", partial(reconciler.forget, tenant_id))
            results[tenant_id] = result
        return results

    def _note_listing_failure(self, tenant_id: str, declarations: Declarations, error: RelayError) -> None:
        report_listing_failure(tenant_id, declarations, error)
        if ListingFailed(error).refuses:
            # Without consent nothing is delivered, and no notification announces its return.
            attempt("Recording a gap", lambda: self._relay.sweep.suspect_gaps(declarations, self._now()))

    def _before_gap(self, declarations: Sequence[Declaration]) -> None:
        self._check_endpoint()
        self._relay.sweep.suspect_gaps(declarations, self._now())

    def _check_endpoint(self) -> None:
        """Perform the handshake, once per run, before Graph does: the log then shows why Graph refuses a creation."""
        if self._endpoint_checked:
            return
        self._endpoint_checked = True
        problem = probe(self._relay.settings.notification_url, self._relay.session)
        if problem is not None:
            _log.warning("The endpoint at NOTIFICATION_URL fails the app's own handshake: %s", problem)

    def _record_access(self) -> None:
        """Record the rights of this identity as gauges: the verification of a deployment reads them."""
        for access in (*storage_access(self._relay.storage, self._now()), key_access(self._relay.keys, self._now())):
            telemetry.ACCESS.set(int(access.error is None), {"target": access.to})
            if access.error is not None:
                _log.error("The app can't access the %s: %s", access.to, access.error)

    def _warn_of_rare_runs(self) -> None:
        """Log once per run which subscriptions may expire before the next run."""
        pause = self._relay.renewal_pause()
        complaints = [
            (complaint,)
            for declaration in self._declarations
            if (complaint := too_rare(declaration.resource, rich=declaration.include_resource_data, pause=pause))
        ]
        log_first(_log, logging.WARNING, "RENEW_SCHEDULE: %s", complaints)

    def _warn_of_names(self) -> None:
        """Log once per run which names in declarations do not resolve: notifications of such declarations wait."""
        unresolved = list[tuple[object, ...]]()
        for declaration in self._declarations:
            try:
                self._relay.resolver.resolved(declaration.tenant_id, declaration.resource)
            except NotAttempted:
                break  # the time is over: resolved names are cached, and the next run resolves the rest
            except RetryLater as retry_later:
                if retry_later.reason is Reason.GRAPH_REFUSED:
                    unresolved.append((declaration.resource, declaration.tenant_id, retry_later))
        log_first(_log, logging.ERROR, "%s in tenant %s: %s", unresolved)

    def _record_time_left(self, tenants: Mapping[str, Reconciled | ListingFailed]) -> None:
        """Record the remaining time of each declaration's subscription: 0 if there is none."""
        for declaration in self._declarations:
            result = tenants.get(declaration.tenant_id)
            if not isinstance(result, Reconciled):
                continue
            found = result.serving.get(declaration.id)
            left = (found.expiration_date_time - self._now()).total_seconds() if found else 0
            place = {"resource": declaration.resource, "tenant": declaration.tenant_id}
            telemetry.SUBSCRIPTION_SECONDS_LEFT.set(max(left, 0), place)

    def _retire_keys(
        self, tenants: Mapping[str, Reconciled | ListingFailed], latest: Sequence[LastNotification]
    ) -> None:
        """Retire keys that no subscription names; a tenant that could not be listed may name any key."""
        unlisted = {tenant_id: result for tenant_id, result in tenants.items() if isinstance(result, ListingFailed)}
        refusing = [tenant_id for tenant_id, result in unlisted.items() if result.refuses]
        since = self._relay.tenants.refusing_since(refusing, self._now())
        if any(tenant_id not in since or self._may_live(tenant_id, since[tenant_id]) for tenant_id in unlisted):
            return
        named = {
            subscription.encryption_certificate_id or ""
            for result in tenants.values()
            if isinstance(result, Reconciled)
            for subscription in result.alive
        }
        last_used = {
            notification.source.key_id: notification.last
            for notification in sorted(latest, key=lambda notification: notification.last)
        }
        queues = self._relay.storage.queues
        self._relay.rotation.retire(named, last_used, lambda: queues.length() == 0, self._now())

    def _may_live(self, tenant_id: str, refusing_since: datetime) -> bool:
        """Whether a tenant that has withdrawn its consent may have a subscription with a key. It can't be renewed."""
        lives = [
            longest_lifetime(declaration.resource, rich=True)
            for declaration in self._declarations.of_tenant(tenant_id)
            if declaration.include_resource_data
        ]
        return self._now() - refusing_since <= max(lives, default=timedelta(0)) + _EXPIRY_MARGIN

    def _without_subscription(self, tenants: Mapping[str, Reconciled | ListingFailed]) -> set[str]:
        """Return the ids of the declarations without a proper subscription."""
        unknown = {
            declaration.id
            for declaration in self._declarations
            if not isinstance(tenants.get(declaration.tenant_id), Reconciled)
        }
        return unknown.union(*(result.failing for result in tenants.values() if isinstance(result, Reconciled)))

    def _close_account(self) -> None:
        """Compare queued notifications with handled and waiting ones; read back what is lost."""
        relay = self._relay
        relay.account.flush()
        waiting = sum(relay.storage.queues.length(queue) for queue in (Queue.NOTIFICATIONS, Queue.POISON))
        shortfall = relay.account.shortfall(waiting, self._longest_queued())
        telemetry.UNACCOUNTED.set(sum(shortfall.items.values()) if shortfall else 0)
        if shortfall is None:
            return
        everywhere = ANY in shortfall.declarations
        concerned = [
            declaration for declaration in self._declarations if everywhere or declaration.id in shortfall.declarations
        ]
        relay.sweep.suspect_gaps(concerned, self._now())
        relay.account.report(shortfall)
        gone = ", ".join(f"{items} of {hour:%Y-%m-%d %H}:00 UTC" for hour, items in sorted(shortfall.items.items()))
        _log.error(
            "Notifications were queued, never handled, and are no longer on the queue: %s. They are read back now",
            gone,
        )

    def _longest_queued(self) -> timedelta:
        return self._relay.settings.delivery_horizon + MAX_DELAY

    def _housekeeping(self) -> Iterator[tuple[str, Callable[[], object]]]:
        relay, now = self._relay, self._now
        yield "Reporting silent subscriptions", self._compare_silent
        yield "Checking the app's credentials", lambda: relay.credential_expiry.report(now())
        yield "Measuring the queue", lambda: backlog.report(relay.storage.queues, now())
        yield "Keeping poison messages", lambda: relay.dead_letters().keep_poison(relay.account)
        yield "Deleting the state of what is no longer declared", lambda: relay.undeclared(self._declarations)
        yield (
            "Deleting old counts of notifications",
            lambda: relay.account.drop_expired(self._longest_queued() + timedelta(days=1)),
        )
        yield "Deleting old weeks of the ledger", lambda: relay.ledgers[0].drop_expired(now())
        yield "Checking names", self._warn_of_names  # last: it may take a request for each declaration


def attempt(name: str, do: Callable[[], T]) -> T | None:
    """Return the result of `do`; None if it raises: that is logged, and the run continues."""
    try:
        return do()
    except RelayError as error:
        _log.error("%s failed; the next run retries: %s", name, error)
    except Exception:
        _log.exception("%s failed; the next run retries", name)
    return None
