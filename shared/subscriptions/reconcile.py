"""The subscriptions of each tenant, made what they are declared to be."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared import deadline, telemetry
from shared.configuration.declaration import Declaration, Declarations
from shared.deadline import time_limit
from shared.errors import NotAttempted, Reason, RelayError, RetryLater
from shared.graph.pace import LISTS, SHARE, WINDOW
from shared.log_lines import log_first
from shared.subscriptions.client import Listing, SubscriptionsClient
from shared.subscriptions.known import Known, KnownSubscriptions, Snapshot
from shared.subscriptions.plan import held_back, plan, serving, step_for
from shared.subscriptions.recognition import only_marked, remembered
from shared.subscriptions.refusals import Refusals, StillRefused, report_waiting
from shared.subscriptions.remembering import remembered_after
from shared.subscriptions.results import Reconciled, Unlisted, alive_after
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Refusal, Step, Subscription
from shared.subscriptions.survey import Survey
from shared.subscriptions.tenants import Tenants
from shared.subscriptions.wait_budget import WaitBudget
from shared.subscriptions.work import BeforeGap, Round, Work, report, resource_of
from shared.subscriptions.workers import Workers

_log = logging.getLogger("graph_relay.subscriptions")


LONG_LIST = 20
"""A list of more pages, of more than two thousand subscriptions, is not asked for in each run of the timer."""

GOOD_FOR_EACH_PAGE = 9 * WINDOW / (LISTS.in_tenant * SHARE)
"""How long such a list is good: nine times as long as its pages take at our pace."""

LIST_TIME = 0.5
"""Share of the time left that a list has before what is known is renewed. After that, it has the rest."""

PAGES_KEPT = timedelta(hours=1)
"""How long a list that could not be read to its end in one run goes on from its link in the next ones."""


Note = Callable[[Sequence[Outcome]], None]
"""Notes what became of steps."""


@dataclass(frozen=True)
class _Surveyed:
    """What a tenant had when it was listed, and what became of it since."""

    alive: list[Subscription]
    good_until: datetime


class Reconciler:
    """Reconciles tenants, one after the other; one object serves all threads."""

    def __init__(
        self,
        home: str,
        declarations: Declarations,
        client: SubscriptionsClient,
        tenants: Tenants,
        known: KnownSubscriptions,
        refusals: Refusals,
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
        self._surveys: dict[str, _Surveyed] = {}
        self._listings: dict[str, Listing] = {}

    def tenants(self) -> dict[str, Declarations]:
        """Return the declarations of each tenant to visit, first the one that had its turn longest ago: a run may have
        no time for all. A tenant that is declared no more has none.

        Where storage is unavailable, that is logged, and the tenants of before wait for the next run.
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
    ) -> Iterator[tuple[str, Declarations, Reconciled | Unlisted]]:
        """Reconcile each tenant in turn, and yield what became of it. One tenant's failure costs the others nothing.

        A tenant has had its turn if it was the first, so that all the time was its own, or if the time was enough for
        it: so every tenant comes first in one of as many runs as there are tenants. Once Graph could not validate our
        endpoint, nothing that needs it is tried in the tenants after.
        """
        run = Round(desired, before_gap, wait_budget)
        for place, (tenant_id, declarations) in enumerate(self.tenants().items()):
            began = self._clock()
            try:
                result: Reconciled | Unlisted = self._visit(tenant_id, run)
            except RelayError as error:
                result = Unlisted(error)
            except Exception as error:
                _log.exception("The subscriptions of tenant %s are left as they are", tenant_id)
                result = Unlisted(RetryLater(Reason.GRAPH, f"an unexpected {type(error).__name__}, see the log"))
            if place == 0 or not result.is_cut_short:
                self._visited[tenant_id] = began
            yield tenant_id, declarations, result

    def tenant(
        self, tenant_id: str, desired: DesiredState, before_gap: BeforeGap, wait_budget: WaitBudget
    ) -> Reconciled:
        """Reconcile one tenant by what Graph lists now. One failing subscription doesn't stop the others.

        Where Graph names a time to wait, the run waits as long as `wait_budget` allows.

        Raises RetryLater, GraphRequestError if the subscriptions can't be listed. Where Graph is unavailable for that,
        those that are known are renewed by their ids before.
        """
        return self._visit(tenant_id, Round(desired, before_gap, wait_budget), by_last_list=False)

    def _visit(self, tenant_id: str, run: Round, *, by_last_list: bool = True) -> Reconciled:
        declarations, desired, snapshot = self._declarations.of_tenant(tenant_id), run.desired, self._recall(tenant_id)
        known, refusals = snapshot.known, self._refusals.all(tenant_id)

        def note(done: Sequence[Outcome]) -> None:
            self._note_made(tenant_id, done, snapshot, desired)
            self._refusals.note(tenant_id, refusals, done, self._clock())

        found = self._find(tenant_id, declarations, known, run, note, by_last_list=by_last_list)
        declarations, desired = self._declared_now(tenant_id, desired)
        now = self._clock()
        _warn_of_marked(tenant_id, only_marked(found, desired, known))
        _warn_of_futile(held_back(declarations, found, desired, tenant_id, now, known))
        steps = plan(declarations, found, desired, tenant_id, now, known, refusals)
        waiting = [] if desired.insists else _waiting(steps, refusals, now)
        later = {outcome.step for outcome in waiting}
        work = Work(self._client, self.workers, run, declarations, found, known)
        outcomes = work.do([step for step in steps if step not in later], note)
        report(outcomes)
        report_waiting(tenant_id, waiting)
        alive = alive_after(found, outcomes)
        self._note_known(tenant_id, alive, outcomes, snapshot, desired)
        self._refusals.forget_others(tenant_id, refusals, declarations)
        self._surveys[tenant_id] = replace(self._surveys[tenant_id], alive=alive)
        return Reconciled(found, [*outcomes, *waiting], serving(declarations, alive, desired, tenant_id, known))

    def _declared_now(self, tenant_id: str, desired: DesiredState) -> tuple[Declarations, DesiredState]:
        """Read the declarations after the list: by newer ones, another instance may have created what is on it.

        Where they can't be read again, nothing is removed for being undeclared.
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
        known: Mapping[str, Known],
        run: Round,
        note: Note,
        *,
        by_last_list: bool,
    ) -> list[Subscription]:
        """Return the subscriptions of a tenant, by a list of now, or by the last one, if listing takes long: else a run
        would have no time for anything else.

        A list that can't be read to its end in half of the time waits while what is known is renewed, and then has the
        rest. The next run goes on from its link.
        """
        survey = Survey(self._client, self.workers, run, tenant_id, declarations, known)
        last = self._surveys.get(tenant_id)
        if by_last_list and last is not None and self._clock() < last.good_until:
            return survey.as_known(last.alive)
        listing = self._listing(tenant_id) if by_last_list else Listing(self._clock())
        try:
            with _share_of_the_time(LIST_TIME, self._clock):
                found = survey.listed(listing)
        except RetryLater as retry_later:
            self._renew_known(tenant_id, declarations, known, run, note)
            if not _goes_on(retry_later, run):
                raise
            noted = self._recall(tenant_id).known  # pages of before do not show what was renewed or re-keyed meanwhile
            found = Survey(self._client, self.workers, run, tenant_id, declarations, noted).listed(listing)
        self._listings.pop(tenant_id, None)
        good_for = listing.pages * GOOD_FOR_EACH_PAGE if listing.pages > LONG_LIST else timedelta(0)
        self._surveys[tenant_id] = _Surveyed(found, self._clock() + good_for)
        return found

    def _listing(self, tenant_id: str) -> Listing:
        """Return the list that the last run has begun to read, or a new one."""
        begun = self._listings.get(tenant_id)
        if begun is None or self._clock() - begun.began > PAGES_KEPT:
            begun = self._listings[tenant_id] = Listing(self._clock())
        return begun

    def _renew_known(
        self, tenant_id: str, declarations: Declarations, known: Mapping[str, Known], run: Round, note: Note
    ) -> None:
        """Renew what is known and has to be, without the list. What is not known waits for it."""
        steps, now = list[Step](), self._clock()
        for name, memory in known.items():
            declaration = declarations.get(memory.declaration, tenant_id)
            if declaration is not None and memory.expires > now:
                step = step_for(
                    declaration, remembered(name, memory, declaration, run.desired), run.desired, tenant_id, now
                )
                if step is not None and step.action in (Action.RENEW, Action.REKEY):
                    steps.append(step)
        if not steps:
            return
        steps.sort(key=lambda step: step.subscription.expiration_date_time if step.subscription else now)
        report(Work(self._client, self.workers, run, declarations, (), known).do(steps, note))

    def _recall(self, tenant_id: str) -> Snapshot:
        try:
            return self._known.snapshot(tenant_id)
        except RetryLater as retry_later:
            _log.warning("The stored subscriptions of tenant %s can't be read: %s", tenant_id, retry_later)
            return Snapshot()

    def _note_made(
        self, tenant_id: str, outcomes: Sequence[Outcome], snapshot: Snapshot, desired: DesiredState
    ) -> None:
        """Note what was made or renewed at once: a run may end before its end."""
        try:
            noted = remembered_after((), outcomes, snapshot.known, desired, tenant_id, self._clock())
            self._known.add(tenant_id, noted, snapshot)
        except RetryLater as retry_later:
            _log.warning(
                "Storing the subscriptions of tenant %s failed; the next run retries: %s", tenant_id, retry_later
            )

    def _note_known(
        self,
        tenant_id: str,
        alive: Sequence[Subscription],
        outcomes: Sequence[Outcome],
        snapshot: Snapshot,
        desired: DesiredState,
    ) -> None:
        """Where storage is unavailable, the next run notes them; lifecycle notifications of new ones wait for it."""
        try:
            noted = remembered_after(alive, outcomes, snapshot.known, desired, tenant_id, self._clock())
            self._known.note(tenant_id, noted, snapshot)
        except RetryLater as retry_later:
            _log.warning(
                "Storing the subscriptions of tenant %s failed; the next run retries: %s", tenant_id, retry_later
            )

    def replace(
        self, declaration: Declaration, subscription: Subscription, desired: DesiredState, before_gap: BeforeGap
    ) -> Outcome:
        """Replace a subscription that Graph refuses to renew; count and log it. Never raises RelayError."""
        explanation = "Graph refuses to renew it with the permission that created it"
        step = Step(Action.REPLACE, declaration.tenant_id, declaration, subscription, explanation)
        run = Round(desired, before_gap, WaitBudget.none())
        work = Work(self._client, self.workers, run, self._declarations, [subscription], {})
        outcome, *others = work.do(
            [step], lambda done: self._note_made(declaration.tenant_id, done, Snapshot(), desired)
        )
        report([outcome, *others])
        if outcome.error is None:
            self._lose(declaration.tenant_id, subscription.id)
        return outcome

    def restore(
        self, declaration: Declaration, subscription_id: str, desired: DesiredState, before_gap: BeforeGap
    ) -> Outcome | None:
        """Create a subscription in place of one that is gone, without listing the others; None if it lives.

        Where Graph has another one of ours already, that serves. Raises RetryLater, GraphRequestError if Graph can't be
        asked whether it is gone.
        """
        tenant_id = declaration.tenant_id
        if self._client.get(tenant_id, subscription_id) is not None:
            return None
        self._lose(tenant_id, subscription_id)
        step = Step(Action.CREATE, tenant_id, declaration, None, "Graph has removed it")
        run = Round(desired, before_gap, WaitBudget.none())
        work = Work(self._client, self.workers, run, self._declarations.of_tenant(tenant_id), (), {})
        (outcome,) = work.do([step], lambda done: self._note_made(tenant_id, done, Snapshot(), desired))
        report([outcome])
        return outcome

    def _lose(self, tenant_id: str, subscription_id: str) -> None:
        """Note that a subscription is gone, for lists of before that show it."""
        try:
            self._known.lose(tenant_id, subscription_id)
        except RetryLater as retry_later:
            _log.warning("Storing that a subscription is gone failed; the next list shows it: %s", retry_later)

    def forget(self, tenant_id: str) -> None:
        """Visit a tenant no more, since nothing of ours is left there. Our own is always visited. Raises RetryLater."""
        if tenant_id != self._home:
            self._tenants.forget(tenant_id)


@contextmanager
def _share_of_the_time(share: float, clock: Callable[[], datetime]) -> Iterator[None]:
    """Allow a share of the time that is left; without a limit, there is none."""
    left = deadline.left()
    with nullcontext() if left == timedelta.max else time_limit(left * share, clock):
        yield


def _goes_on(error: RetryLater, run: Round) -> bool:
    """Whether a list that was not read to its end goes on now: what ended was its share of the time."""
    if deadline.left() <= timedelta(0):
        return False
    pause = error.retry_after
    return isinstance(error, NotAttempted) or (
        pause is not None and pause <= min(deadline.left(), run.wait_budget.left)
    )


def _waiting(steps: Iterable[Step], refusals: Mapping[str, Refusal], now: datetime) -> list[Outcome]:
    """Return the creations that Graph has refused and is not asked for again yet."""
    return [
        Outcome(step, error=StillRefused(refusal), attempted=False)
        for step in steps
        if step.action is Action.CREATE
        and step.declaration is not None
        and (refusal := refusals.get(step.declaration.id)) is not None
        and refusal.until > now
    ]


def _warn_of_futile(steps: Sequence[Step]) -> None:
    """Say what replacing did not cure: it is borne for a while, since each time changes are missed."""
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
