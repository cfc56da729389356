"""The simulator without HTTP: state, virtual clock, randomness, and the consequences of each change."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import msgspec

from graph_simulator import handshake, lifecycle
from graph_simulator.audience import concerns, concerns_stored, shown_types
from graph_simulator.clock import VirtualClock, real_time
from graph_simulator.conversation import Change, Conversation
from graph_simulator.delivery import Delivery
from graph_simulator.encryption import enclose
from graph_simulator.event_hub import EventHubs, is_event_hub
from graph_simulator.faults import Faults, happens
from graph_simulator.generator import Generator
from graph_simulator.groups import Groups
from graph_simulator.hostile import KINDS, MIXED_KINDS, Forger
from graph_simulator.login import Caller, Login
from graph_simulator.notification import Item, change_item, lifecycle_item, resource_item
from graph_simulator.permissions import Grants
from graph_simulator.refusal import Refusal, bad_request
from graph_simulator.registration import AppRegistration
from graph_simulator.resource_store import ResourceChange, ResourceStore, selected
from graph_simulator.signing import SigningKeys
from graph_simulator.subscription import Subscription
from graph_simulator.subscriptions import Subscriptions
from graph_simulator.world import World, populated

WATCH_EVERY = timedelta(seconds=30)
LATEST_DUPLICATE_SECONDS = 5.0
SUBSCRIPTIONS_AT_ONCE = 100
"""On a page of the list of subscriptions."""
HELD_BACK_SECONDS = (0.5, 3.0)


@dataclass(frozen=True)
class Tenant:
    """A tenant's people and places, and its messages and resources."""

    world: World
    conversation: Conversation
    resource_store: ResourceStore
    groups: Groups


