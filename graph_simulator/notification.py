"""Notifications in every form that users of Graph have reported (docs/graph.md, "Notifications")."""

import random
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec

from graph_simulator.conversation import Change
from graph_simulator.resource_store import ResourceChange
from graph_simulator.subscription import Subscription

NotificationItem = dict[str, Any]

RARELY = 0.05
SOMETIMES = 0.2

_SEGMENT = re.compile(r"([^/]+)/([^/]+)")


@dataclass(frozen=True)
class Item:
    """One notification, ready to be sent. `body` is JSON; `token_for`: the app and tenant that its token names."""

    url: str
    body: msgspec.Raw
    token_for: tuple[str, str] | None = None
    genuine: bool = True
    """Whether it counts as a notification of its own: repetitions and forgeries do not."""


def change_item(
    subscription: Subscription, change: Change, content: dict[str, str] | None, chance: random.Random
) -> NotificationItem:
    """Return a change notification; `content` is `encryptedContent`, None for a basic notification."""
    item = _common(subscription, change.tenant, chance)
    item["changeType"] = _change_type(change, chance)
    item["resource"] = resource_string(change.path, chance)
    message_id = change.path.rsplit("/", 1)[1]
    item["resourceData"] = {
        "id": message_id,
        "@odata.type": chance.choice(("#Microsoft.Graph.ChatMessage", "#microsoft.graph.chatMessage")),
        "@odata.id": resource_string(change.path, chance),
    }
    if content is not None:
        item["encryptedContent"] = content
    elif chance.random() < SOMETIMES:
        item["encryptedContent"] = None
    return item


def resource_item(
    subscription: Subscription,
    change: ResourceChange,
    content: dict[str, str] | None,
    chance: random.Random,
    *,
    names_tenant: bool = False,
) -> NotificationItem:
    """Return the notification of any resource but a Teams message; for drives and lists without its id.

    names_tenant: whether a mailbox is named with its tenant.
    """
    item = _common(subscription, change.tenant, chance)
    stored = change.stored
    item["changeType"] = change.kind
    data: NotificationItem = {"@odata.type": f"#Microsoft.Graph.{stored.type.name}"}
    if not stored.type.place:
        item["changeType"] = "updated"
        item["resource"] = subscription.resource.partition("?")[0].strip("/")
    else:
        item["resource"] = stored_path(subscription, change, chance, names_tenant=names_tenant)
        etag = (stored.fields or {}).get("@odata.etag")
        shown = stored.shown_id(immutable=subscription.immutable_ids)
        data |= {"@odata.id": item["resource"], "id": shown, **({"@odata.etag": etag} if etag else {})}
    item["resourceData"] = data
    if content is not None:
        item["encryptedContent"] = content
    return item


def stored_path(
    subscription: Subscription, change: ResourceChange, chance: random.Random, *, names_tenant: bool
) -> str:
    """Return the path that Graph uses: by GUIDs, whatever the subscription says; occasionally with the tenant."""
    stored = change.stored
    shown = stored.shown_id(immutable=subscription.immutable_ids)
    place = stored.type.place.replace("{container}", stored.container)
    if not stored.owner:
        return f"{place}/{shown}"
    user = stored.owner.removeprefix("users/")
    tenant = f"@{change.tenant}" if names_tenant else ""
    return f"Users/{_any_case(user, chance)}{tenant}/{place}/{shown}"


def lifecycle_item(subscription: Subscription, event: str, chance: random.Random) -> NotificationItem:
    """Return a lifecycle notification: without resource and content."""
    item = _common(subscription, subscription.owner.tenant, chance)
    item["lifecycleEvent"] = event
    if chance.random() < SOMETIMES:
        item["resourceData"] = None
    return item


def resource_string(path: str, chance: random.Random) -> str:
    """Return a message's path as notifications write it: mostly `chats('…')/messages('…')`."""
    if chance.random() < RARELY:
        return chance.choice(("", "/")) + path
    return _SEGMENT.sub(r"\1('\2')", path)


def moment(value: datetime, chance: random.Random) -> str:
    """Return a time in one of the observed forms: UTC or another offset, up to seven digits of fraction."""
    if chance.random() < SOMETIMES:
        return value.astimezone(timezone(timedelta(hours=-8))).isoformat(timespec="seconds")
    value = value.astimezone(UTC)
    digits = f"{value.microsecond:06d}{chance.randrange(10)}"[: chance.randint(1, 7)]
    fraction = "." + digits if chance.random() < 0.8 else ""
    return value.strftime("%Y-%m-%dT%H:%M:%S") + fraction + chance.choice(("Z", "+00:00"))


def _common(subscription: Subscription, tenant: str, chance: random.Random) -> NotificationItem:
    item: NotificationItem = {
        "subscriptionId": _any_case(subscription.id, chance),
        "subscriptionExpirationDateTime": moment(subscription.expires, chance),
        "tenantId": _any_case(tenant, chance),
    }
    if subscription.client_state is not None:
        item["clientState"] = subscription.client_state
    if chance.random() < 0.5:
        item["id"] = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    if chance.random() < RARELY:
        item["sequenceHint"] = {"epoch": chance.randrange(100), "notes": ["nobody has documented this yet"]}
    return item


def _any_case(guid: str, chance: random.Random) -> str:
    return guid.upper() if chance.random() < RARELY else guid


def _change_type(change: Change, chance: random.Random) -> str:
    """Return the change type; a soft deletion is occasionally reported as an update (docs/graph.md, "Unsure")."""
    return "updated" if change.kind == "deleted" and chance.random() < RARELY else change.kind
