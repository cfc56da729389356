"""The steps that give every declaration a live subscription: computed from values alone, without I/O.

The URL of a subscription shows the clientState secret and the declaration, its certificate id shows the key. A property
that Graph does not show is unknown, and not a fault.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.configuration.declaration import Declaration
from shared.configuration.values import event_hub
from shared.graph.client import GraphRequestError
from shared.resources.catalog import find, longest_lifetime, template_segments
from shared.resources.renewal import RUNS_IN_A_LIFE
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.marks import read_url
from shared.subscriptions.recognition import NOTHING_KNOWN, classify
from shared.subscriptions.subscription import (
    Action,
    DesiredState,
    FailedCreation,
    Outcome,
    Step,
    Subscription,
    id_type_of,
)

RENEW_AT = 0.45
"""Share of the lifetime left at renewal (docs/graph.md, "Renewal": half to a third)."""
RENEW_SPREAD = 0.1
"""Variation of that share, so that a thousand subscriptions do not renew at once."""
EARLIEST = 0.8
"""Largest share of the lifetime left at renewal, if the timer runs seldom."""

LEAST_URGENT = timedelta(minutes=15)
"""Subscriptions that expire within two timer runs, or within this time, come first."""

NEVER_REFUSED: Mapping[str, FailedCreation] = {}

_NOT_CHANGED, _REFUSES_TO_CHANGE = "Graph has not changed its certificate", "Graph refuses to change its certificate"
_CERTIFICATE_STAYS = (_NOT_CHANGED, _REFUSES_TO_CHANGE)

FIRST_POSTPONEMENT, LONGEST_POSTPONEMENT = timedelta(hours=1), timedelta(days=1)
"""How long a replacement is postponed if the last one did not fix the same fault; it doubles each time."""


def plan(
    declarations: Iterable[Declaration],
    actual: Iterable[Subscription],
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
    known: Mapping[str, KnownSubscription] = NOTHING_KNOWN,
    refusals: Mapping[str, FailedCreation] = NEVER_REFUSED,
) -> list[Step]:
    """Return the steps that make the subscriptions of one tenant match `declarations`, the most urgent first.

    Foreign subscriptions are never changed. If several subscriptions serve one declaration, the best is kept. Removals
    of undeclared subscriptions come last, after their possible successors. known: the stored subscriptions by id.
    refusals: failed creations by the id of the declaration.
    """
    declared = {declaration.id: declaration for declaration in declarations}
    own = classify(actual, desired, known, tenant_id).own
    surplus, steps, undeclared = [], [], []
    for name, declaration in declared.items():
        best = _best(declaration, own.get(name, ()), desired)
        surplus += [
            Step(Action.REMOVE, tenant_id, None, other, "another one serves its declaration", best.id)
            for other in own.get(name, ())
            if best is not None and other.id != best.id
        ]
        step = step_for(declaration, best, desired, tenant_id, now, known)
        if step is not None:
            steps.append(step)
    for name in own.keys() - declared.keys():
        undeclared += [
            Step(Action.REMOVE, tenant_id, None, subscription, "it is not declared")
            for subscription in own[name]
            if not desired.may_belong(subscription.resource)
        ]
    soon = max(2 * desired.pause, LEAST_URGENT)
    return _by_urgency(steps, surplus, refusals, now, soon) + undeclared


def _by_urgency(
    steps: list[Step], surplus: list[Step], refusals: Mapping[str, FailedCreation], now: datetime, soon: timedelta
) -> list[Step]:
    """Order: subscriptions that expire soon; surplus ones that make Graph refuse others; new ones; those with the least
    time left; failed creations, the longest ago first.
    """

    def rank(step: Step) -> tuple[int, datetime]:
        if step.subscription is None:
            refusal = refusals.get(step.declaration.id) if step.declaration else None
            return (1, now) if refusal is None else (3, refusal.last)
        ends = step.subscription.expiration_date_time
        return (0 if ends - now <= soon else 2), ends

    steps.sort(key=rank)
    urgent = sum(rank(step)[0] == 0 for step in steps)
    return steps[:urgent] + surplus + steps[urgent:]


def serving(
    declarations: Iterable[Declaration],
    actual: Iterable[Subscription],
    desired: DesiredState,
    tenant_id: str,
    known: Mapping[str, KnownSubscription] = NOTHING_KNOWN,
) -> dict[str, Subscription]:
    """Return the subscription at the app's endpoint that serves each declaration now, by the id of the declaration."""
    classified = classify(actual, desired, known, tenant_id)
    found = {}
    for declaration in declarations:
        best = _best(declaration, classified.own.get(declaration.id, ()), desired)
        if best is not None and read_url(best.notification_url).endpoint == desired.endpoint:
            found[declaration.id] = best
    return found


