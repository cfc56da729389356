"""One run of the timer: every tenant's subscriptions made what they are declared to be."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from shared import telemetry
from shared.errors import NotNow, Reason, RelayError
from shared.graph import GraphRefusal
from shared.permissions import permission
from shared.settings import Declaration
from shared.subscriptions import Action, Ours, Outcome, Subscriptions, plan

_log = logging.getLogger("graph_relay.renew")


def reconcile(
    declarations: Iterable[Declaration],
    home: str,
    ours: Ours,
    subscriptions: Subscriptions,
    probe: Callable[[], str | None],
    clock: Callable[[], datetime],
) -> list[Outcome]:
    """Reconcile tenant by tenant; one that fails costs the others nothing.

    `home` is always among the tenants, so that the last declaration's subscription can be removed. `probe` shakes
    hands with our endpoint and returns what is wrong with it; it is asked before Graph is.
    """
    by_tenant: dict[str, list[Declaration]] = {home: []}
    for declaration in declarations:
        by_tenant.setdefault(declaration.tenant_id, []).append(declaration)
    outcomes: list[Outcome] = []
    doubts = _Once(probe)
    for tenant_id, declared in by_tenant.items():
        try:
            steps = plan(declared, subscriptions.list(tenant_id), ours, tenant_id, clock())
        except RelayError as error:
            _log.error("Tenant %s: its subscriptions can't be listed: %s", tenant_id, error)
            telemetry.RECONCILED.add(1, {"action": "list", "outcome": error.reason})
            continue
        if any(step.action in (Action.CREATE, Action.REPLACE) for step in steps):
            doubts.ask()
        for step in steps:
            outcome = subscriptions.carry_out(step, ours)
            report(outcome)
            outcomes.append(outcome)
    return outcomes


class _Once:
    """Asks the endpoint once a run, and says what is wrong with it."""

    def __init__(self, probe: Callable[[], str | None]) -> None:
        self._probe = probe
        self._asked = False

    def ask(self) -> None:
        if self._asked:
            return
        self._asked = True
        complaint = self._probe()
        if complaint is not None:
            _log.warning("The endpoint at NOTIFICATION_URL fails our own handshake: %s", complaint)


def report(outcome: Outcome) -> None:
    """Log and count a step; an error says what to do."""
    step, error = outcome.step, outcome.error
    resource = step.declaration.resource if step.declaration else step.subscription and step.subscription.resource
    result = "done" if error is None else str(error.reason)
    telemetry.RECONCILED.add(1, {"action": step.action, "outcome": result})
    if error is None:
        _log.info("%s %s in tenant %s: done, since %s", step.action, resource, step.tenant_id, step.why)
    else:
        _log.error("%s %s in tenant %s failed: %s. %s", step.action, resource, step.tenant_id, error, advice(outcome))


def advice(outcome: Outcome) -> str:
    """Return what a person should do about a step that failed."""
    if isinstance(outcome.error, NotNow):
        waits = outcome.error.reason is Reason.GRAPH_THROTTLED
        return "The next run tries again." if not waits else "Graph limits our calls; a later run tries again."
    if not isinstance(outcome.error, GraphRefusal):
        return ""
    match outcome.error.status:
        case 403 if outcome.step.declaration:
            needed = permission(outcome.step.declaration.resource)
            return f"Grant the application permission {needed} and admin consent, or look at Graph's quotas."
        case 409:
            return "Another subscription of this app has the resource and change types; the next run lists it."
        case 404:
            return "The resource does not exist, or is not visible to this app."
        case _:
            return "Mend the declaration, or what the message names; the same request is refused again."
