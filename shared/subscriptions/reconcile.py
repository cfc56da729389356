"""Reconciles the subscriptions of each tenant with the declarations."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared import deadline, telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.deadline import time_limit
from shared.errors import NotAttempted, Reason, RelayError, RetryLater
from shared.graph.rate_limits import LISTS, SHARE, WINDOW
from shared.log_lines import log_first
from shared.subscriptions.client import Listing, SubscriptionsClient
from shared.subscriptions.execution import BeforeGap, RunContext, StepExecutor, report, resource_of
from shared.subscriptions.failed_creations import CreationPostponed, FailedCreations, report_waiting
from shared.subscriptions.finder import SubscriptionFinder
from shared.subscriptions.former_tenants import FormerTenants
from shared.subscriptions.known import KnownSubscription, KnownSubscriptions, Snapshot
from shared.subscriptions.known_after import known_after
from shared.subscriptions.plan import plan, postponed_replacements, serving, step_for
from shared.subscriptions.recognition import expected_subscription, only_marked
from shared.subscriptions.results import ListingFailed, Reconciled, alive_after
from shared.subscriptions.subscription import Action, DesiredState, FailedCreation, Outcome, Step, Subscription
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.workers import Workers

_log = logging.getLogger("graph_relay.subscriptions")


LONG_LIST = 20
"""A list of more pages (more than two thousand subscriptions) is not read in every timer run."""

GOOD_FOR_EACH_PAGE = 9 * WINDOW / (LISTS.in_tenant * SHARE)
"""How long such a list stays valid: nine times as long as reading its pages takes within the rate limit."""

LIST_TIME = 0.5
"""Share of the time left for reading a list before stored subscriptions are renewed. Then the list gets the rest."""

PAGES_KEPT = timedelta(hours=1)
"""How long later runs continue an unfinished list from its link."""


Note = Callable[[Sequence[Outcome]], None]
"""Stores the outcomes of steps."""


@dataclass(frozen=True)
class _LastList:
    """The subscriptions of a tenant when they were listed, with later changes."""

    alive: list[Subscription]
    good_until: datetime


class Reconciler:
    """Reconciles tenants one after the other; one object serves all threads."""

    def __init__(
        self,
        home: str,
        declarations: Declarations,
        client: SubscriptionsClient,
        tenants: FormerTenants,
        known: KnownSubscriptions,
        refusals: FailedCreations,
        clock: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._declarations = declarations
        self._client = client
        self._tenants = tenants
        self._known = known
        self._refusals = refusals
        self._clock = clock
        self.workers = Workers()
        self._visited: dict[str, datetime] = {}
        self._last_lists: dict[str, _LastList] = {}
        self._listings: dict[str, Listing] = {}

    def tenants(self) -> dict[str, Declarations]:
        """Return the declarations of each tenant, the least recently visited first, because a run may lack the time for
        all. Former tenants have no declarations.

        If storage is unavailable, this is logged, and former tenants wait for the next run.
        """
        declared = self._declarations.by_tenant(self._home)
        try:
            former = self._tenants.former(declared, self._clock())
        except RetryLater as retry_later:
            _log.error("Looking up former tenants failed; the next run retries: %s", retry_later)
            former = []
        found = declared | {tenant_id: Declarations(()) for tenant_id in former}
        never = datetime.min.replace(tzinfo=UTC)
        return dict(sorted(found.items(), key=lambda entry: self._visited.get(entry[0], never)))

    def every_tenant(
        self, desired: DesiredState, before_gap: BeforeGap, wait_budget: WaitBudget
    ) -> Iterator[tuple[str, Declarations, Reconciled | ListingFailed]]:
        """Reconcile each tenant in turn, and yield the result. A failing tenant does not affect the others.

        A tenant counts as visited if it was the first, with all the time of the run, or if the time sufficed. So each
        of n tenants comes first in one of n runs. Once Graph could not validate the endpoint, steps that need that are
        skipped in the remaining tenants.
        """
        run = RunContext(desired, before_gap, wait_budget)
        for place, (tenant_id, declarations) in enumerate(self.tenants().items()):
            began = self._clock()
            try:
                result: Reconciled | ListingFailed = self._visit(tenant_id, run)
            except RelayError as error:
                result = ListingFailed(error)
            except Exception as error:
                _log.exception("The subscriptions of tenant %s are left as they are", tenant_id)
                result = ListingFailed(RetryLater(Reason.GRAPH, f"an unexpected {type(error).__name__}, see the log"))
            if place == 0 or not result.is_cut_short:
                self._visited[tenant_id] = began
            yield tenant_id, declarations, result

    def tenant(
        self, tenant_id: str, desired: DesiredState, before_gap: BeforeGap, wait_budget: WaitBudget
    ) -> Reconciled:
        """Reconcile one tenant with Graph's current list. A failing subscription does not stop the others.

        If Graph demands a delay, the run waits within `wait_budget`.

        Raises RetryLater, GraphRequestError if the subscriptions can't be listed. If Graph is unavailable for listing,
        stored subscriptions are renewed by id first.
        """
        return self._visit(tenant_id, RunContext(desired, before_gap, wait_budget), by_last_list=False)

    def _visit(self, tenant_id: str, run: RunContext, *, by_last_list: bool = True) -> Reconciled:
        declarations, desired, snapshot = self._declarations.of_tenant(tenant_id), run.desired, self._recall(tenant_id)
        known, refusals = snapshot.known, self._refusals.all(tenant_id)

        def note(done: Sequence[Outcome]) -> None:
            self._note_made(tenant_id, done, snapshot, desired)
            self._refusals.note(tenant_id, refusals, done, self._clock())

        found = self._find(tenant_id, declarations, known, run, note, by_last_list=by_last_list)
        declarations, desired = self._declared_now(tenant_id, desired)
        now = self._clock()
        _warn_of_marked(tenant_id, only_marked(found, desired, known))
        _warn_of_futile(postponed_replacements(declarations, found, desired, tenant_id, now, known))
        steps = plan(declarations, found, desired, tenant_id, now, known, refusals)
        waiting = [] if desired.insists else _waiting(steps, refusals, now)
        later = {outcome.step for outcome in waiting}
        executor = StepExecutor(self._client, self.workers, run, declarations, found, known)
        outcomes = executor.carry_out([step for step in steps if step not in later], note)
        report(outcomes)
        report_waiting(tenant_id, waiting)
        alive = alive_after(found, outcomes)
        self._note_known(tenant_id, alive, outcomes, snapshot, desired)
        self._refusals.forget_others(tenant_id, refusals, declarations)
        self._last_lists[tenant_id] = replace(self._last_lists[tenant_id], alive=alive)
        return Reconciled(found, [*outcomes, *waiting], serving(declarations, alive, desired, tenant_id, known))

    def _declared_now(self, tenant_id: str, desired: DesiredState) -> tuple[Declarations, DesiredState]:
        """Read the declarations after the list: another instance may have created listed subscriptions from newer ones.

        If they can't be read again, no undeclared subscription is removed.
        """
        try:
            self._declarations.read_again()
        except RetryLater as retry_later:
            _log.error("The declarations can't be read again, so nothing is removed: %s", retry_later)
            desired = replace(desired, may_belong=lambda _: True)
        return self._declarations.of_tenant(tenant_id), desired

    def _find(
        self,
        tenant_id: str,
        declarations: Declarations,
        known: Mapping[str, KnownSubscription],
        run: RunContext,
        note: Note,
        *,
        by_last_list: bool,
    ) -> list[Subscription]:
        """Return the subscriptions of a tenant by the current list, or by the last one if listing takes so long that a
        run would have no time for other work.

        If a list can't be read within half of the time, stored subscriptions are renewed first; then the list gets the
        rest. The next run continues from its link.
        """
        finder = SubscriptionFinder(self._client, self.workers, run, tenant_id, declarations, known)
        last = self._last_lists.get(tenant_id)
        if by_last_list and last is not None and self._clock() < last.good_until:
            return finder.as_known(last.alive)
        listing = self._listing(tenant_id) if by_last_list else Listing(self._clock())
        try:
            with _share_of_the_time(LIST_TIME, self._clock):
                found = finder.listed(listing)
        except RetryLater as retry_later:
            self._renew_known(tenant_id, declarations, known, run, note)
            if not _goes_on(retry_later, run):
                raise
            noted = self._recall(tenant_id).known  # earlier pages do not show what was renewed or re-keyed meanwhile
            found = SubscriptionFinder(self._client, self.workers, run, tenant_id, declarations, noted).listed(listing)
        self._listings.pop(tenant_id, None)
        good_for = listing.pages * GOOD_FOR_EACH_PAGE if listing.pages > LONG_LIST else timedelta(0)
        self._last_lists[tenant_id] = _LastList(found, self._clock() + good_for)
        return found

    def _listing(self, tenant_id: str) -> Listing:
        """Return the list that an earlier run has begun to read, or a new one."""
        begun = self._listings.get(tenant_id)
        if begun is None or self._clock() - begun.began > PAGES_KEPT:
            begun = self._listings[tenant_id] = Listing(self._clock())
        return begun

    def _renew_known(
        self,
        tenant_id: str,
        declarations: Declarations,
        known: Mapping[str, KnownSubscription],
        run: RunContext,
        note: Note,
    ) -> None:
        """Renew the stored subscriptions that are due, without a list. The others wait for the list."""
        steps, now = list[Step](), self._clock()
        for name, memory in known.items():
            declaration = declarations.get(memory.declaration, tenant_id)
            if declaration is not None and memory.expires > now:
                step = step_for(
                    declaration,
                    expected_subscription(name, memory, declaration, run.desired),
                    run.desired,
                    tenant_id,
                    now,
                )
                if step is not None and step.action in (Action.RENEW, Action.REKEY):
                    steps.append(step)
        if not steps:
            return
        steps.sort(key=lambda step: step.subscription.expiration_date_time if step.subscription else now)
        report(StepExecutor(self._client, self.workers, run, declarations, (), known).carry_out(steps, note))

    def _recall(self, tenant_id: str) -> Snapshot:
        try:
            return self._known.snapshot(tenant_id)
        except RetryLater as retry_later:
            _log.warning("The stored subscriptions of tenant %s can't be read: %s", tenant_id, retry_later)
            return Snapshot()

    def _note_made(
        self, tenant_id: str, outcomes: Sequence[Outcome], snapshot: Snapshot, desired: DesiredState
    ) -> None:
        """Store new and renewed subscriptions at once: the process may end during the run."""
        with _stored_later(tenant_id):
            noted = known_after((), outcomes, snapshot.known, desired, tenant_id, self._clock())
            self._known.add(tenant_id, noted, snapshot)

    def _note_known(
        self,
        tenant_id: str,
        alive: Sequence[Subscription],
        outcomes: Sequence[Outcome],
        snapshot: Snapshot,
        desired: DesiredState,
    ) -> None:
        """If storage is unavailable, the next run stores them; lifecycle notifications of new ones wait for it."""
        with _stored_later(tenant_id):
            noted = known_after(alive, outcomes, snapshot.known, desired, tenant_id, self._clock())
            self._known.note(tenant_id, noted, snapshot)

    def replace(
        self, declaration: Declaration, subscription: Subscription, desired: DesiredState, before_gap: BeforeGap
    ) -> Outcome:
        """Replace a subscription that Graph refuses to renew; count and log it. Never raises RelayError."""
        explanation = "Graph refuses to renew it with the permission that created it"
        step = Step(Action.REPLACE, declaration.tenant_id, declaration, subscription, explanation)
        run = RunContext(desired, before_gap, WaitBudget.none())
        executor = StepExecutor(self._client, self.workers, run, self._declarations, [subscription], {})
        outcome, *others = executor.carry_out(
            [step], lambda done: self._note_made(declaration.tenant_id, done, Snapshot(), desired)
        )
        report([outcome, *others])
        if outcome.error is None:
            self._mark_deleted(declaration.tenant_id, subscription.id)
        return outcome

    def restore(
        self, declaration: Declaration, subscription_id: str, desired: DesiredState, before_gap: BeforeGap
    ) -> Outcome | None:
        """Create a subscription in place of a deleted one, without listing the others; None if it still exists.

        If Graph already has another one of the app, that one is used. Raises RetryLater, GraphRequestError if Graph
        can't be asked whether the subscription exists.
        """
        tenant_id = declaration.tenant_id
        if self._client.get(tenant_id, subscription_id) is not None:
            return None
        self._mark_deleted(tenant_id, subscription_id)
        step = Step(Action.CREATE, tenant_id, declaration, None, "Graph has removed it")
        run = RunContext(desired, before_gap, WaitBudget.none())
        executor = StepExecutor(self._client, self.workers, run, self._declarations.of_tenant(tenant_id), (), {})
        (outcome,) = executor.carry_out([step], lambda done: self._note_made(tenant_id, done, Snapshot(), desired))
        report([outcome])
        return outcome

    def _mark_deleted(self, tenant_id: str, subscription_id: str) -> None:
        """Store that a subscription is deleted, although earlier lists show it."""
        try:
            self._known.mark_deleted(tenant_id, subscription_id)
        except RetryLater as retry_later:
            _log.warning("Storing that a subscription is gone failed; the next list shows it: %s", retry_later)

    def forget(self, tenant_id: str) -> None:
        """Stop visiting a former tenant without subscriptions of the app. The home tenant stays. Raises RetryLater."""
        if tenant_id != self._home:
            self._tenants.forget(tenant_id)


@contextmanager
def _share_of_the_time(share: float, clock: Callable[[], datetime]) -> Iterator[None]:
    """Limit to a share of the time left; without a time limit, no limit."""
    left = deadline.left()
    with nullcontext() if left == timedelta.max else time_limit(left * share, clock):
        yield


@contextmanager
def _stored_later(tenant_id: str) -> Iterator[None]:
    """Log that storage is unavailable: the next run stores the subscriptions."""
    try:
        yield
    except RetryLater as retry_later:
        _log.warning("Storing the subscriptions of tenant %s failed; the next run retries: %s", tenant_id, retry_later)


def _goes_on(error: RetryLater, run: RunContext) -> bool:
    """Whether an unfinished list continues in this run: only its share of the time was over."""
    if deadline.left() <= timedelta(0):
        return False
    pause = error.retry_after
    return isinstance(error, NotAttempted) or (
        pause is not None and pause <= min(deadline.left(), run.wait_budget.left)
    )


def _waiting(steps: Iterable[Step], refusals: Mapping[str, FailedCreation], now: datetime) -> list[Outcome]:
    """Return the failed creations that are not due for a retry yet."""
    return [
        Outcome(step, error=CreationPostponed(refusal), attempted=False)
        for step in steps
        if step.action is Action.CREATE
        and step.declaration is not None
        and (refusal := refusals.get(step.declaration.id)) is not None
        and refusal.until > now
    ]


def _warn_of_futile(steps: Sequence[Step]) -> None:
    """Warn of faults that a replacement did not fix. Further ones are postponed, because each one may miss changes."""
    for step in steps:
        telemetry.RECONCILED.add(1, {"action": step.action, "outcome": "futile"})
    message = (
        "%s in tenant %s was replaced since %s, and Graph shows the same of the new one. It is renewed, and "
        "replaced again later. If it sends notifications, nothing is missing"
    )
    rows = [(resource_of(step), step.tenant_id, step.explanation) for step in steps]
    log_first(_log, logging.ERROR, message, rows)


def _warn_of_marked(tenant_id: str, subscriptions: Sequence[Subscription]) -> None:
    message = (
        "Subscription %s to %s in tenant %s is marked with CLIENT_STATE_SECRET, but is neither at NOTIFICATION_URL nor "
        "known here, so it is left alone. If another deployment has the same secret, give each its own; if none has, "
        "it expires by itself"
    )
    log_first(_log, logging.WARNING, message, [(held.id, held.resource, tenant_id) for held in subscriptions])
