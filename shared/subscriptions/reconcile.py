"""The subscriptions of each tenant, made what they are declared to be."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.errors import NotAttempted, Reason, RelayError, RetryLater
from shared.subscriptions.advice import advice, advice_on_tenant
from shared.subscriptions.client import SubscriptionsClient
from shared.subscriptions.known import KnownSubscriptions
from shared.subscriptions.plan import follow_up, plan
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step, Subscription
from shared.subscriptions.tenants import Tenants
from shared.subscriptions.wait_budget import WaitBudget

_log = logging.getLogger("graph_relay.subscriptions")

_OPENS_A_GAP = (Action.CREATE, Action.REPLACE)

BeforeGap = Callable[[Declaration], object]
"""Called with a declaration whose subscription is missing, or about to be replaced, before anything is done about it.

Where it raises RetryLater, nothing is.
"""


@dataclass(frozen=True)
class Reconciled:
    """What there was in a tenant before, and what became of each step."""

    found: list[Subscription]
    outcomes: list[Outcome]

    @property
    def failing(self) -> set[str]:
        """The ids of the declarations that have no subscription as they should."""
        return {
            outcome.step.declaration.id
            for outcome in self.outcomes
            if outcome.error is not None and outcome.step.declaration is not None
        }

    @property
    def alive(self) -> list[Subscription]:
        """The subscriptions there are after the run, and those there were before: in doubt, one is alive."""
        now_there = {outcome.subscription.id: outcome.subscription for outcome in self.outcomes if outcome.subscription}
        gone = {
            outcome.step.subscription.id
            for outcome in self.outcomes
            if outcome.step.subscription and outcome.error is None
        }
        return [*(subscription for subscription in self.found if subscription.id not in gone), *now_there.values()]

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed."""
        return all(outcome.error is None for outcome in self.outcomes)


@dataclass(frozen=True)
class Unlisted:
    """A tenant whose subscriptions could not be listed, and why."""

    error: RelayError

    @property
    def refuses(self) -> bool:
        """Whether the tenant itself refuses: consent is missing, or was withdrawn."""
        return self.error.reason in (Reason.GRAPH_REFUSED, Reason.LOGIN)


