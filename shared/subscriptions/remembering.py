"""What is remembered of subscriptions after steps: which declaration each serves, until when, and what it cured."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from shared.subscriptions.known import Known
from shared.subscriptions.plan import cure
from shared.subscriptions.recognition import served_declaration
from shared.subscriptions.subscription import Action, DesiredState, Outcome, Step, Subscription


def remembered_after(
    alive: Iterable[Subscription],
    outcomes: Iterable[Outcome],
    known: Mapping[str, Known],
    desired: DesiredState,
    tenant_id: str,
    now: datetime,
) -> dict[str, Known]:
    """Return what to remember of those of ours that are alive, and of those that steps have made or renewed."""
    noted: dict[str, Known] = {}
    for subscription in alive:
        declaration, before = (
            served_declaration(subscription, desired, known, tenant_id),
            known.get(subscription.id.lower()),
        )
        if declaration is not None:
            noted[subscription.id.lower()] = _remember(subscription, declaration, before, now)
    for outcome in outcomes:
        step, made = outcome.step, outcome.subscription
        if made is not None and step.declaration is not None:
            before = known.get(step.subscription.id.lower()) if step.subscription else None
            after = _after(step, before, desired, now) if outcome.error is None else before
            noted[made.id.lower()] = _remember(made, step.declaration.id, after, now)
    return noted


def _remember(subscription: Subscription, declaration: str, before: Known | None, now: datetime) -> Known:
    key = subscription.encryption_certificate_id or (before.key if before else "")
    if before is None:
        return Known(declaration, subscription.expiration_date_time, key, since=now)
    return replace(before, declaration=declaration, expires=subscription.expiration_date_time, key=key)


def _after(step: Step, before: Known | None, desired: DesiredState, now: datetime) -> Known | None:
    """Return what is remembered of a subscription after a step, without what Graph's answer says of it."""
    if step.action is not Action.REPLACE or step.declaration is None:
        return before
    if desired.recreate:
        return None
    cures = cure(step.explanation, desired)
    times = before.times if before is not None and before.cures == cures else 0
    return Known(step.declaration.id, now, "", cures, times + 1, now, now)
