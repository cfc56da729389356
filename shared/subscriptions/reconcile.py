"""One tenant's subscriptions, made what they are declared to be; and words for what goes wrong."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.errors import Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.graph.client_state import declaration_id
from shared.messages.retry import WaitBudget
from shared.permissions import permission
from shared.subscriptions.plan import Action, DesiredState, Outcome, Step, Subscription, Subscriptions, follow_up, plan

_log = logging.getLogger("graph_relay.subscriptions")

_OPENS_A_GAP = (Action.CREATE, Action.REPLACE)


@dataclass(frozen=True)
class Reconciled:
    """What was there before, and what became of each step."""

    found: list[Subscription]
    outcomes: list[Outcome]

    @property
    def failing(self) -> set[str]:
        """The ids of the declarations that have no subscription as they should."""
        return {
            declaration_id(one.step.tenant_id, one.step.declaration.resource)
            for one in self.outcomes
            if one.error is not None and one.step.declaration is not None
        }


def reconcile(
    tenant_id: str,
    declarations: Sequence[Declaration],
    desired: DesiredState,
    subscriptions: Subscriptions,
    before_gap: Callable[[Declaration], None],
    clock: Callable[[], datetime],
    wait_budget: WaitBudget,
) -> Reconciled:
    """Reconcile the subscriptions of a tenant with `declarations`, those of that tenant.

    `before_gap` is told of a declaration whose subscription is missing, or about to be replaced, before anything is
    done about it; where it raises RetryLater, nothing is. One failing subscription doesn't stop the others. Where Graph
    names a time to wait, it is waited for as long as `waits` allows.

    Raises RetryLater, GraphRequestError if they can't be listed.
    """
    found = _listed(tenant_id, subscriptions, wait_budget)
    outcomes: list[Outcome] = []
    steps = deque(plan(declarations, found, desired, tenant_id, clock()))
    while steps:
        step = steps.popleft()
        outcome = _carried_out(step, desired, subscriptions, before_gap, wait_budget)
        instead = follow_up(outcome, desired)
        if instead is not None:
            steps.appendleft(instead)
            continue
        _report(outcome)
        outcomes.append(outcome)
    return Reconciled(found, outcomes)


def _listed(tenant_id: str, subscriptions: Subscriptions, wait_budget: WaitBudget) -> list[Subscription]:
    while True:
        try:
            return subscriptions.list(tenant_id)
        except RetryLater as retry_later:
            if not wait_budget.wait(retry_later.retry_after):
                raise


def _carried_out(
    step: Step,
    desired: DesiredState,
    subscriptions: Subscriptions,
    before_gap: Callable[[Declaration], None],
    wait_budget: WaitBudget,
) -> Outcome:
    if step.action in _OPENS_A_GAP and step.declaration is not None:
        try:
            before_gap(step.declaration)
        except RetryLater as retry_later:
            return Outcome(step, error=retry_later)
    while True:
        outcome = subscriptions.carry_out(step, desired)
        if not wait_budget.wait(_told(outcome)):
            return outcome


def _told(outcome: Outcome) -> timedelta | None:
    """Return the time after which a step is to be tried again in this run; None if there is none.

    What was to be made may have been made in spite of a 5xx: list before repeating (Graph contract §5).
    """
    error = outcome.error
    if not isinstance(error, RetryLater):
        return None
    repeatable = outcome.step.action not in _OPENS_A_GAP or error.reason is Reason.GRAPH_THROTTLED
    return error.retry_after if repeatable else None


def _report(outcome: Outcome) -> None:
    step, error = outcome.step, outcome.error
    telemetry.RECONCILED.add(1, {"action": step.action, "outcome": "done" if error is None else error.reason})
    named = f"{step.action} {_resource(step)} in tenant {step.tenant_id}"
    if error is None:
        _log.info("%s: done, since %s", named, step.why)
    else:
        _log.error("%s failed: %s. %s", named, error, advice(error, _resource(step)))


def _resource(step: Step) -> str:
    if step.declaration is not None:
        return step.declaration.resource
    return step.subscription.resource if step.subscription is not None else ""


def advice(error: RelayError, resource: str) -> str:
    """Return what a person should do about what failed for the subscription to a resource."""
    match error:
        case RetryLater(reason=Reason.GRAPH_THROTTLED):
            return "Graph limits our calls; a later run tries again."
        case RetryLater():
            return "The next run tries again."
        case GraphRequestError(status=403):
            needed = permission(resource)
            return f"Grant the application permission {needed} and admin consent, or look at Graph's quotas."
        case GraphRequestError(status=409):
            return "Another subscription of this app has the resource and change types; the next run lists it."
        case GraphRequestError(status=404):
            return "The resource does not exist, or is not visible to this app."
    return "Mend the declaration, or what the message names; the same request is refused again."


def report_unlisted(tenant_id: str, declarations: Iterable[Declaration], error: RelayError) -> None:
    """Count a tenant whose subscriptions can't be listed, and log what a person should do about it."""
    telemetry.RECONCILED.add(1, {"action": "list", "outcome": error.reason})
    _log.error("Tenant %s is left as it is: %s. %s", tenant_id, error, _advice_on_tenant(error, declarations))


def _advice_on_tenant(error: RelayError, declarations: Iterable[Declaration]) -> str:
    if isinstance(error, GraphRequestError) and error.status == 403:
        needed = ", ".join(sorted({permission(one.resource) for one in declarations}))
        return f"Its consent is missing or was withdrawn: an administrator there has to grant {needed} to this app."
    return "The next run tries again."