class Reconciler:
    """Reconciles tenants, one after the other; one object serves all threads."""

    def __init__(
        self,
        home: str,
        declarations: Declarations,
        client: SubscriptionsClient,
        tenants: Tenants,
        known: KnownSubscriptions,
        clock: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._declarations = declarations
        self._client = client
        self._tenants = tenants
        self._known = known
        self._clock = clock

    def tenants(self) -> dict[str, Declarations]:
        """Return the declarations of each tenant to visit: empty for one that is declared no more.

        Where storage is unavailable, that is logged, and the tenants of before wait for the next run.
        """
        declared = self._declarations.by_tenant(self._home)
        try:
            former = self._tenants.former(declared, self._clock())
        except RetryLater as retry_later:
            _log.error("Looking up former tenants failed; the next run retries: %s", retry_later)
            former = []
        return declared | {tenant_id: Declarations(()) for tenant_id in former}

    def every_tenant(
        self, desired: DesiredState, before_gap: BeforeGap, wait_budget: WaitBudget
    ) -> Iterator[tuple[str, Declarations, Reconciled | Unlisted]]:
        """Reconcile each tenant in turn, and yield what became of it. One tenant's failure costs the others nothing."""
        for tenant_id, declarations in self.tenants().items():
            try:
                result: Reconciled | Unlisted = self.tenant(tenant_id, desired, before_gap, wait_budget)
            except RelayError as error:
                result = Unlisted(error)
            except Exception as error:
                _log.exception("Tenant %s is left as it is", tenant_id)
                result = Unlisted(RetryLater(Reason.GRAPH, f"an unforeseen {type(error).__name__}, see the log"))
            yield tenant_id, declarations, result

    def tenant(
        self, tenant_id: str, desired: DesiredState, before_gap: BeforeGap, wait_budget: WaitBudget
    ) -> Reconciled:
        """Reconcile one tenant. One failing subscription doesn't stop the others.

        Where Graph names a time to wait, the run waits as long as `wait_budget` allows.

        Raises RetryLater, GraphRequestError if the subscriptions can't be listed.
        """
        found = self._list(tenant_id, wait_budget)
        outcomes: list[Outcome] = []
        steps = deque(plan(self._declarations.of_tenant(tenant_id), found, desired, tenant_id, self._clock()))
        while steps:
            outcome = self._carry_out(steps.popleft(), desired, before_gap, wait_budget)
            if isinstance(outcome.error, NotAttempted):
                outcomes += _postponed([outcome.step, *steps], outcome.error)
                break
            instead = follow_up(outcome, desired)
            if instead is not None:
                steps.appendleft(instead)
                continue
            _report(outcome)
            outcomes.append(outcome)
        reconciled = Reconciled(found, outcomes)
        self._note_known(tenant_id, reconciled)
        return reconciled

    def _note_known(self, tenant_id: str, reconciled: Reconciled) -> None:
        """Where storage is unavailable, the next run notes them; lifecycle notifications of new ones wait for it."""
        try:
            self._known.note(tenant_id, self._declarations.of_tenant(tenant_id), reconciled.alive)
        except RetryLater as retry_later:
            _log.warning("Noting subscriptions in tenant %s failed; the next run retries: %s", tenant_id, retry_later)

    def replace(
        self, declaration: Declaration, subscription: Subscription, desired: DesiredState, before_gap: BeforeGap
    ) -> Outcome:
        """Replace a subscription that Graph refuses to renew; count and log it. Never raises RelayError."""
        explanation = "Graph refuses to renew it with the permission that created it"
        step = Step(Action.REPLACE, declaration.tenant_id, declaration, subscription, explanation)
        outcome = self._carry_out(step, desired, before_gap, WaitBudget.none())
        _report(outcome)
        return outcome

    def forget(self, tenant_id: str) -> None:
        """Visit a tenant no more, since nothing of ours is left there. Our own is always visited. Raises RetryLater."""
        if tenant_id != self._home:
            self._tenants.forget(tenant_id)

    def _list(self, tenant_id: str, wait_budget: WaitBudget) -> list[Subscription]:
        while True:
            try:
                return self._client.list(tenant_id)
            except RetryLater as retry_later:
                if not wait_budget.wait(retry_later.retry_after):
                    raise

    def _carry_out(self, step: Step, desired: DesiredState, before_gap: BeforeGap, wait_budget: WaitBudget) -> Outcome:
        if step.action in _OPENS_A_GAP and step.declaration is not None:
            try:
                before_gap(step.declaration)
            except RetryLater as retry_later:
                return Outcome(step, error=retry_later)
        while True:
            outcome = self._client.carry_out(step, desired)
            if not wait_budget.wait(_requested_delay(outcome)):
                return outcome


def _requested_delay(outcome: Outcome) -> timedelta | None:
    """Return the time after which a step is to be tried again in this run; None if it is not.

    A creation that was answered 5xx may have succeeded: list before repeating it (docs/graph.md, "Errors").
    """
    error = outcome.error
    if not isinstance(error, RetryLater):
        return None
    repeatable = outcome.step.action not in _OPENS_A_GAP or error.reason is Reason.GRAPH_THROTTLED
    return error.retry_after if repeatable else None


def _postponed(steps: Sequence[Step], error: NotAttempted) -> list[Outcome]:
    """Return the outcomes of steps that wait for the next run: Graph is unavailable, or the time is over."""
    for step in steps:
        telemetry.RECONCILED.add(1, {"action": step.action, "outcome": error.reason})
    _log.error("%d subscriptions in tenant %s wait for the next run: %s", len(steps), steps[0].tenant_id, error)
    return [Outcome(step, error=error.copy()) for step in steps]


def _report(outcome: Outcome) -> None:
    step, error = outcome.step, outcome.error
    telemetry.RECONCILED.add(1, {"action": step.action, "outcome": "done" if error is None else error.reason})
    what = f"{step.action} {_resource(step)} in tenant {step.tenant_id}"
    if error is None:
        _log.info("%s: done, since %s", what, step.explanation)
    else:
        _log.error("%s failed: %s. %s", what, error, advice(error, _resource(step), _consent(step)))


def _consent(step: Step) -> str:
    return step.declaration.consent if step.declaration is not None else "tenant"


def _resource(step: Step) -> str:
    if step.declaration is not None:
        return step.declaration.resource
    return step.subscription.resource if step.subscription is not None else ""


def report_unlisted(tenant_id: str, declarations: Iterable[Declaration], error: RelayError) -> None:
    """Count a tenant whose subscriptions can't be listed, and log what a person should do about it."""
    telemetry.RECONCILED.add(1, {"action": "list", "outcome": error.reason})
    _log.error("Tenant %s is left as it is: %s. %s", tenant_id, error, advice_on_tenant(error, declarations))
