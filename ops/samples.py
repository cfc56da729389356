"""An event of every type, made by the app's own code from a made-up notification."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.delivery.event import Event, event_of_content, event_without_content
from shared.graph.notification import Notification
from shared.resources.item_types import ITEM_TYPES, ItemType

TENANT = "00000000-0000-0000-0000-000000000000"
"""A tenant id that does not exist: receivers can tell a sample from a real event."""

_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_CHANGES = ("created", "updated", "deleted")
_MESSAGE: dict[str, Any] = {
    "messageType": "message",
    "subject": None,
    "importance": "normal",
    "from": {"user": {"id": "00000000-0000-0000-0000-000000000001", "displayName": "Sample Sender"}},
    "body": {"contentType": "text", "content": "This is a sample of Graph Relay."},
    "attachments": [],
    "mentions": [],
    "reactions": [],
}


def samples() -> list[Event]:
    """Return one event of each type, in order; a deletion comes without content, as Graph sends most of them."""
    found: dict[str, Event] = {}
    for item_type in ITEM_TYPES:
        for change in _CHANGES:
            event = sample(item_type, change)
            found.setdefault(event.type, event)
    return sorted(found.values(), key=lambda event: event.type)


def sample(item_type: ItemType, change: str, at: datetime = _AT) -> Event:
    """Return the event of a made-up change to a resource of a type."""
    path = re.sub(r"\{(\w+)\}", r"sample-\1", item_type.path)
    name = path.rpartition("/")[2]
    notification = Notification(
        subscription_id="sample", change_type=change, resource=path, resource_data=msgspec.Raw(_bare(item_type, name))
    )
    if change == "deleted":
        return event_without_content(notification, TENANT, at)
    return event_of_content(_content(item_type, name, path, change, at), notification, TENANT, at)


def _bare(item_type: ItemType, name: str) -> bytes:
    return msgspec.json.encode({"@odata.type": f"#Microsoft.Graph.{item_type.kind}", "id": name})


def _content(item_type: ItemType, name: str, path: str, change: str, at: datetime) -> bytes:
    changed = at if change == "updated" else _AT
    times = {"createdDateTime": _AT if change == "updated" else changed, "lastModifiedDateTime": changed}
    resource: dict[str, Any] = {"id": name, **times}
    if item_type.kind == "ChatMessage":
        places = path.split("/")
        if places[0] == "chats":
            resource["chatId"] = places[1]
        else:
            resource["channelIdentity"] = {"teamId": places[1], "channelId": places[3]}
        resource |= _MESSAGE
    return msgspec.json.encode(resource)
