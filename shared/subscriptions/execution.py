"""Executes the steps of a plan: several concurrently, the most urgent first, within the time of the run.

The first step for which Graph validates the endpoint runs alone: if Graph refuses the endpoint, the run tries no
further one and deletes nothing. Undeclared subscriptions are removed last, and not if one may have caused a creation to
fail: the app deletes nothing before its successor exists.
"""

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta

from shared import telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.errors import NotAttempted, Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.log_lines import log_first
from shared.subscriptions.advice import advice
from shared.subscriptions.client import SubscriptionConflict, SubscriptionsClient, is_about_endpoint
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.marks import read_url
from shared.subscriptions.plan import (
    UniquenessKey,
    change_types,
    fault_of,
    follow_up,
    maintenance_step,
    may_be_same_subscription,
    needs_handshake,
    postponed_until,
    uniqueness_key,
)
from shared.subscriptions.recognition import served_declaration
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step, Subscription
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import Workers

_log = logging.getLogger("graph_relay.subscriptions")

BATCH = 100
"""Steps that are executed together; the results of each batch are stored before the next one."""

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

BeforeGap = Callable[[Sequence[Declaration]], object]
"""Called with declarations whose subscription is missing, or about to be replaced, before the steps begin.

If it raises RetryLater, the steps are not executed.
"""


@dataclass
class RunContext:
    """The state of one run over all tenants. refused: Graph's error, once it could not validate the endpoint.

    first: held by the first step for which Graph validates the endpoint, if that happens within other steps.
    """

    desired: DesiredState
    before_gap: BeforeGap
    wait_budget: WaitBudget
    refused: GraphRequestError | None = None
    first: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _is_validated: bool = False
    _validations_tried: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, outcome: Outcome) -> None:
        """Note whether Graph could validate the endpoint."""
        with self._lock:
            if is_about_endpoint(outcome.error) and isinstance(outcome.error, GraphRequestError):
                self.refused = outcome.error
            elif needs_handshake(outcome.step, self.desired) and not isinstance(outcome.error, NotAttempted):
                self._validations_tried += 1
                self._is_validated = self._is_validated or outcome.error is None

    def concurrency(self, step: Step) -> int:
        """Return how many steps like this one may run concurrently: few that need validation of the endpoint, until
        Graph has validated it once. After each refusal for another reason, the number doubles: the next step may
        succeed.
        """
        if self._is_validated or self.refused is not None or not needs_handshake(step, self.desired):
            return BATCH
        return min(self._validations_tried + 1, BATCH)