class Simulator:
    """Graph and Entra for one app and any number of tenants.

    `clock` is the real clock underneath the virtual one; `client` posts to endpoints and checks their certificates.
    Everything but `running` may be used without an event loop, from the thread that owns the simulator.
    """

    def __init__(
        self,
        tenant: str,
        client_id: str,
        client_secret: str,
        client: httpx.AsyncClient,
        seed: int = 0,
        clock: Callable[[], datetime] = real_time,
    ) -> None:
        self.home = tenant.lower()
        self.clock = VirtualClock(clock)
        self.chance = random.Random(seed)
        self.faults = Faults()
        self.keys = SigningKeys(self.clock)
        self.login = Login(client_id, client_secret, self.clock, lambda tenant: self.grants(tenant).application)
        self.registration = AppRegistration(client_id)
        self.subscriptions = Subscriptions(self.clock, self.chance)
        self.delivery = Delivery(client, self._tokens, self.clock, self.chance, lambda: self.faults)
        self.event_hubs = EventHubs()
        self.counts: Counter[str] = Counter()
        """written, changes, lost (to a pause or a fault), hostile."""
        self.subscriptions_at_once = SUBSCRIPTIONS_AT_ONCE
        self._client = client
        self._seed = seed
        self._forger = Forger(self.keys, self.clock, self.chance)
        self._tenants: dict[str, Tenant] = {}
        self._without_consent: dict[str, datetime] = {}
        self._grants: dict[str, Grants] = {}
        self._hostile_posts: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._validated = 0
        self._listed: dict[Caller, set[str]] = {}
        self.generator = Generator(self.tenant(self.home).world, self.tenant(self.home).conversation, self.clock,
                                   random.Random(seed + 1))  # fmt: skip

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver, generate and check authorizations for as long as the context lasts."""
        tasks = [
            asyncio.create_task(task)
            for task in (self.delivery.run(), self.generator.run(), self._watch(), self._attack())
        ]
        for task in tasks:
            task.add_done_callback(_report)
        try:
            yield
        finally:
            for task in tasks:
                task.remove_done_callback(_report)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def tenant(self, tenant: str) -> Tenant:
        """Return a tenant by its GUID; the first call creates it."""
        tenant = tenant.lower()
        if tenant not in self._tenants:
            conversation = Conversation(tenant, self.clock, self._publish)
            world, resource_store = (
                populated(tenant, self._seed),
                ResourceStore(tenant, self.clock, self._publish_stored),
            )
            self._tenants[tenant] = Tenant(world, conversation, resource_store, Groups(world))
        return self._tenants[tenant]

    def tenants(self) -> Sequence[Tenant]:
        """Return all tenants created so far."""
        return tuple(self._tenants.values())

    async def validate(self, url: str) -> None:
        """Perform the handshake with a URL; every other token is one that only a single decoding leaves intact.

        An event hub gets one event instead.

        Raises:
            Refusal: 400.
        """
        if is_event_hub(url):
            self.event_hubs.announce()
            return
        self._validated += 1
        token = handshake.token(self.chance, unusual=self._validated % 2 == 0)
        await handshake.validate(self._client, url, token, self.faults.validation_seconds)

    def check_consent(self, tenant: str) -> None:
        """Raise 403 if the tenant has withdrawn its consent."""
        if tenant in self._without_consent:
            raise Refusal(HTTPStatus.FORBIDDEN, "Authorization_RequestDenied",
                          "Insufficient privileges to complete the operation.")  # fmt: skip

    def set_consent(self, tenant: str, granted: bool) -> None:
        """Grant or withdraw the app's permissions in a tenant; withdrawal challenges its subscriptions at once."""
        tenant = tenant.lower()
        if granted:
            self._without_consent.pop(tenant, None)
        elif tenant not in self._without_consent:
            self._without_consent[tenant] = self.clock()
            for subscription in self._of_tenant(tenant):
                self._challenge(subscription)

    def grants(self, tenant: str) -> Grants:
        """Return the grants of a tenant; initially every permission."""
        return self._grants.get(tenant.lower(), Grants())

    def grant(self, tenant: str, grants: Grants) -> None:
        """Replace the grants of a tenant. Issued tokens keep their roles."""
        self._grants[tenant.lower()] = grants

    def send_lifecycle(self, subscription_id: str, event: str, times: int = 1) -> None:
        """Send a lifecycle event and apply its effect: `subscriptionRemoved` removes the subscription.

        Raises:
            Refusal: 404 for the subscription, 400 for an event that its resource never gets or without a URL.
        """
        subscription = self.subscriptions.find(subscription_id)
        if event in lifecycle.EVENTS and event not in subscription.kind.lifecycle_events:
            raise bad_request(f"Graph sends no '{event}' for {subscription.kind.name}.")
        if subscription.lifecycle_url is None:
            raise bad_request("The subscription has no lifecycleNotificationUrl.")
        if event == lifecycle.REMOVED:
            self.subscriptions.remove(subscription_id)
        for _ in range(times):
            self._put_lifecycle(subscription, event)

    def forge(self, kind: str, subscription: Subscription) -> None:
        """Send one forged item or post of a kind to a rich subscription's endpoint.

        Raises:
            Refusal: 400, unknown kind, or not a rich subscription to a webhook: only Graph can send to a hub.
        """
        recipient = subscription.recipient
        if recipient is None or kind not in KINDS or is_event_hub(subscription.notification_url):
            raise bad_request("A kind of forgery and a rich subscription to a webhook are needed.")
        self.counts["hostile"] += 1
        url = subscription.notification_url
        if kind in MIXED_KINDS:
            body = self._forger.item(kind, subscription, recipient)
            self.delivery.put(Item(url, msgspec.Raw(body), (subscription.audience, subscription.owner.tenant), False))
        else:
            self._hostile_posts.put_nowait((url, self._forger.body(kind, subscription, recipient)))

    def lags(self, changed: datetime) -> bool:
        """Whether a read meets a replica that lacks the changes of a time."""
        recent = self.clock() - changed < timedelta(seconds=self.faults.lag_seconds)
        return recent and happens(self.faults.lagging, self.chance)

    def listed(self, owner: Caller) -> list[dict[str, Any]]:
        """Return the subscriptions of an app that the list shows: all, the former ones, or none."""
        if self.faults.listing == "empty":
            return []
        if self.faults.listing == "true":
            self._listed[owner] = {subscription.id for subscription in self.subscriptions.of(owner)}
        known = self._listed.get(owner, set())
        present = self.subscriptions.of(owner)
        return [self.shown(subscription) for subscription in present if subscription.id in known]

    def shown(self, subscription: Subscription) -> dict[str, Any]:
        """Return a subscription as reads show it, respelled if that fault is on."""
        shown = subscription.shown()
        if self.faults.respell:
            shown |= respelled(shown, self.tenant(subscription.owner.tenant).world)
        return shown

    def summary(self) -> dict[str, Any]:
        """Return the figures of GET /simulator/summary."""
        delivered = self.delivery.counts
        times = sorted(self.delivery.acknowledge_seconds)
        return {
            **{name: self.counts[name] for name in ("written", "changes", "lost", "hostile")},
            **{
                name: delivered[name] for name in ("posted", "posts", "acknowledged", "pending", "discarded", "dropped")
            },
            "ack_ms": {name: _percentile_ms(times, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
            "answers": dict(self.delivery.answers),
            "hostile_answers": dict(self.delivery.hostile_answers),
            "subscriptions": len(self.subscriptions),
            "generating": self.generator.busy,
            "flagged": list(self.subscriptions.flagged),
        }

    def _publish(self, change: Change) -> None:
        """Notify every subscription that a change concerns."""
        self.counts["changes"] += 1
        self.counts["written"] += change.kind == "created"
        for subscription in self.subscriptions:
            owner = subscription.owner
            if (
                owner.tenant == change.tenant
                and change.kind in subscription.change_types
                and concerns(subscription.watched, change)
            ):
                self._notify(subscription, change)

    def _publish_stored(self, change: ResourceChange) -> None:
        """Notify every subscription that a change of a resource other than a message concerns."""
        self.counts["changes"] += 1
        kind = "updated" if not change.stored.type.place else change.kind
        if not change.stored.owner and kind == "created":
            kind = "updated"  # of users and groups (docs/graph.md, "Subscriptions")
        names = self.tenant(change.tenant).world
        for subscription in self.subscriptions:
            principal_name = names.principal_name(change.stored.owner.removeprefix("users/"))
            if (
                subscription.owner.tenant == change.tenant
                and kind in subscription.change_types
                and concerns_stored(subscription.watched, change, principal_name)
            ):
                self._notify(subscription, replace(change, kind=kind))

    def _notify(self, subscription: Subscription, change: Change | ResourceChange) -> None:
        """Send a change, subject to pauses and faults."""
        paused = lifecycle.is_paused(subscription, self.clock()) or change.tenant in self._without_consent
        if paused or happens(self.faults.drop, self.chance):
            self.counts["lost"] += 1
            return
        item = self._item(subscription, change)
        late = happens(self.faults.reorder, self.chance)
        self._send(item, timedelta(seconds=self.chance.uniform(*HELD_BACK_SECONDS) if late else 0))
        if happens(self.faults.duplicate, self.chance):
            again = replace(item, genuine=False)
            self._send(again, timedelta(seconds=self.chance.uniform(0, LATEST_DUPLICATE_SECONDS)))
        can_be_forged = subscription.rich and not is_event_hub(subscription.notification_url)
        if can_be_forged and happens(self.faults.forge, self.chance):
            self.forge(self.chance.choice(KINDS), subscription)

    def _send(self, item: Item, after: timedelta = timedelta()) -> None:
        if is_event_hub(item.url):
            self.event_hubs.send(item.body)
        else:
            self.delivery.put(item, after)

    def _item(self, subscription: Subscription, change: Change | ResourceChange) -> Item:
        recipient = self.subscriptions.recipient(subscription, stuck=self.faults.stuck_certificates)
        content = None
        if recipient is not None and not self.faults.null_tokens and not happens(self.faults.bare, self.chance):
            content = enclose(_content(subscription, change), recipient)
        if isinstance(change, ResourceChange):
            names_tenant = happens(self.faults.names_tenant, self.chance)
            item = resource_item(subscription, change, content, self.chance, names_tenant=names_tenant)
        else:
            item = change_item(subscription, change, content, self.chance)
        if happens(self.faults.spell_members, self.chance):
            item = {name[:1].upper() + name[1:]: value for name, value in item.items()}
        body = msgspec.json.encode(item)
        token_for = (subscription.audience, change.tenant) if recipient is not None else None
        return Item(subscription.notification_url, msgspec.Raw(body), token_for)

    def _tokens(self, items: Sequence[Item]) -> list[str] | None:
        """Return one validation token for each pair of app and tenant that has a rich item; null if there is none."""
        pairs = sorted({item.token_for for item in items if item.token_for is not None})
        if pairs and self.faults.null_tokens:
            return None
        version = self.faults.token_version
        chosen = self.chance.choice((1, 2)) if version == "both" else version
        return [self.keys.validation_token(audience, tenant, chosen) for audience, tenant in pairs]

    def _put_lifecycle(self, subscription: Subscription, event: str) -> None:
        if subscription.lifecycle_url is not None:
            body = msgspec.json.encode(lifecycle_item(subscription, event, self.chance))
            self._send(Item(subscription.lifecycle_url, msgspec.Raw(body)))

    def _challenge(self, subscription: Subscription) -> None:
        lifecycle.challenge(subscription, self.clock())
        self._put_lifecycle(subscription, lifecycle.CHALLENGE)

    async def _watch(self) -> None:
        """Challenge authorizations that expire soon; remove subscriptions without consent."""
        while True:
            now = self.clock()
            for subscription in self.subscriptions:
                if lifecycle.challenge_is_due(subscription, now):
                    self._challenge(subscription)
            for tenant, since in self._without_consent.items():
                if now - since >= lifecycle.REMOVED_WITHOUT_CONSENT_AFTER:
                    self._remove_all(tenant)
            await self.clock.wait(asyncio.Event(), now + WATCH_EVERY)

    async def _attack(self) -> None:
        while True:
            await self.delivery.post_hostile(*await self._hostile_posts.get())

    def _remove_all(self, tenant: str) -> None:
        for subscription in self._of_tenant(tenant):
            self.subscriptions.remove(subscription.id)
            if lifecycle.REMOVED in subscription.kind.lifecycle_events:
                self._put_lifecycle(subscription, lifecycle.REMOVED)

    def _of_tenant(self, tenant: str) -> list[Subscription]:
        return [subscription for subscription in self.subscriptions if subscription.owner.tenant == tenant]


def respelled(shown: dict[str, Any], world: World) -> dict[str, Any]:
    """Return the spellings in which Graph shows a subscription (docs/graph.md, "Subscriptions")."""
    path, mark, query = str(shown["resource"]).partition("?")
    parts = path.strip("/").split("/")
    person = world.named(parts[1]) if len(parts) > 1 and parts[0].lower() == "users" else None
    if person is not None:
        parts[1] = person.id
    url = urlsplit(str(shown["notificationUrl"]))
    return {
        "resource": "/".join(parts) + mark + quote(query, safe="$=&,"),
        "notificationUrl": url._replace(netloc=url.netloc.lower()).geturl() if url.netloc else shown["notificationUrl"],
        "lifecycleNotificationUrl": None,
        "encryptionCertificateId": "",
    }


def _content(subscription: Subscription, change: Change | ResourceChange) -> bytes:
    if isinstance(change, ResourceChange):
        options = dict(parse_qsl(subscription.watched.query))
        return selected(change.stored.shown(immutable=subscription.immutable_ids), options.get("$select"))
    return shown_types(change.message, subscription.knows_all_types)


def _report(task: asyncio.Task[None]) -> None:
    """Log at once that a task of the simulator has failed: the others would continue silently."""
    logging.getLogger(__name__).critical("The simulator has lost a part: %s", task, exc_info=task.exception())


def _percentile_ms(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[int(share * (len(ordered) - 1))] * 1000, 1) if ordered else None
