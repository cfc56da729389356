"""What has to be done so that every declaration has a live subscription of ours: decided from values alone.

The URL of a subscription shows which clientState secret minted it and which declaration it serves, its certificate id
which key it uses. What Graph does not show is unknown, and no fault.
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
from shared.subscriptions.known import Known
from shared.subscriptions.marks import read_url
from shared.subscriptions.recognition import NOTHING_KNOWN, take_inventory
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Refusal, Step, Subscription, id_type_of

RENEW_AT = 0.45
"""Share of its life that is left when a subscription is renewed (docs/graph.md, "Renewal": half to a third)."""
RENEW_SPREAD = 0.1
"""Share by which that varies from one to the next, so that a thousand do not renew at once."""
EARLIEST = 0.8
"""Share of its life that is left when a subscription is renewed at the earliest, where the timer runs seldom."""

LEAST_URGENT = timedelta(minutes=15)
"""What expires within two runs of the timer, or this time, is seen to before anything else."""

NEVER_REFUSED: Mapping[str, Refusal] = {}

_NOT_CHANGED, _REFUSES_TO_CHANGE = "Graph has not changed its certificate", "Graph refuses to change its certificate"
_CERTIFICATE_STAYS = (_NOT_CHANGED, _REFUSES_TO_CHANGE)

FIRST_PATIENCE, LONGEST_PATIENCE = timedelta(hours=1), timedelta(days=1)
"""How long a replacement waits whose fault the last one did not cure; it doubles each time."""


def plan(
    declarations: Iterable[Declaration],
    actual: Iterable[Subscription],
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
    known: Mapping[str, Known] = NOTHING_KNOWN,
    refusals: Mapping[str, Refusal] = NEVER_REFUSED,
) -> list[Step]:
    """Return what makes the subscriptions of one tenant match `declarations`, the most urgent first.

    What is not ours is left alone. Of the subscriptions that serve one declaration, the best is kept. What nothing
    declares goes last: by then, what takes its place is there. `known`: our subscriptions of before, by their ids.
    `refusals`: creations that failed before, by the ids of their declarations.
    """
    declared = {declaration.id: declaration for declaration in declarations}
    ours = take_inventory(actual, desired, known, tenant_id).ours
    surplus, steps, undeclared = [], [], []
    for name, declaration in declared.items():
        best = _best(declaration, ours.get(name, ()), desired)
        surplus += [
            Step(Action.REMOVE, tenant_id, None, other, "another one serves its declaration", best.id)
            for other in ours.get(name, ())
            if best is not None and other.id != best.id
        ]
        step = step_for(declaration, best, desired, tenant_id, now, known)
        if step is not None:
            steps.append(step)
    for name in ours.keys() - declared.keys():
        undeclared += [
            Step(Action.REMOVE, tenant_id, None, subscription, "it is not declared")
            for subscription in ours[name]
            if not desired.may_belong(subscription.resource)
        ]
    soon = max(2 * desired.pause, LEAST_URGENT)
    return _by_urgency(steps, surplus, refusals, now, soon) + undeclared


def _by_urgency(
    steps: list[Step], surplus: list[Step], refusals: Mapping[str, Refusal], now: datetime, soon: timedelta
) -> list[Step]:
    """What expires soon; what makes Graph refuse another; what is missing and was never asked for; what has the least
    time left; then what failed to be created before, first what was asked for longest ago.
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
    known: Mapping[str, Known] = NOTHING_KNOWN,
) -> dict[str, Subscription]:
    """Return the subscription at our endpoint that serves each declaration at present, by the declaration's id."""
    inventory = take_inventory(actual, desired, known, tenant_id)
    found = {}
    for declaration in declarations:
        best = _best(declaration, inventory.ours.get(declaration.id, ()), desired)
        if best is not None and read_url(best.notification_url).endpoint == desired.endpoint:
            found[declaration.id] = best
    return found


def _best(declaration: Declaration, candidates: Sequence[Subscription], desired: DesiredState) -> Subscription | None:
    """The one without fault; else the one with our present URL, with the change types; and with the longest life."""
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
    known: Mapping[str, Known] = NOTHING_KNOWN,
) -> Step | None:
    """Return what the subscription of a declaration needs; None: nothing."""
    if subscription is None:
        return Step(Action.CREATE, tenant_id, declaration, None, "there is no subscription")
    fault = fault_of(subscription, declaration, desired)
    if fault and now >= held_back_until(subscription, fault, desired, known, now):
        return Step(Action.REPLACE, tenant_id, declaration, subscription, fault)
    return care(declaration, subscription, desired, tenant_id, now, known)


