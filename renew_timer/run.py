"""One run of the timer: keys, subscriptions, sweeps, in every tenant."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared import progress, telemetry
from shared.client_state import declaration_id
from shared.credential_expiry import CredentialExpiry
from shared.errors import RelayError
from shared.graph import GraphRefusal
from shared.ledger import Ledger
from shared.reconcile import Reconciled, advice_on_tenant, reconcile
from shared.rotation import Rotation
from shared.settings import Declaration
from shared.silence import Silence
from shared.storage import Storage
from shared.subscriptions import Ours, Subscription, Subscriptions
from shared.sweep import Sweep

_log = logging.getLogger("graph_relay.renew")


@dataclass(frozen=True)
class Run:
    """What a run needs. `probe` shakes hands with our endpoint and returns what is wrong with it, if anything."""

    tenant_id: str
    declarations: Sequence[Declaration]
    ours: Callable[[], Ours]
    subscriptions: Subscriptions
    rotation: Rotation
    sweep: Sweep
    silence: Silence
    ledger: Ledger
    storage: Storage
    credential_expiry: CredentialExpiry
    probe: Callable[[], str | None]
    clock: Callable[[], datetime]


def run(need: Run) -> None:
    """Do one run. Whatever fails costs the rest nothing, is logged, and is tried again by the next run.

    Raises NotNow if nothing can be done at all: storage or the key store is away.
    """
    need.storage.ready()
    ours = replace(need.ours(), key=need.rotation.renew(need.clock()))
    reconciled = _every_tenant(need, ours)
    _gauge(reconciled, need.clock())
    if None not in reconciled.values():
        named = {one.encryption_certificate_id or "" for tenant in reconciled.values() for one in _alive(tenant)}
        _attempt("Retiring keys", lambda: need.rotation.retire(named, need.storage.is_empty, need.clock()))
    failing = {
        declaration_id(one.tenant_id, one.resource)
        for one in need.declarations
        if reconciled.get(one.tenant_id) is None
    }.union(*(tenant.failing for tenant in reconciled.values() if tenant))
    _attempt("The sweep", lambda: need.sweep.start(need.declarations, failing, need.clock()))
    _attempt("The silence report", lambda: need.silence.report(_names(need.declarations), need.clock()))
    _attempt("The look at the app's credentials", lambda: need.credential_expiry.report(need.clock()))
    _attempt("Tidying the ledger", lambda: need.ledger.forget(need.clock()))


def _every_tenant(need: Run, ours: Ours) -> dict[str, Reconciled | None]:
    """Return what became of each tenant, None where its subscriptions could not be listed.

    Our own tenant is always among them, so that the last declaration's subscription can be removed.
    """
    by_tenant: dict[str, list[Declaration]] = {need.tenant_id: []}
    for declaration in need.declarations:
        by_tenant.setdefault(declaration.tenant_id, []).append(declaration)
    probe = _once(need.probe)

    def suspect_gap(declaration: Declaration) -> None:
        name = declaration_id(declaration.tenant_id, declaration.resource)
        progress.suspect_gap(need.sweep.tables, name, need.clock())

    def before_gap(declaration: Declaration) -> None:
        probe()
        suspect_gap(declaration)

    reconciled: dict[str, Reconciled | None] = {}
    for tenant_id, declared in by_tenant.items():
        reconciled[tenant_id] = None
        try:
            reconciled[tenant_id] = reconcile(tenant_id, declared, ours, need.subscriptions, before_gap, need.clock)
        except RelayError as error:
            if isinstance(error, GraphRefusal):
                for one in declared:
                    suspect_gap(one)  # without consent nothing is delivered, and nobody says so when it returns
            telemetry.RECONCILED.add(1, {"action": "list", "outcome": error.reason})
            _log.error("Tenant %s is left as it is: %s. %s", tenant_id, error, advice_on_tenant(error, declared))
    return reconciled


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


def _gauge(reconciled: Mapping[str, Reconciled | None], now: datetime) -> None:
    for tenant in reconciled.values():
        for one in _alive(tenant):
            left = (one.expiration_date_time - now).total_seconds()
            telemetry.SUBSCRIPTION_SECONDS_LEFT.set(left, {"resource": one.resource})


def _names(declarations: Sequence[Declaration]) -> dict[str, str]:
    return {declaration_id(one.tenant_id, one.resource): one.resource for one in declarations}


def _attempt(name: str, do: Callable[[], object]) -> None:
    try:
        do()
    except RelayError as error:
        _log.error("%s did not come to an end, the next run tries again: %s", name, error)