class StepExecutor:
    """Executes steps in one tenant. found: the existing subscriptions; known: the stored ones."""

    def __init__(
        self,
        client: SubscriptionsClient,
        workers: Workers,
        run: RunContext,
        declarations: Declarations,
        found: Sequence[Subscription],
        known: Mapping[str, KnownSubscription],
    ) -> None:
        self._client = client
        self._workers = workers
        self._run = run
        self._declarations = declarations
        self._found = {subscription.id.lower(): subscription for subscription in found}
        self._known = known
        self._conflicting: set[str] = set()
        self._not_created: list[Outcome] = []
        self._not_serving: Mapping[UniquenessKey, Subscription] | None = None

    def carry_out(self, steps: Sequence[Step], after_each: Callable[[list[Outcome]], object]) -> list[Outcome]:
        """Execute steps in batches, and call `after_each` with the outcomes of each batch.

        A subscription that could not be replaced, and was renewed instead, has two outcomes.
        """
        left, outcomes = deque(steps), list[Outcome]()
        while left:
            done = self._carry_out_batch(self._next_batch(left))
            after_each(done)
            outcomes += done
            self._not_created += [outcome for outcome in done if _may_be_in_the_way(outcome)]
            over = next((outcome.error for outcome in done if isinstance(outcome.error, NotAttempted)), None)
            if over is not None:
                outcomes += [Outcome(step, error=over.copy(), attempted=False) for step in left]
                break
        return outcomes

    def _next_batch(self, left: deque[Step]) -> list[Step]:
        """Take the next steps. Removals of undeclared subscriptions form batches of their own, after their possible
        successors.
        """
        most, batch = self._run.concurrency(left[0]), [left.popleft()]
        while (
            left
            and len(batch) < most
            and self._run.concurrency(left[0]) == most
            and _is_undeclared(left[0]) == _is_undeclared(batch[0])
        ):
            batch.append(left.popleft())
        return batch

    def _carry_out_batch(self, steps: Sequence[Step]) -> list[Outcome]:
        steps = [step for step in steps if not self._has_successor(step)]
        prevented = self._announce([step for step in steps if step.opens_a_gap and not self._must_wait(step)])

        def carry_out(step: Step) -> list[Outcome]:
            if prevented is not None and step.opens_a_gap and not self._must_wait(step):
                outcome = Outcome(step, error=prevented.copy())
            elif (blocker := self._waits_for(step)) is not None:
                outcome = Outcome(step, error=blocker.copy(), attempted=False)
            else:
                outcome = self._carry_out(step)
            return [outcome, *self._kept_alive(outcome)]

        return [
            replace(outcome, attempted=outcome.attempted and not isinstance(outcome.error, NotAttempted))
            for outcomes in self._workers.map(carry_out, steps)
            for outcome in outcomes
        ]

    def _must_wait(self, step: Step) -> bool:
        """Whether a step waits until Graph can validate the endpoint. Removals of undeclared subscriptions wait too:
        their successor may be a declared subscription.
        """
        if self._run.refused is None:
            return False
        return needs_handshake(step, self._run.desired) or _is_undeclared(step)

    def _has_successor(self, step: Step) -> bool:
        """Whether an undeclared subscription turned out to conflict with a declared one, which replaces it."""
        return (
            _is_undeclared(step) and step.subscription is not None and step.subscription.id.lower() in self._conflicting
        )

    def _waits_for(self, step: Step) -> RelayError | None:
        """Return the error that postpones a removal: the creation of a possible successor, in another spelling,
        failed.
        """
        if not _is_undeclared(step) or step.subscription is None:
            return None
        for outcome in self._not_created:
            declaration = outcome.step.declaration
            if declaration is not None and may_be_same_subscription(declaration, step.subscription):
                return outcome.error
        return None

    def _announce(self, steps: Sequence[Step]) -> RetryLater | None:
        """Announce gaps; return the error if that failed."""
        try:
            if steps:
                self._run.before_gap([step.declaration for step in steps if step.declaration is not None])
        except RetryLater as retry_later:
            return retry_later
        return None

    def _kept_alive(self, outcome: Outcome) -> list[Outcome]:
        """Renew a subscription that could not be replaced, if it is due: it stays in use until its successor exists."""
        step, old = outcome.step, outcome.step.subscription
        if step.action is not Action.REPLACE or outcome.error is None or old is None or step.declaration is None:
            return []
        now = self._client.now()
        instead = maintenance_step(step.declaration, old, self._run.desired, step.tenant_id, now, self._known)
        return [] if instead is None or isinstance(outcome.error, NotAttempted) else [self._try(instead)]

    def _carry_out(self, step: Step) -> Outcome:
        """Execute a step, and then the follow-up step if one is needed."""
        while True:
            with self._run.first if self._run.concurrency(step) == 1 else nullcontext():
                if self._run.refused is not None and self._must_wait(step):
                    return Outcome(step, error=self._run.refused.copy(), attempted=False)
                outcome = self._try(step)
            if step.action is Action.CREATE and _is_duplicate(outcome.error):
                outcome, instead = self._resolve_conflict(outcome)
            else:
                instead = follow_up(outcome, self._run.desired)
            if instead is None or self._is_postponed(instead):
                return outcome
            opens = instead.opens_a_gap and not step.opens_a_gap and not self._must_wait(instead)
            if opens and (error := self._announce([instead])) is not None:
                return Outcome(instead, error=error)
            step = instead

    def _is_postponed(self, step: Step) -> bool:
        """Whether the last replacement for the same reason was recent and did not fix the fault."""
        if step.action is not Action.REPLACE or step.subscription is None:
            return False
        now = self._client.now()
        return postponed_until(step.subscription, step.explanation, self._run.desired, self._known, now) > now

    def _try(self, step: Step) -> Outcome:
        while True:
            outcome = self._client.carry_out(step, self._run.desired)
            self._run.note(outcome)
            if not self._run.wait_budget.wait(_requested_delay(outcome)):
                return outcome

    def _resolve_conflict(self, outcome: Outcome) -> tuple[Outcome, Step | None]:
        """Return the step after a conflict (409): the app's own subscription is used or replaced; another's is
        reported.
        """
        step, refusal, desired = outcome.step, outcome.error, self._run.desired
        assert isinstance(refusal, GraphRequestError)
        assert step.declaration is not None
        conflicting = self._conflicting_subscription(step, refusal)
        if conflicting is None:
            return outcome, None
        self._conflicting.add(conflicting.id.lower())
        serves = served_declaration(conflicting, desired, self._known, step.tenant_id)
        if serves is None:
            if desired.take_over:
                return outcome, _replacing(step, conflicting, "it is taken over")
            return replace(
                outcome, error=SubscriptionConflict(refusal, conflicting, _owner(conflicting, desired))
            ), None
        if serves == step.declaration.id:
            fault = fault_of(conflicting, step.declaration, desired)
        elif serves in self._declarations:
            whose = "which serves another declaration of the same thing"
            return replace(outcome, error=SubscriptionConflict(refusal, conflicting, whose)), None
        elif desired.may_belong(conflicting.resource):
            whose = "which may serve a declaration that is not known yet"
            return replace(outcome, error=SubscriptionConflict(refusal, conflicting, whose)), None
        else:
            fault = "it serves another spelling of its declaration"
        return (Outcome(step, conflicting), None) if fault is None else (outcome, _replacing(step, conflicting, fault))

    def _conflicting_subscription(self, step: Step, refusal: GraphRequestError) -> Subscription | None:
        """Return the subscription because of which Graph refuses another one; Graph's error may name its id."""
        named = _GUID.search(refusal.message)
        if named is None:
            assert step.declaration is not None
            return self._replaceable(step.tenant_id).get(
                uniqueness_key(step.declaration.resource, step.declaration.change_types)
            )
        listed = self._found.get(named[0].lower())
        if listed is not None:
            return listed
        try:
            return self._client.get(step.tenant_id, named[0], self._run.wait_budget.wait)
        except RelayError as error:
            _log.warning(
                "Subscription %s, because of which Graph refuses to create another, can't be read: %s",
                named[0],
                error,
            )
            return None

    def _replaceable(self, tenant_id: str) -> Mapping[UniquenessKey, Subscription]:
        """Return the subscriptions that serve no declaration, by the key under which Graph considers them unique."""
        if self._not_serving is None:
            self._not_serving = {
                uniqueness_key(other.resource, change_types(other)): other
                for other in self._found.values()
                if (serves := served_declaration(other, self._run.desired, self._known, tenant_id)) is None
                or serves not in self._declarations
            }
        return self._not_serving


