"""Desired against actual: what has to be done so that every declaration has a live subscription of ours.

`plan` decides, from values; `Subscriptions` lists, and carries out. What Graph holds is all the memory there is:
the URL of a subscription tells which of our clientState secrets minted it, its certificate id which key it uses.
"""

import hashlib
import logging
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from shared.configuration.declaration import Declaration
from shared.configuration.values import event_hub
from shared.errors import Reason, Refused, RelayError, RetryLater
from shared.graph import client_state
from shared.graph.client import GraphClient, GraphRequestError, Json
from shared.graph.notification import Notification
from shared.keys.ring import EncryptionKey
from shared.lifetimes import SHORTEST_LIFETIME, longest_lifetime

_log = logging.getLogger("graph_relay.subscriptions")

MINTED_BY = "clientStateId"
"""Query parameter of our notification URL that names the secret which minted the clientState: reads don't show it."""

RENEW_AT = 0.45
"""Share of its life that is left when a subscription is renewed (contract §5: at half to two thirds of it)."""
RENEW_SPREAD = 0.1
"""Share by which that varies from one to the next, so that a thousand do not renew at once."""

DEBOUNCE = timedelta(minutes=10)
"""Least time between two renewals of a subscription that Graph asks for (contract §5, §6)."""


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription as Graph lists it: without its clientState and certificate."""

    id: str
    resource: str
    change_type: str
    notification_url: str
    expiration_date_time: datetime
    lifecycle_notification_url: str | None = None
    include_resource_data: bool | None = None
    encryption_certificate_id: str | None = None


class Action(StrEnum):
    """What is done about a subscription."""

    CREATE = "create"
    RENEW = "renew"
    REKEY = "rekey"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """One thing to do. `declaration` is None for a removal, `subscription` for a creation."""

    action: Action
    tenant_id: str
    declaration: Declaration | None
    subscription: Subscription | None
    why: str


@dataclass(frozen=True)
class DesiredState:
    """What every subscription of ours carries at present."""

    notification_url: str
    client_state_secret: bytes
    key: EncryptionKey | None
    """None while the key store is away: what needs a certificate waits, and the rest goes on."""
    anew: bool = False
    """Whether even those without fault are to be replaced."""
    lagging: Container[str] = ()
    """The ids, lower case, of those whose items go on naming another key, although they show the present one."""

    @property
    def marked_url(self) -> str:
        """The notification URL with the mark of the current secret; that of an event hub has no room for one."""
        if event_hub(self.notification_url):
            return self.notification_url
        mark = urlencode({MINTED_BY: client_state.fingerprint(self.client_state_secret)})
        return f"{self.notification_url}{'&' if urlsplit(self.notification_url).query else '?'}{mark}"


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

    Only what carries our own URL, or stands in the way of a declaration, is ever removed.
    """
    chosen = [(declaration, _best(declaration, actual, desired)) for declaration in declarations]
    kept = {best.id for _, best in chosen if best}
    removals = [
        Step(Action.REMOVE, tenant_id, None, one, "nothing declares it")
        for one in actual
        if one.id not in kept and _same_endpoint(one.notification_url, desired.notification_url)
    ]
    steps = [_step(declaration, best, desired, tenant_id, now) for declaration, best in chosen]
    # Removals first: a doublet may stand in the way of a creation. Then what has the least time left.
    return removals + sorted((step for step in steps if step), key=lambda step: _ends(step, now))


def _ends(step: Step, now: datetime) -> datetime:
    return step.subscription.expiration_date_time if step.subscription else now


def _best(declaration: Declaration, actual: Sequence[Subscription], desired: DesiredState) -> Subscription | None:
    """The subscription that serves best: without fault; else one that is in the way; and with the longest life left."""
    candidates = [one for one in actual if _same_resource(one, declaration) and _concerns(one, declaration, desired)]
    return max(
        candidates,
        key=lambda one: (
            _fault(one, declaration, desired) is None,
            _change_types(one) == set(declaration.change_types),
            one.expiration_date_time,
        ),
        default=None,
    )


def _step(
    declaration: Declaration, subscription: Subscription | None, desired: DesiredState, tenant_id: str, now: datetime
) -> Step | None:
    if subscription is None:
        return Step(Action.CREATE, tenant_id, declaration, None, "there is none")
    fault = _fault(subscription, declaration, desired)
    if fault:
        return Step(Action.REPLACE, tenant_id, declaration, subscription, fault)
    if _carries_another_key(subscription, declaration, desired):
        return Step(Action.REKEY, tenant_id, declaration, subscription, "it carries another encryption certificate")
    if subscription.expiration_date_time - now <= _renewal_point(subscription, declaration):
        return Step(Action.RENEW, tenant_id, declaration, subscription, "it expires before long")
    return None


