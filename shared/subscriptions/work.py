"""Carries out the steps of a plan: several at once, the most urgent first, as long as there is time.

The first step for which Graph validates our endpoint is done alone: if Graph refuses the endpoint, no further one is
tried in the run, and nothing is deleted. What nothing declares is removed last, and not where it may be what a creation
failed for: nothing is deleted before its successor lives.
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
from shared.subscriptions.client import Occupied, SubscriptionsClient, is_about_endpoint
from shared.subscriptions.known import Known
from shared.subscriptions.marks import read_url
from shared.subscriptions.plan import (
    Place,
    care,
    change_types,
    fault_of,
    follow_up,
    held_back_until,
    may_be_same,
    needs_handshake,
    place,
)
from shared.subscriptions.recognition import served_declaration
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
    """What holds for all tenants of one run. refused: Graph's words, once it could not validate our endpoint.

    first: held by the first step for which Graph validates our endpoint, where that comes up within other steps.
    """

    desired: DesiredState
    before_gap: BeforeGap
    wait_budget: WaitBudget
    refused: GraphRequestError | None = None
    first: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _is_validated: bool = False
    _tried: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, outcome: Outcome) -> None:
        """Note whether Graph could validate our endpoint."""
        with self._lock:
            if is_about_endpoint(outcome.error) and isinstance(outcome.error, GraphRequestError):
                self.refused = outcome.error
            elif needs_handshake(outcome.step, self.desired) and not isinstance(outcome.error, NotAttempted):
                self._tried += 1
                self._is_validated = self._is_validated or outcome.error is None

    def at_once(self, step: Step) -> int:
        """Return how many steps like this may be under way: few for which Graph validates our endpoint, until it has
        done so once. Where it refuses them for another reason, twice as many each time: the next one may be fine.
        """
        if self._is_validated or self.refused is not None or not needs_handshake(step, self.desired):
            return BATCH
        return min(self._tried + 1, BATCH)


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
        self._holders: set[str] = set()
        self._unmade: list[Outcome] = []
        self._idle: Mapping[Place, Subscription] | None = None

    def do(self, steps: Sequence[Step], after_each: Callable[[list[Outcome]], object]) -> list[Outcome]:
        """Carry out steps, one batch after the other, and call `after_each` with what became of each batch.

        What could not be replaced and was renewed instead has two outcomes.
        """
        left, outcomes = deque(steps), list[Outcome]()
        while left:
            done = self._do_together(self._next_batch(left))
            after_each(done)
            outcomes += done
            self._unmade += [outcome for outcome in done if _may_be_in_the_way(outcome)]
            over = next((outcome.error for outcome in done if isinstance(outcome.error, NotAttempted)), None)
            if over is not None:
                outcomes += [Outcome(step, error=over.copy(), attempted=False) for step in left]
                break
        return outcomes

    def _next_batch(self, left: deque[Step]) -> list[Step]:
        """Take the next steps. What nothing declares comes after what may take its place, in a batch of its own."""
        most, batch = self._run.at_once(left[0]), [left.popleft()]
        while (
            left
            and len(batch) < most
            and self._run.at_once(left[0]) == most
            and _is_undeclared(left[0]) == _is_undeclared(batch[0])
        ):
            batch.append(left.popleft())
        return batch

    def _do_together(self, steps: Sequence[Step]) -> list[Outcome]:
        steps = [step for step in steps if not self._has_successor(step)]
        prevented = self._announce([step for step in steps if step.opens_a_gap and not self._must_wait(step)])

        def do(step: Step) -> list[Outcome]:
            if prevented is not None and step.opens_a_gap and not self._must_wait(step):
                outcome = Outcome(step, error=prevented.copy())
            elif (unmade := self._waits_for(step)) is not None:
                outcome = Outcome(step, error=unmade.copy(), attempted=False)
            else:
                outcome = self._see_through(step)
            return [outcome, *self._kept_alive(outcome)]

        return [
            replace(outcome, attempted=outcome.attempted and not isinstance(outcome.error, NotAttempted))
            for outcomes in self._workers.map(do, steps)
            for outcome in outcomes
        ]

    def _must_wait(self, step: Step) -> bool:
        """Whether a step waits until Graph can validate our endpoint: so does what nothing declares, in whose place
        something else may have been declared.
        """
        if self._run.refused is None:
            return False
        return needs_handshake(step, self._run.desired) or _is_undeclared(step)

    def _has_successor(self, step: Step) -> bool:
        """Whether what nothing declares has turned out to be in the place of something that is declared."""
        return _is_undeclared(step) and step.subscription is not None and step.subscription.id.lower() in self._holders

    def _waits_for(self, step: Step) -> RelayError | None:
        """Return what keeps a removal waiting: a creation failed, of what may be the same in another spelling."""
        if not _is_undeclared(step) or step.subscription is None:
            return None
        for outcome in self._unmade:
            declaration = outcome.step.declaration
            if declaration is not None and may_be_same(declaration, step.subscription):
                return outcome.error
        return None

    def _announce(self, steps: Sequence[Step]) -> RetryLater | None:
        """Say that gaps open; return what prevented that."""
        try:
            if steps:
                self._run.before_gap([step.declaration for step in steps if step.declaration is not None])
        except RetryLater as retry_later:
            return retry_later
        return None

    def _kept_alive(self, outcome: Outcome) -> list[Outcome]:
        """Renew what could not be replaced, if it is time: it serves until its successor lives."""
        step, old = outcome.step, outcome.step.subscription
        if step.action is not Action.REPLACE or outcome.error is None or old is None or step.declaration is None:
            return []
        now = self._client.now()
        instead = care(step.declaration, old, self._run.desired, step.tenant_id, now, self._known)
        return [] if instead is None or isinstance(outcome.error, NotAttempted) else [self._try(instead)]

    def _see_through(self, step: Step) -> Outcome:
        """Carry out a step, and what has to be done instead where that does not do."""
        while True:
            with self._run.first if self._run.at_once(step) == 1 else nullcontext():
                if self._run.refused is not None and self._must_wait(step):
                    return Outcome(step, error=self._run.refused.copy(), attempted=False)
                outcome = self._try(step)
            if step.action is Action.CREATE and _is_duplicate(outcome.error):
                outcome, instead = self._make_room(outcome)
            else:
                instead = follow_up(outcome, self._run.desired)
            if instead is None or self._is_held_back(instead):
                return outcome
            opens = instead.opens_a_gap and not step.opens_a_gap and not self._must_wait(instead)
            if opens and (error := self._announce([instead])) is not None:
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
            self._run.note(outcome)
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
        self._holders.add(holder.id.lower())
        serves = served_declaration(holder, desired, self._known, step.tenant_id)
        if serves is None:
            if desired.take_over:
                return outcome, _replacing(step, holder, "it is taken over")
            return replace(outcome, error=Occupied(refusal, holder, _whose(holder, desired))), None
        if serves == step.declaration.id:
            fault = fault_of(holder, step.declaration, desired)
        elif serves in self._declarations:
            whose = "which serves another declaration of the same thing"
            return replace(outcome, error=Occupied(refusal, holder, whose)), None
        elif desired.may_belong(holder.resource):
            whose = "which may serve a declaration that is not known yet"
            return replace(outcome, error=Occupied(refusal, holder, whose)), None
        else:
            fault = "it serves another spelling of its declaration"
        return (Outcome(step, holder), None) if fault is None else (outcome, _replacing(step, holder, fault))

    def _holder(self, step: Step, refusal: GraphRequestError) -> Subscription | None:
        """Return the subscription for whose sake Graph refuses another: it names the id, or not."""
        named = _GUID.search(refusal.message)
        if named is None:
            assert step.declaration is not None
            return self._unserving(step.tenant_id).get(place(step.declaration.resource, step.declaration.change_types))
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

    def _unserving(self, tenant_id: str) -> Mapping[Place, Subscription]:
        """Return the subscriptions that serve nothing that is declared, by what tells them apart for Graph."""
        if self._idle is None:
            self._idle = {
                place(other.resource, change_types(other)): other
                for other in self._found.values()
                if (serves := served_declaration(other, self._run.desired, self._known, tenant_id)) is None
                or serves not in self._declarations
            }
        return self._idle


def _whose(holder: Subscription, desired: DesiredState) -> str:
    """Say whose a subscription is that is not ours."""
    if read_url(holder.notification_url).minted_by in desired.fingerprints:
        return "which is marked with CLIENT_STATE_SECRET but is neither at NOTIFICATION_URL nor known here"
    return "which is not this app's"


def _replacing(step: Step, holder: Subscription, explanation: str) -> Step:
    return Step(Action.REPLACE, step.tenant_id, step.declaration, holder, explanation)


def _is_undeclared(step: Step) -> bool:
    """Whether a step removes what nothing declares, and nothing is known to serve in its place."""
    return step.action is Action.REMOVE and step.instead is None


def _may_be_in_the_way(outcome: Outcome) -> bool:
    """Whether a creation failed that a subscription which is to be removed may be in the way of, or may serve for."""
    error = outcome.error
    unnamed = _is_duplicate(error) and not isinstance(error, Occupied)
    return outcome.step.action is Action.CREATE and (unnamed or isinstance(error, RetryLater))


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
    """Return the resource that a step is about."""
    if step.declaration is not None:
        return step.declaration.resource
    return step.subscription.resource if step.subscription is not None else ""