def _owner(conflicting: Subscription, desired: DesiredState) -> str:
    """Return the phrase that describes the owner of a foreign subscription."""
    if read_url(conflicting.notification_url).minted_by in desired.fingerprints:
        return "which is marked with CLIENT_STATE_SECRET but is neither at NOTIFICATION_URL nor known here"
    return "which is not this app's"


def _replacing(step: Step, conflicting: Subscription, explanation: str) -> Step:
    return Step(Action.REPLACE, step.tenant_id, step.declaration, conflicting, explanation)


def _is_undeclared(step: Step) -> bool:
    """Whether a step removes an undeclared subscription without a known successor."""
    return step.action is Action.REMOVE and step.instead is None


def _may_be_in_the_way(outcome: Outcome) -> bool:
    """Whether a failed creation may conflict with, or need, a subscription that is about to be removed."""
    error = outcome.error
    unnamed = _is_duplicate(error) and not isinstance(error, SubscriptionConflict)
    return outcome.step.action is Action.CREATE and (unnamed or isinstance(error, RetryLater))


def _is_duplicate(error: RelayError | None) -> bool:
    return isinstance(error, GraphRequestError) and error.status == 409


def _requested_delay(outcome: Outcome) -> timedelta | None:
    """Return the time after which a step is retried in this run; None: it is not retried.

    A creation that was answered 5xx may have succeeded: list before repeating it (docs/graph.md, "Errors").
    """
    error = outcome.error
    if not isinstance(error, RetryLater):
        return None
    repeatable = not outcome.step.opens_a_gap or error.reason is Reason.GRAPH_THROTTLED
    return error.retry_after if repeatable else None


def report(outcomes: Sequence[Outcome]) -> None:
    """Count and log the outcomes: the first of many failures, and one line for the steps that were not tried."""
    for outcome in outcomes:
        step, error = outcome.step, outcome.error
        telemetry.RECONCILED.add(1, {"action": step.action, "outcome": "done" if error is None else error.reason})
        if error is None:
            _log.info("%s: done, because %s", _what(step), step.explanation)
    failed = [
        (_what(outcome.step), outcome.error, _advice(outcome.step, outcome.error))
        for outcome in outcomes
        if outcome.error is not None and outcome.attempted
    ]
    log_first(_log, logging.ERROR, "%s failed: %s. %s", failed)
    waiting = [outcome for outcome in outcomes if not outcome.attempted]
    if waiting:
        where = waiting[0].step.tenant_id
        _log.error("%d subscriptions in tenant %s wait for the next run: %s", len(waiting), where, waiting[0].error)


def _advice(step: Step, error: RelayError) -> str:
    return advice(error, resource_of(step), step.declaration.consent if step.declaration is not None else "tenant")


def _what(step: Step) -> str:
    return f"{step.action} {resource_of(step)} in tenant {step.tenant_id}"


def resource_of(step: Step) -> str:
    """Return the resource of a step."""
    if step.declaration is not None:
        return step.declaration.resource
    return step.subscription.resource if step.subscription is not None else ""