def _carries_another_key(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> bool:
    if not declaration.include_resource_data or desired.key is None:
        return False
    return subscription.encryption_certificate_id != desired.key.key_id


def _fault(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> str | None:
    """What about a subscription no PATCH can mend."""
    differs_in_data = bool(subscription.include_resource_data) != declaration.include_resource_data
    faults = (
        (desired.anew, "all are to be made anew"),
        (subscription.notification_url != desired.marked_url, "its URL or the secret of its clientState is another"),
        (
            not _same_endpoint(subscription.lifecycle_notification_url or "", desired.notification_url),
            "its lifecycle URL is another",
        ),
        (_change_types(subscription) != set(declaration.change_types), "its change types are others"),
        (differs_in_data, "it differs in whether resource data is included"),
        (subscription.id.lower() in desired.lagging, "its items go on naming another key than it shows"),
    )
    return next((fault for is_there, fault in faults if is_there), None)


def _concerns(subscription: Subscription, declaration: Declaration, desired: DesiredState) -> bool:
    """Whether it is at our endpoint, or would be in the way: Graph takes one for a resource and its change types."""
    in_the_way = _change_types(subscription) == set(declaration.change_types)
    return in_the_way or _same_endpoint(subscription.notification_url, desired.notification_url)


def renewal_period(declaration: Declaration) -> timedelta:
    """Return after how much of its life a subscription is renewed, at the latest."""
    life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
    return life * (1 - RENEW_AT + RENEW_SPREAD / 2)


def _renewal_point(subscription: Subscription, declaration: Declaration) -> timedelta:
    chance = hashlib.sha256(subscription.id.encode()).digest()[0] / 255
    life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
    return life * (RENEW_AT + RENEW_SPREAD * (chance - 0.5))


def _same_resource(subscription: Subscription, declaration: Declaration) -> bool:
    return subscription.resource.strip("/").lower() == declaration.resource.strip("/").lower()


def _same_endpoint(url: str, desired: str) -> bool:
    """Whether two URLs differ in our own mark alone."""
    left, right = urlsplit(url), urlsplit(desired)
    marks = [
        [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != MINTED_BY]
        for parts in (left, right)
    ]
    return left[:3] == right[:3] and marks[0] == marks[1]


def _change_types(subscription: Subscription) -> set[str]:
    return {part.strip().lower() for part in subscription.change_type.split(",")}


def declared(notification: Notification, tenant_id: str, declarations: Iterable[Declaration]) -> Declaration | None:
    """Return the declaration whose subscription sent a notification of ours; None if it is declared no more."""
    named = client_state.id_in_client_state(notification.client_state or "")
    for one in declarations:
        if one.tenant_id == tenant_id and client_state.declaration_id(tenant_id, one.resource) == named:
            return one
    return None


@dataclass(frozen=True)
class Outcome:
    """What became of a step: `subscription` is Graph's answer, `error` what went wrong."""

    step: Step
    subscription: Subscription | None = None
    error: RelayError | None = None


def follow_up(outcome: Outcome, desired: DesiredState) -> Step | None:
    """Return what has to be done instead where a PATCH could not do it: then nothing less than a new one will."""
    step, refusal = outcome.step, outcome.error
    if step.action not in (Action.RENEW, Action.REKEY):
        return None
    if isinstance(refusal, GraphRequestError) and refusal.status == 404:
        return replace(step, action=Action.CREATE, subscription=None, why="it is gone for good")
    if step.action is Action.RENEW:
        return None
    if isinstance(refusal, GraphRequestError) and refusal.status == 400:
        return replace(step, action=Action.REPLACE, why="Graph refuses to change its certificate")
    answered = outcome.subscription.encryption_certificate_id if outcome.subscription else None
    if answered is not None and desired.key is not None and answered != desired.key.key_id:
        # One page of the documentation says that a certificate can be changed, another doesn't (contract §4).
        return replace(step, action=Action.REPLACE, why="Graph has not changed its certificate")
    return None


class Subscriptions:
    """The subscriptions of our app at Graph."""

    def __init__(self, graph: GraphClient, clock: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._graph = graph
        self._clock = clock
        self._random_bytes = random_bytes

    def list(self, tenant_id: str) -> list[Subscription]:
        """Return all of ours in a tenant; call it once per run. Raises RetryLater, GraphRequestError."""
        listed = [one for page in self._graph.pages(tenant_id, "subscriptions") for one in page]
        found = []
        for one in listed:
            try:
                found.append(msgspec.json.decode(one, type=Subscription))
            except msgspec.ValidationError as error:
                _log.warning("Graph lists a subscription that can't be read, and is left alone: %s", error)
        return found

    def carry_out(self, step: Step, desired: DesiredState) -> Outcome:
        """Do one step. Never raises RelayError: one failing subscription must not stop the others."""
        try:
            return Outcome(step, self._do(step, desired))
        except RelayError as error:
            return Outcome(step, error=error)

    def extend(
        self, tenant_id: str, subscription_id: str, declaration: Declaration, desired: DesiredState
    ) -> Subscription | None:
        """Renew, and thereby re-authorize, unless that was done within the last ten minutes (contract §6).

        Return Graph's answer; None if there was nothing to do.

        Raises:
            Refused: the subscription is of something else than what is declared.
            GraphRequestError: Graph wants none of it; 404: it is gone.
            RetryLater: Graph is away.
        """
        found = self._read(self._graph.get(tenant_id, f"subscriptions/{subscription_id}"))
        if not _same_resource(found, declaration):
            raise Refused(Reason.CLIENT_STATE, "an item names a subscription of another resource")
        life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        if found.expiration_date_time > self._clock() + life - DEBOUNCE:
            return None
        return self._patch(tenant_id, found, declaration, desired)

    def _do(self, step: Step, desired: DesiredState) -> Subscription | None:
        match step:
            case Step(Action.REMOVE, _, _, Subscription() as old):
                self._graph.delete(step.tenant_id, f"subscriptions/{old.id}")
                return None
            case Step(Action.CREATE, _, Declaration() as declaration):
                return self._create(step.tenant_id, declaration, desired)
            case Step(
                action=Action.REPLACE, declaration=Declaration() as declaration, subscription=Subscription() as old
            ):
                return self._replace(step.tenant_id, old, declaration, desired)
            case Step(_, _, Declaration() as declaration, Subscription() as old):
                return self._patch(step.tenant_id, old, declaration, desired)
        raise AssertionError(step)

    def _replace(
        self, tenant_id: str, old: Subscription, declaration: Declaration, desired: DesiredState
    ) -> Subscription:
        """Without a gap where Graph lets two stand side by side: with other change types, and quota left."""
        _certificate(declaration, desired.key)  # what can't be made anew must not be deleted
        if _change_types(old) != set(declaration.change_types):
            try:
                made = self._create(tenant_id, declaration, desired)
            except GraphRequestError as refusal:
                if refusal.status not in (403, 409):
                    raise
            else:
                self._graph.delete(tenant_id, f"subscriptions/{old.id}")
                return made
        self._graph.delete(tenant_id, f"subscriptions/{old.id}")
        return self._create(tenant_id, declaration, desired)

    def _create(self, tenant_id: str, declaration: Declaration, desired: DesiredState) -> Subscription:
        body: Json = {
            "changeType": ",".join(declaration.change_types),
            "resource": declaration.resource,
            "notificationUrl": desired.marked_url,
            "lifecycleNotificationUrl": desired.marked_url,
            "clientState": client_state.mint(
                desired.client_state_secret, tenant_id, declaration.resource, self._random_bytes
            ),
            "includeResourceData": declaration.include_resource_data,
            "latestSupportedTlsVersion": "v1_2",
            **_certificate(declaration, desired.key),
        }
        return self._granted(declaration, lambda life: self._graph.post(tenant_id, "subscriptions", body | life))

    def _patch(
        self, tenant_id: str, old: Subscription, declaration: Declaration, desired: DesiredState
    ) -> Subscription:
        """Renew; the certificate goes along, since it is refused without a new expiry (contract §4 "Rotation")."""
        body = _certificate(declaration, desired.key) if _carries_another_key(old, declaration, desired) else {}
        path = f"subscriptions/{old.id}"
        return self._granted(declaration, lambda life: self._graph.patch(tenant_id, path, body | life))

    def _granted(self, declaration: Declaration, ask: Callable[[Json], Json]) -> Subscription:
        """Ask for the longest life, and if that is refused, for one that no resource refuses: our table may be old."""
        longest = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        try:
            return self._read(ask(self._until(longest)))
        except GraphRequestError as refusal:
            if refusal.status != 400 or longest <= SHORTEST_LIFETIME:
                raise
            return self._read(ask(self._until(SHORTEST_LIFETIME)))

    def _until(self, life: timedelta) -> Json:
        moment = (self._clock() + life).astimezone(UTC)
        return {"expirationDateTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _read(self, answer: Json) -> Subscription:
        try:
            return msgspec.convert(answer, Subscription)
        except msgspec.ValidationError:
            raise RetryLater(Reason.GRAPH, "Graph's answer is not a subscription") from None


def _certificate(declaration: Declaration, key: EncryptionKey | None) -> Json:
    """Raises RetryLater if one is needed and there is none just now."""
    if not declaration.include_resource_data:
        return {}
    if key is None:
        raise RetryLater(Reason.KEY_STORE, "there is no key just now to encrypt resource data with")
    return {"encryptionCertificate": key.public_certificate, "encryptionCertificateId": key.key_id}
