"""What has to be done so that every declaration has a live subscription of ours: decided from values alone.

What Graph holds is all the memory there is: the URL of a subscription shows which clientState secret minted it, its
certificate id which key it uses.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from shared.configuration.declaration import Declaration
from shared.graph.client import GraphRequestError
from shared.resources.catalog import find, longest_lifetime
from shared.resources.renewal import RUNS_IN_A_LIFE
from shared.subscriptions.subscription import ID_TYPE, MINTED_BY, Action, DesiredState, Outcome, Step, Subscription

_URL_DIFFERS = "its URL, its clientState secret or the kind of its ids differs"

RENEW_AT = 0.45
"""Share of its life that is left when a subscription is renewed (docs/graph.md, "Renewal": half to a third)."""
RENEW_SPREAD = 0.1
"""Share by which that varies from one to the next, so that a thousand do not renew at once."""
EARLIEST = 0.8
"""Share of its life that is left when a subscription is renewed at the earliest, where the timer runs seldom."""


def serving(declaration: Declaration, actual: Sequence[Subscription], desired: DesiredState) -> Subscription | None:
    """Return the subscription of ours that serves a declaration at present, if one does."""
    best = _best(declaration, actual, desired)
    return best if best and _same_endpoint(best.notification_url, desired.notification_url) else None


def plan(
    declarations: Iterable[Declaration],
    actual: Sequence[Subscription],
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
) -> list[Step]:
    """Return what makes the subscriptions of one tenant match `declarations`. Nothing to do: nothing returned.

    Only what carries our own URL, or makes Graph refuse a declared subscription, is ever removed.
    """
    chosen = [(declaration, _best(declaration, actual, desired)) for declaration in declarations]
    kept = {best.id for _, best in chosen if best}
    removals = [
        Step(Action.REMOVE, tenant_id, None, subscription, "it is not declared")
        for subscription in actual
        if subscription.id not in kept and _same_endpoint(subscription.notification_url, desired.notification_url)
    ]
    steps = [_step(declaration, best, desired, tenant_id, now) for declaration, best in chosen]
    # Removals first: a duplicate makes Graph refuse a creation. Then what has the least time left.
    return removals + sorted((step for step in steps if step), key=lambda step: _ends(step, now))


def _ends(step: Step, now: datetime) -> datetime:
    return step.subscription.expiration_date_time if step.subscription else now


def _best(declaration: Declaration, actual: Sequence[Subscription], desired: DesiredState) -> Subscription | None:
    """The subscription that serves best: without fault; else one that is in the way; and with the longest life left."""
    candidates = [
        subscription
        for subscription in actual
        if is_of(subscription, declaration) and _concerns(subscription, declaration, desired)
    ]
    return max(
        candidates,
        key=lambda subscription: (
            _fault(subscription, declaration, desired) is None,
            change_types(subscription) == set(declaration.change_types),
            subscription.expiration_date_time,
        ),
        default=None,
    )


def _step(
    declaration: Declaration, subscription: Subscription | None, desired: DesiredState, tenant_id: str, now: datetime
) -> Step | None:
    if subscription is None:
        return Step(Action.CREATE, tenant_id, declaration, None, "there is no subscription")
    fault = _fault(subscription, declaration, desired)
    if fault:
        return Step(Action.REPLACE, tenant_id, declaration, subscription, fault)
    if carries_another_key(subscription, declaration, desired):
        return Step(Action.REKEY, tenant_id, declaration, subscription, "it carries another encryption certificate")
    if subscription.expiration_date_time - now <= _renewal_point(subscription, declaration, desired.pause):
        return Step(Action.RENEW, tenant_id, declaration, subscription, "it expires soon")
    return None


def carries_another_key(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> bool:
    """Tell whether a subscription has to be given the current certificate."""
    if not declaration.include_resource_data or desired.key is None:
        return False
    return subscription.encryption_certificate_id != desired.key.key_id


def _fault(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> str | None:
    """Return what is wrong with a subscription that no PATCH can fix; None if nothing is."""
    differs_in_data = bool(subscription.include_resource_data) != declaration.include_resource_data
    faults = (
        (desired.recreate, "all are to be recreated"),
        (subscription.notification_url != desired.url_for(declaration.resource), _URL_DIFFERS),
        (
            not _same_endpoint(subscription.lifecycle_notification_url or "", desired.notification_url),
            "its lifecycle URL differs",
        ),
        (change_types(subscription) != set(declaration.change_types), "its change types differ"),
        (differs_in_data, "it differs in whether resource data is included"),
        (subscription.id.lower() in desired.lagging, "its items still name another key"),
    )
    return next((fault for is_there, fault in faults if is_there), None)


def _concerns(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> bool:
    """Whether it is at our endpoint, or would be in the way: Graph takes one for a resource and its change types."""
    in_the_way = change_types(subscription) == set(declaration.change_types)
    return in_the_way or _same_endpoint(subscription.notification_url, desired.notification_url)


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


def is_of(subscription: Subscription, declaration: Declaration) -> bool:
    """Tell whether a subscription is of the resource that is declared."""
    return subscription.resource.strip("/").lower() == declaration.resource.strip("/").lower()


def _same_endpoint(url: str, desired: str) -> bool:
    """Whether two URLs differ in our own mark alone."""
    left, right = urlsplit(url), urlsplit(desired)
    marks = [
        [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in (MINTED_BY, ID_TYPE)]
        for parts in (left, right)
    ]
    return left[:3] == right[:3] and marks[0] == marks[1]


def change_types(subscription: Subscription) -> set[str]:
    """Return the change types of a subscription, in lower case."""
    return {part.strip().lower() for part in subscription.change_type.split(",")}


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
        return "Graph refuses to change its certificate"
    answered = outcome.subscription.encryption_certificate_id if outcome.subscription else None
    if answered is not None and desired.key is not None and answered != desired.key.key_id:
        # Microsoft's pages disagree on whether a certificate can be changed (docs/graph.md, "Certificates").
        return "Graph has not changed its certificate"
    return None


def renews_with_more(declaration: Declaration | None, refusal: GraphRequestError) -> bool:
    """Whether Graph refuses a renewal although the token has what creating takes, of a kind for which Microsoft's page
    on renewing wants more. A new subscription does in its place.
    """
    kind = find(declaration.resource) if declaration else None
    if refusal.status != 403 or kind is None or kind.renew is None or refusal.granted is None:
        return False
    return not refusal.granted.isdisjoint(kind.subscribe)
