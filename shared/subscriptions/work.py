"""Carries out the steps of a plan: several at once, the most urgent first, as long as there is time.

The first step for which Graph validates our endpoint is done alone: if Graph refuses the endpoint, no further one is
tried in the run, and nothing is deleted.
"""

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from shared import telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.errors import NotAttempted, Reason, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.subscriptions.advice import advice
from shared.subscriptions.client import Occupied, SubscriptionsClient, is_about_endpoint
from shared.subscriptions.known import Known
from shared.subscriptions.plan import care, fault_of, follow_up, held_back_until, in_the_way, needs_handshake
from shared.subscriptions.recognition import served_declaration, take_inventory
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step, Subscription
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import Workers

_log = logging.getLogger("graph_relay.subscriptions")

BATCH = 100
"""Steps that are done together: after each batch what was made is noted."""

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

BeforeGap = Callable[[Sequence[Declaration]], object]
"""Called with declarations whose subscription is missing, or about to be replaced, before anything is done about them.

Where it raises RetryLater, nothing is.
"""


@dataclass
class Round:
    """What holds for all tenants of one run. refused: Graph's words, once it could not validate our endpoint."""

    desired: DesiredState
    before_gap: BeforeGap
    wait_budget: WaitBudget
    is_validated: bool = False
    refused: GraphRequestError | None = None

    def note(self, outcome: Outcome) -> None:
        """Note whether Graph could validate our endpoint."""
        if is_about_endpoint(outcome.error) and isinstance(outcome.error, GraphRequestError):
            self.refused = outcome.error
        elif outcome.error is None and needs_handshake(outcome.step, self.desired):
            self.is_validated = True


class Work:
    """Carries out steps in one tenant. found: what is there; known: what was noted of it before."""

    def __init__(
        self,
        client: SubscriptionsClient,
        workers: Workers,
        run: Round,
        declarations: Declarations,
        found: Sequence[Subscription],
        known: Mapping[str, Known],
    ) -> None:
        self._client = client
        self._workers = workers
        self._run = run
        self._declarations = declarations
        self._found = {subscription.id.lower(): subscription for subscription in found}
        self._known = known

    def do(self, steps: Sequence[Step], after_each: Callable[[list[Outcome]], object]) -> list[Outcome]:
        """Carry out steps, one batch after the other, and call `after_each` with what became of each batch."""
        left, outcomes = deque(steps), list[Outcome]()
        while left:
            done = self._do_together(self._next_batch(left))
            after_each(done)
            outcomes += done
            over = next((outcome.error for outcome in done if isinstance(outcome.error, NotAttempted)), None)
            if over is not None:
                outcomes += [Outcome(step, error=over.copy(), attempted=False) for step in left]
                break
        return outcomes

    def _next_batch(self, left: deque[Step]) -> list[Step]:
        desired, run = self._run.desired, self._run
        batch: list[Step] = []
        while left and len(batch) < BATCH:
            alone = not run.is_validated and run.refused is None and needs_handshake(left[0], desired)
            if alone and batch:
                break
            batch.append(left.popleft())
            if alone:
                break
        return batch

    def _do_together(self, steps: Sequence[Step]) -> list[Outcome]:
        prevented = self._announce([step for step in steps if step.opens_a_gap and not self._must_wait(step)])

        def do(step: Step) -> Outcome:
            if self._run.refused is not None and self._must_wait(step):
                return self._kept_alive(Outcome(step, error=self._run.refused.copy(), attempted=False))
            if prevented is not None and step.opens_a_gap:
                return self._kept_alive(Outcome(step, error=prevented.copy()))
            return self._kept_alive(self._see_through(step))

        outcomes = [
            replace(outcome, attempted=outcome.attempted and not isinstance(outcome.error, NotAttempted))
            for outcome in self._workers.map(do, steps)
        ]
        for outcome in outcomes:
            self._run.note(outcome)
        return outcomes

    def _must_wait(self, step: Step) -> bool:
        """Whether a step waits until Graph can validate our endpoint: so does what nothing declares, in whose place
        something else may have been declared.
        """
        if self._run.refused is None:
            return False
        return needs_handshake(step, self._run.desired) or (step.action is Action.REMOVE and step.instead is None)

    def _announce(self, steps: Sequence[Step]) -> RetryLater | None:
        """Say that gaps open; return what prevented that."""
        try:
            if steps:
                self._run.before_gap([step.declaration for step in steps if step.declaration is not None])
        except RetryLater as retry_later:
            return retry_later
        return None

    def _kept_alive(self, outcome: Outcome) -> Outcome:
        """Renew what could not be replaced, if it is time: it serves until its successor lives."""
        step, old = outcome.step, outcome.step.subscription
        if step.action is not Action.REPLACE or outcome.error is None or old is None or step.declaration is None:
            return outcome
        now = self._client.now()
        instead = care(step.declaration, old, self._run.desired, step.tenant_id, now, self._known)
        if instead is None or isinstance(outcome.error, NotAttempted):
            return outcome
        return replace(outcome, subscription=self._try(instead).subscription)

    def _see_through(self, step: Step) -> Outcome:
        """Carry out a step, and what has to be done instead where that does not do."""
        while True:
            outcome = self._try(step)
            if step.action is Action.CREATE and _is_duplicate(outcome.error):
                outcome, instead = self._make_room(outcome)
            else:
                instead = follow_up(outcome, self._run.desired)
            if instead is None or self._is_held_back(instead):
                return outcome
            if instead.opens_a_gap and not step.opens_a_gap and (error := self._announce([instead])) is not None:
                return Outcome(instead, error=error)
            step = instead

    def _is_held_back(self, step: Step) -> bool:
        """Whether the last replacement for the same reason cured nothing, and was a moment ago."""
        if step.action is not Action.REPLACE or step.subscription is None:
            return False
        now = self._client.now()
        return held_back_until(step.subscription, step.explanation, self._run.desired, self._known, now) > now

    def _try(self, step: Step) -> Outcome:
        while True:
            outcome = self._client.carry_out(step, self._run.desired)
            if not self._run.wait_budget.wait(_requested_delay(outcome)):
                return outcome

    def _make_room(self, outcome: Outcome) -> tuple[Outcome, Step | None]:
        """Return what to do where Graph has a subscription already: ours serves, or is replaced; another's is named."""
        step, refusal, desired = outcome.step, outcome.error, self._run.desired
        assert isinstance(refusal, GraphRequestError)
        assert step.declaration is not None
        holder = self._holder(step, refusal)
        if holder is None:
            return outcome, None
        serves = served_declaration(holder, desired, self._known, step.tenant_id)
        if serves is None:
            if desired.take_over:
                return outcome, _replacing(step, holder, "it is taken over")
            return replace(outcome, error=Occupied(refusal, holder, "which is not this app's")), None
        if serves != step.declaration.id and serves in self._declarations:
            whose = "which serves another declaration of the same thing"
            return replace(outcome, error=Occupied(refusal, holder, whose)), None
        fault = fault_of(holder, step.declaration, desired)
        if fault is None:
            return Outcome(step, holder), None
        return outcome, _replacing(step, holder, fault)

    def _holder(self, step: Step, refusal: GraphRequestError) -> Subscription | None:
        """Return the subscription for whose sake Graph refuses another: it names the id, or not."""
        named = _GUID.search(refusal.message)
        if named is None:
            inventory = take_inventory(self._found.values(), self._run.desired, self._known, step.tenant_id)
            return in_the_way(step, inventory)
        listed = self._found.get(named[0].lower())
        if listed is not None:
            return listed
        try:
            return self._client.get(step.tenant_id, named[0], self._run.wait_budget.wait)
        except RelayError as error:
            _log.warning("Subscription %s, for whose sake Graph refuses ours, can't be read: %s", named[0], error)
            return None