def _best(declaration: Declaration, candidates: Sequence[Subscription], desired: DesiredState) -> Subscription | None:
    """Prefer a subscription without fault, then with the current URL, then with the change types, then with the longest
    life.
    """
    if len(candidates) == 1:
        return candidates[0]
    return max(
        candidates,
        key=lambda subscription: (
            fault_of(subscription, declaration, desired) is None,
            _fault_of_url(subscription, declaration, desired) is None,
            change_types(subscription) == set(declaration.change_types),
            subscription.expiration_date_time,
        ),
        default=None,
    )


def step_for(
    declaration: Declaration,
    subscription: Subscription | None,
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
    known: Mapping[str, KnownSubscription] = NOTHING_KNOWN,
) -> Step | None:
    """Return the step for the subscription of a declaration; None: nothing to do."""
    if subscription is None:
        return Step(Action.CREATE, tenant_id, declaration, None, "there is no subscription")
    fault = fault_of(subscription, declaration, desired)
    if fault and now >= postponed_until(subscription, fault, desired, known, now):
        return Step(Action.REPLACE, tenant_id, declaration, subscription, fault)
    return maintenance_step(declaration, subscription, desired, tenant_id, now, known)


def maintenance_step(
    declaration: Declaration,
    subscription: Subscription,
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
    known: Mapping[str, KnownSubscription] = NOTHING_KNOWN,
) -> Step | None:
    """Return the step that keeps a subscription alive despite any fault; None: nothing to do."""
    if carries_another_key(subscription, declaration, desired) and not any(
        now < postponed_until(subscription, fault, desired, known, now) for fault in _CERTIFICATE_STAYS
    ):
        return Step(Action.REKEY, tenant_id, declaration, subscription, "it carries another encryption certificate")
    if subscription.expiration_date_time - now <= _renewal_point(subscription, declaration, desired.pause):
        return Step(Action.RENEW, tenant_id, declaration, subscription, "it expires soon")
    return None


def postponed_until(
    subscription: Subscription, fault: str, desired: DesiredState, known: Mapping[str, KnownSubscription], now: datetime
) -> datetime:
    """Return when a fault may be fixed again that the last replacement did not fix; `now` for any other fault."""
    before = known.get(subscription.id.lower())
    if (
        before is None
        or before.made is None
        or desired.recreate
        or before.replaced_for != replacement_cause(fault, desired)
    ):
        return now
    return before.made + min(FIRST_POSTPONEMENT * int(2 ** min(before.times - 1, 10)), LONGEST_POSTPONEMENT)


def postponed_replacements(
    declarations: Iterable[Declaration],
    actual: Iterable[Subscription],
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
    known: Mapping[str, KnownSubscription],
) -> list[Step]:
    """Return the postponed replacements: Graph still shows the fault that the last one should have fixed."""
    if not any(memory.replaced_for for memory in known.values()):
        return []
    own, waiting = classify(actual, desired, known, tenant_id).own, []
    for declaration in declarations:
        best = _best(declaration, own.get(declaration.id, ()), desired)
        fault = fault_of(best, declaration, desired) if best else None
        if best and fault and postponed_until(best, fault, desired, known, now) > now:
            waiting.append(Step(Action.REPLACE, tenant_id, declaration, best, fault))
    return waiting


def replacement_cause(fault: str, desired: DesiredState) -> str:
    """Return a key for a fault and the wanted endpoint and secret: a change of these permits another replacement."""
    wanted = "\n".join((*desired.endpoint, desired.fingerprint))
    return f"{hashlib.sha256(wanted.encode()).hexdigest()[:8]}: {fault}"


