"""Lifecycle items, acted upon at once (Graph contract §6). Every action may be repeated without harm."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared import client_state, telemetry
from shared.envelope import Envelope
from shared.errors import NotNow, Refused, RelayError
from shared.graph import GraphRefusal
from shared.notification import LIFECYCLE_EVENTS, Notification, read_notification
from shared.settings import Declaration
from shared.subscriptions import Ours, Subscriptions

_log = logging.getLogger("graph_relay.lifecycle")


@dataclass(frozen=True)
class Keeper:
    """What keeps subscriptions alive. `ours` is asked for when it is needed: it may have to make a key."""

    tenant_id: str
    declarations: Sequence[Declaration]
    subscriptions: Subscriptions
    ours: Callable[[], Ours]


def act(envelope: Envelope, keeper: Keeper) -> None:
    """Act on each lifecycle item once. Raises NotNow if something has to be tried again.

    What Graph refuses is logged and left: `renew_timer` tries again at its next run.
    """
    seen: set[tuple[str, str | None]] = set()
    postponed: NotNow | None = None
    for item in envelope.items:
        notification = _read(item)
        if notification is None or (notification.subscription_id, notification.lifecycle_event) in seen:
            continue
        seen.add((notification.subscription_id, notification.lifecycle_event))
        try:
            _act_on(notification, keeper)
        except NotNow as not_now:
            postponed = not_now
        except RelayError as error:
            _log.error("Subscription %s: %s: %s", notification.subscription_id, notification.lifecycle_event, error)
    if postponed is not None:
        raise postponed


def _act_on(notification: Notification, keeper: Keeper) -> None:
    event = notification.lifecycle_event
    known = event in LIFECYCLE_EVENTS
    telemetry.LIFECYCLE.add(1, {"event": event if known and event else "unknown"})
    if not known:
        return
    tenant_id = notification.tenant(keeper.tenant_id)
    declaration = _declaration(notification, tenant_id, keeper)
    if declaration is None:
        return  # it is declared no more; renew_timer removes the subscription
    if event == "reauthorizationRequired" and _extend(notification, tenant_id, declaration, keeper):
        return
    declarations = [one for one in keeper.declarations if one.tenant_id == tenant_id]
    for outcome in keeper.subscriptions.reconcile(declarations, keeper.ours(), tenant_id):
        if outcome.error is not None:
            raise outcome.error


def _extend(notification: Notification, tenant_id: str, declaration: Declaration, keeper: Keeper) -> bool:
    """Renew the subscription; False if it is gone."""
    try:
        keeper.subscriptions.extend(tenant_id, notification.subscription_id, declaration, keeper.ours())
    except GraphRefusal as refusal:
        if refusal.status == 404:
            return False
        raise
    return True


def _declaration(notification: Notification, tenant_id: str, keeper: Keeper) -> Declaration | None:
    named = client_state.declaration_named(notification.client_state or "")
    for one in keeper.declarations:
        if one.tenant_id == tenant_id and client_state.declaration_id(tenant_id, one.resource) == named:
            return one
    return None


def _read(item: object) -> Notification | None:
    try:
        return read_notification(item)  # type: ignore[arg-type]
    except Refused:
        return None