def _replacing(step: Step, holder: Subscription, explanation: str) -> Step:
    return Step(Action.REPLACE, step.tenant_id, step.declaration, holder, explanation)


def _is_duplicate(error: RelayError | None) -> bool:
    return isinstance(error, GraphRequestError) and error.status == 409


def _requested_delay(outcome: Outcome) -> timedelta | None:
    """Return the time after which a step is to be tried again in this run; None if it is not.

    A creation that was answered 5xx may have succeeded: list before repeating it (docs/graph.md, "Errors").
    """
    error = outcome.error
    if not isinstance(error, RetryLater):
        return None
    repeatable = not outcome.step.opens_a_gap or error.reason is Reason.GRAPH_THROTTLED
    return error.retry_after if repeatable else None


def report(outcomes: Sequence[Outcome]) -> None:
    """Count what became of steps, and log it: of many that failed the first, and what was not tried as one line."""
    for outcome in outcomes:
        step, error = outcome.step, outcome.error
        telemetry.RECONCILED.add(1, {"action": step.action, "outcome": "done" if error is None else error.reason})
        if error is None:
            _log.info("%s: done, since %s", _what(step), step.explanation)
    failed = [outcome for outcome in outcomes if outcome.error is not None and outcome.attempted]
    for outcome in failed[:_MOST_LINES]:
        step, error = outcome.step, outcome.error
        assert error is not None
        consent = step.declaration.consent if step.declaration is not None else "tenant"
        _log.error("%s failed: %s. %s", _what(step), error, advice(error, resource_of(step), consent))
    if len(failed) > _MOST_LINES:
        _log.error("%d more steps failed in this run; `python -m ops status` shows them", len(failed) - _MOST_LINES)
    waiting = [outcome for outcome in outcomes if not outcome.attempted]
    if waiting:
        where = waiting[0].step.tenant_id
        _log.error("%d subscriptions in tenant %s wait for the next run: %s", len(waiting), where, waiting[0].error)


_MOST_LINES = 20
"""Of one run and tenant: ten thousand alike tell nobody more."""


def _what(step: Step) -> str:
    return f"{step.action} {resource_of(step)} in tenant {step.tenant_id}"


def resource_of(step: Step) -> str:
    """Return the resource that a step is about."""
    if step.declaration is not None:
        return step.declaration.resource
    return step.subscription.resource if step.subscription is not None else ""
