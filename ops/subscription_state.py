"""The state of the declared subscriptions: at Graph, and by the notifications received."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from shared.configuration.declaration import Declaration
from shared.errors import RelayError, RetryLater
from shared.keys.key import EncryptionKey
from shared.relay import relay
from shared.subscriptions.plan import plan
from shared.subscriptions.subscription import Action, Step, Subscription

EXPIRES_SOON = timedelta(minutes=15)
"""Remaining lifetime that needs attention; renew_timer has had many runs by then."""


class SubscriptionState(msgspec.Struct):
    """A declaration and its subscription, or a subscription that nothing declares.

    todo: what the next run of renew_timer does about it. attention: what a person should look at.
    """

    tenant: str
    resource: str
    id: str | None = None
    expires_in_seconds: float | None = None
    silent_seconds: float | None = None
    key: str | None = None
    todo: str | None = None
    attention: str | None = None


@dataclass
class Listed:
    """The subscriptions of each tenant; the tenants that could not be listed, and why."""

    found: dict[str, list[Subscription]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def key_names(self) -> list[str]:
        """The ids of the keys that subscriptions name."""
        return [
            subscription.encryption_certificate_id or "" for tenant in self.found.values() for subscription in tenant
        ]


def listed() -> Listed:
    """List the subscriptions of every tenant. Raises SettingsError; Graph limits these calls to one a second."""
    settings = relay().settings
    known = Listed()
    for tenant_id in relay().declarations.by_tenant(settings.tenant_id):
        try:
            known.found[tenant_id] = relay().subscriptions.list(tenant_id)
        except RetryLater as retry_later:
            known.unavailable[tenant_id] = str(retry_later)
        except RelayError as error:
            known.refused[tenant_id] = str(error)
    return known


def states(
    known: Listed, key: EncryptionKey | None, seen: Mapping[str, datetime], now: datetime
) -> list[SubscriptionState]:
    """Return the state of each declaration and of undeclared subscriptions to our endpoint. `key`: the current one."""
    found = []
    for tenant_id, subscriptions in known.found.items():
        declared = relay().declarations.of_tenant(tenant_id)
        steps = _steps(declared, subscriptions, key, tenant_id, now)
        found += [_of_declaration(declaration, subscriptions, steps, seen, now) for declaration in declared]
        found += [_undeclared(step, now) for step in steps if step.action is Action.REMOVE]
    not_listed = known.unavailable | known.refused
    return found + [
        _silence(SubscriptionState(declaration.tenant_id, declaration.resource), declaration, seen, now)
        for declaration in relay().declarations
        if declaration.tenant_id in not_listed
    ]


def _steps(
    declared: Iterable[Declaration],
    subscriptions: Sequence[Subscription],
    key: EncryptionKey | None,
    tenant_id: str,
    now: datetime,
) -> list[Step]:
    if key is None:
        return []
    return plan(declared, subscriptions, relay().desired_state(key), tenant_id, now)


def _of_declaration(
    declaration: Declaration,
    subscriptions: Sequence[Subscription],
    steps: Sequence[Step],
    seen: Mapping[str, datetime],
    now: datetime,
) -> SubscriptionState:
    step = next((step for step in steps if step.declaration == declaration), None)
    subscription = step.subscription if step else _standing(declaration, subscriptions, steps)
    state = SubscriptionState(declaration.tenant_id, declaration.resource)
    if step:
        state.todo = f"{step.action}: {step.explanation}"
    if subscription is None:
        state.attention = "there is no subscription"
        return _silence(state, declaration, seen, now)
    left = subscription.expiration_date_time - now
    state.id, state.expires_in_seconds = subscription.id, round(left.total_seconds())
    state.key = subscription.encryption_certificate_id
    if left < EXPIRES_SOON:
        state.attention = "it expires soon and was not renewed: does renew_timer run?"
    return _silence(state, declaration, seen, now)


def _standing(
    declaration: Declaration, subscriptions: Sequence[Subscription], steps: Sequence[Step]
) -> Subscription | None:
    """Return the subscription of a declaration that needs no step: one that is not removed."""
    removed = {step.subscription.id for step in steps if step.action is Action.REMOVE and step.subscription}
    resource = declaration.resource.strip("/").lower()
    same = (
        subscription
        for subscription in subscriptions
        if subscription.resource.strip("/").lower() == resource and subscription.id not in removed
    )
    return max(same, key=lambda subscription: subscription.expiration_date_time, default=None)


def _undeclared(step: Step, now: datetime) -> SubscriptionState:
    state = SubscriptionState(step.tenant_id, "", todo=f"{step.action}: {step.explanation}")
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
