"""Desired against actual: what has to be done so that every declaration has a live subscription of ours.

`plan` decides, from values; `Subscriptions` lists, and carries out. What Graph holds is all the memory there is:
the URL of a subscription tells which of our clientState secrets minted it, its certificate id which key it uses.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from shared import client_state
from shared.errors import NotNow, Reason, RelayError
from shared.graph import Graph, GraphRefusal, Json
from shared.key_ring import EncryptionKey
from shared.lifetimes import longest_lifetime
from shared.notification import Notification
from shared.settings import Declaration, event_hub

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
class Ours:
    """What every subscription of ours carries at present."""

    notification_url: str
    client_state_secret: bytes
    key: EncryptionKey
    anew: bool = False
    """Whether even those without fault are to be replaced."""

    @property
    def marked_url(self) -> str:
        """The notification URL with the mark of the current secret; that of an event hub has no room for one."""
        if event_hub(self.notification_url):
            return self.notification_url
        mark = urlencode({MINTED_BY: client_state.fingerprint(self.client_state_secret)})
        return f"{self.notification_url}{'&' if urlsplit(self.notification_url).query else '?'}{mark}"


def plan(
    declarations: Iterable[Declaration], actual: Sequence[Subscription], ours: Ours, tenant_id: str, now: datetime
) -> list[Step]:
    """Return what makes the subscriptions of one tenant match `declarations`. Nothing to do: nothing returned.

    Only what carries our own URL, or stands in the way of a declaration, is ever removed.
    """
    chosen = [(declaration, _best(declaration, actual, ours)) for declaration in declarations]
    kept = {best.id for _, best in chosen if best}
    removals = [
        Step(Action.REMOVE, tenant_id, None, one, "nothing declares it")
        for one in actual
        if one.id not in kept and _same_endpoint(one.notification_url, ours.notification_url)
    ]
    steps = [_step(declaration, best, ours, tenant_id, now) for declaration, best in chosen]
    # Removals first: a doublet may stand in the way of a creation.
    return removals + [step for step in steps if step]


def _best(declaration: Declaration, actual: Sequence[Subscription], ours: Ours) -> Subscription | None:
    """The subscription that serves best: without fault; else one that is in the way; and with the longest life left."""
    candidates = [one for one in actual if _same_resource(one, declaration) and _concerns(one, declaration, ours)]
    return max(
        candidates,
        key=lambda one: (
            _fault(one, declaration, ours) is None,
            _change_types(one) == set(declaration.change_types),
            one.expiration_date_time,
        ),
        default=None,
    )


def _step(
    declaration: Declaration, subscription: Subscription | None, ours: Ours, tenant_id: str, now: datetime
) -> Step | None:
    if subscription is None:
        return Step(Action.CREATE, tenant_id, declaration, None, "there is none")
    fault = _fault(subscription, declaration, ours)
    if fault:
        return Step(Action.REPLACE, tenant_id, declaration, subscription, fault)
    if declaration.include_resource_data and subscription.encryption_certificate_id != ours.key.key_id:
        return Step(Action.REKEY, tenant_id, declaration, subscription, "it carries another encryption certificate")
    if subscription.expiration_date_time - now <= _renewal_point(subscription, declaration):
        return Step(Action.RENEW, tenant_id, declaration, subscription, "it expires before long")
    return None


def _fault(subscription: Subscription, declaration: Declaration, ours: Ours) -> str | None:
    """What about a subscription no PATCH can mend."""
    if ours.anew:
        return "all are to be made anew"
    if subscription.notification_url != ours.marked_url:
        return "its URL or the secret of its clientState is another"
    if not _same_endpoint(subscription.lifecycle_notification_url or "", ours.notification_url):
        return "its lifecycle URL is another"
    if _change_types(subscription) != set(declaration.change_types):
        return "its change types are others"
    if bool(subscription.include_resource_data) != declaration.include_resource_data:
        return "it differs in whether resource data is included"
    return None


def _concerns(subscription: Subscription, declaration: Declaration, ours: Ours) -> bool:
    """Whether it is at our endpoint, or would be in the way: Graph takes one for a resource and its change types."""
    in_the_way = _change_types(subscription) == set(declaration.change_types)
    return in_the_way or _same_endpoint(subscription.notification_url, ours.notification_url)


def _renewal_point(subscription: Subscription, declaration: Declaration) -> timedelta:
    chance = hashlib.sha256(subscription.id.encode()).digest()[0] / 255
    life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
    return life * (RENEW_AT + RENEW_SPREAD * (chance - 0.5))


def _same_resource(subscription: Subscription, declaration: Declaration) -> bool:
    return subscription.resource.strip("/").lower() == declaration.resource.strip("/").lower()


def _same_endpoint(url: str, ours: str) -> bool:
    """Whether two URLs differ in our own mark alone."""
    left, right = urlsplit(url), urlsplit(ours)
    marks = [
        [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != MINTED_BY]
        for parts in (left, right)
    ]
    return left[:3] == right[:3] and marks[0] == marks[1]


def _change_types(subscription: Subscription) -> set[str]:
    return {part.strip().lower() for part in subscription.change_type.split(",")}


def declared(notification: Notification, tenant_id: str, declarations: Iterable[Declaration]) -> Declaration | None:
    """Return the declaration whose subscription sent a notification of ours; None if it is declared no more."""
    named = client_state.declaration_named(notification.client_state or "")
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


def follow_up(outcome: Outcome, ours: Ours) -> Step | None:
    """Return what has to be done instead where a PATCH could not do it: then nothing less than a new one will."""
    step, refusal = outcome.step, outcome.error
    if step.action not in (Action.RENEW, Action.REKEY):
        return None
    if isinstance(refusal, GraphRefusal) and refusal.status == 404:
        return replace(step, action=Action.CREATE, subscription=None, why="it is gone for good")
    if step.action is Action.RENEW:
        return None
    if isinstance(refusal, GraphRefusal) and refusal.status == 400:
        return replace(step, action=Action.REPLACE, why="Graph refuses to change its certificate")
    answered = outcome.subscription.encryption_certificate_id if outcome.subscription else None
    if answered is not None and answered != ours.key.key_id:
        # One page of the documentation says that a certificate can be changed, another doesn't (contract §4).
        return replace(step, action=Action.REPLACE, why="Graph has not changed its certificate")
    return None


class Subscriptions:
    """The subscriptions of our app at Graph."""

    def __init__(self, graph: Graph, clock: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._graph = graph
        self._clock = clock
        self._random_bytes = random_bytes

    def list(self, tenant_id: str) -> list[Subscription]:
        """Return all of ours in a tenant. Raises NotNow, GraphRefusal. List calls are throttled: once per run."""
        listed = [one for page in self._graph.pages(tenant_id, "subscriptions") for one in page]
        found = []
        for one in listed:
            try:
                found.append(msgspec.json.decode(one, type=Subscription))
            except msgspec.ValidationError as error:
                _log.warning("Graph lists a subscription that can't be read, and is left alone: %s", error)
        return found

    def carry_out(self, step: Step, ours: Ours) -> Outcome:
        """Do one step. Never raises RelayError: one failing subscription must not stop the others."""
        try:
            return Outcome(step, self._do(step, ours))
        except RelayError as error:
            return Outcome(step, error=error)

    def extend(self, tenant_id: str, subscription_id: str, declaration: Declaration, ours: Ours) -> Subscription | None:
        """Renew, and thereby re-authorize, unless that was done within the last ten minutes (contract §6).

        Return Graph's answer; None if there was nothing to do. Raises NotNow, GraphRefusal (404: it is gone).
        """
        found = self._read(self._graph.get(tenant_id, f"subscriptions/{subscription_id}"))
        life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        if found.expiration_date_time > self._clock() + life - DEBOUNCE:
            return None
        return self._patch(tenant_id, found, declaration, ours)

    def _do(self, step: Step, ours: Ours) -> Subscription | None:
        match step:
            case Step(Action.REMOVE, _, _, Subscription() as old):
                self._graph.delete(step.tenant_id, f"subscriptions/{old.id}")
                return None
            case Step(Action.CREATE, _, Declaration() as declaration):
                return self._create(step.tenant_id, declaration, ours)
            case Step(
                action=Action.REPLACE, declaration=Declaration() as declaration, subscription=Subscription() as old
            ):
                return self._replace(step.tenant_id, old, declaration, ours)
            case Step(_, _, Declaration() as declaration, Subscription() as old):
                return self._patch(step.tenant_id, old, declaration, ours)
        raise AssertionError(step)

    def _replace(self, tenant_id: str, old: Subscription, declaration: Declaration, ours: Ours) -> Subscription:
        """Without a gap where Graph lets two stand side by side: with other change types, and quota left."""
        if _change_types(old) != set(declaration.change_types):
            try:
                made = self._create(tenant_id, declaration, ours)
            except GraphRefusal as refusal:
                if refusal.status not in (403, 409):
                    raise
            else:
                self._graph.delete(tenant_id, f"subscriptions/{old.id}")
                return made
        self._graph.delete(tenant_id, f"subscriptions/{old.id}")
        return self._create(tenant_id, declaration, ours)

    def _create(self, tenant_id: str, declaration: Declaration, ours: Ours) -> Subscription:
        body: Json = {
            "changeType": ",".join(declaration.change_types),
            "resource": declaration.resource,
            "notificationUrl": ours.marked_url,
            "lifecycleNotificationUrl": ours.marked_url,
            "expirationDateTime": self._expiration(declaration),
            "clientState": client_state.mint(
                ours.client_state_secret, tenant_id, declaration.resource, self._random_bytes
            ),
            "includeResourceData": declaration.include_resource_data,
            "latestSupportedTlsVersion": "v1_2",
            **_certificate(declaration, ours.key),
        }
        return self._read(self._graph.post(tenant_id, "subscriptions", body))

    def _patch(self, tenant_id: str, old: Subscription, declaration: Declaration, ours: Ours) -> Subscription:
        """Renew; the certificate goes along, since it is refused without a new expiry (contract §4 "Rotation")."""
        body: Json = {"expirationDateTime": self._expiration(declaration)}
        if old.encryption_certificate_id != ours.key.key_id:
            body |= _certificate(declaration, ours.key)
        return self._read(self._graph.patch(tenant_id, f"subscriptions/{old.id}", body))

    def _expiration(self, declaration: Declaration) -> str:
        life = longest_lifetime(declaration.resource, rich=declaration.include_resource_data)
        return (self._clock() + life).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _read(self, answer: Json) -> Subscription:
        try:
            return msgspec.convert(answer, Subscription)
        except msgspec.ValidationError:
            raise NotNow(Reason.GRAPH, "Graph's answer is not a subscription") from None


def _certificate(declaration: Declaration, key: EncryptionKey) -> Json:
    if not declaration.include_resource_data:
        return {}
    return {"encryptionCertificate": key.public_certificate, "encryptionCertificateId": key.key_id}
