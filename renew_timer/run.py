"""One run of the timer: keys, subscriptions, sweeps, in every tenant."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.delivery.ledger import Ledger
from shared.errors import Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.graph.client_state import declaration_id
from shared.graph.credential_expiry import CredentialExpiry
from shared.keys.ring import EncryptionKey
from shared.keys.rotation import Rotation
from shared.messages import backlog
from shared.messages.retry import WaitBudget
from shared.readback.sweep import PUSHED_WITHIN, Sweep
from shared.storage.queues import Storage
from shared.subscriptions import tenants
from shared.subscriptions.plan import DesiredState, Subscription, Subscriptions, renewal_period, serving
from shared.subscriptions.reconcile import Reconciled, reconcile, report_unlisted
from shared.subscriptions.silence import LastSeen, Silence

_log = logging.getLogger("graph_relay.renew")

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What a run needs.

    ours: what every subscription carries, given the key. probe: shakes hands with our endpoint and returns what is
    wrong with it, if anything. waits: what may be spent on waiting where Graph asks for it.
    """

    tenant_id: str
    declarations: Sequence[Declaration]
    desired: Callable[[EncryptionKey | None], DesiredState]
    subscriptions: Subscriptions
    rotation: Rotation
    sweep: Sweep
    silence: Silence
    ledger: Ledger
    storage: Storage
    credential_expiry: CredentialExpiry
    probe: Callable[[], str | None]
    clock: Callable[[], datetime]
    wait_budget: WaitBudget


def run(need: Run) -> None:
    """Do one run. Whatever fails costs the rest nothing, is logged, and is tried again by the next run.

    Raises RetryLater if nothing can be done at all, since storage is away.
    """
    need.storage.ready()
    named = _named(need.declarations)
    seen = _attempt("Looking at what was heard", need.silence.last_seen) or []
    key = _key(need)
    lagging = _attempt("Looking for keys that are still named", lambda: _stuck(key, seen, named, need))
    desired = replace(need.desired(key), lagging=lagging or ())
    reconciled = _every_tenant(need, desired)
    _gauge(reconciled, need, desired)
    if None not in reconciled.values():
        keys = {one.encryption_certificate_id or "" for tenant in reconciled.values() for one in _alive(tenant)}
        used = {one.source.key_id: one.last for one in sorted(seen, key=lambda one: one.last)}
        _attempt("Retiring keys", lambda: need.rotation.retire(keys, used, need.storage.is_empty, need.clock()))
    failing = {
        declaration_id(one.tenant_id, one.resource)
        for one in need.declarations
        if reconciled.get(one.tenant_id) is None
    }.union(*(tenant.failing for tenant in reconciled.values() if tenant))
    _attempt("The sweep", lambda: need.sweep.start(need.declarations, failing, need.clock()))
    _attempt("The silence report", lambda: need.silence.report(named, need.clock()))
    _attempt("The look at the app's credentials", lambda: need.credential_expiry.report(need.clock()))
    _attempt("The look at the queue", lambda: backlog.report(need.storage, need.clock()))
    _attempt("Keeping what the host has given up", need.storage.keep_poison)
    _attempt("Tidying the ledger", lambda: need.ledger.forget(need.clock()))
    telemetry.TIMER_RUNS.add(1)


def _key(need: Run) -> EncryptionKey | None:
    """The key for subscriptions; without one, those that there are live on all the same."""
    try:
        return need.rotation.renew(need.clock())
    except RetryLater as retry_later:
        telemetry.RECONCILED.add(1, {"action": "key", "outcome": retry_later.reason})
        _log.error("There is no encryption key. Subscriptions are renewed, those that need it wait: %s", retry_later)
        return None


def _stuck(
    key: EncryptionKey | None, seen: Sequence[LastSeen], named: Mapping[str, Declaration], need: Run
) -> frozenset[str]:
    """The subscriptions whose items named another key when they should have long named the present one: no page says
    for certain that Graph changes a certificate (contract §4 "Rotation"). What Graph sends again is as it was.
    """
    if key is None:
        return frozenset()
    since = need.rotation.current_since(key, need.clock())
    return frozenset(
        one.source.subscription_id
        for one in seen
        if one.source.key_id not in ("", key.key_id)
        and one.declaration in named
        and one.last - since > max(renewal_period(named[one.declaration]), PUSHED_WITHIN)
    )


