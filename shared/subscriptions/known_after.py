"""The rows stored about subscriptions after steps: the declaration, the expiry, and the fault that led to a
replacement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.plan import replacement_cause
from shared.subscriptions.recognition import served_declaration
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step, Subscription


def known_after(
    alive: Iterable[Subscription],
    outcomes: Iterable[Outcome],
    known: Mapping[str, KnownSubscription],
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
) -> dict[str, KnownSubscription]:
    """Return what to store about live subscriptions, and about those that steps have created or renewed."""
    noted: dict[str, KnownSubscription] = {}
    for subscription in alive:
        name = subscription.id.lower()
        declaration = served_declaration(subscription, desired, known, tenant_id)
        if declaration is not None:
            noted[name] = _remember(subscription, declaration, known.get(name), now)
    for outcome in outcomes:
        step, made = outcome.step, outcome.subscription
        if made is not None and step.declaration is not None:
            before = known.get(step.subscription.id.lower()) if step.subscription else None
            after = _after(step, before, desired, now) if outcome.error is None else before
            noted[made.id.lower()] = _remember(made, step.declaration.id, after, now)
    return noted


def _remember(
    subscription: Subscription, declaration: str, before: KnownSubscription | None, now: datetime
) -> KnownSubscription:
    key = subscription.encryption_certificate_id or (before.key if before else "")
    if before is None:
        return KnownSubscription(declaration, subscription.expiration_date_time, key, since=now)
    return replace(before, declaration=declaration, expires=subscription.expiration_date_time, key=key)


def _after(
    step: Step, before: KnownSubscription | None, desired: DesiredState, now: datetime
) -> KnownSubscription | None:
    """Return what to store about a subscription after a step, apart from Graph's answer."""
    if step.action is not Action.REPLACE or step.declaration is None:
        return before
    if desired.recreate:
        return None
    replaced_for = replacement_cause(step.explanation, desired)
    times = before.times if before is not None and before.replaced_for == replaced_for else 0
    return KnownSubscription(step.declaration.id, now, "", replaced_for, times + 1, now, now)