def carries_another_key(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> bool:
    """Return whether a subscription needs the current certificate."""
    if not declaration.include_resource_data or desired.key is None:
        return False
    return subscription.encryption_certificate_id != desired.key.key_id


def fault_of(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> str | None:
    """Return a fault that no PATCH can fix; None if there is none."""
    shown = subscription.include_resource_data
    lifecycle = subscription.lifecycle_notification_url
    faults = (
        (desired.recreate, "all are to be recreated"),
        ((fault := _fault_of_url(subscription, declaration, desired)) is not None, fault),
        (bool(lifecycle) and read_url(lifecycle or "").endpoint != desired.endpoint, "its lifecycle URL differs"),
        (change_types(subscription) not in (set(declaration.change_types), {""}), "its change types differ"),
        (
            shown is not None and shown != declaration.include_resource_data,
            "it differs in whether resource data is included",
        ),
        (subscription.id.lower() in desired.lagging, "its items still name another key"),
        (subscription.id.lower() in desired.silent, "it sends nothing any more"),
    )
    return next((fault for is_there, fault in faults if is_there), None)


def _fault_of_url(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> str | None:
    url = read_url(subscription.notification_url)
    if url.endpoint != desired.endpoint:
        return "its URL differs"
    if event_hub(desired.notification_url):
        return None
    if url.minted_by != desired.fingerprint:
        return "its clientState secret differs"
    return "the kind of its ids differs" if url.id_type != id_type_of(declaration.resource) else None


def renewal_period(declaration: Declaration) -> timedelta:
    """Return the largest part of its lifetime after which a subscription is renewed."""
    life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
    return life * (1 - RENEW_AT + RENEW_SPREAD / 2)


def _renewal_point(subscription: Subscription, declaration: Declaration, pause: timedelta) -> timedelta:
    """Return the time left at which a subscription is renewed: more if the timer runs seldom."""
    chance = hashlib.sha256(subscription.id.encode()).digest()[0] / 255
    life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
    usual = life * (RENEW_AT + RENEW_SPREAD * (chance - 0.5))
    if pause >= life:
        return usual  # no run comes in time; `doctor` reports that
    return max(usual, min(pause * RUNS_IN_A_LIFE, life * EARLIEST))


def change_types(subscription: Subscription) -> set[str]:
    """Return the change types of a subscription, in lower case."""
    return {part.strip().lower() for part in subscription.change_type.split(",")}


def needs_handshake(step: Step, desired: DesiredState) -> bool:
    """Whether Graph validates the endpoint in a step. It never validates an event hub."""
    return step.opens_a_gap and not event_hub(desired.notification_url)


UniquenessKey = tuple[tuple[str, ...], frozenset[str]]
"""The key under which Graph considers subscriptions duplicates: a resource and the change types."""


def uniqueness_key(resource: str, types: Iterable[str]) -> UniquenessKey:
    """Return the key, with the path normalized. A user in it may still be an id or a name."""
    return template_segments(resource), frozenset(types)


def may_be_same_subscription(declaration: Declaration, subscription: Subscription) -> bool:
    """Whether a subscription may be to the declared resource in another spelling: a user has an id and a name."""
    return change_types(subscription) in (set(declaration.change_types), {""}) and (
        find(declaration.resource) == find(subscription.resource)
    )


def follow_up(outcome: Outcome, desired: DesiredState) -> Step | None:
    """Return the follow-up step if a PATCH failed: a new subscription."""
    step, refusal = outcome.step, outcome.error
    if step.action not in (Action.RENEW, Action.REKEY):
        return None
    if isinstance(refusal, GraphRequestError) and refusal.status == 404:
        return replace(step, action=Action.CREATE, subscription=None, explanation="it no longer exists")
    explanation = _why_replace(outcome, desired)
    return replace(step, action=Action.REPLACE, explanation=explanation) if explanation else None


def _why_replace(outcome: Outcome, desired: DesiredState) -> str | None:
    refusal = outcome.error
    if isinstance(refusal, GraphRequestError) and renews_with_more(outcome.step.declaration, refusal):
        return "Graph refuses to renew it with the permission that created it"
    if outcome.step.action is Action.RENEW:
        return None
    if isinstance(refusal, GraphRequestError) and refusal.status == 400:
        return _REFUSES_TO_CHANGE
    answered = outcome.subscription.encryption_certificate_id if outcome.subscription else None
    if answered and desired.key is not None and answered != desired.key.key_id:
        # Microsoft's pages disagree on whether a certificate can be changed (docs/graph.md, "Certificates").
        return _NOT_CHANGED
    return None


def renews_with_more(declaration: Declaration | None, refusal: GraphRequestError) -> bool:
    """Whether Graph refuses a renewal although the token has the permission for creation: for some kinds, Microsoft's
    page on renewal requires more. A new subscription replaces the old one.
    """
    kind = find(declaration.resource) if declaration else None
    if refusal.status != 403 or kind is None or kind.renew is None or refusal.granted is None:
        return False
    return not refusal.granted.isdisjoint(kind.subscribe)