def _every_tenant(need: Run, desired: DesiredState) -> dict[str, Reconciled | None]:
    """Return what became of each tenant, None where its subscriptions could not be listed."""
    by_tenant = tenants.by_tenant(need.tenant_id, need.declarations)
    former = _attempt(
        "Looking for tenants declared before", lambda: tenants.former(by_tenant, need.sweep.tables, need.clock())
    )
    by_tenant |= {tenant_id: [] for tenant_id in former or ()}
    reconciled: dict[str, Reconciled | None] = {}
    probe = _once(need.probe)

    def before_gap(declaration: Declaration) -> None:
        probe()
        need.sweep.suspect_gap(declaration, need.clock())

    for tenant_id, declared in by_tenant.items():
        reconciled[tenant_id] = None
        try:
            found = reconcile(
                tenant_id, declared, desired, need.subscriptions, before_gap, need.clock, need.wait_budget
            )
        except RelayError as error:
            _tell(tenant_id, declared, error, need)
            if not declared:
                del reconciled[tenant_id]  # nobody there waits for anything
            continue
        reconciled[tenant_id] = found
        if not declared and tenant_id != need.tenant_id and all(one.error is None for one in found.outcomes):
            _attempt("Forgetting a tenant", partial(tenants.forget, tenant_id, need.sweep.tables))
    return reconciled


def _tell(tenant_id: str, declared: Sequence[Declaration], error: RelayError, need: Run) -> None:
    report_unlisted(tenant_id, declared, error)
    if isinstance(error, GraphRequestError) or error.reason is Reason.LOGIN:
        # Without consent nothing is delivered, and nobody says so when it returns.
        for one in declared:
            _attempt("Noting a gap", partial(need.sweep.suspect_gap, one, need.clock()))


def _once(probe: Callable[[], str | None]) -> Callable[[], None]:
    """Return what shakes hands with our endpoint the first time it is called, before Graph is asked to."""
    asked: list[str | None] = []

    def ask() -> None:
        if asked:
            return
        asked.append(probe())
        if asked[0] is not None:
            _log.warning("The endpoint at NOTIFICATION_URL fails our own handshake: %s", asked[0])

    return ask


def _alive(reconciled: Reconciled | None) -> list[Subscription]:
    """The subscriptions there are after the run, and those there were before: in doubt, a key is named."""
    if reconciled is None:
        return []
    now_there = {one.subscription.id: one.subscription for one in reconciled.outcomes if one.subscription}
    gone = {one.step.subscription.id for one in reconciled.outcomes if one.step.subscription and one.error is None}
    left = [one for one in reconciled.found if one.id not in gone]
    return [*left, *now_there.values()]


def _gauge(reconciled: Mapping[str, Reconciled | None], need: Run, desired: DesiredState) -> None:
    """Gauge the time that each declaration's subscription has left: 0 if there is none."""
    for one in need.declarations:
        if reconciled.get(one.tenant_id) is None:
            continue
        found = serving(one, _alive(reconciled[one.tenant_id]), desired)
        left = (found.expiration_date_time - need.clock()).total_seconds() if found else 0
        place = {"resource": one.resource, "tenant": one.tenant_id}
        telemetry.SUBSCRIPTION_SECONDS_LEFT.set(max(left, 0), place)


def _named(declarations: Sequence[Declaration]) -> dict[str, Declaration]:
    return {declaration_id(one.tenant_id, one.resource): one for one in declarations}


def _attempt(name: str, do: Callable[[], T]) -> T | None:
    """Return what `do` returns, or None if it fails, which is logged."""
    try:
        return do()
    except RelayError as error:
        _log.error("%s did not come to an end, the next run tries again: %s", name, error)
        return None