def care(
    declaration: Declaration,
    subscription: Subscription,
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
    known: Mapping[str, Known] = NOTHING_KNOWN,
) -> Step | None:
    """Return what keeps a subscription alive as it is, whatever is wrong with it; None: nothing has to be done."""
    if carries_another_key(subscription, declaration, desired) and not any(
        now < held_back_until(subscription, fault, desired, known, now) for fault in _CERTIFICATE_STAYS
    ):
        return Step(Action.REKEY, tenant_id, declaration, subscription, "it carries another encryption certificate")
    if subscription.expiration_date_time - now <= _renewal_point(subscription, declaration, desired.pause):
        return Step(Action.RENEW, tenant_id, declaration, subscription, "it expires soon")
    return None


def held_back_until(
    subscription: Subscription, fault: str, desired: DesiredState, known: Mapping[str, Known], now: datetime
) -> datetime:
    """Return until when a fault is borne that the last replacement was to cure, and did not; `now` for any other."""
    before = known.get(subscription.id.lower())
    if before is None or before.made is None or desired.recreate or before.cures != cure(fault, desired):
        return now
    return before.made + min(FIRST_PATIENCE * int(2 ** min(before.times - 1, 10)), LONGEST_PATIENCE)


def held_back(
    declarations: Iterable[Declaration],
    actual: Iterable[Subscription],
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
    known: Mapping[str, Known],
) -> list[Step]:
    """Return the replacements that wait, since the last one did not cure the fault that Graph still shows."""
    if not any(memory.cures for memory in known.values()):
        return []
    ours, waiting = take_inventory(actual, desired, known, tenant_id).ours, []
    for declaration in declarations:
        best = _best(declaration, ours.get(declaration.id, ()), desired)
        fault = fault_of(best, declaration, desired) if best else None
        if best and fault and held_back_until(best, fault, desired, known, now) > now:
            waiting.append(Step(Action.REPLACE, tenant_id, declaration, best, fault))
    return waiting


def cure(fault: str, desired: DesiredState) -> str:
    """Return what names a fault together with what was to cure it: another URL or secret is another cure."""
    wanted = "\n".join((*desired.endpoint, desired.fingerprint))
    return f"{hashlib.sha256(wanted.encode()).hexdigest()[:8]}: {fault}"


def carries_another_key(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> bool:
    """Tell whether a subscription has to be given the current certificate."""
    if not declaration.include_resource_data or desired.key is None:
        return False
    return subscription.encryption_certificate_id != desired.key.key_id


def fault_of(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> str | None:
    """Return what is wrong with a subscription that no PATCH can fix; None if nothing is known to be."""
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
    """Return after how much of its life a subscription is renewed, at the latest."""
    life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
    return life * (1 - RENEW_AT + RENEW_SPREAD / 2)


def _renewal_point(subscription: Subscription, declaration: Declaration, pause: timedelta) -> timedelta:
    """Return with how much of its life left a subscription is renewed: earlier where the timer runs seldom."""
    chance = hashlib.sha256(subscription.id.encode()).digest()[0] / 255
    life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
    usual = life * (RENEW_AT + RENEW_SPREAD * (chance - 0.5))
    if pause >= life:
        return usual  # no run comes in time, whatever is done now: `doctor` says so
    return max(usual, min(pause * RUNS_IN_A_LIFE, life * EARLIEST))


def change_types(subscription: Subscription) -> set[str]:
    """Return the change types of a subscription, in lower case."""
    return {part.strip().lower() for part in subscription.change_type.split(",")}


def needs_handshake(step: Step, desired: DesiredState) -> bool:
    """Whether Graph validates our endpoint in a step. That of an event hub is never validated."""
    return step.opens_a_gap and not event_hub(desired.notification_url)


Place = tuple[tuple[str, ...], frozenset[str]]
"""What tells subscriptions apart for Graph: a resource and the change types."""


def place(resource: str, types: Iterable[str]) -> Place:
    """Return what tells subscriptions apart for Graph, in one spelling of the path; a user has a name beside an id."""
    return template_segments(resource), frozenset(types)


def may_be_same(declaration: Declaration, subscription: Subscription) -> bool:
    """Whether a subscription may be of what is declared, in another spelling: a user has an id and a name."""
    return change_types(subscription) in (set(declaration.change_types), {""}) and (
        find(declaration.resource) == find(subscription.resource)
    )


def follow_up(outcome: Outcome, desired: DesiredState) -> Step | None:
    """Return what has to be done instead where a PATCH could not do it: then nothing less than a new one will."""
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
    """Whether Graph refuses a renewal although the token has what creating takes, of a kind for which Microsoft's page
    on renewing wants more. A new subscription does in its place.
    """
    kind = find(declaration.resource) if declaration else None
    if refusal.status != 403 or kind is None or kind.renew is None or refusal.granted is None:
        return False
    return not refusal.granted.isdisjoint(kind.subscribe)
