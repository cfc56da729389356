"""The state of the declared subscriptions: at Graph, and by the notifications received."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from shared.configuration.declaration import Declaration
from shared.errors import RelayError, RetryLater
from shared.keys.key import EncryptionKey
from shared.relay import relay
from shared.subscriptions.known import KnownSubscription
from shared.subscriptions.plan import plan
from shared.subscriptions.recognition import classify, completed
from shared.subscriptions.subscription import Action, Step, Subscription
from shared.subscriptions.wait_budget import WaitBudget

PATIENCE = timedelta(hours=1)
"""Time to wait for Graph's limits: listing ten thousand subscriptions takes two minutes."""

EXPIRES_SOON = timedelta(minutes=15)
"""Remaining lifetime that needs attention; renew_timer has had many runs by then."""


class State(StrEnum):
    """The states of a subscription, the worst first."""

    MISSING = "missing"
    EXPIRING = "expiring"
    UNKNOWN = "unknown"
    TO_REPLACE = "to-replace"
    UNDECLARED = "undeclared"
    TO_RENEW = "to-renew"
    FINE = "fine"


_BY_ACTION = {
    Action.CREATE: State.MISSING,
    Action.REPLACE: State.TO_REPLACE,
    Action.REMOVE: State.UNDECLARED,
    Action.RENEW: State.TO_RENEW,
    Action.REKEY: State.TO_RENEW,
}


class SubscriptionState(msgspec.Struct):
    """A declaration and its subscription, or an undeclared subscription.

    todo: the step of the next run of renew_timer. attention: the problem, for a person. state: `unknown` if the
    tenant's subscriptions could not be listed.
    """

    tenant: str
    resource: str
    id: str | None = None
    expires_in_seconds: float | None = None
    silent_seconds: float | None = None
    key: str | None = None
    todo: str | None = None
    attention: str | None = None
    state: State = State.FINE


@dataclass
class Listed:
    """The subscriptions of each tenant, with keys that Graph does not show; tenants that can't be listed, and why.

    noted: the stored subscriptions of each tenant, by id.
    """

    found: dict[str, list[Subscription]] = field(default_factory=dict)
    noted: dict[str, Mapping[str, KnownSubscription]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def key_names(self) -> list[str]:
        """The ids of the keys that subscriptions use."""
        return [
            subscription.encryption_certificate_id or "" for tenant in self.found.values() for subscription in tenant
        ]


def listed() -> Listed:
    """List the subscriptions of every tenant. Raises SettingsError; Graph limits these calls to one a second."""
    settings, budget = relay().settings, WaitBudget(PATIENCE, lambda wait: time.sleep(wait.total_seconds()))
    known = Listed()
    for tenant_id in relay().declarations.by_tenant(settings.tenant_id):
        noted: Mapping[str, KnownSubscription] = {}
        with suppress(RetryLater):  # the parts that need storage report that
            noted = relay().known_subscriptions.all(tenant_id)
        try:
            shown = relay().subscriptions.list(tenant_id, budget.wait)
            known.found[tenant_id] = [completed(subscription, noted) for subscription in shown]
            known.noted[tenant_id] = noted
        except RetryLater as retry_later:
            known.unavailable[tenant_id] = str(retry_later)
        except RelayError as error:
            known.refused[tenant_id] = str(error)
    return known


def states(
    known: Listed, key: EncryptionKey | None, seen: Mapping[str, datetime], now: datetime
) -> list[SubscriptionState]:
    """Return the state of each declaration and of the app's undeclared subscriptions. key: the current one."""
    found: list[SubscriptionState] = []
    for tenant_id, subscriptions in known.found.items():
        found += _of_tenant(tenant_id, subscriptions, known.noted[tenant_id], key, seen, now)
    not_listed = known.unavailable | known.refused
    return found + [
        _silence(
            SubscriptionState(declaration.tenant_id, declaration.resource, state=State.UNKNOWN), declaration, seen, now
        )
        for declaration in relay().declarations
        if declaration.tenant_id in not_listed
    ]


def worst(states: Iterable[SubscriptionState], number: int) -> list[SubscriptionState]:
    """Return the first ones: those that need attention, the worst first, then those with the least time left."""
    order = {state: place for place, state in enumerate(State)}
    ranked = sorted(
        states, key=lambda state: (state.attention is None, order[state.state], state.expires_in_seconds or 0)
    )
    return ranked[:number]


def _of_tenant(
    tenant_id: str,
    shown: Sequence[Subscription],
    noted: Mapping[str, KnownSubscription],
    key: EncryptionKey | None,
    seen: Mapping[str, datetime],
    now: datetime,
) -> Iterator[SubscriptionState]:
    declared, desired = relay().declarations.of_tenant(tenant_id), relay().desired_state(key)
    steps = plan(declared, shown, desired, tenant_id, now, noted) if key is not None else []
    by_declaration = {step.declaration.id: step for step in steps if step.declaration is not None}
    removed = {step.subscription.id for step in steps if step.action is Action.REMOVE and step.subscription}
    own = classify(shown, desired, noted, tenant_id).own
    for declaration in declared:
        step = by_declaration.get(declaration.id)
        standing = [held for held in own.get(declaration.id, ()) if held.id not in removed]
        best = step.subscription if step else max(standing, key=lambda held: held.expiration_date_time, default=None)
        yield _of_declaration(declaration, best, step, seen, now)
    yield from (_undeclared(step, now) for step in steps if step.action is Action.REMOVE)


def _of_declaration(
    declaration: Declaration,
    subscription: Subscription | None,
    step: Step | None,
    seen: Mapping[str, datetime],
    now: datetime,
) -> SubscriptionState:
    state = SubscriptionState(declaration.tenant_id, declaration.resource)
    if step:
        state.todo, state.state = f"{step.action}: {step.explanation}", _BY_ACTION[step.action]
    if subscription is None:
        state.attention, state.state = "there is no subscription", State.MISSING
        return _silence(state, declaration, seen, now)
    left = subscription.expiration_date_time - now
    state.id, state.expires_in_seconds = subscription.id, round(left.total_seconds())
    state.key = subscription.encryption_certificate_id
    if left < EXPIRES_SOON:
        state.attention = "it expires soon and was not renewed: does renew_timer run?"
        state.state = State.EXPIRING
    return _silence(state, declaration, seen, now)


def _undeclared(step: Step, now: datetime) -> SubscriptionState:
    state = SubscriptionState(step.tenant_id, "", todo=f"{step.action}: {step.explanation}", state=State.UNDECLARED)
    if step.subscription is not None:
        state.resource, state.id = step.subscription.resource, step.subscription.id
        state.expires_in_seconds = round((step.subscription.expiration_date_time - now).total_seconds())
    return state


def _silence(
    state: SubscriptionState, declaration: Declaration, seen: Mapping[str, datetime], now: datetime
) -> SubscriptionState:
    last = seen.get(declaration.id)
    if last is not None:
        state.silent_seconds = round((now - last).total_seconds())
    return state
