"""Lifecycle items, acted upon at once (Graph contract §6). Every action may be repeated without harm.

They come in storms and several times over. What was done after an item arrived need not be done for it again.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from shared import telemetry
from shared.configuration.declaration import Declaration
from shared.configuration.values import GUID
from shared.errors import Reason, Refused, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.graph.client_state import declaration_id
from shared.graph.notification import LIFECYCLE_EVENTS, Notification, read_notification
from shared.messages.envelope import LifecycleBatch
from shared.messages.retry import WaitBudget
from shared.readback.sweep import Sweep
from shared.subscriptions.plan import DesiredState, Subscriptions, declared
from shared.subscriptions.reconcile import advice, reconcile, report_unlisted

_log = logging.getLogger("graph_relay.lifecycle")


class Recently:
    """When each action was last begun, in this process. One object serves all threads."""

    def __init__(self) -> None:
        self._begun: dict[str, datetime] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def alone(self, action: str) -> Iterator[None]:
        """Have others who want to do the same wait until it is done: then it may not need to be done again."""
        with self._locks[action]:
            yield

    def since(self, action: str, received: datetime) -> bool:
        """Whether `action` was begun, and done, after `received`."""
        begun = self._begun.get(action)
        return begun is not None and begun > received

    def done(self, action: str, begun: datetime) -> None:
        """Note an action that was begun at that time, and is done."""
        self._begun[action] = begun


@dataclass(frozen=True)
class LifecycleHandler:
    """What keeps subscriptions alive. `ours` is asked for when it is needed: it may have to make a key."""

    tenant_id: str
    declarations: Sequence[Declaration]
    subscriptions: Subscriptions
    sweep: Sweep
    desired: Callable[[], DesiredState]
    clock: Callable[[], datetime]
    recently: Recently


def act(envelope: LifecycleBatch, keeper: LifecycleHandler) -> None:
    """Act on each lifecycle item. Raises RetryLater if something has to be tried again.

    What Graph refuses is logged and left where `renew_timer` tries again at its next run: it makes anew what is gone.
    A re-authorization nobody repeats, so it is tried until consent returns.
    """
    postponed: RetryLater | None = None
    for item in envelope.items:
        try:
            notification = read_notification(item)
            if not envelope.attempt:  # each of them once, however often it is tried
                telemetry.LIFECYCLE.add(1, {"event": _known(notification.lifecycle_event)})
            _act_on(notification, envelope, keeper)
        except RetryLater as retry_later:
            postponed = retry_later
        except Refused as refused:
            if not envelope.attempt:
                telemetry.REFUSED.add(1, {"reason": refused.reason})
        except RelayError as error:
            _log.error("A lifecycle notification could not be acted upon: %s", error)
    if postponed is not None:
        raise postponed


def _known(event: str | None) -> str:
    return event if event in LIFECYCLE_EVENTS and event else "unknown"


def _act_on(notification: Notification, envelope: LifecycleBatch, keeper: LifecycleHandler) -> None:
    event, received = notification.lifecycle_event, envelope.received
    tenant_id = notification.tenant(keeper.tenant_id)
    declaration = declared(notification, tenant_id, keeper.declarations)
    if declaration is None or event not in LIFECYCLE_EVENTS:
        return  # declared no more: renew_timer removes the subscription
    match event:
        case "reauthorizationRequired":
            _reauthorize(notification.subscription_id, declaration, received, keeper)
            if envelope.attempt:  # Graph may have held back meanwhile what there was to tell
                keeper.sweep.suspect_gap(declaration, keeper.clock())
        case "missed":
            _read_back(declaration, received, keeper)
        case _:
            _replace_removed(declaration, received, keeper)


def _reauthorize(subscription_id: str, declaration: Declaration, received: datetime, keeper: LifecycleHandler) -> None:
    """A renewal re-authorizes too, and one of both is all that Graph wants within ten minutes."""
    if not GUID.fullmatch(subscription_id.lower()):  # it becomes part of a URL
        raise Refused(Reason.MALFORMED)
    action = f"extend {subscription_id}"
    with keeper.recently.alone(action):
        if keeper.recently.since(action, received):
            return
        begun = keeper.clock()
        try:
            keeper.subscriptions.extend(declaration.tenant_id, subscription_id, declaration, keeper.desired())
        except GraphRequestError as refusal:
            if refusal.status != 404:
                where = f"{declaration.resource} in tenant {declaration.tenant_id}"
                _log.error("extend %s failed: %s. %s", where, refusal, advice(refusal, declaration.resource))
                raise RetryLater(Reason.GRAPH_REFUSED, str(refusal)) from None
            _replace_removed(declaration, received, keeper)
        keeper.recently.done(action, begun)


def _read_back(declaration: Declaration, received: datetime, keeper: LifecycleHandler) -> None:
    """The subscription lives: only what it missed is to be read back."""
    action = f"read back {declaration_id(declaration.tenant_id, declaration.resource)}"
    with keeper.recently.alone(action):
        if keeper.recently.since(action, received):
            return
        begun = keeper.clock()
        keeper.sweep.suspect_gap(declaration, keeper.clock())
        keeper.sweep.start([declaration], (), keeper.clock())
        keeper.recently.done(action, begun)


def _replace_removed(declaration: Declaration, received: datetime, keeper: LifecycleHandler) -> None:
    """Make anew what is gone, of the whole tenant: they are often removed together, and may seldom be listed."""
    tenant_id = declaration.tenant_id
    action = f"replace in {tenant_id}"
    with keeper.recently.alone(action):
        if keeper.recently.since(action, received):
            return
        begun = keeper.clock()
        keeper.sweep.suspect_gap(declaration, keeper.clock())
        declarations = [one for one in keeper.declarations if one.tenant_id == tenant_id]
        try:
            _reconcile(tenant_id, declarations, keeper)
        except GraphRequestError as refusal:  # renew_timer tries again
            report_unlisted(tenant_id, declarations, refusal)
        keeper.recently.done(action, begun)


def _reconcile(tenant_id: str, declarations: Sequence[Declaration], keeper: LifecycleHandler) -> None:
    reconciled = reconcile(
        tenant_id,
        declarations,
        keeper.desired(),
        keeper.subscriptions,
        lambda one: keeper.sweep.suspect_gap(one, keeper.clock()),
        keeper.clock,
        WaitBudget.none(),
    )
    keeper.sweep.start(declarations, reconciled.failing, keeper.clock())
    for outcome in reconciled.outcomes:
        if isinstance(outcome.error, RetryLater):
            raise outcome.error
