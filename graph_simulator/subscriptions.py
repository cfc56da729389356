"""Subscriptions: create, read, renew, re-key, reauthorize, remove, expire (docs/graph.md, "Subscriptions")."""

import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from graph_simulator.encryption import Recipient
from graph_simulator.login import Caller
from graph_simulator.refusal import bad_request, conflict, forbidden, not_found, validation_error
from graph_simulator.subscription import PATCH_PROPERTIES, Subscription, drafted, endpoint_url, expiry, recipient_of
from graph_simulator.watchable import ORGANISATION_POT, WatchedResource

OLD_KEY_LINGERS = timedelta(minutes=2)
APART = timedelta(minutes=10)

Validate = Callable[[str], Awaitable[None]]
"""Performs the handshake with a URL; raises Refusal."""


class Subscriptions:
    """All subscriptions of all tenants. An expired subscription does not exist, and is removed on the next access."""

    def __init__(self, clock: Callable[[], datetime], chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._all: dict[str, Subscription] = {}
        self._on_path: defaultdict[tuple[Caller, str], dict[str, Subscription]] = defaultdict(dict)
        self._teams_pot: Counter[str] = Counter()
        self._next_end: datetime | None = None
        self.flagged: list[str] = []
        """Uses of the API that the documentation warns of, in sentences."""

    def __iter__(self) -> Iterator[Subscription]:
        self._forget_expired()
        return iter(tuple(self._all.values()))

    def __len__(self) -> int:
        self._forget_expired()
        return len(self._all)

    async def create(
        self,
        properties: dict[str, Any],
        owner: Caller,
        allow: Callable[[WatchedResource], None],
        validate: Validate,
        knows_all_types: bool = False,
        immutable_ids: bool = False,
    ) -> dict[str, Any]:
        """Create a subscription after the handshake on both URLs; return it, clientState included.

        `allow` raises Refusal if the caller may not subscribe to a resource. `knows_all_types` stands for the header
        `Prefer: include-unknown-enum-members`, `immutable_ids` for `IdType="ImmutableId"`.

        Raises:
            Refusal: 400 for its properties or endpoints, 409 for a duplicate, 403 over a quota.
        """
        subscription_id = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        subscription = drafted(properties, owner, subscription_id, self._clock())
        allow(subscription.watched)
        self._check_room(subscription)
        await validate(subscription.notification_url)
        if subscription.lifecycle_url is not None:
            await validate(subscription.lifecycle_url)
        self._check_room(subscription)  # another call may have created a duplicate during the handshake
        subscription.knows_all_types, subscription.immutable_ids = knows_all_types, immutable_ids
        self._add(subscription)
        return {**subscription.shown(), "clientState": subscription.client_state}

    def of(self, owner: Caller) -> list[Subscription]:
        """Return an app's subscriptions in a tenant, oldest first."""
        return [subscription for subscription in self if subscription.owner == owner]

    def on_path(self, subscription: Subscription) -> list[Subscription]:
        """Return the subscriptions of the same app to the same thing."""
        self._forget_expired()
        return list(self._on_path[subscription.owner, subscription.watched.identity].values())

    def find(self, subscription_id: str, owner: Caller | None = None) -> Subscription:
        """Return a live subscription, of `owner` if given.

        Raises:
            Refusal: 404, it is unknown, expired or another app's.
        """
        self._forget_expired()
        subscription = self._all.get(subscription_id.lower())
        if subscription is not None and owner in {None, subscription.owner}:
            return subscription
        raise not_found(f"The object with id '{subscription_id}' was not found.")

    async def update(
        self,
        subscription_id: str,
        changes: dict[str, Any],
        owner: Caller,
        validate: Validate,
        knows_all_types: bool = False,
    ) -> dict[str, Any]:
        """Renew, re-key or redirect a subscription; return it as reads show it.

        Raises:
            Refusal: 404, or 400 for a property that cannot be changed, a lifetime or a new endpoint.
        """
        subscription = self.find(subscription_id, owner)
        given = {name: value for name, value in changes.items() if not name.startswith("@odata.")}
        for name in given.keys() - PATCH_PROPERTIES:
            raise bad_request(f"The property '{name}' cannot be updated.")
        if not given.keys() & {"expirationDateTime", "notificationUrl"}:
            raise bad_request("expirationDateTime or notificationUrl is required to update a subscription.")
        recipient = _new_recipient(given, subscription)
        expires = subscription.expires
        if "expirationDateTime" in given:
            has_lifecycle_url = subscription.lifecycle_url is not None
            expires = expiry(given, subscription.kind, subscription.rich, has_lifecycle_url, self._clock())
        if "notificationUrl" in given:
            url = endpoint_url(given, "notificationUrl")
            await validate(url)
            self.find(subscription_id, owner)
            subscription.notification_url = url
        self._note_distance(subscription, subscription.reauthorized)
        now = self._clock()
        subscription.expires, subscription.patched = expires, now
        self._expires(expires)
        subscription.knows_all_types = knows_all_types
        subscription.authorize(now)
        if recipient is not None and recipient != subscription.recipient:
            subscription.former_recipient, subscription.recipient = subscription.recipient, recipient
            subscription.rekeyed = now
        return subscription.shown()

    def reauthorize(self, subscription_id: str, owner: Caller) -> None:
        """Start a new authorization; the expiry stays.

        Raises:
            Refusal: 404.
        """
        subscription = self.find(subscription_id, owner)
        self._note_distance(subscription, subscription.patched)
        subscription.reauthorized = self._clock()
        subscription.authorize(self._clock())

    def remove(self, subscription_id: str, owner: Caller | None = None) -> Subscription:
        """Remove a subscription and return it.

        Raises:
            Refusal: 404.
        """
        subscription = self.find(subscription_id, owner)
        self._drop(subscription)
        return subscription

    def recipient(self, subscription: Subscription, *, stuck: bool = False) -> Recipient | None:
        """Return the recipient of an item; for a while after a new certificate occasionally the former recipient.

        `stuck`: always and permanently the former recipient.
        """
        if stuck and subscription.former_recipient is not None:
            return subscription.former_recipient
        recently = subscription.rekeyed and self._clock() - subscription.rekeyed < OLD_KEY_LINGERS
        if recently and self._chance.random() < 0.5:
            return subscription.former_recipient
        return subscription.recipient

    def _add(self, subscription: Subscription) -> None:
        self._all[subscription.id] = subscription
        self._on_path[subscription.owner, subscription.watched.identity][subscription.id] = subscription
        self._teams_pot[subscription.owner.tenant] += subscription.kind.teams_pot
        self._expires(subscription.expires)

    def _drop(self, subscription: Subscription) -> None:
        del self._all[subscription.id]
        del self._on_path[subscription.owner, subscription.watched.identity][subscription.id]
        self._teams_pot[subscription.owner.tenant] -= subscription.kind.teams_pot

    def _expires(self, moment: datetime) -> None:
        """Note when a subscription ends: until the first of them does, none has to be looked for."""
        self._next_end = moment if self._next_end is None else min(self._next_end, moment)

    def _forget_expired(self) -> None:
        now = self._clock()
        if self._next_end is None or now < self._next_end:
            return
        for subscription in tuple(self._all.values()):
            if subscription.expires <= now:
                self._drop(subscription)
        self._next_end = min((subscription.expires for subscription in self._all.values()), default=None)

    def _check_room(self, wanted: Subscription) -> None:
        """Check duplicates and quotas: per app and path, and the shared quota of an organisation."""
        self._forget_expired()
        same_path = self._on_path[wanted.owner, wanted.watched.identity].values()
        if not wanted.kind.duplicates:
            for held in same_path:
                if held.change_types == wanted.change_types:
                    raise conflict(f"Subscription Id {held.id} already exists for the requested combination")
        quota = wanted.kind.quotas.get(wanted.watched.template)
        if quota is not None and len(same_path) >= quota:
            raise forbidden(f"The limit of {quota} subscriptions of an application on this resource is reached.")
        if wanted.kind.teams_pot and self._teams_pot[wanted.owner.tenant] >= ORGANISATION_POT:
            raise forbidden(f"The limit of {ORGANISATION_POT} subscriptions of an organization is reached.")

    def _note_distance(self, subscription: Subscription, other: datetime | None) -> None:
        if other is not None and self._clock() - other < APART:
            self.flagged.append(f"reauthorize and PATCH of {subscription.id} within 10 minutes")


def _new_recipient(given: dict[str, Any], subscription: Subscription) -> Recipient | None:
    """Return the recipient that a PATCH names: both properties and a new expiry (docs/graph.md, "Certificates")."""
    if not given.keys() & {"encryptionCertificate", "encryptionCertificateId"}:
        return None
    if not subscription.rich:
        raise validation_error("An encryption certificate is of use with includeResourceData only.")
    if "expirationDateTime" not in given:
        raise bad_request("expirationDateTime is required to change the encryption certificate.")
    return recipient_of(given)
